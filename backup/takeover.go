package backup

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"hawser.dev/hawser/catalog"
)

// TakenOver tells what became of a run that another agent had left open.
type TakenOver struct {
	Intent catalog.Intent
	Commit catalog.Commit // of the point, if it was completed
	// Err is nil if the run was completed. It wraps ErrRolledBack if it was
	// rolled back: the occurrence is free for another attempt. Otherwise it says
	// why the run is still open; a later TakeOver or run closes it.
	Err error
}

// takeovers is how many runs are taken over at once.
const takeovers = 4

// TakeOver finishes what other agents have left, as a new leader must before it
// runs anything: a run that is open is completed if it can be, and rolled back
// if not, or if requestFor knows no plan of that name; after one that is closed
// it is cleared up. It returns the runs that were open. Runs from the command
// line are left to their deadline. It fails only if the catalog cannot be read,
// or ctx ends. It may be called again at any time.
func (r *Runner) TakeOver(ctx context.Context, requestFor func(plan string) (Request, bool)) ([]TakenOver, error) {
	uid, err := catalog.ClusterUID(ctx, r.Kubernetes.CoreV1().Namespaces())
	if err != nil {
		return nil, err
	}
	survey, err := r.Catalog.Survey(ctx, uid)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var taken []TakenOver
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(takeovers)
	for _, p := range survey {
		if !p.Journal || p.Settled {
			continue
		}
		group.Go(func() error {
			outcome, ours := r.takeOver(gctx, p, requestFor)
			if ours && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, outcome)
			}
			return context.Cause(ctx)
		})
	}
	return taken, group.Wait()
}

// takeOver finishes one run, if it is another agent's. Only the leader runs
// anything, so that one is gone, or will find that it is fenced. takeOver says
// whether the run was open and another agent's.
func (r *Runner) takeOver(ctx context.Context, p catalog.Presence, requestFor func(plan string) (Request, bool)) (outcome TakenOver, ours bool) {
	intent, err := r.Catalog.Intent(ctx, p)
	if err != nil {
		r.log().Warn("a journal entry cannot be read", "point", p.Point, "error", err)
		return outcome, false
	}
	if intent.Agent == "" || intent.Agent == r.Agent {
		return outcome, false
	}
	request, known := requestFor(intent.Plan)
	request.Plan, request.Scheduled, request.Attempt = intent.Plan, intent.Scheduled, intent.Attempt
	if !p.Commit {
		commit, err := r.resumeOrRollBack(ctx, request, known, intent)
		return TakenOver{Intent: intent, Commit: commit, Err: err}, true
	}
	if _, err := r.clearUp(ctx, intent, r.releaseLater(request, known, intent)); err != nil {
		r.log().Warn("an earlier run could not be cleared up; the next backup tries again", "point", p.Point, "error", err)
	}
	return outcome, false
}

// resumeOrRollBack rolls back also what could be completed at another moment: a
// new attempt comes sooner to a point.
func (r *Runner) resumeOrRollBack(ctx context.Context, request Request, known bool, intent catalog.Intent) (catalog.Commit, error) {
	reason := "the configuration has no such plan any more"
	if known {
		commit, err := r.resume(ctx, request, intent)
		if err == nil || errors.Is(err, ErrRolledBack) || ctx.Err() != nil {
			return commit, err
		}
		reason = "it could not be completed: " + err.Error()
	}
	survey, err := r.Catalog.Survey(ctx, intent.Cluster.UID)
	if err != nil {
		return catalog.Commit{}, err
	}
	return r.rollBack(ctx, intent, survey, reason, r.releaseLater(request, known, intent))
}

// releaseLater returns what runs the post hooks of a run that was closed by a
// process which may have ended before it did so itself.
func (r *Runner) releaseLater(request Request, known bool, intent catalog.Intent) func(context.Context) {
	if !known || r.Exec == nil || len(intent.Snapshots) == 0 {
		return nil
	}
	return func(ctx context.Context) {
		run, err := r.prepare(ctx, request)
		if err != nil {
			r.log().Warn("which Pods an earlier run may have left quiet cannot be found out", "point", intent.Point, "error", err)
			return
		}
		run.releaseQuieted(intent)(ctx)
	}
}
