package backup

import (
	"context"
	"errors"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

const (
	// parallel is how many requests are under way at once.
	parallel = 16
	// parallelHooks is how many workloads are quiesced at once: the more, the
	// longer each waits for its snapshots while it may not write.
	parallelHooks = 4
)

// takeSnapshots takes the snapshots that were aimed, and fills in the records.
// Those that failed stay until the point is committed: as long as it is not,
// another run may have taken this one up and rely on them.
func (r *run) takeSnapshots(ctx context.Context) error {
	if err := r.shoot(ctx, r.shots); err != nil {
		return err
	}
	contents, err := r.boundContents(ctx, r.shots)
	if err != nil {
		return err
	}
	for _, shot := range r.shots {
		if err := r.fill(shot, contents); err != nil {
			r.problem(shot.volume, err)
		}
	}
	return nil
}

// problem records why a volume has no snapshot.
func (r *run) problem(v *catalog.Volume, err error) {
	v.Problem = err.Error()
	r.reasons = append(r.reasons, fmt.Sprintf("claim %s: no snapshot, good for reattaching only: %v", v.Claim, err))
	r.report(v.Claim, StageFailed, err.Error())
}

// aim decides which snapshots the run takes: it finds the class of each volume,
// and makes sure that it exists. A volume whose driver has none gets no
// snapshot, and so does every volume if the request says so.
func (r *run) aim(ctx context.Context) error {
	if r.request.Snapshot.Skip {
		return nil
	}
	type answer struct {
		class string
		err   error
	}
	byDriver := map[string]answer{}
	for i := range r.volumes {
		v := &r.volumes[i]
		got, known := byDriver[v.Driver]
		if !known {
			source, err := chooseClass(r.inv, v.Driver, r.request.Snapshot.Classes[v.Driver])
			if err == nil {
				retain := retainClass(source, r.Catalog.Repository().ID)
				got.class, err = retain.Name, ensureClass(ctx, r.Snapshots, r.inv, retain)
			}
			if err != nil && (fatal(err) || ctx.Err() != nil) {
				return err
			}
			got.err = err
			byDriver[v.Driver] = got
		}
		if got.err != nil {
			r.problem(v, got.err)
			continue
		}
		r.shots = append(r.shots, &shot{volume: v, name: snapshotName(r.point, v.Claim), class: got.class})
	}
	return nil
}

// shoot takes the snapshots: those of Pods with hooks while the Pods are
// quiet, the others at once. It returns when each is ready or will not be.
func (r *run) shoot(ctx context.Context, all []*shot) error {
	if len(all) == 0 {
		return nil
	}
	s := newShots(all, r.request.Snapshot.Timeout, r.report)
	slots := semaphore.NewWeighted(parallel)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.follow(gctx, r) })
	if r.resumed {
		return group.Wait() // all of them exist
	}
	groups, rest := groupByHooks(all, findHooks(r.inv.Pods, r.volumes, r.request.Hooks))
	group.Go(func() error { return r.create(gctx, s, slots, rest) })
	quieted, qctx := errgroup.WithContext(gctx)
	quieted.SetLimit(parallelHooks)
	for _, g := range groups {
		quieted.Go(func() error { return r.shootQuietly(qctx, s, slots, g) })
	}
	return errors.Join(quieted.Wait(), group.Wait())
}

// create creates the VolumeSnapshots. It fails only if the run is to end; a
// shot that fails alone is dropped.
func (r *run) create(ctx context.Context, s *shots, slots *semaphore.Weighted, some []*shot) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, shot := range some {
		if err := slots.Acquire(gctx, 1); err != nil {
			break // the group, or the end of ctx, says why
		}
		group.Go(func() error {
			defer slots.Release(1)
			claim := shot.volume.Claim
			_, err := r.Snapshots.SnapshotV1().VolumeSnapshots(claim.Namespace).Create(gctx, newSnapshot(r.point, claim, shot.class, r.Catalog.Repository().ID), metav1.CreateOptions{})
			// It can only exist if the answer to a first try got lost.
			if err == nil || apierrors.IsAlreadyExists(err) {
				r.report(claim, StageSnapshot, "snapshot requested")
				return nil
			}
			err = fmt.Errorf("create VolumeSnapshot for claim %s: %w", claim, err)
			if fatal(err) || gctx.Err() != nil {
				return err
			}
			s.drop(shot, err)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// boundContents reads the VolumeSnapshotContents of ready snapshots, by name,
// with one list.
func (r *run) boundContents(ctx context.Context, all []*shot) (map[string]*snapshotv1.VolumeSnapshotContent, error) {
	contents := map[string]*snapshotv1.VolumeSnapshotContent{}
	bound := sets.New[string]()
	for _, shot := range all {
		if shot.snapshot != nil {
			bound.Insert(*shot.snapshot.Status.BoundVolumeSnapshotContentName)
		}
	}
	if bound.Len() == 0 {
		return contents, nil
	}
	return contents, EachContent(ctx, r.Snapshots, func(content *snapshotv1.VolumeSnapshotContent) error {
		if bound.Has(content.Name) {
			contents[content.Name] = content
		}
		return nil
	})
}

// fill writes a finished snapshot into its volume's record, or says why there
// is none.
func (r *run) fill(shot *shot, contents map[string]*snapshotv1.VolumeSnapshotContent) error {
	switch {
	case shot.snapshot != nil:
		record, err := finished(shot.volume.VolumeHandle, shot.snapshot, contents[*shot.snapshot.Status.BoundVolumeSnapshotContentName])
		if err != nil {
			return err
		}
		shot.volume.Snapshot = record
		r.counts.Snapshots++
		return nil
	case shot.err != nil:
		return shot.err
	case shot.lastError != "":
		return fmt.Errorf("VolumeSnapshot %s fails: %s", shot.key(), shot.lastError)
	}
	return fmt.Errorf("VolumeSnapshot %s is not ready after %s; see `kubectl describe volumesnapshot`, the logs of snapshot-controller and csi-snapshotter, or raise snapshot.timeout", shot.key(), r.request.Snapshot.Timeout)
}
