package agent

import (
	"cmp"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// descriptions are the metrics that Metrics makes at each scrape.
type descriptions struct {
	all []*prometheus.Desc

	leader, troubled, reloaded                                    *prometheus.Desc
	paused, rpo, next, running, success                           *prometheus.Desc
	lastEnd, lastTook, lastResult, lastClaims, lastSnaps, lastBad *prometheus.Desc
	runs, skipped                                                 *prometheus.Desc
	drillEnd, drillTook, drillResult, drillPassed                 *prometheus.Desc
	age, protected, breached                                      *prometheus.Desc
	points, tombstones, pointsRemoved, pruned, pruneStopped       *prometheus.Desc
	orphans, orphansRemoved, swept, sweepStopped                  *prometheus.Desc
	notifications, throttled, throttledSeconds                    *prometheus.Desc
}

func newDescriptions() descriptions {
	var d descriptions
	add := func(name, help string, labels ...string) *prometheus.Desc {
		desc := prometheus.NewDesc("hawser_"+name, help, labels, nil)
		d.all = append(d.all, desc)
		return desc
	}
	d.leader = add("leader", "Whether this agent leads.")
	d.troubled = add("leader_troubled", "Whether the agent that leads cannot do all that it should; absent if this one does not lead.")
	d.reloaded = add("config_last_reload_successful", "Whether the configuration that was read last is in force.")

	d.paused = add("plan_paused", "Whether the plan is paused.", "plan")
	d.rpo = add("plan_rpo_seconds", "The plan's RPO; absent if it has none.", "plan")
	d.next = add("plan_next_run_timestamp_seconds", "When the plan starts next; absent if never.", "plan")
	d.running = add("plan_running", "Whether a run of the plan is under way.", "plan")
	d.success = add("plan_last_success_timestamp_seconds", "When the newest complete point was committed.", "plan")
	d.lastEnd = add("plan_last_run_timestamp_seconds", "When the last run ended.", "plan")
	d.lastTook = add("plan_last_run_duration_seconds", "How long the last run took.", "plan")
	d.lastResult = add("plan_last_run_result", "1 for the result of the last run, 0 for the others.", "plan", "result")
	d.lastClaims = add("plan_last_run_claims", "Claims in the point of the last run.", "plan")
	d.lastSnaps = add("plan_last_run_snapshots", "Snapshots in the point of the last run.", "plan")
	d.lastBad = add("plan_last_run_failed_claims", "Claims that the last run did not take as the plan asks.", "plan")
	d.runs = add("runs_total", "Runs that ended, by result; each attempt is one.", "plan", "result")
	d.skipped = add("occurrences_skipped_total", "Occurrences that did not run, by reason.", "plan", "reason")
	d.drillEnd = add("plan_last_drill_timestamp_seconds", "When the last drill of the plan ended.", "plan")
	d.drillTook = add("plan_last_drill_duration_seconds", "How long it took until all data was back and checked, or the drill had failed.", "plan")
	d.drillResult = add("plan_last_drill_result", "1 for the result of the last drill, 0 for the others.", "plan", "result")
	d.drillPassed = add("plan_last_good_drill_timestamp_seconds", "When the last drill ended that passed.", "plan")

	d.age = add("claim_restorable_age_seconds", "Age of the newest data of the claim that can be brought back; +Inf if there is none.", "namespace", "claim", "plan")
	d.protected = add("claim_protected", "Whether the claim's volume is Retain.", "namespace", "claim", "plan")
	d.breached = add("claim_rpo_breached", "Whether the claim is in breach of the plan's RPO.", "namespace", "claim", "plan")

	d.points = add("prune_points", "Points of the plan by what the last pruning decided.", "plan", "decision")
	d.tombstones = add("prune_tombstones", "Points of the plan that wait for the end of their grace period.", "plan")
	d.pointsRemoved = add("prune_points_removed_total", "Points of the plan that were removed.", "plan")
	d.pruned = add("prune_last_timestamp_seconds", "When the plan's points were decided on last.", "plan")
	d.pruneStopped = add("prune_stopped", "1 if the last pruning was stopped, and why; else absent.", "plan", "reason")
	d.orphans = add("orphaned_snapshots", "Snapshots of this catalog that nothing names.")
	d.orphansRemoved = add("orphaned_snapshots_removed_total", "Snapshots that nothing named and that were removed.")
	d.swept = add("sweep_last_timestamp_seconds", "When such snapshots were looked for last.")
	d.sweepStopped = add("sweep_stopped", "1 if the last sweep was stopped, and why; else absent.", "reason")

	d.notifications = add("notifications_total", "Messages to webhooks, by what became of them.", "result")
	d.throttled = add("throttled_total", "How often a component was found to hold its requests back.", "component")
	d.throttledSeconds = add("throttled_seconds_total", "How long snapshots waited for it.", "component")
	return d
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range m.descs.all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	s := scrape{out: out, now: m.options.Now()}
	var delivered, dropped uint64
	if m.options.Notifications != nil {
		delivered, dropped = m.options.Notifications()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.gauge(m.descs.leader, truth(m.leading))
	if m.leading {
		s.gauge(m.descs.troubled, truth(m.troubled))
	}
	s.gauge(m.descs.reloaded, truth(m.reloaded))
	for name, p := range m.plans {
		s.plan(&m.descs, name, p)
		s.lastRun(&m.descs, name, p.last)
		s.pruning(&m.descs, name, p.pruning)
		s.drill(&m.descs, name, p)
	}
	for key, c := range m.claims {
		s.claim(&m.descs, key, c)
	}
	s.sweep(&m.descs, m.sweep)
	s.counter(m.descs.orphansRemoved, m.orphans)
	s.counter(m.descs.notifications, float64(delivered), "delivered")
	s.counter(m.descs.notifications, float64(dropped), "dropped")
	for component, t := range m.throttle {
		s.counter(m.descs.throttled, t.times, component)
		s.counter(m.descs.throttledSeconds, t.waited.Seconds(), component)
	}
}

// scrape is one collection.
type scrape struct {
	out chan<- prometheus.Metric
	now time.Time
}

func (s scrape) plan(d *descriptions, name string, p *planMetrics) {
	s.gauge(d.paused, truth(p.plan.Paused), name)
	if p.plan.RPO > 0 {
		s.gauge(d.rpo, p.plan.RPO.Seconds(), name)
	}
	s.time(d.next, p.next, name)
	s.gauge(d.running, truth(p.running > 0), name)
	s.time(d.success, p.success, name)
	for _, result := range results {
		s.counter(d.runs, p.runs[result], name, string(result))
	}
	for _, reason := range skipReasons {
		s.counter(d.skipped, p.skipped[reason], name, string(reason))
	}
	s.counter(d.pointsRemoved, p.pointsRemoved, name)
}

func (s scrape) lastRun(d *descriptions, name string, last *lastRun) {
	if last == nil {
		return
	}
	s.time(d.lastEnd, last.ended, name)
	s.gauge(d.lastTook, last.took.Seconds(), name)
	for _, result := range results {
		s.gauge(d.lastResult, truth(last.result == result), name, string(result))
	}
	s.gauge(d.lastClaims, float64(last.counts.Claims), name)
	s.gauge(d.lastSnaps, float64(last.counts.Snapshots), name)
	s.gauge(d.lastBad, float64(last.failed), name)
}

func (s scrape) drill(d *descriptions, name string, p *planMetrics) {
	s.time(d.drillPassed, p.passed, name)
	if p.drill == nil {
		return
	}
	s.time(d.drillEnd, p.drill.Ended, name)
	if p.drill.Result() != DrillError {
		s.gauge(d.drillTook, p.drill.Drill.CheckedAfter, name)
	}
	for _, result := range drillResults {
		s.gauge(d.drillResult, truth(p.drill.Result() == result), name, string(result))
	}
}

func (s scrape) pruning(d *descriptions, name string, p *Pruning) {
	if p == nil {
		return
	}
	for decision, n := range p.Points {
		s.gauge(d.points, float64(n), name, decision)
	}
	s.gauge(d.tombstones, float64(p.Tombstones), name)
	s.time(d.pruned, p.At, name)
	if reason := stopReason(p.Stopped, p.Err); reason != "" {
		s.gauge(d.pruneStopped, 1, name, reason)
	}
}

func (s scrape) sweep(d *descriptions, sweep Sweep) {
	if sweep.At.IsZero() {
		return
	}
	s.gauge(d.orphans, float64(sweep.Orphans))
	s.time(d.swept, sweep.At)
	if reason := stopReason(sweep.Stopped, sweep.Err); reason != "" {
		s.gauge(d.sweepStopped, 1, reason)
	}
}

func (s scrape) claim(d *descriptions, key claimOfPlan, c ClaimState) {
	s.gauge(d.protected, truth(c.Protected), key.Namespace, key.Name, key.plan)
	if key.plan == "" {
		return
	}
	age := math.Inf(1)
	if !c.Restorable.IsZero() {
		age = max(0, s.now.Sub(c.Restorable).Seconds())
	}
	s.gauge(d.age, age, key.Namespace, key.Name, key.plan)
	s.gauge(d.breached, truth(c.Breach), key.Namespace, key.Name, key.plan)
}

func (s scrape) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s scrape) counter(d *prometheus.Desc, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// time tells a time; nothing if there is none.
func (s scrape) time(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

// stopReason is the guard, or "error" if there was one without.
func stopReason(guard string, err error) string {
	if err == nil {
		return guard
	}
	return cmp.Or(guard, "error")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
