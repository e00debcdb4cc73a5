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
		return nil // whoever closed the point has its snapshots in hand
	}
	err := r.abandon(ctx, intent, r.survey, "the run failed: "+cause.Error())
	if err != nil {
		return fmt.Errorf("the snapshots of this run are still there; a run after %s removes them: %w", intent.Deadline.Format(time.RFC3339), err)
	}
	return nil
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
// snapshots are still there, a run that is past its deadline, a committed run
// whose entry was not settled. A run within its deadline may be alive and is
// left alone.
func (r *Runner) recover(ctx context.Context, survey []catalog.Presence) error {
	for _, p := range survey {
		if !p.Journal || p.Settled {
			continue
		}
		if err := r.recoverOne(ctx, p, survey); err != nil {
			return fmt.Errorf("point %s: %w", p.Point, err)
		}
	}
	return nil
}

func (r *Runner) recoverOne(ctx context.Context, p catalog.Presence, survey []catalog.Presence) error {
	intent, err := r.Catalog.Intent(ctx, p)
	if err != nil {
		return err
	}
	if !p.Commit {
		if r.Now().Before(intent.Deadline) {
			r.log().Info("an earlier run may still be alive; left alone", "point", p.Point, "until", intent.Deadline)
			return nil
		}
		return r.abandon(ctx, intent, survey, "the run did not end by its deadline")
	}
	commit, err := r.Catalog.ReadCommit(ctx, p)
	if err != nil {
		return err
	}
	if commit.Outcome == catalog.Abandoned {
		if err := r.discard(ctx, p.Point, intent.Snapshots); err != nil {
			return err
		}
	}
	return r.Catalog.Settle(ctx, p.ClusterUID, p.Point)
}
