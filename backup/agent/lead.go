package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"k8s.io/utils/ptr"

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
)

// lookBack is how many entries of a plan a new leader reads at most to find its
// newest complete point.
const lookBack = 20

var (
	errReplaced = errors.New("a newer occurrence of the plan takes its place")
	errEnding   = errors.New("the agent is ending, or no longer leads")
)

// leadership is what a leader knows. Only the goroutine of its loop uses it.
type leadership struct {
	*Agent
	inForce  map[string]inForce
	progress map[string]*progress
	ended    chan RunEnd           // of runs
	tended   chan []catalog.Commit // the points that were not looked at
	tending  bool
	watchman Watchman         // nil if nobody watches
	made     []catalog.Commit // points since the claims were looked at last
	keepBase time.Time        // as the base of a plan: what KeepAt has settled
	lookAt   time.Time
	pruneNow map[string]bool // plans with a new point
	drills   *drills
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
	for wait := time.Second; ; wait = min(2*wait, round) {
		l, err := a.begin(ctx)
		if err == nil {
			return l.loop(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.note(func(s *Status) { s.Working, s.Problem = false, err.Error() })
		a.Log.Error("the agent cannot begin; trying again", "error", err, "in", wait.String())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.Clock.After(wait):
		}
	}
}

// begin takes over from the leader before: it finishes that one's runs, and
// learns how far each plan has come.
func (a *Agent) begin(ctx context.Context) (*leadership, error) {
	l := &leadership{
		Agent: a, progress: map[string]*progress{}, pruneNow: map[string]bool{},
		ended: make(chan RunEnd), tended: make(chan []catalog.Commit), keepBase: a.Clock.Now(), lookAt: a.Clock.Now(),
	}
	told := map[string]Told{}
	if a.Watch != nil {
		l.watchman = a.Watch()
	}
	if err := a.memory.recall(ctx, &l.inForce, &told); err != nil {
		return nil, err
	}
	if a.Notifier != nil {
		a.Notifier.Resume(told)
	}
	plans := a.currentPlans()
	taken, err := a.Runner.TakeOver(ctx, func(name string) (backup.Request, bool) {
		plan, known := planNamed(plans, name)
		return plan.Request, known
	})
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	survey, err := a.Catalog.Survey(ctx, l.ClusterUID)
	if err != nil {
		return nil, err
	}
	if err := l.adopt(ctx, plans); err != nil {
		return nil, err
	}
	for _, p := range l.progress {
		if err := l.recall(ctx, p, survey); err != nil {
			return nil, err
		}
	}
	for _, outcome := range taken {
		l.reportTakenOver(outcome)
	}
	l.drills = a.recallDrills(ctx, plans)
	return l, nil
}

// adopt puts plans into force.
func (l *leadership) adopt(ctx context.Context, plans []Plan) error {
	now := l.Clock.Now()
	after, differs := enforce(l.inForce, plans, now)
	if differs {
		if err := l.memory.keep(ctx, schedulesKey, after); err != nil {
			return err
		}
	}
	l.inForce = after
	known := map[string]bool{}
	for _, plan := range plans {
		known[plan.Name] = true
		p := l.progress[plan.Name]
		if p == nil {
			p = &progress{}
			l.progress[plan.Name] = p
		}
		p.plan = plan
		p.base = later(p.base, after[plan.Name].Since)
	}
	for name, p := range l.progress {
		if !known[name] && p.running == nil {
			delete(l.progress, name)
		} else if !known[name] {
			p.plan.Paused = true // until its run has ended
		}
	}
	return nil
}

// recall learns from the catalog how far a plan has come, and whether its last
// occurrence is to be tried again.
func (l *leadership) recall(ctx context.Context, p *progress, survey []catalog.Presence) error {
	now := l.Clock.Now()
	var known []time.Time
	var begun catalog.PointID // the newest, which may not be closed
	for _, presence := range survey {
		if presence.Point.Plan() == p.plan.Name {
			known = append(known, presence.Point.Scheduled())
			begun = presence.Point
		}
	}
	p.base = Base(known, p.base, now)
	last, lastComplete, err := l.Catalog.LastRuns(ctx, survey, p.plan.Name, lookBack)
	if err != nil {
		return err
	}
	newest, complete := ptr.Deref(last, catalog.Commit{}), ptr.Deref(lastComplete, catalog.Commit{})
	l.Observer.Recalled(p.plan.Name, newest, complete)
	isOccurrence := p.plan.Schedule.Next(newest.Scheduled.Add(-time.Nanosecond)).Equal(newest.Scheduled)
	if newest.Point == begun && newest.Outcome == catalog.Abandoned && isOccurrence {
		l.tryAgain(p, Run{Plan: p.plan.Name, Occurrence: newest.Scheduled, Attempt: newest.Attempt}, now, true)
	}
	return nil
}

// loop runs the plans until ctx ends.
func (l *leadership) loop(ctx context.Context) error {
	l.note(func(s *Status) { s.Working, s.Problem = true, "" })
	for {
		now := l.Clock.Now()
		timer := l.Clock.NewTimer(max(l.step(ctx, now).Sub(now), time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			l.drain()
			return context.Cause(ctx)
		case end := <-l.ended:
			l.finish(ctx, end)
		case missed := <-l.tended:
			l.tending = false
			l.made = append(missed, l.made...)
			debug.FreeOSMemory() // what was read is garbage now, and the next hours may be idle
		case <-l.changed:
			if err := l.adopt(ctx, l.currentPlans()); err != nil {
				timer.Stop()
				l.drain()
				return fmt.Errorf("put the new plans into force: %w", err)
			}
		case <-timer.C():
		}
		timer.Stop()
		l.note(func(s *Status) {})
	}
}

// drain waits for what is under way to end.
func (l *leadership) drain() {
	for _, p := range l.progress {
		if p.running != nil {
			p.cancel(errEnding)
		}
	}
	for _, p := range l.progress {
		for p.running != nil {
			l.finish(context.Background(), <-l.ended)
		}
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
		if d.Skipped.Count > 0 {
			l.Log.Warn("occurrences do not run", "plan", p.plan.Name, "reason", d.Skipped.Reason, "count", d.Skipped.Count, "first", d.Skipped.First, "last", d.Skipped.Last)
			l.Observer.OccurrencesSkipped(p.plan.Name, d.Skipped)
		}
		if !d.Next.Equal(p.next) {
			p.next = d.Next
			l.Observer.Scheduled(p.plan.Name, d.Next)
		}
		l.act(ctx, p, d, now)
		soonest(d.Next)
		soonest(p.retryAt)
	}
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
