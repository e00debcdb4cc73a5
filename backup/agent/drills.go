package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
)

// DrillPlan says when the newest point of a plan is brought back for practice,
// and how each volume is then checked.
type DrillPlan struct {
	Schedule Schedule // the zero value is a plan that is practised by hand only
	Image    string
	Command  []string
	Timeout  time.Duration
}

// Driller holds drills.
type Driller interface {
	// Drill holds one drill of a plan, and removes what it made, also when ctx
	// ends. What it returns was recorded, unless its ID is empty.
	Drill(ctx context.Context, plan Plan) (catalog.Drill, error)
}

// DrillEnd is how a drill of a plan ended.
type DrillEnd struct {
	Plan     string
	Ended    time.Time
	Drill    catalog.Drill // the zero value if it could not be held
	Err      error         // why not, or why not all could be removed afterwards
	Recalled bool          // it is what the catalog knows, and no news
}

// DrillResult is the outcome of a drill in one word.
type DrillResult string

const (
	DrillPassed DrillResult = "passed"
	DrillFailed DrillResult = "failed"
	DrillError  DrillResult = "error" // it could not be held
)

// drillResults are all there are.
var drillResults = [...]DrillResult{DrillPassed, DrillFailed, DrillError}

// Result tells how the drill ended.
func (e DrillEnd) Result() DrillResult {
	switch {
	case e.Drill.ID == "":
		return DrillError
	case e.Drill.Outcome == catalog.DrillPassed:
		return DrillPassed
	}
	return DrillFailed
}

// drillCatchUp is how late a drill that was missed is still held.
const drillCatchUp = time.Hour

// drills are those of one leadership: each when it is due, one at a time, beside
// the runs. step and recall belong to the goroutine of the loop.
type drills struct {
	*Agent
	bases map[string]drillBase // by plan
	held  map[string]time.Time // when the newest known drill of each plan began

	mu      sync.Mutex
	due     []string // plans
	holding bool
	group   sync.WaitGroup
}

// drillBase is the time up to which the occurrences of a schedule are settled.
type drillBase struct {
	schedule string
	base     time.Time
}

// recallDrills learns from the catalog when each plan was practised last. Drills
// are held though it fails.
func (a *Agent) recallDrills(ctx context.Context, plans []Plan) *drills {
	d := &drills{Agent: a, bases: map[string]drillBase{}, held: map[string]time.Time{}}
	ids, err := a.Catalog.Drills(ctx, a.ClusterUID)
	for _, p := range plans {
		if err != nil || len(ids) == 0 {
			break
		}
		var last, passed *catalog.Drill
		if last, passed, err = a.Catalog.LastDrills(ctx, a.ClusterUID, p.Name, ids); err != nil || last == nil {
			continue
		}
		d.held[p.Name] = last.Started
		if passed != nil && passed.ID != last.ID {
			a.Observer.Drilled(DrillEnd{Plan: p.Name, Ended: passed.Ended, Drill: *passed, Recalled: true})
		}
		a.Observer.Drilled(DrillEnd{Plan: p.Name, Ended: last.Ended, Drill: *last, Recalled: true})
	}
	if err != nil && ctx.Err() == nil {
		a.Log.Warn("which drills were held cannot be read", "error", err)
	}
	return d
}

// step holds what is due at now, and returns when to look again; the zero time
// is never. A plan whose schedule is new or has changed is first practised at the
// next occurrence, but for one that this leader finds: then what was missed since
// the last drill is caught up, if it is no older than an hour.
func (d *drills) step(ctx context.Context, now time.Time) time.Time {
	if d.Drill == nil {
		return time.Time{}
	}
	var again time.Time
	for _, p := range d.currentPlans() {
		b, known := d.bases[p.Name]
		if schedule := p.Drill.Schedule.String(); !known || b.schedule != schedule {
			b = drillBase{schedule: schedule, base: now}
			if held, before := d.held[p.Name]; !known && before && held.Before(now) {
				b.base = held
			}
		}
		decision := Due(Plan{Name: p.Name, Paused: p.Paused, Schedule: p.Drill.Schedule, CatchUp: drillCatchUp}, d.ClusterUID, b.base, now, false)
		b.base = decision.Base
		d.bases[p.Name] = b
		if !decision.Occurrence.IsZero() {
			d.ask(p.Name)
		}
		if next := decision.Next; !next.IsZero() && (again.IsZero() || next.Before(again)) {
			again = next
		}
	}
	d.begin(ctx)
	return again
}

// ask puts a plan among those that are due.
func (d *drills) ask(plan string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.due, plan) {
		d.due = append(d.due, plan)
	}
}

// begin holds the drills that are due one after the other, unless that is being
// done.
func (d *drills) begin(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holding || len(d.due) == 0 {
		return
	}
	d.holding = true
	d.group.Go(func() {
		for p, more := d.next(ctx); more; p, more = d.next(ctx) {
			d.hold(ctx, p)
		}
	})
}

// next is the plan whose turn it is, as it is in force now: it may have been
// paused, or have gone, since its drill was due.
func (d *drills) next(ctx context.Context) (Plan, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.due) > 0 && ctx.Err() == nil {
		p, known := planNamed(d.currentPlans(), d.due[0])
		d.due = d.due[1:]
		if known && !p.Paused && !p.Drill.Schedule.IsZero() {
			return p, true
		}
	}
	d.holding = false
	return Plan{}, false
}

// hold holds one drill, and tells what came of it, unless the leadership ended.
func (d *drills) hold(ctx context.Context, p Plan) {
	d.Log.Info("drill started", "plan", p.Name)
	held, err := d.Drill.Drill(ctx, p)
	if ctx.Err() != nil && held.ID == "" {
		return
	}
	end := DrillEnd{Plan: p.Name, Ended: d.Clock.Now(), Drill: held, Err: err}
	log := d.Log.With("plan", p.Name, "drill", held.ID, "point", held.Point, "result", string(end.Result()), "seconds", held.CheckedAfter)
	switch {
	case end.Result() == DrillError:
		log.Error("the drill could not be held", "error", err)
	case end.Result() == DrillFailed:
		log.Error("the drill failed", "reasons", held.Reasons, "error", err)
	case err != nil:
		log.Warn("the drill passed; not all that it made could be removed", "error", err)
	default:
		log.Info("the drill passed")
	}
	d.Observer.Drilled(end)
}

// wait waits for a drill under way to give up.
func (d *drills) wait() { d.group.Wait() }
