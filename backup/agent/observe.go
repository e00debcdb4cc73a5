package agent

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// Observer is told what the agent does, as it happens. Its methods return at
// once and may be called from several goroutines. Metrics, Notifier and
// Recorder are Observers; embed Blind to implement a part of it.
type Observer interface {
	// Reloaded: the configuration was read; err says why it was refused, and
	// the one before stays in force.
	Reloaded(err error)
	// InForce: these are all plans now; what is known of others is forgotten.
	InForce(plans []Plan)
	// Leading: this process leads from now on, or no longer.
	Leading(leading bool)
	// Troubled: this leader cannot do all that it should, and why; nil: it can
	// again. It may be told the same more than once.
	Troubled(problem error)
	// Recalled: the catalog has these as the newest closed entry of a plan, and
	// as its newest complete point; zero values for none. A process is told once
	// for each plan when it has begun to lead.
	Recalled(plan string, newest, complete catalog.Commit)
	// Scheduled: the plan starts next at that time, the delay included; the
	// zero time is never.
	Scheduled(plan string, next time.Time)
	// OccurrencesSkipped: these will not run. Not called for none.
	OccurrencesSkipped(plan string, skipped Skipped)
	RunStarted(run Run)
	// RunEnded is called once for each RunStarted.
	RunEnded(end RunEnd)
	// Covered: this is how all claims of the cluster stand, as seen at now.
	Covered(claims []ClaimState, now time.Time)
	// Pruned: the points of a plan were decided on, or that was stopped.
	Pruned(pruning Pruning)
	// Swept: snapshots that nothing names were looked for, or that was stopped.
	Swept(sweep Sweep)
	// Drilled: a drill of a plan ended. When a process begins to lead it is told
	// of the newest that passed, and of the newest, of each plan.
	Drilled(end DrillEnd)
	// Throttled: snapshots wait because a component holds its requests back.
	Throttled(throttling Throttling)
}

// Run is one try at an occurrence of a plan.
type Run struct {
	Plan       string
	Occurrence time.Time
	Attempt    int  // as in the point's id; 0 is the first
	CatchUp    bool // it starts late, after an outage
	Resumed    bool // another process began it
	Started    time.Time
}

// RunEnd is what became of a run.
type RunEnd struct {
	Run
	Ended  time.Time
	Commit catalog.Commit // the zero value if no point was made
	Err    error          // why none was made
	// Cancelled says why the agent itself stopped the run: it no longer leads,
	// or a newer occurrence takes its place. "" if it did not.
	Cancelled string
	Replaced  bool // it was, for a newer occurrence: this one will have no point
	// Retry is when the occurrence is tried again; the zero time if it is not.
	Retry time.Time
	// Failed are the claims that the point does not hold as the plan asked, or
	// that made the run fail.
	Failed []backup.Event
}

// Result is the outcome of a run in one word.
type Result string

const (
	ResultComplete  Result = "complete"
	ResultPartial   Result = "partial"
	ResultFailed    Result = "failed"    // no point was made
	ResultCancelled Result = "cancelled" // the agent stopped it, or another process has the occurrence
)

// results are all there are.
var results = [...]Result{ResultComplete, ResultPartial, ResultFailed, ResultCancelled}

// Result tells how the run ended.
func (e RunEnd) Result() Result {
	switch {
	case e.Err == nil && e.Commit.Outcome == catalog.Complete:
		return ResultComplete
	case e.Err == nil && e.Commit.Outcome == catalog.Partial:
		return ResultPartial
	case e.Cancelled != "", errors.Is(e.Err, catalog.ErrExist):
		return ResultCancelled
	}
	return ResultFailed
}

// ClaimState is how one claim stands with one plan. A claim that several plans
// select has one for each; one that none selects has one without a plan.
type ClaimState struct {
	Claim catalog.ClaimKey
	UID   types.UID // of the claim; without it `kubectl describe` does not show the claim's events
	Plan  string    // "" if no plan selects it
	// Restorable is the time of the newest data that can be brought back; the
	// zero time if there is none.
	Restorable time.Time
	Protected  bool   // its volume is Retain
	Breach     bool   // Restorable is older than the plan's RPO allows
	Why        string // why it is not protected, not covered, or in breach; for people
}

