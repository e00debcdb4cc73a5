package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// snapshotName is the name of the VolumeSnapshot of one claim in one point: a
// function of both, so that a run that is taken up again finds its own.
func snapshotName(point catalog.PointID, claim catalog.ClaimKey) string {
	sum := sha256.Sum256([]byte(string(point) + "/" + claim.String()))
	return "hawser-" + hex.EncodeToString(sum[:10])
}

// newSnapshot is the VolumeSnapshot of one claim, for the catalog of this id.
func newSnapshot(point catalog.PointID, claim catalog.ClaimKey, class, catalogID string) *snapshotv1.VolumeSnapshot {
	return &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: claim.Namespace,
			Name:      snapshotName(point, claim),
			Labels: map[string]string{
				managedByLabel: managedBy,
				PointLabel:     string(point),
				PlanLabel:      point.Plan(),
				CatalogLabel:   catalogID,
			},
		},
		Spec: snapshotv1.VolumeSnapshotSpec{
			Source:                  snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To(claim.Name)},
			VolumeSnapshotClassName: ptr.To(class),
		},
	}
}

// snapshotsOf lists and watches the VolumeSnapshots of one point, in one
// namespace or, with "", in all.
func snapshotsOf(client snapshotclient.Interface, point catalog.PointID, namespace string) cache.ListWatch {
	return labelled(client, PointLabel+"="+string(point), namespace)
}

// finished describes a ready snapshot of disk by its two objects, or says why
// it cannot be relied on.
func finished(disk catalog.VolumeHandle, snapshot *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) (*catalog.Snapshot, error) {
	switch {
	case content == nil:
		return nil, fmt.Errorf("VolumeSnapshotContent %s is gone", *snapshot.Status.BoundVolumeSnapshotContentName)
	case content.Spec.VolumeSnapshotRef.UID != snapshot.UID:
		return nil, fmt.Errorf("VolumeSnapshotContent %s belongs to another VolumeSnapshot", content.Name)
	case content.Spec.Source.VolumeHandle != nil && *content.Spec.Source.VolumeHandle != string(disk):
		return nil, fmt.Errorf("VolumeSnapshotContent %s is of disk %s; the claim has another one now", content.Name, *content.Spec.Source.VolumeHandle)
	case content.Status == nil || ptr.Deref(content.Status.SnapshotHandle, "") == "":
		return nil, fmt.Errorf("VolumeSnapshotContent %s has no snapshotHandle", content.Name)
	case content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain:
		return nil, fmt.Errorf("VolumeSnapshotContent %s has policy %s, not Retain", content.Name, content.Spec.DeletionPolicy)
	}
	taken, err := takenAt(snapshot, content)
	if err != nil {
		return nil, err
	}
	s := &catalog.Snapshot{
		Handle:      catalog.SnapshotHandle(*content.Status.SnapshotHandle),
		Name:        snapshot.Name,
		Content:     content.Name,
		Class:       ptr.Deref(content.Spec.VolumeSnapshotClassName, ""),
		Taken:       taken,
		RestoreSize: ptr.Deref(content.Status.RestoreSize, 0),
	}
	if mode := content.Spec.SourceVolumeMode; mode != nil {
		s.SourceVolumeMode = string(*mode)
	}
	for key, value := range content.Annotations {
		if strings.HasPrefix(key, "snapshot.storage.kubernetes.io/deletion-secret-") {
			if s.ContentAnnotations == nil {
				s.ContentAnnotations = map[string]string{}
			}
			s.ContentAnnotations[key] = value
		}
	}
	return s, nil
}

// takenAt is the driver's time of the cut.
func takenAt(snapshot *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) (time.Time, error) {
	switch {
	case content.Status.CreationTime != nil:
		return time.Unix(0, *content.Status.CreationTime).UTC(), nil
	case snapshot.Status.CreationTime != nil:
		return snapshot.Status.CreationTime.UTC(), nil
	}
	return time.Time{}, errors.New("the driver does not say when the snapshot was taken")
}
