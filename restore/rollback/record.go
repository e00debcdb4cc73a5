package rollback

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// What a rollback writes on objects.
const (
	// RecordAnnotation is on a workload, or on the PersistentVolume of a claim that
	// no workload uses, while a rollback or undo is under way: a Record.
	RecordAnnotation = "hawser.dev/rollback"
	// SetAsideAnnotation is on a PersistentVolume that was set aside: a SetAside.
	SetAsideAnnotation = "hawser.dev/set-aside"
	// UndoLabel is on the PersistentVolumes that a rollback has set aside, and
	// UndoneLabel on those that an undo has: the id of the rollback.
	UndoLabel   = "hawser.dev/undo"
	UndoneLabel = "hawser.dev/undone"
)

// Act is what is done to the claims of workloads.
type Act string

const (
	Rollback Act = "rollback" // to new disks with the data of a point
	Undo     Act = "undo"     // to the disks that a rollback has set aside
	Redo     Act = "redo"     // to the disks that an undo has set aside
)

// label is on the disks that the act sets aside.
func (a Act) label() string {
	if a == Undo {
		return UndoneLabel
	}
	return UndoLabel
}

// source is on the disks that the act puts back.
func (a Act) source() string {
	if a == Undo {
		return UndoLabel
	}
	return UndoneLabel
}

// Step is how far an act has come, for people: what is done next follows from
// what is there.
type Step string

const (
	StepStopped Step = "stopped" // the workload was scaled to 0
	StepStarted Step = "started" // its claims are done, and it was scaled back
)

// Record says what is going on. All that takes part bears the same, but for
// Replicas and Policy, which are its own.
type Record struct {
	ID        string             `json:"id"`
	Act       Act                `json:"act"`
	Point     catalog.PointID    `json:"point"`
	Started   time.Time          `json:"started"`
	Step      Step               `json:"step"`
	Workloads []catalog.Workload `json:"workloads,omitempty"`
	Claims    []Change           `json:"claims"`
	// Replicas is what the workload had, and Policy, of a StatefulSet, what became
	// of claims; nil if it was to keep them anyway.
	Replicas int32                                                   `json:"replicas,omitempty"`
	Policy   *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy `json:"policy,omitempty"`
	// Leftovers are pointers to snapshots that an act which was turned back may
	// have made: the names of VolumeSnapshots and, the same, of their contents.
	Leftovers []string `json:"leftovers,omitempty"`
}

// Change is what becomes of one claim.
type Change struct {
	Claim string `json:"claim"`
	// UID is that of the claim that goes; "" if there is none. From is the disk it
	// is on, which is set aside; nil if it has none.
	UID  types.UID `json:"uid,omitempty"`
	From *Disk     `json:"from,omitempty"`
	// To is the disk that the claim gets; nil: a new one, made from the VolumeSnapshot
	// of name Snapshot, which points to the snapshot of the restore point.
	To       *Disk  `json:"to,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
}

// Disk is a disk by its PersistentVolume.
type Disk struct {
	Volume string               `json:"volume"`
	UID    types.UID            `json:"uid"` // of the PersistentVolume
	Driver string               `json:"driver"`
	Handle catalog.VolumeHandle `json:"handle"`
}

func diskOf(pv *corev1.PersistentVolume) *Disk {
	d := &Disk{Volume: pv.Name, UID: pv.UID}
	if csi := pv.Spec.CSI; csi != nil {
		d.Driver, d.Handle = csi.Driver, catalog.VolumeHandle(csi.VolumeHandle)
	}
	return d
}

// SetAside says why a PersistentVolume was set aside, and holds the claim that it
// was bound to.
type SetAside struct {
	ID    string                        `json:"id"`
	Act   Act                           `json:"act"`
	Point catalog.PointID               `json:"point"` // that the claim was rolled back to
	Time  time.Time                     `json:"time"`  // when the act began
	Claim *corev1.PersistentVolumeClaim `json:"claim"`
}

// recordOf reads the record that an object bears; nil: none.
func recordOf(object metav1.Object) (*Record, error) {
	return users.Annotation[Record](object, RecordAnnotation)
}

// asideOf reads why a PersistentVolume was set aside; nil: it was not, or what
// it says cannot be used.
func asideOf(pv *corev1.PersistentVolume) *SetAside {
	aside, err := users.Annotation[SetAside](pv, SetAsideAnnotation)
	if err != nil || aside == nil || aside.ID == "" || aside.Claim == nil {
		return nil
	}
	return aside
}

// bears says whether the workload takes part.
func (r *Record) bears(w catalog.Workload) bool { return slices.Contains(r.Workloads, w) }

// change is what the record says of a claim.
func (r *Record) change(claim string) *Change {
	for i := range r.Claims {
		if r.Claims[i].Claim == claim {
			return &r.Claims[i]
		}
	}
	return nil
}

// volumes are the PersistentVolumes that must be detached before the claims
// change.
func (r *Record) volumes() []string {
	var names []string
	for _, c := range r.Claims {
		for _, disk := range []*Disk{c.From, c.To} {
			if disk != nil {
				names = append(names, disk.Volume)
			}
		}
	}
	return names
}
