package backup

import (
	"bytes"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Place is how far the making of a snapshot has come, in the order of the
// places: who has to act next.
type Place int

const (
	AtHawser     Place = iota // we have not created the VolumeSnapshot
	AtController              // snapshot-controller has not made a VolumeSnapshotContent for it
	AtSidecar                 // csi-snapshotter has not asked the driver for it
	AtDriver                  // the driver cuts it, or csi-snapshotter has not told of it yet
	AtUpload                  // it is cut; the driver makes it ready
	AtBinding                 // it is ready; snapshot-controller has not told of it yet
	AtEnd                     // it is ready, or fails
)

// Sight is what one look shows of one snapshot.
type Sight struct {
	Place  Place
	Driver string
	Since  time.Time // when it came there, by our clock, or a little later
	// Begun says whether the component at whose place it is has touched it.
	Begun bool
	// Late is how long csi-snapshotter took to ask the driver, once it could.
	Late time.Duration
	// Closing is when csi-snapshotter told that the snapshot is cut, by the API
	// server's clock, if its next request is not through yet; else zero.
	Closing time.Time
}

// beingCreated is on a VolumeSnapshotContent from before csi-snapshotter asks
// the driver until after it has told of the answer; see createSnapshotWrapper
// in external-snapshotter's pkg/sidecar-controller/snapshot_controller.go.
const beingCreated = "snapshot.storage.kubernetes.io/volumesnapshot-being-created"

// locate says where a snapshot is by its two objects, either of which may be
// nil. firstSeen is when snapshot was first seen, by our clock. All else goes by
// the API server's: what has happened since the snapshot was created.
func locate(driver string, firstSeen time.Time, snapshot *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) Sight {
	s := Sight{Driver: driver, Since: firstSeen}
	if snapshot == nil {
		return s
	}
	if content == nil && snapshot.Status != nil && snapshot.Status.BoundVolumeSnapshotContentName != nil {
		s.Place, s.Begun = AtUpload, true // somewhere beyond the controller: the content could not be seen
		return s
	}
	if content == nil {
		s.Place, s.Begun = AtController, len(snapshot.Finalizers) > 0 // it adds one first
		return s
	}
	asked, told := writes(content)
	came := content.CreationTimestamp.Time
	status := ptr.Deref(content.Status, snapshotv1.VolumeSnapshotContentStatus{})
	cut := ptr.Deref(status.SnapshotHandle, "") != ""
	marked := metav1.HasAnnotation(content.ObjectMeta, beingCreated)
	switch {
	case !cut && !marked:
		s.Place, s.Begun = AtSidecar, content.Status != nil
	case !cut:
		s.Place, s.Begun, came = AtDriver, true, latest(came, asked)
		s.Late = came.Sub(content.CreationTimestamp.Time)
	case !ptr.Deref(status.ReadyToUse, false):
		s.Place, s.Begun, came = AtUpload, true, latest(came, told)
	default:
		s.Place, s.Begun, came = AtBinding, true, latest(came, told)
	}
	if cut && marked {
		s.Closing = told
	}
	s.Since = firstSeen.Add(max(0, came.Sub(snapshot.CreationTimestamp.Time)))
	return s
}

// writes finds, by what the API server notes of each writer, when a content was
// marked as being created, and when its status was last written. Whole seconds;
// the zero time if there is no note.
func writes(content *snapshotv1.VolumeSnapshotContent) (marked, told time.Time) {
	for _, entry := range content.ManagedFields {
		switch {
		case entry.Time == nil || entry.FieldsV1 == nil:
		case entry.Subresource == "status":
			told = latest(told, entry.Time.Time)
		case bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(beingCreated)):
			marked = latest(marked, entry.Time.Time)
		}
	}
	return marked, told
}

// lastWrite is when a content, which may be nil, was last written.
func lastWrite(content *snapshotv1.VolumeSnapshotContent) time.Time {
	if content == nil {
		return time.Time{}
	}
	marked, told := writes(content)
	return latest(content.CreationTimestamp.Time, latest(marked, told))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
