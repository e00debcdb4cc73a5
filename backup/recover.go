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
// in the journal for a later run. It returns how the run is closed, and cause
// unless the point exists after all: a commit whose answer got lost stands, and
// so does that of another process which has taken the run up.
func (r *run) giveUp(ctx context.Context, intent catalog.Intent, cause error) (catalog.Commit, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	closed, err := r.abandon(ctx, intent, r.survey, "the run failed: "+cause.Error())
	switch {
	case closed.Outcome == "":
		return closed, errors.Join(cause, fmt.Errorf("the snapshots of this run are still there; a run after %s removes them: %w", intent.Deadline.Format(time.RFC3339), err))
	case closed.Outcome != catalog.Abandoned:
		r.log().Warn("the point is committed, though this process had failed to", "point", r.point, "writer", closed.Writer, "error", cause)
		return closed, nil
	case err != nil:
		return closed, errors.Join(cause, fmt.Errorf("the snapshots of this run are still there; the next run removes them: %w", err))
	}
	return closed, cause
}

// abandon closes an open run, so that it can never commit, and clears up after
// it. It returns how the run is closed: it was committed if another process was
// faster. With an error the commit says whether the run is closed at all.
func (r *Runner) abandon(ctx context.Context, intent catalog.Intent, survey []catalog.Presence, reason string) (catalog.Commit, error) {
	if err := r.fence(ctx, intent, survey, reason); err != nil {
		return catalog.Commit{}, err
	}
	return r.clearUp(ctx, intent, nil)
}

// fence closes an open run; that another process was faster is no error.
func (r *Runner) fence(ctx context.Context, intent catalog.Intent, survey []catalog.Presence, reason string) error {
	commit := catalog.Commit{Committed: r.Now().UTC(), Reasons: []string{reason}, Writer: r.Writer}
	err := r.Catalog.Abandon(ctx, intent, commit, survey)
	if errors.Is(err, catalog.ErrFenced) {
		return nil
	}
	return err
}

// clearUp removes what a closed run left behind, by whomever it was closed: the
// snapshots that no point relies on, also those that were made after an earlier
// clearing up, and the open journal entry. If the run was abandoned release, if
// not nil, is called first. clearUp returns the commit also if it fails later.
func (r *Runner) clearUp(ctx context.Context, intent catalog.Intent, release func(context.Context)) (catalog.Commit, error) {
	commit, err := r.Catalog.ReadCommit(ctx, catalog.Presence{ClusterUID: intent.Cluster.UID, Point: intent.Point})
	if err != nil {
		return catalog.Commit{}, err
	}
	if commit.Outcome == catalog.Abandoned {
		if release != nil {
			release(ctx)
		}
		return commit, r.tidy(ctx, intent, intent.Snapshots)
	}
	point, err := r.Catalog.Load(ctx, intent.Cluster.UID, intent.Point)
	if err != nil {
		return commit, err
	}
	return commit, r.tidy(ctx, intent, unusedSnapshots(intent, point.Bundle.Volumes))
}

// tidy removes those snapshots of a closed run that no point relies on, and
// settles its journal entry.
func (r *Runner) tidy(ctx context.Context, intent catalog.Intent, unused []catalog.IntentSnapshot) error {
	done, err := r.discard(ctx, intent.Point, unused)
	if err != nil {
		return err
	}
	if !done {
		r.log().Info("snapshots were removed which snapshot-controller had not come to; the next run makes sure that nothing became of them", "point", intent.Point)
		return nil
	}
	return r.Catalog.Settle(ctx, intent.Cluster.UID, intent.Point)
}

// unusedSnapshots are those of the intent that the volumes' records do not name.
func unusedSnapshots(intent catalog.Intent, volumes []catalog.Volume) []catalog.IntentSnapshot {
	used := map[catalog.ClaimKey]string{}
	for _, v := range volumes {
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

// recover finishes what earlier runs left open: a closed run that was not
// cleared up after, a run that is past its deadline. A run that may be alive is
// left alone, also one of another agent: that one may believe as well that it
// leads, and both would make an end of each other's runs; see TakeOver. What
// cannot be finished is logged and left to the next run: it must not stand in
// the way of new points. recover fails only if ctx ends.
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
	switch {
	case p.Commit:
		_, err = r.clearUp(ctx, intent, nil)
	case r.Now().After(intent.Deadline):
		_, err = r.abandon(ctx, intent, survey, "the run did not end by its deadline")
	default:
		r.log().Info("an earlier run may still be alive; left alone", "point", p.Point, "until", intent.Deadline)
	}
	return err
}

// closeEarlier closes the earlier attempts at the run's occurrence that are
// open. If one of them has made the point it returns that one's commit. If one
// has never begun, the run takes its place: an attempt begins only when all
// before it are known to have come to nothing, so that the journal entry of each
// is the lock for what may follow.
func (r *run) closeEarlier(ctx context.Context) (catalog.Commit, error) {
	if r.request.Attempt == 0 {
		return catalog.Commit{}, nil
	}
	present := map[catalog.PointID]catalog.Presence{}
	for _, p := range r.survey {
		present[p.Point] = p
	}
	for attempt := range r.request.Attempt {
		id := r.pointOf(attempt)
		if p := present[id]; p.Journal {
			made, err := r.closeAttempt(ctx, p)
			if err != nil || made.Outcome != "" {
				return made, err
			}
		} else if !p.Commit && !p.Tombstone {
			r.request.Attempt, r.point = attempt, id
			break
		}
	}
	var err error
	r.survey, err = r.Catalog.Survey(ctx, r.cluster.UID) // with what was closed just now
	return catalog.Commit{}, err
}

// closeAttempt makes sure that an earlier attempt is closed, and returns its
// commit if it has made the point.
func (r *run) closeAttempt(ctx context.Context, p catalog.Presence) (catalog.Commit, error) {
	if p.Settled {
		closed, err := r.Catalog.ReadCommit(ctx, p)
		if err != nil || closed.Outcome == catalog.Abandoned {
			return catalog.Commit{}, err
		}
		return closed, nil
	}
	intent, err := r.Catalog.Intent(ctx, p)
	if err != nil {
		return catalog.Commit{}, err
	}
	closed, err := r.abandon(ctx, intent, r.survey, "another attempt at the same occurrence began")
	switch {
	case closed.Outcome == "":
		return closed, fmt.Errorf("close the attempt before this one: %w", err)
	case closed.Outcome != catalog.Abandoned:
		r.log().Warn("an earlier attempt at the occurrence had made its point", "point", closed.Point)
		return closed, nil
	case err != nil:
		r.log().Warn("an earlier attempt could not be cleared up; the next backup tries again", "point", p.Point, "error", err)
	}
	return catalog.Commit{}, nil
}
