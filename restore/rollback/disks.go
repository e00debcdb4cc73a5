package rollback

import (
	"slices"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// Idle is a disk that is retained and that no claim uses.
type Idle struct {
	Volume string                       `json:"persistentVolume"`
	Phase  corev1.PersistentVolumePhase `json:"phase"`
	Driver string                       `json:"driver"`
	Handle catalog.VolumeHandle         `json:"volumeHandle"`
	Size   string                       `json:"size"`
	// Claim is the one that it was bound to, or is reserved for; nil: none.
	Claim *catalog.ClaimKey `json:"claim,omitempty"`
	Why   Why               `json:"why"`
	// ID and Point are of the rollback that it was set aside by.
	ID    string          `json:"id,omitempty"`
	Point catalog.PointID `json:"point,omitempty"`
	// Since is when it was let go: no write can be younger.
	Since time.Time `json:"since"`
	// Covered is the newest snapshot of the disk that a complete point holds and the
	// cluster has; nil: none is known.
	Covered *Cover `json:"covered,omitempty"`
}

// Why says why a disk is idle.
type Why string

const (
	SetAsideByRollback Why = "rollback" // hawser undo puts it back
	SetAsideByUndo     Why = "undo"     // hawser undo --redo puts it back
	Released           Why = "released" // its claim was deleted
	Reserved           Why = "reserved" // for a claim that is not there
	Available          Why = "available"
	Failed             Why = "failed" // to be deleted
)

// Cover is a snapshot of a disk in a restore point.
type Cover struct {
	Point    catalog.PointID        `json:"point"`
	Snapshot catalog.SnapshotHandle `json:"snapshotHandle"`
	Taken    time.Time              `json:"taken"`
}

// Holding is what a catalog and a cluster hold of disks.
type Holding struct {
	Volumes     []corev1.PersistentVolume
	Claims      []corev1.PersistentVolumeClaim
	Attachments []storagev1.VolumeAttachment
	Contents    []snapshotv1.VolumeSnapshotContent
	Records     []*Record // of what is under way
	// Owners says who owns disks, and ClusterUID which cluster this is; nil if no
	// catalog was asked.
	Owners     catalog.Owners
	ClusterUID string
	// Covers are the newest snapshots that complete points have of disks, whether
	// the cluster still has them or not; nil: no catalog was looked at.
	Covers map[catalog.Disk][]Cover
}

// Disks are the disks that are retained and that no claim uses, of one
// namespace or, with "", of all, in order of their claims.
func Disks(h *Holding, namespace string) []Idle {
	idle := []Idle{}
	for i := range h.Volumes {
		pv := &h.Volumes[i]
		if pv.Spec.CSI == nil || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || h.user(pv) != nil {
			continue
		}
		if d := describe(h, pv); namespace == "" || d.Claim != nil && d.Claim.Namespace == namespace {
			idle = append(idle, d)
		}
	}
	slices.SortStableFunc(idle, func(a, b Idle) int {
		return strings.Compare(keyText(a.Claim)+" "+a.Since.Format(time.RFC3339Nano), keyText(b.Claim)+" "+b.Since.Format(time.RFC3339Nano))
	})
	return idle
}

func keyText(key *catalog.ClaimKey) string {
	if key == nil {
		return "~"
	}
	return key.String()
}

func describe(h *Holding, pv *corev1.PersistentVolume) Idle {
	d := Idle{
		Volume: pv.Name, Phase: pv.Status.Phase, Driver: pv.Spec.CSI.Driver, Handle: catalog.VolumeHandle(pv.Spec.CSI.VolumeHandle),
		Size: pv.Spec.Capacity.Storage().String(), Why: Available, Since: pv.CreationTimestamp.Time,
	}
	if at := pv.Status.LastPhaseTransitionTime; at != nil {
		d.Since = at.Time
	}
	if ref := pv.Spec.ClaimRef; ref != nil {
		d.Claim = &catalog.ClaimKey{Namespace: ref.Namespace, Name: ref.Name}
		d.Why = Reserved
	}
	switch pv.Status.Phase {
	case corev1.VolumeReleased:
		d.Why = Released
	case corev1.VolumeFailed:
		d.Why = Failed
	}
	if aside := asideOf(pv); aside != nil {
		d.ID, d.Point = aside.ID, aside.Point
		if pv.Labels[UndoneLabel] != "" {
			d.Why = SetAsideByUndo
		} else if pv.Labels[UndoLabel] != "" {
			d.Why = SetAsideByRollback
		}
	}
	d.Covered = h.cover(catalog.Disk{Driver: d.Driver, Handle: d.Handle})
	return d
}

// user is the claim that uses a PersistentVolume, by either of the two; nil:
// none.
func (h *Holding) user(pv *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	var uid types.UID
	if pv.Spec.ClaimRef != nil {
		uid = pv.Spec.ClaimRef.UID
	}
	for i := range h.Claims {
		if c := &h.Claims[i]; c.Spec.VolumeName == pv.Name || uid != "" && c.UID == uid {
			return c
		}
	}
	return nil
}

// cover is the newest snapshot of a disk that a complete point holds, and whose
// content is in the cluster.
func (h *Holding) cover(disk catalog.Disk) *Cover {
	var newest *Cover
	for _, c := range h.Covers[disk] {
		if h.present(disk.Driver, c.Snapshot) && (newest == nil || c.Taken.After(newest.Taken)) {
			newest = &c
		}
	}
	return newest
}

// present says whether the cluster has a content of a snapshot that is kept.
func (h *Holding) present(driver string, handle catalog.SnapshotHandle) bool {
	return slices.ContainsFunc(h.Contents, func(c snapshotv1.VolumeSnapshotContent) bool {
		known := ptr.Deref(c.Spec.Source.SnapshotHandle, "")
		if c.Status != nil && known == "" {
			known = ptr.Deref(c.Status.SnapshotHandle, "")
		}
		return c.Spec.Driver == driver && known == string(handle) && c.DeletionTimestamp == nil && c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentRetain
	})
}

// AddRecord notes what is under way of a workload.
func (h *Holding) AddRecord(workload metav1.Object) error {
	record, err := recordOf(workload)
	if record != nil {
		h.Records = append(h.Records, record)
	}
	return err
}

// AddCovers notes the snapshots of a point, if it is complete.
func (h *Holding) AddCovers(commit catalog.Commit, volumes []catalog.Volume) {
	if h.Covers == nil {
		h.Covers = map[catalog.Disk][]Cover{}
	}
	if commit.Outcome != catalog.Complete {
		return
	}
	for _, v := range volumes {
		if v.Snapshot != nil && v.Problem == "" {
			key := v.Disk()
			h.Covers[key] = append(h.Covers[key], Cover{Point: commit.Point, Snapshot: v.Snapshot.Handle, Taken: v.Snapshot.Taken})
		}
	}
}

// provisionedBy is the annotation by which a provisioner knows the volumes that
// it may delete.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

func wasProvisioned(pv *corev1.PersistentVolume) bool {
	return metav1.HasAnnotation(pv.ObjectMeta, provisionedBy) && pv.Annotations[provisionedBy] == pv.Spec.CSI.Driver
}
