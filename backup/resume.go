package backup

import (
	"context"
	"errors"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/pager"

	"hawser.dev/hawser/catalog"
)

// ErrRolledBack: a run that another process had begun could not be brought to
// its end, and was abandoned; what it had made is removed.
var ErrRolledBack = errors.New("the interrupted run was rolled back")

// Resume takes up a run that another agent has begun and left open. If all its
// snapshots were requested it completes the point from them: they are of the
// moment at which the other one took them. Otherwise some would be of now, so it
// rolls the run back and fails with ErrRolledBack. request is that of the run's
// plan. Both agents may be at it at once: one of them closes the point.
func (r *Runner) Resume(ctx context.Context, request Request, intent catalog.Intent) (catalog.Commit, error) {
	request.Plan, request.Scheduled, request.Attempt = intent.Plan, intent.Scheduled, intent.Attempt
	run, err := r.prepare(ctx, request)
	if err != nil {
		return catalog.Commit{}, err
	}
	run.resumed = true
	obstacle, err := run.obstacle(ctx, intent)
	if err != nil {
		return catalog.Commit{}, err
	}
	if obstacle != "" {
		return catalog.Commit{}, r.rollBack(ctx, intent, run.survey, obstacle)
	}
	if err := run.protectAll(ctx); err != nil {
		return catalog.Commit{}, err
	}
	return run.conclude(ctx, intent)
}

// RollBack abandons a run that another agent has begun and left open, and
// removes what it had made; reason is for the record. It fails with
// ErrRolledBack when it is done.
func (r *Runner) RollBack(ctx context.Context, intent catalog.Intent, reason string) error {
	survey, err := r.Catalog.Survey(ctx, intent.Cluster.UID)
	if err != nil {
		return err
	}
	return r.rollBack(ctx, intent, survey, reason)
}

func (r *Runner) rollBack(ctx context.Context, intent catalog.Intent, survey []catalog.Presence, reason string) error {
	if err := r.abandon(ctx, intent, survey, "its agent "+intent.Agent+" ended before the run did, and "+reason); err != nil {
		return err
	}
	return fmt.Errorf("point %s: %w: %s", intent.Point, ErrRolledBack, reason)
}

// obstacle says why a run cannot be completed from what it had done, or
// returns "".
func (r *run) obstacle(ctx context.Context, intent catalog.Intent) (string, error) {
	wanted := r.intent()
	if r.request.Snapshot.Skip != (len(intent.Snapshots) == 0) || !sets.New(wanted.Snapshots...).Equal(sets.New(intent.Snapshots...)) {
		return "its plan selects other claims now", nil
	}
	for _, p := range r.survey {
		if p.Point == intent.Point && p.Bundle {
			return "its bundle was written but not committed", nil
		}
	}
	requested, err := r.requested(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range intent.Snapshots {
		if !requested.Has(s.Claim.Namespace + "/" + s.Name) {
			return fmt.Sprintf("the snapshot of claim %s had not been requested", s.Claim), nil
		}
	}
	return "", nil
}

// requested names the VolumeSnapshots of the run's point that exist.
func (r *run) requested(ctx context.Context) (sets.Set[string], error) {
	names := sets.New[string]()
	pages := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		return snapshotsOf(r.Snapshots, r.point, r.request.Select.scope()).ListWithContextFunc(ctx, opts)
	})
	list, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the VolumeSnapshots of point %s: %w", r.point, err)
	}
	return names, meta.EachListItem(list, func(object runtime.Object) error {
		if s := object.(*snapshotv1.VolumeSnapshot); s.DeletionTimestamp == nil {
			names.Insert(s.Namespace + "/" + s.Name)
		}
		return nil
	})
}
