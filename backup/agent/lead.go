package agent

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

const (
	// round is the longest time between two rounds of the loop.
	round = time.Minute
	// lookPeriod is the time between two looks at the claims of the cluster,
	// unless a run ends: a look costs a list of each of six kinds, and an idle
	// agent asks for little.
	lookPeriod = 30 * time.Minute
	// lookAgain is the same after a look that failed.
	lookAgain = 5 * time.Minute
	// keepCatchUp is how late the daily pruning may still begin: what is done
	// after a run may take its time, and is done first.
	keepCatchUp = 12 * time.Hour
	// mostMade bounds how many points wait for a look. More are found when all
	// points are surveyed.
	mostMade = 256
)

var (
	errReplaced = errors.New("a newer occurrence of the plan takes its place")
	errEnding   = errors.New("the agent is ending, or no longer leads")
)

// leadership is what a leader knows. Only the goroutine of its loop uses it.
type leadership struct {
	*Agent
	inForce  map[string]inForce
	unkept   unkept
	progress map[string]*progress
	ended    chan RunEnd // of runs
	tended   chan tended
	tending  bool
	watchman Watchman         // nil if nobody watches
	made     []catalog.Commit // points since the claims were looked at last
	keepBase time.Time        // as the base of a plan: what KeepAt has settled
	lookAt   time.Time
	pruneNow map[string]bool // plans with a new point
	drills   *drills
}

// tended is what came of looking after claims and old points.
type tended struct {
	failed bool             // the claims could not be seen
	missed []catalog.Commit // the points that were therefore not looked at
}

// progress is how far one plan has come.
type progress struct {
	plan    Plan
	base    time.Time // see Base
	running *Run
	cancel  context.CancelCauseFunc // of the run
	waiting *Run                    // starts when the running one has ended
	retry   *Run                    // starts at retryAt
	retryAt time.Time
	next    time.Time // as told to the observer
}

// lead does what a leader does until ctx ends. It fails only if ctx does.
func (a *Agent) lead(ctx context.Context) error {
	var taken []backup.TakenOver
	for wait := time.Second; ; wait = min(2*wait, round) {
		l, err := a.begin(ctx, &taken)
		if err == nil {
			return l.loop(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.trouble(err)
		a.Log.Error("the agent cannot begin; trying again", "error", err, "in", wait.String())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.Clock.After(wait):
		}
	}
}

// loop runs the plans until ctx ends.
func (l *leadership) loop(ctx context.Context) error {
	l.note(func(s *Status) { s.Working = true })
	l.trouble(l.unkept.err)
	for ctx.Err() == nil {
		now := l.Clock.Now()
		timer := l.Clock.NewTimer(max(l.step(ctx, now).Sub(now), time.Millisecond))
		select {
		case <-ctx.Done():
		case end := <-l.ended:
			l.finish(ctx, end)
		case done := <-l.tended:
			l.tending = false
			l.lookFor(append(done.missed, l.made...))
			if again := l.Clock.Now().Add(lookAgain); done.failed && again.Before(l.lookAt) {
				l.lookAt = again
			}
			debug.FreeOSMemory() // what was read is garbage now, and the next hours may be idle
		case <-l.changed:
			l.adopt(l.currentPlans())
		case <-timer.C():
		}
		timer.Stop()
		l.note(func(s *Status) {})
	}
	l.drain()
	return context.Cause(ctx)
}

// drain waits for what is under way to end. It starts nothing and promises no
// further attempt: what is to follow the next leader finds out.
func (l *leadership) drain() {
	underWay := 0
	for _, p := range l.progress {
		if p.running != nil {
			p.cancel(errEnding)
			underWay++
		}
	}
	for range underWay {
		l.report(<-l.ended)
	}
	if l.tending {
		<-l.tended
	}
	l.drills.wait()
}

// step starts what is due at now, and returns when to look again.
func (l *leadership) step(ctx context.Context, now time.Time) time.Time {
	again := now.Add(round)
	soonest := func(t time.Time) {
		if !t.IsZero() && t.Before(again) {
			again = t
		}
	}
	for _, p := range l.progress {
		d := Due(p.plan, l.ClusterUID, p.base, now, p.running != nil)
		p.base = d.Base
		if !d.Next.Equal(p.next) {
			p.next = d.Next
			l.Observer.Scheduled(p.plan.Name, d.Next)
		}
		if d.Skipped.Count > 0 {
			l.skip(p, d.Skipped)
		}
		l.act(ctx, p, d, now)
		soonest(d.Next)
		soonest(p.retryAt)
	}
	soonest(l.keepSchedules(ctx, now))
	l.tend(ctx, now)
	soonest(l.drills.step(ctx, now))
	l.review(now)
	return again
}

// act starts the run that d asks for, or a try that is due again.
func (l *leadership) act(ctx context.Context, p *progress, d Decision, now time.Time) {
	switch {
	case !d.Occurrence.IsZero():
		p.retry, p.retryAt = nil, time.Time{}
		run := Run{Plan: p.plan.Name, Occurrence: d.Occurrence, CatchUp: d.CatchUp}
		if d.Replace {
			if before := p.waiting; before != nil {
				l.skip(p, Skipped{Reason: SkipSuperseded, Count: 1, First: before.Occurrence, Last: before.Occurrence})
			}
			p.waiting = &run
			p.cancel(errReplaced)
			return
		}
		l.start(ctx, p, run)
	case p.retry != nil && p.running == nil && !now.Before(p.retryAt):
		run := *p.retry
		p.retry, p.retryAt = nil, time.Time{}
		l.start(ctx, p, run)
	}
}

// skip reports occurrences that do not run.
func (l *leadership) skip(p *progress, skipped Skipped) {
	l.Log.Warn("occurrences do not run", "plan", p.plan.Name, "reason", skipped.Reason, "count", skipped.Count, "first", skipped.First, "last", skipped.Last)
	l.Observer.OccurrencesSkipped(p.plan.Name, skipped)
}
