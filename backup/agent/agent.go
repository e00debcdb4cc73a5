package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// Options say how an agent works. Those that are not said to be optional are
// required.
type Options struct {
	Runner     Runner
	Catalog    *catalog.Catalog
	ClusterUID string // of the cluster whose plans are run
	Identity   string // of this process; no other one ever has it
	Kubernetes kubernetes.Interface
	Namespace  string // of the Lease and the state
	Alone      bool   // there is no other agent: lead without an election
	Keeper     Keeper // prunes; nil if this agent does not
	KeepAt     Schedule
	Drill      Driller         // holds drills; nil if this agent does not
	Watch      func() Watchman // called by each new leader; nil for none
	Observer   Observer
	Notifier   *Notifier        // goes on where the leader before ended; it is to be one of the Observers too; nil for none
	Clock      clock.WithTicker // nil is the real one
	Log        *slog.Logger
}

// Runner makes restore points; NewRunner gives the one there is.
type Runner interface {
	// Run makes one point, and reports how its claims fare.
	Run(ctx context.Context, request backup.Request, report func(backup.Event)) (catalog.Commit, error)
	// TakeOver is that of backup.Runner.
	TakeOver(ctx context.Context, requestFor func(plan string) (backup.Request, bool)) ([]backup.TakenOver, error)
}

// NewRunner is the Runner that runs what r does. The field Agent of r must be
// the Identity in the Options, and its Report is unused.
func NewRunner(r *backup.Runner) Runner { return runner{r} }

type runner struct{ *backup.Runner }

func (r runner) Run(ctx context.Context, request backup.Request, report func(backup.Event)) (catalog.Commit, error) {
	one := *r.Runner
	one.Report = report
	return one.Run(ctx, request)
}

// Keeper deletes what retention drops, and what nothing names.
type Keeper interface {
	// Keep prunes the points of these plans; sweep says whether to look for
	// snapshots that nothing names as well.
	Keep(ctx context.Context, plans []Plan, sweep bool) ([]Pruning, *Sweep)
}

// Watchman tells how the claims of the cluster stand; ClaimWatch is the one
// there is.
type Watchman interface {
	// Look sees which claims there are; made are the points since the last
	// look that did not fail.
	Look(ctx context.Context, plans []Plan, made []catalog.Commit) error
	// States tells how the claims that were seen last stand at now. It asks
	// nobody. False: none were seen yet.
	States(now time.Time) ([]ClaimState, bool)
}

// Agent runs plans on their schedules. Of several agents of a cluster one
// leads, and runs; the others wait.
type Agent struct {
	Options
	changed chan struct{} // there are other plans; of capacity 1
	memory  memory

	mu     sync.Mutex
	plans  []Plan
	status Status
}

// Status is what the health checks rest on.
type Status struct {
	Leading bool
	// Working: the plans are being run, or wait for their time. A leader that
	// could not begin yet, for it cannot reach the cluster or the store, is not
	// working.
	Working bool
	Problem string    // why a leader cannot do all that it should; "" if it can
	Seen    time.Time // when the loop came round last; it does once a minute
}

// New makes an agent that runs no plans yet.
func New(options Options) *Agent {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Observer == nil {
		options.Observer = Blind{}
	}
	a := &Agent{Options: options, changed: make(chan struct{}, 1), memory: memory{client: options.Kubernetes, namespace: options.Namespace}}
	a.status.Seen = options.Clock.Now()
	return a
}

// SetPlans puts other plans into force. It may be called at any time.
func (a *Agent) SetPlans(plans []Plan) {
	a.mu.Lock()
	a.plans = plans
	a.mu.Unlock()
	a.Observer.InForce(plans)
	signal(a.changed)
}

func (a *Agent) currentPlans() []Plan {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.plans
}

// Status tells how the agent is.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *Agent) note(change func(*Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
	a.status.Seen = a.Clock.Now()
}

// trouble says why this leader cannot do all that it should; nil: it can.
func (a *Agent) trouble(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	a.note(func(s *Status) { s.Problem = problem })
	a.Observer.Troubled(err)
}

// Remember keeps what the notifier has told, for the next leader.
func (a *Agent) Remember(ctx context.Context, told map[string]Told) {
	if !a.Status().Leading {
		return
	}
	if err := a.memory.keep(ctx, toldKey, told); err != nil && ctx.Err() == nil {
		a.Log.Warn("what was told cannot be kept; after a restart it may be told again", "error", err)
	}
}

// Run runs the plans until ctx ends, and then waits for the runs under way to
// give up. It returns nil if ctx ended.
func (a *Agent) Run(ctx context.Context) error {
	leading := func(now bool) {
		a.note(func(s *Status) { *s = Status{Leading: now} })
		a.Observer.Leading(now)
	}
	var err error
	if a.Alone {
		leading(true)
		err = a.lead(ctx)
		leading(false)
	} else {
		e := &elector{
			leases: a.Kubernetes.CoordinationV1().Leases(a.Namespace), identity: a.Identity,
			clock: a.Clock, log: a.Log, leading: leading,
			alive: func() { a.note(func(*Status) {}) },
		}
		err = e.run(ctx, a.lead)
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}
