package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// RestoredFromLabel holds, on objects that a restore made for its own use, the
// id of the point.
const RestoredFromLabel = "hawser.dev/restored-from"

// Static is a snapshot known by its handle, as Kubernetes wants it: a content
// and a VolumeSnapshot that name each other, and the claim that is filled from it.
type Static struct {
	Content  *snapshotv1.VolumeSnapshotContent
	Snapshot *snapshotv1.VolumeSnapshot
	Claim    *corev1.PersistentVolumeClaim
}

// Rehydrate returns the objects that give claim a new disk with the data of
// volume's snapshot: under the claim's own name, in storage class class. The
// content is Retain, so that nothing done to these objects deletes the
// snapshot. snapshotClass names a VolumeSnapshotClass of the target whose
// Secrets the driver needs to see the snapshot, or is "". The request grows to
// the snapshot's size where it is smaller. It fails if volume has no snapshot.
func Rehydrate(point catalog.PointID, volume catalog.Volume, claim corev1.PersistentVolumeClaim, class, snapshotClass string) (Static, error) {
	if volume.Snapshot == nil {
		return Static{}, fmt.Errorf("the point has no snapshot of claim %s", volume.Claim)
	}
	name := staticName(volume)
	labels := map[string]string{"app.kubernetes.io/managed-by": "hawser", RestoredFromLabel: string(point)}
	s := Static{
		Content: &snapshotv1.VolumeSnapshotContent{
			TypeMeta:   metav1.TypeMeta{APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: "VolumeSnapshotContent"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: maps.Clone(volume.Snapshot.ContentAnnotations)},
			Spec: snapshotv1.VolumeSnapshotContentSpec{
				DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
				Driver:         volume.Driver,
				Source:         snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: ptr.To(string(volume.Snapshot.Handle))},
				VolumeSnapshotRef: corev1.ObjectReference{
					APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: "VolumeSnapshot",
					Namespace: volume.Claim.Namespace, Name: name,
				},
			},
		},
		Snapshot: &snapshotv1.VolumeSnapshot{
			TypeMeta:   metav1.TypeMeta{APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: "VolumeSnapshot"},
			ObjectMeta: metav1.ObjectMeta{Namespace: volume.Claim.Namespace, Name: name, Labels: maps.Clone(labels)},
			Spec:       snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: ptr.To(name)}},
		},
	}
	if mode := volume.Snapshot.SourceVolumeMode; mode != "" {
		s.Content.Spec.SourceVolumeMode = ptr.To(corev1.PersistentVolumeMode(mode))
	}
	if snapshotClass != "" {
		s.Content.Spec.VolumeSnapshotClassName = ptr.To(snapshotClass)
		s.Snapshot.Spec.VolumeSnapshotClassName = ptr.To(snapshotClass)
	}
	s.Claim = bareClaim(claim, class)
	s.Claim.Spec.Selector = nil // no provisioner takes a claim with one
	s.Claim.Spec.DataSource = &corev1.TypedLocalObjectReference{
		APIGroup: ptr.To(snapshotv1.GroupName), Kind: "VolumeSnapshot", Name: name,
	}
	growRequest(s.Claim, volume.Snapshot.RestoreSize)
	return s, nil
}

// staticName is a function of the snapshot and the claim, so that a restore
// that is run again finds what it made.
func staticName(volume catalog.Volume) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", volume.Driver, volume.Snapshot.Handle, volume.Claim))
	return "hawser-restore-" + hex.EncodeToString(sum[:10])
}

// growRequest raises the claim's request to size bytes: a provisioner refuses
// a volume smaller than its snapshot.
func growRequest(claim *corev1.PersistentVolumeClaim, size int64) {
	want := resource.NewQuantity(size, resource.BinarySI)
	if claim.Spec.Resources.Requests.Storage().Cmp(*want) >= 0 {
		return
	}
	if claim.Spec.Resources.Requests == nil {
		claim.Spec.Resources.Requests = corev1.ResourceList{}
	}
	claim.Spec.Resources.Requests[corev1.ResourceStorage] = *want
}
