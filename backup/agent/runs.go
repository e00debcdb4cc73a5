package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// start begins a run of a plan.
func (l *leadership) start(ctx context.Context, p *progress, run Run) {
	run.Started = l.Clock.Now()
	rctx, cancel := context.WithCancelCause(ctx)
	p.running, p.cancel = &run, cancel
	request := p.plan.Request
	request.Plan, request.Scheduled, request.Attempt = p.plan.Name, run.Occurrence, run.Attempt
	l.Log.Info("run started", "plan", run.Plan, "occurrence", run.Occurrence, "attempt", run.Attempt, "catchUp", run.CatchUp)
	l.Observer.RunStarted(run)
	go func() {
		defer cancel(nil)
		l.ended <- l.carryOut(rctx, run, request)
	}()
}

// carryOut makes one try at an occurrence.
func (l *leadership) carryOut(ctx context.Context, run Run, request backup.Request) RunEnd {
	end := RunEnd{Run: run}
	var mu sync.Mutex
	commit, err := l.Runner.Run(ctx, request, func(e backup.Event) {
		if e.Stage == backup.StageFailed {
			mu.Lock()
			defer mu.Unlock()
			end.Failed = append(end.Failed, e)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	end.Commit, end.Err, end.Ended = commit, err, l.Clock.Now()
	if err != nil && ctx.Err() != nil {
		cause := context.Cause(ctx)
		end.Cancelled, end.Replaced = cause.Error(), errors.Is(cause, errReplaced)
	}
	return end
}

// finish notes how a run ended, and what follows from it.
func (l *leadership) finish(ctx context.Context, end RunEnd) {
	p := l.progress[end.Plan]
	p.running, p.cancel = nil, nil
	switch {
	case errors.Is(end.Err, catalog.ErrExist):
		// Another process has begun this occurrence. Whatever comes of it, a
		// second point of it is not wanted.
		l.Log.Warn("the occurrence is another run's", "plan", end.Plan, "occurrence", end.Occurrence, "error", end.Err)
	case end.Err != nil && ctx.Err() == nil && p.waiting == nil:
		l.tryAgain(p, end.Run, end.Ended, false)
		end.Retry = p.retryAt
	}
	l.report(end)
	if waiting := p.waiting; waiting != nil && ctx.Err() == nil {
		p.waiting = nil
		l.start(ctx, p, *waiting)
	}
	if end.Err == nil {
		l.pruneNow[end.Plan] = true
		commit := end.Commit
		commit.Reasons, commit.Notes = nil, nil // they can be long
		l.lookFor(append(l.made, commit))
		l.lookAt = time.Time{}
	}
	if _, known := planNamed(l.currentPlans(), end.Plan); !known && p.running == nil {
		delete(l.progress, end.Plan)
	}
}

// lookFor makes these, oldest first, the points that wait for the next look: the
// newest, if they are many.
func (l *leadership) lookFor(points []catalog.Commit) {
	l.made = points[max(0, len(points)-mostMade):]
}

// tryAgain decides whether an occurrence whose run came to nothing is tried
// again.
func (l *leadership) tryAgain(p *progress, run Run, ended time.Time, takeover bool) {
	retry := NextAttempt(p.plan, l.ClusterUID, run, ended, takeover)
	if retry.At.IsZero() {
		l.Log.Warn("the occurrence is given up", "plan", run.Plan, "occurrence", run.Occurrence, "reason", retry.GivenUp)
		return
	}
	p.retry = &Run{Plan: run.Plan, Occurrence: run.Occurrence, Attempt: retry.Attempt, CatchUp: run.CatchUp || takeover}
	p.retryAt = retry.At
}

// report logs a run's end and tells the observer.
func (l *leadership) report(end RunEnd) {
	log := l.Log.With("plan", end.Plan, "occurrence", end.Occurrence, "attempt", end.Attempt, "result", string(end.Result()), "took", end.Ended.Sub(end.Started).Round(time.Millisecond).String())
	switch result := end.Result(); {
	case end.Err != nil && !end.Retry.IsZero():
		log.Error("run failed; it is tried again", "error", end.Err, "at", end.Retry)
	case end.Err != nil:
		log.Error("run failed", "error", end.Err)
	case result == ResultPartial:
		log.Warn("the point is partial", "point", end.Commit.Point, "reasons", end.Commit.Reasons)
	default:
		log.Info("point committed", "point", end.Commit.Point, "claims", end.Commit.Counts.Claims, "snapshots", end.Commit.Counts.Snapshots)
	}
	l.Observer.RunEnded(end)
}

// tend looks after claims and old points, one thing at a time, beside the runs.
func (l *leadership) tend(ctx context.Context, now time.Time) {
	if l.tending {
		return
	}
	keep, sweep := l.toKeep(now)
	look := l.watchman != nil && (!now.Before(l.lookAt) || l.lookAt.After(now.Add(lookPeriod))) // a clock may be put back
	if !look && len(keep) == 0 && !sweep {
		return
	}
	plans := l.currentPlans()
	var made []catalog.Commit
	if look {
		made, l.made = l.made, nil
		l.lookAt = now.Add(lookPeriod)
	}
	l.tending = true
	go func() {
		var done tended
		defer func() { l.tended <- done }()
		if len(keep) > 0 || sweep {
			l.keep(ctx, keep, sweep)
		}
		if !look {
			return
		}
		if err := l.watchman.Look(ctx, plans, made); err != nil {
			done = tended{failed: true, missed: made}
			if ctx.Err() == nil {
				l.Log.Warn("how the claims stand cannot be seen", "error", err, "again", lookAgain.String())
			}
		}
	}()
}

// toKeep says the points of which plans are to be pruned at now, and whether to
// sweep: all once a day, and those of a plan that has a new point.
func (l *leadership) toKeep(now time.Time) (keep []Plan, sweep bool) {
	if l.Keeper == nil {
		return nil, false
	}
	daily := Due(Plan{Schedule: l.KeepAt, CatchUp: keepCatchUp}, l.ClusterUID, l.keepBase, now, false)
	l.keepBase = daily.Base
	sweep = !daily.Occurrence.IsZero()
	for _, p := range l.currentPlans() {
		if sweep || l.pruneNow[p.Name] {
			keep = append(keep, p)
		}
	}
	clear(l.pruneNow)
	return keep, sweep
}

func (l *leadership) keep(ctx context.Context, plans []Plan, sweep bool) {
	prunings, swept := l.Keeper.Keep(ctx, plans, sweep)
	if ctx.Err() != nil {
		return // what was cut off is no failure; the next leader goes on
	}
	for _, p := range prunings {
		if p.Err != nil {
			l.Log.Warn("pruning", "plan", p.Plan, "stopped", p.Stopped, "error", p.Err)
		} else {
			l.Log.Info("pruned", "plan", p.Plan, "points", p.Points, "removed", p.Removed)
		}
		l.Observer.Pruned(p)
	}
	if swept != nil {
		if swept.Err != nil {
			l.Log.Warn("sweep", "orphans", swept.Orphans, "stopped", swept.Stopped, "error", swept.Err)
		} else {
			l.Log.Info("swept", "orphans", swept.Orphans, "removed", swept.Removed)
		}
		l.Observer.Swept(*swept)
	}
}

// review tells how the claims stand that were seen last: their data grows older
// while nobody looks.
func (l *leadership) review(now time.Time) {
	if l.watchman == nil {
		return
	}
	if states, seen := l.watchman.States(now); seen {
		l.Observer.Covered(states, now)
	}
}

// reportTakenOver reports a run that an earlier leader had begun.
func (l *leadership) reportTakenOver(taken backup.TakenOver) {
	run := Run{
		Plan: taken.Intent.Plan, Occurrence: taken.Intent.Scheduled, Attempt: taken.Intent.Attempt,
		Resumed: true, Started: taken.Intent.Started,
	}
	end := RunEnd{Run: run, Ended: l.Clock.Now(), Commit: taken.Commit, Err: taken.Err}
	if p := l.progress[run.Plan]; p != nil && p.retry != nil && p.retry.Occurrence.Equal(run.Occurrence) {
		end.Retry = p.retryAt
	}
	l.Observer.RunStarted(run)
	l.report(end)
}
