package restore

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// beingDeleted is what snapshot-controller puts on the content of a
// VolumeSnapshot that is deleted. It does not if the two are deleted while they
// are being bound, or if the VolumeSnapshot is gone, and without it
// csi-snapshotter never lets a bound content go (shouldDelete in
// external-snapshotter's sidecar-controller).
const beingDeleted = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"

// RemovePointers deletes the VolumeSnapshotContent and the VolumeSnapshot of the
// same name by which a restore gets at a snapshot, which stays. What does not exist is no
// error. The content goes first: one that is left bound to a VolumeSnapshot that is
// gone would take no other.
func (r *Restorer) RemovePointers(ctx context.Context, namespace, name string) error {
	if err := r.removePointer(ctx, "VolumeSnapshotContent", "", name); err != nil {
		return err
	}
	return r.removePointer(ctx, "VolumeSnapshot", namespace, name)
}

func (r *Restorer) removePointer(ctx context.Context, kind, namespace, name string) error {
	var err error
	if kind == "VolumeSnapshotContent" {
		err = RemoveContent(ctx, r.Snapshots, name, "")
	} else {
		err = r.Snapshots.SnapshotV1().VolumeSnapshots(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", kind, name, err)
	}
	return nil
}

// RemoveContent deletes a VolumeSnapshotContent, with that uid unless it is "",
// and lets its snapshot stay on the storage: the write that lets csi-snapshotter
// release it makes it Retain as well.
func RemoveContent(ctx context.Context, client snapshotclient.Interface, name string, uid types.UID) error {
	contents := client.SnapshotV1().VolumeSnapshotContents()
	only := ""
	if uid != "" {
		only = fmt.Sprintf(`"uid":%q,`, uid)
	}
	patch := fmt.Appendf(nil, `{"metadata":{%s"annotations":{%q:"yes"}},"spec":{"deletionPolicy":%q}}`, only, beingDeleted, snapshotv1.VolumeSnapshotContentRetain)
	content, err := contents.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if policy := content.Spec.DeletionPolicy; policy != snapshotv1.VolumeSnapshotContentRetain {
		return fmt.Errorf("the API server keeps policy %s, with which the snapshot would go too (is an admission webhook changing it?)", policy)
	}
	return contents.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &content.UID}})
}
