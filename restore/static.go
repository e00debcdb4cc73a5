package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// awaitStatic waits until the driver has confirmed every snapshot of the plan
// that a new claim is to be made from. Only then may the claims be created. If
// one is not confirmed, what this run created for it is taken away again.
func (a *applier) awaitStatic(ctx context.Context) error {
	waiting := map[string]catalog.SnapshotHandle{}
	namespaces := map[string]bool{}
	for _, v := range a.plan.Volumes {
		for _, step := range v.Steps {
			if step.Kind == "VolumeSnapshot" {
				waiting[step.Namespace+"/"+step.Name] = catalog.SnapshotHandle(v.Data)
				namespaces[step.Namespace] = true
			}
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	if err := a.watchSnapshots(ctx, waiting, one(namespaces)); err != nil {
		return errors.Join(err, a.removeStatic(ctx))
	}
	return nil
}

// watchSnapshots waits until the VolumeSnapshots in waiting are ready.
func (a *applier) watchSnapshots(ctx context.Context, waiting map[string]catalog.SnapshotHandle, namespace string) error {
	wctx, stall, stop := withStall(ctx, a.patience())
	defer stop()
	last := map[string]string{}
	snapshots := a.Snapshots.SnapshotV1().VolumeSnapshots(namespace)
	source := ListWatch(snapshots.List, snapshots.Watch, RestoredFromLabel+"="+string(a.plan.Point))
	err := Until(wctx, source, &snapshotv1.VolumeSnapshot{}, nil, func(event watch.Event) (bool, error) {
		snapshot, ok := event.Object.(*snapshotv1.VolumeSnapshot)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		key := snapshot.Namespace + "/" + snapshot.Name
		handle, awaited := waiting[key]
		if !awaited || snapshot.Status == nil {
			return false, nil
		}
		if failure := snapshot.Status.Error; failure != nil {
			last[key] = ptr.Deref(failure.Message, "no message")
			if snapshotGone(last[key]) {
				return false, fmt.Errorf("snapshot %s (VolumeSnapshot %s) is gone: %s; no claim was created: restore from another point, or with --from disks", handle, key, last[key])
			}
		}
		if ptr.Deref(snapshot.Status.ReadyToUse, false) {
			delete(waiting, key)
			stall.progress()
		}
		return len(waiting) == 0, nil
	})
	if errors.Is(context.Cause(wctx), errStalled) {
		return fmt.Errorf("%d snapshots are not ready, and none became so for %s (%s); no claim was created: see `kubectl describe volumesnapshot`, and the logs of snapshot-controller and csi-snapshotter", len(waiting), a.patience(), examples(waiting, last))
	}
	return err
}

// removeStatic deletes the contents and VolumeSnapshots that this plan created.
func (a *applier) removeStatic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	var errs []error
	for _, step := range a.stepsOf("VolumeSnapshotContent", "VolumeSnapshot") {
		if step.Action != Create {
			continue
		}
		err := a.removePointer(ctx, step.Kind, step.Namespace, step.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("take back what was made: %w", err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, a.awaitStaticGone(ctx))
	}
	return errors.Join(errs...)
}

// awaitStaticGone waits until the contents that were deleted are gone, so that
// the restore can be run again at once. It lists, for a restore need not have
// the right to watch contents; what takes too long is not an error.
func (a *applier) awaitStaticGone(ctx context.Context) error {
	ours := sets.New[string]()
	for _, step := range a.stepsOf("VolumeSnapshotContent") {
		if step.Action == Create {
			ours.Insert(step.Name)
		}
	}
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		left, err := a.Snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{LabelSelector: RestoredFromLabel + "=" + string(a.plan.Point)})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(left.Items, func(c snapshotv1.VolumeSnapshotContent) bool { return ours.Has(c.Name) }), nil
	})
	if wait.Interrupted(err) {
		return nil
	}
	return err
}

// clearStatic deletes the pointers to the snapshots from which claims have been
// filled: a bound claim needs them no more, and they would be in the way of who
// looks for backups. What cannot be deleted does no harm, and is noted. Those of
// claims that still wait for a Pod stay; the next restore takes them away.
func (a *applier) clearStatic(ctx context.Context) error {
	filled := map[catalog.ClaimKey]bool{}
	for _, b := range a.result.Bound {
		filled[b.Claim] = b.Way == FromSnapshot
	}
	group := errgroup.Group{}
	group.SetLimit(parallel)
	var mu sync.Mutex
	for _, v := range a.plan.Volumes {
		if !filled[v.Claim] || v.static == "" {
			continue
		}
		group.Go(func() error {
			if err := a.RemovePointers(ctx, v.Claim.Namespace, v.static); err != nil {
				mu.Lock()
				a.result.Notes = append(a.result.Notes, fmt.Sprintf("what points to the snapshot of claim %s is left and can be deleted: %v", v.Claim, err))
				mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

// snapshotGone says whether the message of csi-snapshotter means that the
// storage does not have the snapshot.
func snapshotGone(message string) bool {
	return strings.Contains(message, "code = NotFound") || strings.Contains(message, "can not find snapshot")
}
