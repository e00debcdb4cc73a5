package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// ErrRolledBack: a run that another process had begun could not be brought to
// its end, and was abandoned. What it had made is removed, or will be by the
// next run.
var ErrRolledBack = errors.New("the interrupted run was rolled back")

// resume takes up a run that another agent has begun and left open. If all its
// snapshots were requested it completes the point from them: they are of the
// moment at which the other one took them. Otherwise some would be of now, so it
// rolls the run back and fails with ErrRolledBack; as it does if hooks were to
// keep Pods quiet, since nobody knows whether they did until each snapshot was
// cut. request is what the run's plan asks for now, for this run. Both agents may be at it at once: one
// of them closes the point, and both return its commit.
func (r *Runner) resume(ctx context.Context, request Request, intent catalog.Intent) (catalog.Commit, error) {
	run, err := r.prepare(ctx, request)
	if err != nil {
		return catalog.Commit{}, err
	}
	run.takeUp(intent)
	if err := run.protectAll(ctx); err != nil {
		return catalog.Commit{}, err
	}
	if err := run.aim(ctx); err != nil {
		return catalog.Commit{}, err
	}
	obstacle, err := run.obstacle(ctx, intent)
	if err != nil {
		return catalog.Commit{}, err
	}
	if obstacle != "" {
		return r.rollBack(ctx, intent, run.survey, obstacle, run.releaseQuieted(intent))
	}
	commit, err := run.conclude(ctx, intent)
	if err != nil && commit.Outcome == catalog.Abandoned {
		err = fmt.Errorf("point %s: %w: %w", intent.Point, ErrRolledBack, err)
	}
	if err != nil {
		return catalog.Commit{}, err
	}
	return commit, nil
}

// takeUp makes the run the one that intent began. Its snapshots have as long as
// they would have had, and a moment at least to be seen.
func (r *run) takeUp(intent catalog.Intent) {
	r.resumed = true
	r.started, r.deadline = intent.Started, intent.Deadline
	r.request.Snapshot.Timeout = max(r.deadline.Add(-closeTime).Sub(r.Now()), min(errorGrace, r.request.Snapshot.Timeout))
	r.note("the agent that began the run ended before it did; another one completed it")
}

// rollBack abandons a run that another agent has begun and left open, and
// removes what it had made; reason is for the record. It fails with
// ErrRolledBack when it is done. If the run was committed meanwhile it returns
// the commit. release, which may be nil, is called once it is certain that the
// run cannot commit.
func (r *Runner) rollBack(ctx context.Context, intent catalog.Intent, survey []catalog.Presence, reason string, release func(context.Context)) (catalog.Commit, error) {
	if err := r.fence(ctx, intent, survey, "its agent "+intent.Agent+" ended before the run did, and "+reason); err != nil {
		return catalog.Commit{}, err
	}
	closed, err := r.clearUp(ctx, intent, release)
	if closed.Outcome == "" {
		return catalog.Commit{}, err
	}
	if err != nil {
		r.log().Warn("an interrupted run could not be cleared up; the next backup tries again", "point", intent.Point, "error", err)
	}
	if closed.Outcome == catalog.Abandoned {
		return catalog.Commit{}, fmt.Errorf("point %s: %w: %s", intent.Point, ErrRolledBack, reason)
	}
	return closed, nil
}

// obstacle says why a run cannot be completed from what it had done, or
// returns "".
func (r *run) obstacle(ctx context.Context, intent catalog.Intent) (string, error) {
	if r.Now().After(intent.Deadline) {
		return "its deadline has passed", nil
	}
	if !sets.New(r.intent().Snapshots...).Equal(sets.New(intent.Snapshots...)) {
		return "snapshots of other claims would be taken now", nil
	}
	if len(r.shots) > 0 && r.quieted() {
		return "whether hooks kept its Pods quiet until the snapshots were cut is not known", nil
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

// quieted says whether any Pod, running or not, that uses the volumes asks for
// hooks: the Pod that the other process made quiet may be another one by now.
func (r *run) quieted() bool {
	taken := map[catalog.ClaimKey]bool{}
	for _, v := range r.volumes {
		taken[v.Claim] = true
	}
	return slices.ContainsFunc(r.inv.Pods, func(pod Listed[corev1.Pod]) bool {
		_, asked, _ := hookOf(&pod.Object, r.request.Hooks)
		return asked && len(claimsUsedBy(&pod.Object, taken)) > 0
	})
}

// releaseQuieted returns what runs the post hooks of the Pods that the process
// which began the run may have left quiet. It must not be called while that run
// can still commit: its snapshots may not be cut yet.
func (r *run) releaseQuieted(intent catalog.Intent) func(context.Context) {
	if r.Exec == nil || len(intent.Snapshots) == 0 {
		return nil
	}
	return func(ctx context.Context) {
		var quiets []*quiet
		for _, hook := range findHooks(r.inv.Pods, r.volumes, r.request.Hooks) {
			if hook.err == nil {
				quiets = append(quiets, &quiet{hook: hook, exec: r.Exec})
			}
		}
		r.releaseAll(ctx, quiets)
	}
}

// requested names the VolumeSnapshots of the run's point that exist.
func (r *run) requested(ctx context.Context) (sets.Set[string], error) {
	names := sets.New[string]()
	list := snapshotsOf(r.Snapshots, r.point, r.request.Select.scope()).ListWithContextFunc
	return names, eachItem(ctx, fmt.Sprintf("the VolumeSnapshots of point %s", r.point), list, func(s *snapshotv1.VolumeSnapshot) error {
		if s.DeletionTimestamp == nil {
			names.Insert(s.Namespace + "/" + s.Name)
		}
		return nil
	})
}