// Pruning is one decision on the points of a plan.
type Pruning struct {
	Plan string
	At   time.Time
	// Points counts the plan's points by what was decided, in the stable words
	// of package prune.
	Points     map[string]int
	Tombstones int    // that wait for the end of their grace period
	Removed    int    // points that were removed this time
	Stopped    string // a stable word for the guard that stopped it; "" if none did
	Err        error  // what went wrong, or what the guard says
}

// Sweep is one search for snapshots that nothing names.
type Sweep struct {
	At      time.Time
	Orphans int    // that are there
	Removed int    // this time
	Stopped string // a stable word for the guard that stopped it; "" if none did
	Err     error
}

// Throttling says what holds requests back, and for how long it did.
type Throttling struct {
	Component string // a stable word, such as snapshot-controller
	Flag      string // what to raise, such as --kube-api-qps
	Waited    time.Duration
	Message   string // for people
}

// Blind is an Observer that sees nothing.
type Blind struct{}

func (Blind) Reloaded(error)                                  {}
func (Blind) InForce([]Plan)                                  {}
func (Blind) Leading(bool)                                    {}
func (Blind) Troubled(error)                                  {}
func (Blind) Scheduled(string, time.Time)                     {}
func (Blind) Recalled(string, catalog.Commit, catalog.Commit) {}
func (Blind) OccurrencesSkipped(string, Skipped)              {}
func (Blind) RunStarted(Run)                                  {}
func (Blind) RunEnded(RunEnd)                                 {}
func (Blind) Covered([]ClaimState, time.Time)                 {}
func (Blind) Pruned(Pruning)                                  {}
func (Blind) Swept(Sweep)                                     {}
func (Blind) Drilled(DrillEnd)                                {}
func (Blind) Throttled(Throttling)                            {}

// Observers passes what it is told on to each.
type Observers []Observer

func (all Observers) each(tell func(Observer)) {
	for _, o := range all {
		tell(o)
	}
}

func (all Observers) Reloaded(err error)   { all.each(func(o Observer) { o.Reloaded(err) }) }
func (all Observers) InForce(plans []Plan) { all.each(func(o Observer) { o.InForce(plans) }) }
func (all Observers) Leading(leading bool) { all.each(func(o Observer) { o.Leading(leading) }) }
func (all Observers) Troubled(problem error) {
	all.each(func(o Observer) { o.Troubled(problem) })
}
func (all Observers) Recalled(plan string, newest, complete catalog.Commit) {
	all.each(func(o Observer) { o.Recalled(plan, newest, complete) })
}
func (all Observers) Scheduled(plan string, next time.Time) {
	all.each(func(o Observer) { o.Scheduled(plan, next) })
}
func (all Observers) OccurrencesSkipped(plan string, skipped Skipped) {
	all.each(func(o Observer) { o.OccurrencesSkipped(plan, skipped) })
}
func (all Observers) RunStarted(run Run)  { all.each(func(o Observer) { o.RunStarted(run) }) }
func (all Observers) RunEnded(end RunEnd) { all.each(func(o Observer) { o.RunEnded(end) }) }
func (all Observers) Covered(claims []ClaimState, now time.Time) {
	all.each(func(o Observer) { o.Covered(claims, now) })
}
func (all Observers) Pruned(pruning Pruning) { all.each(func(o Observer) { o.Pruned(pruning) }) }
func (all Observers) Swept(sweep Sweep)      { all.each(func(o Observer) { o.Swept(sweep) }) }
func (all Observers) Drilled(end DrillEnd)   { all.each(func(o Observer) { o.Drilled(end) }) }
func (all Observers) Throttled(throttling Throttling) {
	all.each(func(o Observer) { o.Throttled(throttling) })
}
