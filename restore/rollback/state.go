package rollback

import (
	corev1 "k8s.io/api/core/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// State is how far one claim has come.
type State string

const (
	Untouched State = "untouched" // it is on the disk that is to be set aside
	Missing   State = "missing"   // it was deleted, and is to be made again
	Arrived   State = "arrived"   // it names what it is to get
	Stray     State = "stray"     // somebody else made it
)

// stateOf says how far the claim of a change has come; claim is what exists.
func stateOf(c *Change, claim *corev1.PersistentVolumeClaim) State {
	switch {
	case claim == nil:
		return Missing
	case claim.UID == c.UID && claim.DeletionTimestamp != nil:
		return Untouched // also one on the disk that it is to get: it goes, and is made again
	case c.To != nil && claim.Spec.VolumeName == c.To.Volume:
		return Arrived
	case claim.UID == c.UID:
		return Untouched
	case c.To == nil && isFilledFrom(claim, c.Snapshot):
		return Arrived
	}
	return Stray
}

func isFilledFrom(claim *corev1.PersistentVolumeClaim, snapshot string) bool {
	source := claim.Spec.DataSource
	return snapshot != "" && source != nil && source.Kind == "VolumeSnapshot" && source.Name == snapshot
}

// filledBy is the name of the VolumeSnapshot that a claim is filled from when
// it gets the data of a point's volume; "" if there is no snapshot.
func filledBy(point catalog.PointID, v catalog.Volume) string {
	static, err := restore.Rehydrate(point, v, corev1.PersistentVolumeClaim{}, "", "")
	if err != nil {
		return ""
	}
	return static.Snapshot.Name
}
