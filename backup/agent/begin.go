package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

const (
	// lookBack is how many entries of a plan a new leader reads at most to find
	// its newest complete point.
	lookBack = 20
	// takeoverTime is how much longer than the longest snapshots a leader may
	// take to begin, before it is taken to be stuck.
	takeoverTime = 30 * time.Minute
)

// begin takes over from the leader before: it finishes that one's runs, and
// learns how far each plan has come. taken are the runs that it finished; a begin
// that fails leaves them to the next one to report.
func (a *Agent) begin(ctx context.Context, taken *[]backup.TakenOver) (*leadership, error) {
	l := &leadership{
		Agent: a, progress: map[string]*progress{}, pruneNow: map[string]bool{},
		ended: make(chan RunEnd), tended: make(chan tended), keepBase: a.Clock.Now(), lookAt: a.Clock.Now(),
	}
	plans := a.currentPlans()
	defer a.beat(ctx, plans)()
	if a.Watch != nil {
		l.watchman = a.Watch()
	}
	if err := l.recallState(ctx); err != nil {
		return nil, err
	}
	finished, err := a.Runner.TakeOver(ctx, func(name string) (backup.Request, bool) {
		plan, known := planNamed(plans, name)
		return plan.Request, known
	})
	*taken = append(*taken, finished...)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	survey, err := a.Catalog.Survey(ctx, l.ClusterUID)
	if err != nil {
		return nil, err
	}
	l.adopt(plans)
	l.keepSchedules(ctx, a.Clock.Now())
	for _, p := range l.progress {
		if err := l.recall(ctx, p, survey); err != nil {
			return nil, err
		}
	}
	for _, outcome := range *taken {
		l.reportTakenOver(outcome)
	}
	*taken = nil
	l.drills = a.recallDrills(ctx, plans)
	return l, nil
}

// beat keeps the health check content until stop is called: a takeover waits for
// snapshots as long as a run does. It is patient for a time, so that what hangs is
// found out.
func (a *Agent) beat(ctx context.Context, plans []Plan) (stop func()) {
	patience := backup.DefaultSnapshotTimeout
	for _, p := range plans {
		patience = max(patience, p.Request.Snapshot.Timeout)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	ticker, until := a.Clock.NewTicker(round), a.Clock.Now().Add(patience+takeoverTime)
	go func() {
		defer close(ended)
		defer ticker.Stop()
		for a.Clock.Now().Before(until) {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C():
				a.note(func(*Status) {})
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// recallState reads what the leader before has kept. What is damaged is as good as
// not there: that starts nothing early.
func (l *leadership) recallState(ctx context.Context) error {
	told := map[string]Told{}
	err := l.memory.recall(ctx, &l.inForce, &told)
	if errors.Is(err, errDamaged) {
		l.Log.Error("the agent's state is damaged; nothing that was missed before is caught up, and what still fails is told once more", "error", err)
	} else if err != nil {
		return err
	}
	if l.Notifier != nil {
		l.Notifier.Resume(told)
	}
	return nil
}

// adopt puts plans into force. keepSchedules is to follow.
func (l *leadership) adopt(plans []Plan) {
	after, differs := enforce(l.inForce, plans, l.Clock.Now())
	l.inForce = after
	if differs {
		l.unkept.pending, l.unkept.again = true, time.Time{}
	}
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
		p.withdraw(after[name])
	}
}

// withdraw takes back what was yet to start of a schedule that is in force no
// longer: the plan is paused, changed or gone. current is the one that is.
func (p *progress) withdraw(current inForce) {
	if p.waiting != nil && !current.has(p.waiting.Occurrence) {
		p.waiting = nil
	}
	if p.retry != nil && !current.has(p.retry.Occurrence) {
		p.retry, p.retryAt = nil, time.Time{}
	}
}

// unkept is a change of the schedules that the next leader would not know of.
type unkept struct {
	pending bool
	err     error         // of the last try
	again   time.Time     // when to try again
	wait    time.Duration // before that
}

// keepSchedules keeps since when each schedule is in force, for the next leader,
// and returns when to try again; the zero time if that is not needed. The plans
// run whether it succeeds or not: without it the next leader starts nothing early,
// but may not catch up what was missed.
func (l *leadership) keepSchedules(ctx context.Context, now time.Time) (again time.Time) {
	if !l.unkept.pending || now.Before(l.unkept.again) {
		return l.unkept.again
	}
	failed := l.unkept.err != nil
	l.unkept.err = l.memory.keep(ctx, schedulesKey, l.inForce)
	if l.unkept.err == nil {
		l.unkept = unkept{}
		if failed {
			l.trouble(nil)
		}
		return time.Time{}
	}
	if ctx.Err() != nil {
		return time.Time{}
	}
	l.unkept.wait = min(max(2*l.unkept.wait, time.Second), round)
	l.unkept.again = now.Add(l.unkept.wait)
	l.unkept.err = fmt.Errorf("since when the plans are in force cannot be kept; what is missed if the agent ends now may not be caught up: %w", l.unkept.err)
	l.trouble(l.unkept.err)
	l.Log.Error("trying again", "error", l.unkept.err, "in", l.unkept.wait.String())
	return l.unkept.again
}

// recall learns from the catalog how far a plan has come, and whether its last
// occurrence is to be tried again. What is damaged there says nothing, and must
// not stand in the way of new points.
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
	if catalog.Unreadable(err) {
		l.Log.Error("how the plan fared last cannot be read; it is run all the same", "plan", p.plan.Name, "error", err)
		last, lastComplete = nil, nil
	} else if err != nil {
		return err
	}
	newest, complete := ptr.Deref(last, catalog.Commit{}), ptr.Deref(lastComplete, catalog.Commit{})
	l.Observer.Recalled(p.plan.Name, newest, complete)
	isOccurrence := l.inForce[p.plan.Name].has(newest.Scheduled) && p.plan.Schedule.Next(newest.Scheduled.Add(-time.Nanosecond)).Equal(newest.Scheduled)
	if newest.Point == begun && newest.Outcome == catalog.Abandoned && isOccurrence {
		l.tryAgain(p, Run{Plan: p.plan.Name, Occurrence: newest.Scheduled, Attempt: newest.Attempt}, now, true)
	}
	return nil
}
