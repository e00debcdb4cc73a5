package backup

import (
	"context"
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

const (
	// restTime bounds the wait for snapshot-controller to be done with
	// VolumeSnapshots that are to be removed.
	restTime = 10 * time.Second
	// beingDeleted is what snapshot-controller puts on the content of a
	// VolumeSnapshot that is deleted; without it csi-snapshotter does not let a
	// content go (shouldDelete in external-snapshotter's sidecar-controller).
	beingDeleted = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
)

// Removal removes VolumeSnapshots with their contents and with the snapshots on
// the storage. The right to remove them is the caller's to have.
type Removal struct {
	Client   snapshotclient.Interface
	Names    sets.Set[string] // NAMESPACE/NAME of the VolumeSnapshots
	Selector string           // labels that all of them carry
	// Spare says of a content that its snapshot has to stay on the storage, so
	// that only the objects go. nil spares none.
	Spare func(*snapshotv1.VolumeSnapshotContent) bool
}

// Removed is what became of a removal.
type Removed struct {
	// Known: the contents were seen to go, or to stay. Otherwise nothing is
	// known of what is left.
	Known bool
	// Left are the contents that are still there, with the NAMESPACE/NAME of
	// their VolumeSnapshot. Of what is not among them the storage has confirmed
	// the removal: csi-snapshotter lets no content go before that.
	Left map[string]string
	// Unresting: a VolumeSnapshot was deleted before snapshot-controller had
	// come to it, so that a content may yet be made for it.
	Unresting bool
}

// Do removes them, and returns when all are gone, or ctx ends, or a request
// fails. It may be run again. A VolumeSnapshot that does not exist is no error:
// its content is deleted directly.
func (m Removal) Do(ctx context.Context) (Removed, error) {
	found, resting, err := m.resting(ctx)
	if err != nil {
		return Removed{}, err
	}
	result := Removed{Unresting: !resting}
	if err := m.releaseAll(ctx); err != nil {
		return result, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, snapshot := range found {
		group.Go(func() error { return m.deleteSnapshot(gctx, snapshot) })
	}
	if err := group.Wait(); err != nil {
		return result, err
	}
	result.Known, result.Left, err = m.awaitGone(ctx)
	return result, err
}

// scope is the namespace of all of them, or "".
func (m Removal) scope() string {
	namespaces := sets.New[string]()
	for name := range m.Names {
		namespace, _, _ := cache.SplitMetaNamespaceKey(name)
		namespaces.Insert(namespace)
	}
	if namespaces.Len() == 1 {
		return namespaces.UnsortedList()[0]
	}
	return metav1.NamespaceAll
}

// resting finds those that exist, and waits for a while until
// snapshot-controller has bound each to its content or given it an error. If
// one is deleted earlier, a content that is made for it at that moment is left
// behind with policy Retain.
func (m Removal) resting(ctx context.Context) (found map[string]*snapshotv1.VolumeSnapshot, resting bool, err error) {
	found = map[string]*snapshotv1.VolumeSnapshot{}
	moving := sets.New[string]()
	see := func(snapshot *snapshotv1.VolumeSnapshot, deleted bool) {
		key := snapshot.Namespace + "/" + snapshot.Name
		switch {
		case !m.Names.Has(key):
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
	err = until(wctx, labelled(m.Client, m.Selector, m.scope()), &snapshotv1.VolumeSnapshot{}, atFirst, observe)
	if err != nil && (fatal(err) || ctx.Err() != nil || len(found) == 0) {
		return nil, false, fmt.Errorf("list the VolumeSnapshots with %s: %w", m.Selector, err)
	}
	return found, moving.Len() == 0, nil
}

// releaseAll lets the contents go with their VolumeSnapshots: policy Delete
// makes csi-snapshotter delete the snapshot on the storage.
func (m Removal) releaseAll(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	err := EachContent(ctx, m.Client, func(content *snapshotv1.VolumeSnapshotContent) error {
		if m.Names.Has(refOf(content)) {
			group.Go(func() error { return m.release(gctx, content, false) })
		}
		return nil
	})
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

func refOf(content *snapshotv1.VolumeSnapshotContent) string {
	return content.Spec.VolumeSnapshotRef.Namespace + "/" + content.Spec.VolumeSnapshotRef.Name
}

// release gives a content the policy with which it is to go. alone: nobody
// else will tell csi-snapshotter that its VolumeSnapshot is gone.
func (m Removal) release(ctx context.Context, content *snapshotv1.VolumeSnapshotContent, alone bool) error {
	policy := snapshotv1.VolumeSnapshotContentDelete
	if m.Spare != nil && m.Spare(content) {
		policy = snapshotv1.VolumeSnapshotContentRetain
	}
	_, told := content.Annotations[beingDeleted]
	if content.Spec.DeletionPolicy == policy && (told || !alone) {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"deletionPolicy":%q}}`, content.UID, policy)
	if alone {
		patch = fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:"yes"}},"spec":{"deletionPolicy":%q}}`, content.UID, beingDeleted, policy)
	}
	_, err := m.Client.SnapshotV1().VolumeSnapshotContents().Patch(ctx, content.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release VolumeSnapshotContent %s: %w", content.Name, err)
	}
	return nil
}

func (m Removal) deleteSnapshot(ctx context.Context, snapshot *snapshotv1.VolumeSnapshot) error {
	err := m.Client.SnapshotV1().VolumeSnapshots(snapshot.Namespace).Delete(ctx, snapshot.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(snapshot.UID)}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete VolumeSnapshot %s/%s: %w", snapshot.Namespace, snapshot.Name, err)
	}
	return nil
}

// awaitGone waits until no content refers to the VolumeSnapshots. One that is
// left without its VolumeSnapshot, or that snapshot-controller made after they
// were deleted, is deleted. It returns those that are left.
func (m Removal) awaitGone(ctx context.Context) (known bool, left map[string]string, err error) {
	left = map[string]string{}
	observe := func(event watch.Event) (bool, error) {
		content, ok := event.Object.(*snapshotv1.VolumeSnapshotContent)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		switch ref := refOf(content); {
		case !m.Names.Has(ref):
			return false, nil
		case event.Type == watch.Deleted:
			delete(left, content.Name)
			return len(left) == 0, nil
		default:
			left[content.Name] = ref
		}
		return false, m.deleteContent(ctx, content)
	}
	atFirst := func(store cache.Store) (bool, error) {
		known = true
		for _, object := range store.List() {
			if content := object.(*snapshotv1.VolumeSnapshotContent); m.Names.Has(refOf(content)) {
				left[content.Name] = refOf(content)
			}
		}
		return len(left) == 0, nil
	}
	err = until(ctx, allContents(m.Client), &snapshotv1.VolumeSnapshotContent{}, atFirst, observe)
	if err != nil {
		return known, left, fmt.Errorf("wait for %d VolumeSnapshotContents to go (%s); see `kubectl describe volumesnapshotcontent` and the logs of csi-snapshotter: %w", len(left), someOf(left), err)
	}
	return true, nil, nil
}

// someOf names a few of the contents.
func someOf(left map[string]string) string {
	var names string
	for i, name := range sets.List(sets.KeySet(left)) {
		if i == 3 {
			return names + ", …"
		}
		if i > 0 {
			names += ", "
		}
		names += name
	}
	return names
}

// deleteContent deletes one content; without its VolumeSnapshot nothing else
// would.
func (m Removal) deleteContent(ctx context.Context, content *snapshotv1.VolumeSnapshotContent) error {
	if err := m.release(ctx, content, true); err != nil || content.DeletionTimestamp != nil {
		return err
	}
	err := m.Client.SnapshotV1().VolumeSnapshotContents().Delete(ctx, content.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(content.UID)}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete VolumeSnapshotContent %s: %w", content.Name, err)
	}
	return nil
}

// labelled lists and watches the VolumeSnapshots that selector selects, in one
// namespace or, with "", in all.
func labelled(client snapshotclient.Interface, selector, namespace string) cache.ListWatch {
	snapshots := client.SnapshotV1().VolumeSnapshots(namespace)
	return cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = selector
			return snapshots.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = selector
			return snapshots.Watch(ctx, opts)
		},
	}
}

func allContents(client snapshotclient.Interface) cache.ListWatch {
	contents := client.SnapshotV1().VolumeSnapshotContents()
	return cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			return contents.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			return contents.Watch(ctx, opts)
		},
	}
}
