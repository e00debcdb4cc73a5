package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// VolumeHandle is what a CSI driver calls a disk (PersistentVolume
// .spec.csi.volumeHandle). It is unique within its driver.
type VolumeHandle string

// SnapshotHandle is what a CSI driver calls a snapshot
// (VolumeSnapshotContent .status.snapshotHandle).
type SnapshotHandle string

// PointID names a restore point. Ids sort by scheduled time.
type PointID string

// ManualPlan is the plan name of backups that were asked for on the command
// line and belong to no plan.
const ManualPlan = "manual"

var (
	planPattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$`)
	pointPattern = regexp.MustCompile(`^([0-9]{8}-[0-9]{6})-([a-z0-9][a-z0-9-]*)-([0-9a-f]{8})$`)
)

const pointTime = "20060102-150405"

// ValidatePlan reports why name cannot name a plan: it becomes part of object
// names and label values, so it is a DNS label of at most 30 characters.
func ValidatePlan(name string) error {
	if !planPattern.MatchString(name) {
		return fmt.Errorf("plan name %q: use 1 to 30 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit", name)
	}
	return nil
}

// NewPointID is a function of cluster uid, plan and scheduled time, so that
// two agents cannot make two points of one occurrence. The plan must be valid.
// attempt tells the runs of one occurrence apart: it is 0 for the first, and
// one more for each that takes the place of an abandoned one.
func NewPointID(clusterUID, plan string, scheduled time.Time, attempt int) PointID {
	scheduled = scheduled.UTC()
	name := fmt.Appendf(nil, "%s/%s/%d", clusterUID, plan, scheduled.UnixNano())
	if attempt > 0 {
		name = fmt.Appendf(name, "/%d", attempt)
	}
	sum := sha256.Sum256(name)
	return PointID(scheduled.Format(pointTime) + "-" + plan + "-" + hex.EncodeToString(sum[:4]))
}

// Plan returns the plan whose occurrence id names, or "" if id is not a point id.
func (id PointID) Plan() string {
	m := pointPattern.FindStringSubmatch(string(id))
	if m == nil {
		return ""
	}
	return m[2]
}

// Scheduled returns the time whose occurrence id names, to the second; the zero
// time if id is not a point id.
func (id PointID) Scheduled() time.Time {
	m := pointPattern.FindStringSubmatch(string(id))
	if m == nil {
		return time.Time{}
	}
	scheduled, err := time.Parse(pointTime, m[1])
	if err != nil {
		return time.Time{}
	}
	return scheduled
}

// Outcome says what became of a run.
type Outcome string

const (
	// Complete: every selected claim is in the point as the plan asked.
	Complete Outcome = "complete"
	// Partial: some claims are missing, or lack the snapshot that was asked
	// for. The reasons are in the commit.
	Partial Outcome = "partial"
	// Abandoned: the run came to nothing, and its snapshots may be removed.
	// It takes the key of the commit, so that a run can either commit or be
	// abandoned, never both. An abandoned run is not a restore point.
	Abandoned Outcome = "abandoned"
)

// Cluster identifies a Kubernetes cluster.
type Cluster struct {
	UID  string `json:"uid"`            // uid of the namespace kube-system
	Name string `json:"name,omitempty"` // for people
}

// Counts of what is in a point.
type Counts struct {
	Claims    int `json:"claims"`    // volume records
	Snapshots int `json:"snapshots"` // volume records with a snapshot
	Protected int `json:"protected"` // volumes that this run made Retain
	Objects   int `json:"objects"`
	Skipped   int `json:"skipped"`
}

// Commit is the statement that makes a restore point exist.
type Commit struct {
	Point     PointID    `json:"point"`
	Cluster   Cluster    `json:"cluster"`
	Plan      string     `json:"plan"`
	Scheduled time.Time  `json:"scheduled"`
	Attempt   int        `json:"attempt,omitempty"` // 0 for the first run of the occurrence
	Started   time.Time  `json:"started"`
	Committed time.Time  `json:"committed"`
	Outcome   Outcome    `json:"outcome"`
	Reasons   []string   `json:"reasons,omitempty"` // why it is partial or abandoned
	Notes     []string   `json:"notes,omitempty"`   // what to know of it besides
	Counts    Counts     `json:"counts"`
	Bundle    *BundleRef `json:"bundle,omitempty"` // nil if abandoned
	Previous  *CommitRef `json:"previous,omitempty"`
	Writer    string     `json:"writer"` // program and version
}

// BundleRef says what the bundle's object must be.
type BundleRef struct {
	Size     int64    `json:"size"`     // bytes as stored
	SHA256   string   `json:"sha256"`   // of the bytes as stored, hex
	RawSize  int64    `json:"rawSize"`  // bytes after decoding
	Encoding []string `json:"encoding"` // applied in this order when it was written
}

// CommitRef names the previous commit of the same cluster and plan and the
// digest of its object: a chain in which a removal shows.
type CommitRef struct {
	Point  PointID `json:"point"`
	SHA256 string  `json:"sha256"`
}

// Bundle is the content of a restore point.
type Bundle struct {
	Format int     `json:"format"`
	Point  PointID `json:"point"`
	// Objects are as the API server gave them, less managedFields and status.
	Objects []unstructured.Unstructured `json:"objects"`
	Volumes []Volume                    `json:"volumes"`
	// Skipped lists what was in reach of the selection but is not in the
	// point, or not covered by it, and why.
	Skipped []Skip `json:"skipped,omitempty"`
}

// RestorePoint is a committed point, read back whole.
type RestorePoint struct {
	Commit Commit
	Bundle Bundle
}

// ClaimKey names a PersistentVolumeClaim.
type ClaimKey struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (k ClaimKey) String() string { return k.Namespace + "/" + k.Name }

// Workload names what uses a claim: a StatefulSet, Deployment or bare Pod in
// the claim's namespace.
type Workload struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Volume is what is known of one claim and the disk it was bound to.
type Volume struct {
	Claim            ClaimKey     `json:"claim"`
	PersistentVolume string       `json:"persistentVolume"`
	Driver           string       `json:"driver"`
	VolumeHandle     VolumeHandle `json:"volumeHandle"`
	Capacity         string       `json:"capacity"` // of the PersistentVolume, a Quantity
	Request          string       `json:"request"`  // of the claim, a Quantity
	StorageClass     string       `json:"storageClass,omitempty"`
	// ReclaimBefore is the policy before Hawser first protected the volume;
	// ReclaimAfter the one read back in this run. Unless it is Retain the disk
	// does not outlive its claim.
	ReclaimBefore string    `json:"reclaimBefore"`
	ReclaimAfter  string    `json:"reclaimAfter"`
	Workload      *Workload `json:"workload,omitempty"`
	Template      string    `json:"template,omitempty"` // volumeClaimTemplate of a StatefulSet
	Ordinal       *int      `json:"ordinal,omitempty"`  // of the StatefulSet's Pod
	Snapshot      *Snapshot `json:"snapshot,omitempty"` // nil: good for reattaching only
	Problem       string    `json:"problem,omitempty"`  // why a snapshot that was asked for is missing
}

// Snapshot is a finished CSI snapshot of a volume.
type Snapshot struct {
	Handle           SnapshotHandle `json:"handle"`
	Name             string         `json:"name"`    // VolumeSnapshot, in the claim's namespace
	Content          string         `json:"content"` // VolumeSnapshotContent
	Class            string         `json:"class"`   // VolumeSnapshotClass
	Taken            time.Time      `json:"taken"`   // the time of the data, by the driver
	RestoreSize      int64          `json:"restoreSize,omitempty"`
	SourceVolumeMode string         `json:"sourceVolumeMode,omitempty"`
	// ContentAnnotations are those that name the Secrets with which the driver
	// deletes the snapshot.
	ContentAnnotations map[string]string `json:"contentAnnotations,omitempty"`
}

// SkipReason is a stable word for why something is not covered.
type SkipReason string

const (
	SkipPodOwned     SkipReason = "pod-owned"      // generic ephemeral volume
	SkipUnbound      SkipReason = "unbound"        // the claim has no volume
	SkipNotCSI       SkipReason = "not-csi"        // in-tree or other non-CSI volume
	SkipNotCovered   SkipReason = "not-covered"    // emptyDir, hostPath, inline CSI … of a Pod
	SkipNotFound     SkipReason = "not-found"      // referenced, but not in the cluster
	SkipNotSelected  SkipReason = "not-selected"   // a claim of a captured workload that the selection leaves out
	SkipNotAsked     SkipReason = "not-asked"      // Secrets, unless asked for
	SkipNotSupported SkipReason = "not-supported"  // a kind Hawser does not capture
	SkipTerminating  SkipReason = "terminating"    // being deleted
	SkipInconsistent SkipReason = "inconsistent"   // claim and volume do not name each other
	SkipProtectError SkipReason = "protect-failed" // the volume could not be made Retain
	SkipDrill        SkipReason = "drill"          // made by a drill, and goes with it
	SkipForeign      SkipReason = "foreign"        // another cluster owns the disk
	SkipOwnerUnknown SkipReason = "owner-unknown"  // who owns the disk cannot be told
)

// Skip records one exclusion.
type Skip struct {
	Kind      string     `json:"kind"`
	Namespace string     `json:"namespace,omitempty"`
	Name      string     `json:"name"`
	Reason    SkipReason `json:"reason"`
	Message   string     `json:"message"`
}

// Intent is a journal entry: what a run is about to do, written before its
// first snapshot so that nothing it makes can be forgotten.
type Intent struct {
	Format    int       `json:"format"`
	Point     PointID   `json:"point"`
	Cluster   Cluster   `json:"cluster"`
	Plan      string    `json:"plan"`
	Scheduled time.Time `json:"scheduled"`
	Attempt   int       `json:"attempt,omitempty"` // 0 for the first run of the occurrence
	// Agent identifies the process that runs it, if that is an agent: the next
	// leader need not wait for the deadline. "" is a run from the command line.
	Agent     string           `json:"agent,omitempty"`
	Started   time.Time        `json:"started"`
	Deadline  time.Time        `json:"deadline"` // the run does not commit after this
	Writer    string           `json:"writer"`
	Snapshots []IntentSnapshot `json:"snapshots"`
}

// IntentSnapshot is a VolumeSnapshot that the run is going to create.
type IntentSnapshot struct {
	Claim ClaimKey `json:"claim"`
	Name  string   `json:"name"` // of the VolumeSnapshot, in the claim's namespace
}
