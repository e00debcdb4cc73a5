package agent

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hawser.dev/hawser/catalog"
)

// MetricsOptions are what metrics tell besides what an Observer is told.
type MetricsOptions struct {
	Version string           // of this program
	Now     func() time.Time // the clock, for ages at the time of a scrape; required
	// Notifications is Notifier.Counts; nil if nobody is notified.
	Notifications func() (delivered, dropped uint64)
}

// Metrics is the Observer that Prometheus asks. docs/metrics.md lists what it
// tells; a metric of a plan or claim that is gone, goes.
type Metrics struct {
	options  MetricsOptions
	registry *prometheus.Registry
	descs    descriptions
	requests *prometheus.CounterVec

	mu       sync.Mutex
	reloaded bool // the configuration that was read last is in force
	leading  bool
	troubled bool
	plans    map[string]*planMetrics
	claims   map[claimOfPlan]ClaimState
	sweep    Sweep
	orphans  float64 // removed, ever
	throttle map[string]*throttleMetrics
}

// planMetrics is what is known of one plan in force.
type planMetrics struct {
	plan Plan
	// What this process has counted.
	runs          map[Result]float64
	skipped       map[SkipReason]float64
	pointsRemoved float64
	// What only the leader knows.
	running int
	next    time.Time
	success time.Time // of the newest complete point
	last    *lastRun
	pruning *Pruning
	drill   *DrillEnd // the last
	passed  time.Time // the end of the last drill that passed
}

// lastRun is how the last run of a plan ended.
type lastRun struct {
	ended  time.Time
	took   time.Duration
	result Result
	counts catalog.Counts
	failed int // claims
}

type claimOfPlan struct {
	catalog.ClaimKey
	plan string
}

type throttleMetrics struct {
	times  float64
	waited time.Duration
}

// manyComponents bounds the label of what throttles.
const manyComponents = 20

// NewMetrics makes metrics in a registry of their own.
func NewMetrics(options MetricsOptions) *Metrics {
	m := &Metrics{
		options: options, registry: prometheus.NewRegistry(), descs: newDescriptions(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hawser_requests_total", Help: "Requests that were answered, or failed, by API.",
		}, []string{"api", "method", "code"}),
		reloaded: true, plans: map[string]*planMetrics{}, claims: map[claimOfPlan]ClaimState{}, throttle: map[string]*throttleMetrics{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hawser_build_info", Help: "1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": options.Version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m, m.requests, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Count returns a transport that does what next does, and counts the requests
// as those to api: kubernetes, store. It fits rest.Config.Wrap.
func (m *Metrics) Count(api string, next http.RoundTripper) http.RoundTripper {
	return countingTransport{next: next, requests: m.requests.MustCurryWith(prometheus.Labels{"api": api})}
}

type countingTransport struct {
	next     http.RoundTripper
	requests *prometheus.CounterVec
}

// RoundTrip is that of next.
func (c countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(request)
	code := "error"
	if err == nil {
		code = strconv.Itoa(answer.StatusCode)
	}
	c.requests.WithLabelValues(request.Method, code).Inc()
	return answer, err
}

// WrappedRoundTripper is for client-go, which looks through transports.
func (c countingTransport) WrappedRoundTripper() http.RoundTripper { return c.next }

// Reloaded implements Observer, as do the methods below.
func (m *Metrics) Reloaded(err error) { m.change(func() { m.reloaded = err == nil }) }

func (m *Metrics) InForce(plans []Plan) {
	m.change(func() {
		before := m.plans
		m.plans = map[string]*planMetrics{}
		for _, p := range plans {
			known := before[p.Name]
			if known == nil {
				known = &planMetrics{runs: map[Result]float64{}, skipped: map[SkipReason]float64{}}
			}
			known.plan = p
			m.plans[p.Name] = known
		}
		for key := range m.claims {
			if _, known := m.plans[key.plan]; !known && key.plan != "" {
				delete(m.claims, key)
			}
		}
	})
}

// Leading forgets what only a leader knows when this process is none any more:
// another one tells it.
func (m *Metrics) Leading(leading bool) {
	m.change(func() {
		m.leading, m.troubled = leading, false
		if leading {
			return
		}
		for _, p := range m.plans {
			*p = planMetrics{plan: p.plan, runs: p.runs, skipped: p.skipped, pointsRemoved: p.pointsRemoved}
		}
		m.claims, m.sweep = map[claimOfPlan]ClaimState{}, Sweep{}
	})
}

func (m *Metrics) Troubled(problem error) { m.change(func() { m.troubled = problem != nil }) }

func (m *Metrics) Recalled(plan string, newest, complete catalog.Commit) {
	m.changePlan(plan, func(p *planMetrics) {
		if newest.Point != "" {
			result := RunEnd{Commit: newest}.Result() // an abandoned one has failed
			p.last = &lastRun{ended: newest.Committed, took: newest.Committed.Sub(newest.Started), result: result, counts: newest.Counts}
		}
		p.success = complete.Committed
	})
}

func (m *Metrics) Scheduled(plan string, next time.Time) {
	m.changePlan(plan, func(p *planMetrics) { p.next = next })
}

func (m *Metrics) OccurrencesSkipped(plan string, skipped Skipped) {
	m.changePlan(plan, func(p *planMetrics) { p.skipped[skipped.Reason] += float64(skipped.Count) })
}

func (m *Metrics) RunStarted(run Run) {
	m.changePlan(run.Plan, func(p *planMetrics) { p.running++ })
}

func (m *Metrics) RunEnded(end RunEnd) {
	m.changePlan(end.Plan, func(p *planMetrics) {
		p.running = max(0, p.running-1)
		p.runs[end.Result()]++
		p.last = &lastRun{ended: end.Ended, took: end.Ended.Sub(end.Started), result: end.Result(), counts: end.Commit.Counts, failed: len(end.Failed)}
		if end.Result() == ResultComplete {
			p.success = end.Commit.Committed
		}
	})
}

func (m *Metrics) Covered(claims []ClaimState, _ time.Time) {
	all := make(map[claimOfPlan]ClaimState, len(claims))
	for _, c := range claims {
		all[claimOfPlan{c.Claim, c.Plan}] = c
	}
	m.change(func() { m.claims = all })
}

func (m *Metrics) Pruned(pruning Pruning) {
	m.changePlan(pruning.Plan, func(p *planMetrics) {
		p.pruning = &pruning
		p.pointsRemoved += float64(pruning.Removed)
	})
}

func (m *Metrics) Drilled(end DrillEnd) {
	m.changePlan(end.Plan, func(p *planMetrics) {
		p.drill = &end
		if end.Result() == DrillPassed {
			p.passed = end.Ended
		}
	})
}

func (m *Metrics) Swept(sweep Sweep) {
	m.change(func() {
		m.sweep = sweep
		m.orphans += float64(sweep.Removed)
	})
}

func (m *Metrics) Throttled(throttling Throttling) {
	m.change(func() {
		t := m.throttle[throttling.Component]
		if t == nil {
			if len(m.throttle) == manyComponents {
				return
			}
			t = &throttleMetrics{}
			m.throttle[throttling.Component] = t
		}
		t.times++
		t.waited += throttling.Waited
	})
}

func (m *Metrics) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// changePlan does nothing if the plan is not in force.
func (m *Metrics) changePlan(name string, f func(*planMetrics)) {
	m.change(func() {
		if p := m.plans[name]; p != nil {
			f(p)
		}
	})
}
