package backup

import (
	"context"
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

const (
	// discardTime bounds the removal of the snapshots of one abandoned run.
	discardTime = 30 * time.Second
	// restTime bounds the wait for snapshot-controller to be done with them.
	restTime = 10 * time.Second
)

// discard removes the named VolumeSnapshots of a point that no committed point
// relies on, with their contents and the snapshots on the storage, and waits
// until they are gone. The right to do so is the caller's to have: the run was
// abandoned, or is this one and has not committed.
func (r *Runner) discard(ctx context.Context, point catalog.PointID, snapshots []catalog.IntentSnapshot) error {
	if len(snapshots) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, discardTime)
	defer cancel()
	ours, namespaces := sets.New[string](), sets.New[string]()
	for _, s := range snapshots {
		ours.Insert(s.Claim.Namespace + "/" + s.Name)
		namespaces.Insert(s.Claim.Namespace)
	}
	scope := metav1.NamespaceAll
	if namespaces.Len() == 1 {
		scope, _ = namespaces.PopAny()
	}
	found, err := r.restingSnapshots(ctx, point, scope, ours)
	if err != nil {
		return err
	}
	if err := r.releaseContents(ctx, ours); err != nil {
		return err
	}
	for _, snapshot := range found {
		if err := r.deleteSnapshot(ctx, snapshot); err != nil {
			return err
		}
	}
	return r.awaitGone(ctx, ours)
}

// restingSnapshots finds those of ours that exist, and waits for a while until
// snapshot-controller has bound each to its content or given it an error. If
// one were deleted earlier, a content made for it at that moment would be left
// behind with policy Retain.
func (r *Runner) restingSnapshots(ctx context.Context, point catalog.PointID, scope string, ours sets.Set[string]) (map[string]*snapshotv1.VolumeSnapshot, error) {
	found := map[string]*snapshotv1.VolumeSnapshot{}
	moving := sets.New[string]()
	see := func(snapshot *snapshotv1.VolumeSnapshot, deleted bool) {
		key := snapshot.Namespace + "/" + snapshot.Name
		switch {
		case !ours.Has(key):
		case deleted:
			delete(found, key)
			moving.Delete(key)
		default:
			found[key] = snapshot
			moving.Insert(key)
			if s := snapshot.Status; s != nil && (s.BoundVolumeSnapshotContentName != nil || s.Error != nil) {
				moving.Delete(key)
			}
		}
	}
	atFirst := func(store cache.Store) (bool, error) {
		for _, object := range store.List() {
			see(object.(*snapshotv1.VolumeSnapshot), false)
		}
		return moving.Len() == 0, nil
	}
	observe := func(event watch.Event) (bool, error) {
		snapshot, ok := event.Object.(*snapshotv1.VolumeSnapshot)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		see(snapshot, event.Type == watch.Deleted)
		return moving.Len() == 0, nil
	}
	wctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	err := until(wctx, snapshotsOf(r.Snapshots, point, scope), &snapshotv1.VolumeSnapshot{}, atFirst, observe)
	if err != nil && (fatal(err) || ctx.Err() != nil || len(found) == 0) {
		return nil, fmt.Errorf("list the VolumeSnapshots of point %s: %w", point, err)
	}
	return found, nil
}

// releaseContents lets the contents of our snapshots go with them: policy
// Delete makes csi-snapshotter delete the snapshot on the storage.
func (r *Runner) releaseContents(ctx context.Context, ours sets.Set[string]) error {
	return listContents(ctx, r.Snapshots, func(content *snapshotv1.VolumeSnapshotContent) error {
		if !ours.Has(refOf(content)) {
			return nil
		}
		return r.releaseContent(ctx, content)
	})
}

func refOf(content *snapshotv1.VolumeSnapshotContent) string {
	return content.Spec.VolumeSnapshotRef.Namespace + "/" + content.Spec.VolumeSnapshotRef.Name
}

func (r *Runner) releaseContent(ctx context.Context, content *snapshotv1.VolumeSnapshotContent) error {
	if content.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"deletionPolicy":%q}}`, content.UID, snapshotv1.VolumeSnapshotContentDelete)
	_, err := r.Snapshots.SnapshotV1().VolumeSnapshotContents().Patch(ctx, content.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release VolumeSnapshotContent %s: %w", content.Name, err)
	}
	return nil
}

func (r *Runner) deleteSnapshot(ctx context.Context, snapshot *snapshotv1.VolumeSnapshot) error {
	err := r.Snapshots.SnapshotV1().VolumeSnapshots(snapshot.Namespace).Delete(ctx, snapshot.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(snapshot.UID)}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete VolumeSnapshot %s/%s: %w", snapshot.Namespace, snapshot.Name, err)
	}
	return nil
}

// awaitGone waits until no content refers to our snapshots. A content that
// snapshot-controller made after they were deleted is released and deleted.
func (r *Runner) awaitGone(ctx context.Context, ours sets.Set[string]) error {
	left := sets.New[string]()
	observe := func(event watch.Event) (bool, error) {
		content, ok := event.Object.(*snapshotv1.VolumeSnapshotContent)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		if !ours.Has(refOf(content)) {
			return false, nil
		}
		if event.Type == watch.Deleted {
			left.Delete(content.Name)
			return left.Len() == 0, nil
		}
		left.Insert(content.Name)
		return false, r.deleteContent(ctx, content)
	}
	atFirst := func(store cache.Store) (bool, error) {
		for _, object := range store.List() {
			if content := object.(*snapshotv1.VolumeSnapshotContent); ours.Has(refOf(content)) {
				left.Insert(content.Name)
			}
		}
		return left.Len() == 0, nil
	}
	err := until(ctx, r.allContents(), &snapshotv1.VolumeSnapshotContent{}, atFirst, observe)
	if err != nil {
		return fmt.Errorf("wait for VolumeSnapshotContents %v to go: %w", sets.List(left), err)
	}
	return nil
}

// deleteContent deletes one content of a discarded snapshot; without its
// VolumeSnapshot nothing else would.
func (r *Runner) deleteContent(ctx context.Context, content *snapshotv1.VolumeSnapshotContent) error {
	if err := r.releaseContent(ctx, content); err != nil || content.DeletionTimestamp != nil {
		return err
	}
	err := r.Snapshots.SnapshotV1().VolumeSnapshotContents().Delete(ctx, content.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(content.UID)}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete VolumeSnapshotContent %s: %w", content.Name, err)
	}
	return nil
}

func (r *Runner) allContents() cache.ListWatch {
	contents := r.Snapshots.SnapshotV1().VolumeSnapshotContents()
	return cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return contents.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return contents.Watch(ctx, opts)
		},
	}
}
