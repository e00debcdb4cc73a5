package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hawser.dev/hawser/catalog"
)

// giveUp closes a run that failed with cause and removes its snapshots. It
// works on after ctx was cancelled, for cleanupTime. What it cannot do stays
// in the journal for a later run.
func (r *run) giveUp(ctx context.Context, intent catalog.Intent, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if errors.Is(cause, catalog.ErrFenced) {
		return r.yield(ctx, intent)
	}
	err := r.abandon(ctx, intent, r.survey, "the run failed: "+cause.Error())
	if err != nil {
		return fmt.Errorf("the snapshots of this run are still there; a run after %s removes them: %w", intent.Deadline.Format(time.RFC3339), err)
	}
	return nil
}

// yield removes the snapshots of a run that another one has abandoned: the
// other has removed those that it found, and settled the entry.
func (r *run) yield(ctx context.Context, intent catalog.Intent) error {
	closed, err := r.Catalog.ReadCommit(ctx, catalog.Presence{ClusterUID: intent.Cluster.UID, Point: intent.Point})
	if err != nil || closed.Outcome != catalog.Abandoned {
		return err
	}
	return r.discard(ctx, intent.Point, intent.Snapshots)
}

// abandon closes an open run, so that it can never commit, then removes its
// snapshots, then settles its journal entry.
func (r *Runner) abandon(ctx context.Context, intent catalog.Intent, survey []catalog.Presence, reason string) error {
	commit := catalog.Commit{Committed: r.Now().UTC(), Reasons: []string{reason}, Writer: r.Writer}
	err := r.Catalog.Abandon(ctx, intent, commit, survey)
	if errors.Is(err, catalog.ErrFenced) {
		return nil // closed by another run, which decides what becomes of it
	}
	if err != nil {
		return err
	}
	if err := r.discard(ctx, intent.Point, intent.Snapshots); err != nil {
		return err
	}
	return r.Catalog.Settle(ctx, intent.Cluster.UID, intent.Point)
}

// recover finishes what earlier runs left open: an abandoned run whose
// snapshots are still there, a run that is past its deadline or whose agent is
// gone, a committed run whose entry was not settled. A run that may be alive is
// left alone. What cannot be finished is logged and left to the next run: it
// must not stand in the way of new points. recover fails only if ctx ends.
func (r *Runner) recover(ctx context.Context, survey []catalog.Presence) error {
	for _, p := range survey {
		if !p.Journal || p.Settled {
			continue
		}
		if err := r.recoverOne(ctx, p, survey); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			r.log().Warn("an earlier run could not be cleared up; the next backup tries again", "point", p.Point, "error", err)
		}
	}
	return nil
}

func (r *Runner) recoverOne(ctx context.Context, p catalog.Presence, survey []catalog.Presence) error {
	intent, err := r.Catalog.Intent(ctx, p)
	if err != nil {
		return err
	}
	if p.Commit {
		return r.clearUp(ctx, p, intent)
	}
	switch {
	case r.orphaned(intent):
		return r.abandon(ctx, intent, survey, "its agent "+intent.Agent+" ended before the run did")
	case r.Now().Before(intent.Deadline):
		r.log().Info("an earlier run may still be alive; left alone", "point", p.Point, "until", intent.Deadline)
		return nil
	}
	return r.abandon(ctx, intent, survey, "the run did not end by its deadline")
}

// orphaned says whether a run that has not ended is that of another agent. Only
// the leader runs anything, so if this is an agent the other one is gone, or
// will find that it is fenced.
func (r *Runner) orphaned(intent catalog.Intent) bool {
	return r.Agent != "" && intent.Agent != "" && intent.Agent != r.Agent
}

// clearUp removes what a closed run left behind: the snapshots that no point
// relies on, and the open journal entry.
func (r *Runner) clearUp(ctx context.Context, p catalog.Presence, intent catalog.Intent) error {
	commit, err := r.Catalog.ReadCommit(ctx, p)
	if err != nil {
		return err
	}
	unused := intent.Snapshots
	if commit.Outcome != catalog.Abandoned {
		point, err := r.Catalog.Load(ctx, p.ClusterUID, p.Point)
		if err != nil {
			return err
		}
		unused = unusedSnapshots(intent, point.Bundle)
	}
	if err := r.discard(ctx, p.Point, unused); err != nil {
		return err
	}
	return r.Catalog.Settle(ctx, p.ClusterUID, p.Point)
}

// unusedSnapshots are those of the intent that the point does not rely on.
func unusedSnapshots(intent catalog.Intent, bundle catalog.Bundle) []catalog.IntentSnapshot {
	used := map[catalog.ClaimKey]string{}
	for _, v := range bundle.Volumes {
		if v.Snapshot != nil {
			used[v.Claim] = v.Snapshot.Name
		}
	}
	var unused []catalog.IntentSnapshot
	for _, s := range intent.Snapshots {
		if used[s.Claim] != s.Name {
			unused = append(unused, s)
		}
	}
	return unused
}
