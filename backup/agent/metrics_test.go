package agent

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"hawser.dev/hawser/catalog"
)

// newTestMetrics makes metrics of two plans, at a moment of the night.
func newTestMetrics() *Metrics {
	m := NewMetrics(MetricsOptions{
		Version: "v1.2.3", Now: func() time.Time { return night.Add(10 * time.Minute) },
		Notifications: func() (uint64, uint64) { return 7, 2 },
	})
	m.InForce([]Plan{{Name: "nightly", RPO: 26 * time.Hour}, {Name: "hourly", Paused: true}})
	return m
}

// tells returns the samples of the metrics whose names begin with prefix.
func tells(t *testing.T, m *Metrics, prefix string) []string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if recorder.Code != http.StatusOK {
		t.Fatalf("%d: %s", recorder.Code, recorder.Body)
	}
	var samples []string
	for line := range strings.Lines(recorder.Body.String()) {
		if sample, ours := strings.CutPrefix(strings.TrimSpace(line), "hawser_"); ours && strings.HasPrefix(sample, prefix) {
			samples = append(samples, sample)
		}
	}
	return samples
}

// expect compares the samples of some metrics.
func expect(t *testing.T, m *Metrics, prefix string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, tells(t, m, prefix)); diff != "" {
		t.Errorf("hawser_%s… (-want +got):\n%s", prefix, diff)
	}
}

func TestMetricsOfAPlan(t *testing.T) {
	m := newTestMetrics()
	expect(t, m, "plan_", `plan_paused{plan="hourly"} 1`, `plan_paused{plan="nightly"} 0`, `plan_rpo_seconds{plan="nightly"} 93600`, `plan_running{plan="hourly"} 0`, `plan_running{plan="nightly"} 0`)

	m.Scheduled("nightly", night)
	m.RunStarted(Run{Plan: "nightly"})
	expect(t, m, "plan_next", `plan_next_run_timestamp_seconds{plan="nightly"} 1.7408808e+09`)
	expect(t, m, "plan_running", `plan_running{plan="hourly"} 0`, `plan_running{plan="nightly"} 1`)

	m.RunEnded(ended(ResultComplete))
	m.RunEnded(ended(ResultPartial, func(e *RunEnd) { e.Ended = night.Add(5 * time.Minute); e.Commit.Committed = e.Ended }))
	m.OccurrencesSkipped("nightly", Skipped{Reason: SkipLate, Count: 3})
	m.OccurrencesSkipped("gone", Skipped{Reason: SkipLate, Count: 3})
	m.Scheduled("nightly", time.Time{})
	expect(t, m, "plan_next")
	expect(t, m, "plan_running", `plan_running{plan="hourly"} 0`, `plan_running{plan="nightly"} 0`)
	expect(t, m, "plan_last",
		`plan_last_run_claims{plan="nightly"} 3`,
		`plan_last_run_duration_seconds{plan="nightly"} 300`,
		`plan_last_run_failed_claims{plan="nightly"} 1`,
		`plan_last_run_result{plan="nightly",result="cancelled"} 0`,
		`plan_last_run_result{plan="nightly",result="complete"} 0`,
		`plan_last_run_result{plan="nightly",result="failed"} 0`,
		`plan_last_run_result{plan="nightly",result="partial"} 1`,
		`plan_last_run_snapshots{plan="nightly"} 2`,
		`plan_last_run_timestamp_seconds{plan="nightly"} 1.7408811e+09`,
		`plan_last_success_timestamp_seconds{plan="nightly"} 1.74088089e+09`, // of the complete one
	)
	expect(t, m, `runs_total{plan="nightly"`,
		`runs_total{plan="nightly",result="cancelled"} 0`, `runs_total{plan="nightly",result="complete"} 1`,
		`runs_total{plan="nightly",result="failed"} 0`, `runs_total{plan="nightly",result="partial"} 1`,
	)
	expect(t, m, `occurrences_skipped_total{plan="nightly"`,
		`occurrences_skipped_total{plan="nightly",reason="late"} 3`, `occurrences_skipped_total{plan="nightly",reason="running"} 0`,
		`occurrences_skipped_total{plan="nightly",reason="superseded"} 0`,
	)
}

func TestMetricsRecallWhatTheCatalogKnows(t *testing.T) {
	m := newTestMetrics()
	complete := catalog.Commit{Point: "a", Outcome: catalog.Complete, Committed: night}
	abandoned := catalog.Commit{Point: "b", Outcome: catalog.Abandoned, Started: night.Add(time.Hour), Committed: night.Add(time.Hour + time.Minute)}
	m.Recalled("nightly", abandoned, complete)
	m.Recalled("hourly", catalog.Commit{}, catalog.Commit{})
	expect(t, m, "plan_last_success", `plan_last_success_timestamp_seconds{plan="nightly"} 1.7408808e+09`)
	expect(t, m, "plan_last_run_duration", `plan_last_run_duration_seconds{plan="nightly"} 60`)
	expect(t, m, `plan_last_run_result{plan="nightly",result="failed"}`, `plan_last_run_result{plan="nightly",result="failed"} 1`)
	expect(t, m, "runs_total{plan=\"nightly\",result=\"failed\"}", `runs_total{plan="nightly",result="failed"} 0`)
}

func TestMetricsOfClaims(t *testing.T) {
	m := newTestMetrics()
	uncovered := ClaimState{Claim: catalog.ClaimKey{Namespace: "dev", Name: "scratch"}}
	fresh := claimState("nightly", "new", true)
	fresh.Restorable, fresh.Protected = time.Time{}, false
	m.Covered([]ClaimState{claimState("nightly", "db", false), fresh, uncovered, claimState("nightly", "db", false)}, night)
	expect(t, m, "claim_",
		`claim_protected{claim="db",namespace="shop",plan="nightly"} 1`,
		`claim_protected{claim="new",namespace="shop",plan="nightly"} 0`,
		`claim_protected{claim="scratch",namespace="dev",plan=""} 0`,
		`claim_restorable_age_seconds{claim="db",namespace="shop",plan="nightly"} 600`, // at the time of the scrape
		`claim_restorable_age_seconds{claim="new",namespace="shop",plan="nightly"} +Inf`,
		`claim_rpo_breached{claim="db",namespace="shop",plan="nightly"} 0`,
		`claim_rpo_breached{claim="new",namespace="shop",plan="nightly"} 1`,
	)
	m.Covered([]ClaimState{claimState("nightly", "db", false)}, night)
	expect(t, m, "claim_protected", `claim_protected{claim="db",namespace="shop",plan="nightly"} 1`)
	m.InForce([]Plan{{Name: "hourly"}})
	expect(t, m, "claim_")
}

func TestMetricsOfPlansThatAreGoneGo(t *testing.T) {
	m := newTestMetrics()
	m.RunEnded(ended(ResultComplete))
	m.Pruned(Pruning{Plan: "nightly", At: night, Points: map[string]int{"keep": 1}})
	m.InForce([]Plan{{Name: "hourly"}})
	for _, sample := range tells(t, m, "") {
		if strings.Contains(sample, "nightly") {
			t.Errorf("hawser_%s", sample)
		}
	}
	if !slices.ContainsFunc(tells(t, m, ""), func(s string) bool { return strings.Contains(s, "hourly") }) {
		t.Error("the other plan's metrics are gone too")
	}
}

func TestMetricsOfPruning(t *testing.T) {
	m := newTestMetrics()
	m.Pruned(Pruning{Plan: "nightly", At: night, Points: map[string]int{"keep": 9, "bury": 2}, Tombstones: 4, Removed: 2})
	m.Pruned(Pruning{Plan: "hourly", At: night, Stopped: "clock-skew", Err: errors.New("the store's clock is off")})
	m.Swept(Sweep{At: night, Orphans: 5, Removed: 1, Err: errors.New("list: forbidden")})
	expect(t, m, "prune_",
		`prune_last_timestamp_seconds{plan="hourly"} 1.7408808e+09`, `prune_last_timestamp_seconds{plan="nightly"} 1.7408808e+09`,
		`prune_points{decision="bury",plan="nightly"} 2`, `prune_points{decision="keep",plan="nightly"} 9`,
		`prune_points_removed_total{plan="hourly"} 0`, `prune_points_removed_total{plan="nightly"} 2`,
		`prune_stopped{plan="hourly",reason="clock-skew"} 1`,
		`prune_tombstones{plan="hourly"} 0`, `prune_tombstones{plan="nightly"} 4`,
	)
	expect(t, m, "orphaned_", `orphaned_snapshots 5`, `orphaned_snapshots_removed_total 1`)
	expect(t, m, "sweep_", `sweep_last_timestamp_seconds 1.7408808e+09`, `sweep_stopped{reason="error"} 1`)

	m.Pruned(Pruning{Plan: "nightly", At: night, Points: map[string]int{"keep": 9}, Removed: 3})
	m.Pruned(Pruning{Plan: "hourly", At: night})
	m.Swept(Sweep{At: night})
	expect(t, m, "prune_points{", `prune_points{decision="keep",plan="nightly"} 9`)
	expect(t, m, `prune_points_removed_total{plan="nightly"}`, `prune_points_removed_total{plan="nightly"} 5`)
	expect(t, m, "prune_stopped")
	expect(t, m, "sweep_stopped")
	expect(t, m, "orphaned_", `orphaned_snapshots 0`, `orphaned_snapshots_removed_total 1`)
}

func TestMetricsOfDrills(t *testing.T) {
	m := newTestMetrics()
	drill := func(outcome catalog.DrillOutcome) catalog.Drill {
		return catalog.Drill{ID: "20250302-020000-nightly-0a1b2c3d", Outcome: outcome, CheckedAfter: 41.5}
	}
	m.Drilled(DrillEnd{Plan: "nightly", Ended: night, Drill: drill(catalog.DrillPassed), Recalled: true})
	m.Drilled(DrillEnd{Plan: "nightly", Ended: night.Add(time.Minute), Drill: drill(catalog.DrillFailed)})
	m.Drilled(DrillEnd{Plan: "hourly", Ended: night, Err: errors.New("no point")})
	expect(t, m, "plan_last_good_drill", `plan_last_good_drill_timestamp_seconds{plan="nightly"} 1.7408808e+09`)
	expect(t, m, "plan_last_drill",
		`plan_last_drill_duration_seconds{plan="nightly"} 41.5`,
		`plan_last_drill_result{plan="hourly",result="error"} 1`, `plan_last_drill_result{plan="hourly",result="failed"} 0`, `plan_last_drill_result{plan="hourly",result="passed"} 0`,
		`plan_last_drill_result{plan="nightly",result="error"} 0`, `plan_last_drill_result{plan="nightly",result="failed"} 1`, `plan_last_drill_result{plan="nightly",result="passed"} 0`,
		`plan_last_drill_timestamp_seconds{plan="hourly"} 1.7408808e+09`, `plan_last_drill_timestamp_seconds{plan="nightly"} 1.74088086e+09`,
	)
	m.Leading(false)
	expect(t, m, "plan_last_")
}

func TestMetricsOfTheAgent(t *testing.T) {
	m := newTestMetrics()
	expect(t, m, "build_info{go_version=", fmt.Sprintf(`build_info{go_version="%s",version="v1.2.3"} 1`, goVersion(t, m)))
	expect(t, m, "leader", "leader 0")
	m.Leading(true)
	expect(t, m, "leader", "leader 1", "leader_troubled 0")
	m.Troubled(errors.New("the store is away"))
	expect(t, m, "leader_troubled", "leader_troubled 1")
	m.Troubled(nil)
	expect(t, m, "leader_troubled", "leader_troubled 0")
	expect(t, m, "config", "config_last_reload_successful 1")
	m.Reloaded(errors.New("plans[0].schedule: …"))
	expect(t, m, "config", "config_last_reload_successful 0")
	m.Reloaded(nil)
	expect(t, m, "config", "config_last_reload_successful 1")
	expect(t, m, "notifications", `notifications_total{result="delivered"} 7`, `notifications_total{result="dropped"} 2`)
	m.Throttled(Throttling{Component: "snapshot-controller", Waited: 90 * time.Second})
	m.Throttled(Throttling{Component: "snapshot-controller", Waited: 30 * time.Second})
	expect(t, m, "throttled", `throttled_seconds_total{component="snapshot-controller"} 120`, `throttled_total{component="snapshot-controller"} 2`)
	for i := range 100 {
		m.Throttled(Throttling{Component: fmt.Sprint("component-", i)})
	}
	if got := len(tells(t, m, "throttled_total")); got != manyComponents {
		t.Errorf("%d components have a metric, want at most %d", got, manyComponents)
	}
}

func goVersion(t *testing.T, m *Metrics) string {
	t.Helper()
	match := regexp.MustCompile(`go_version="(go[^"]+)"`).FindStringSubmatch(strings.Join(tells(t, m, "build_info"), "\n"))
	if match == nil {
		t.Fatal("no version of Go")
	}
	return match[1]
}

// Two replicas must not both tell of a claim.
func TestOnlyALeaderTellsWhatALeaderKnows(t *testing.T) {
	m := newTestMetrics()
	m.Leading(true)
	m.Scheduled("nightly", night)
	m.RunEnded(ended(ResultComplete))
	m.Covered([]ClaimState{claimState("nightly", "db", true)}, night)
	m.Pruned(Pruning{Plan: "nightly", At: night, Points: map[string]int{"keep": 9}})
	m.Swept(Sweep{At: night, Orphans: 1})
	m.Leading(false)
	expect(t, m, "claim_")
	expect(t, m, "plan_", `plan_paused{plan="hourly"} 1`, `plan_paused{plan="nightly"} 0`, `plan_rpo_seconds{plan="nightly"} 93600`, `plan_running{plan="hourly"} 0`, `plan_running{plan="nightly"} 0`)
	expect(t, m, "prune_points{")
	expect(t, m, "orphaned_snapshots ")
	expect(t, m, `runs_total{plan="nightly",result="complete"}`, `runs_total{plan="nightly",result="complete"} 1`) // counters do not go back
}

func TestRequestsAreCounted(t *testing.T) {
	m := newTestMetrics()
	server := httptest.NewServer(answeringHandler(http.StatusConflict))
	client := &http.Client{Transport: m.Count("kubernetes", http.DefaultTransport)}
	for range 2 {
		answer, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	server.Close()
	if _, err := client.Post(server.URL, "", nil); err == nil {
		t.Fatal("a server that is gone answers")
	}
	expect(t, m, "requests", `requests_total{api="kubernetes",code="409",method="GET"} 2`, `requests_total{api="kubernetes",code="error",method="POST"} 1`)
}

func answeringHandler(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// described are the metrics that are registered: name and labels.
func described(m *Metrics) map[string][]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		m.registry.Describe(descs)
	}()
	metrics := map[string][]string{}
	pattern := regexp.MustCompile(`^Desc\{fqName: "(hawser_[^"]*)", .*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	for d := range descs {
		match := pattern.FindStringSubmatch(d.String())
		if match == nil {
			continue // of Go or the process
		}
		labels := strings.FieldsFunc(match[3], func(r rune) bool { return r == ',' })
		for _, pair := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(match[2], -1) {
			labels = append(labels, pair[1])
		}
		slices.Sort(labels)
		metrics[match[1]] = labels
	}
	return metrics
}

func TestTheMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(hawser_\\w+)` \\| (gauge|counter) \\| ([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		labels := []string{}
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		slices.Sort(labels)
		documented[row[1]] = labels
		if counter := strings.HasSuffix(row[1], "_total"); counter != (row[2] == "counter") {
			t.Errorf("%s is said to be a %s", row[1], row[2])
		}
	}
	registered := described(newTestMetrics())
	if len(registered) < 30 {
		t.Fatalf("only %d metrics are registered", len(registered))
	}
	if diff := cmp.Diff(registered, documented, cmp.Transformer("empty", func(s []string) string { return strings.Join(s, ",") })); diff != "" {
		t.Errorf("docs/metrics.md (-registered +documented):\n%s", diff)
	}
}

// An agent is scraped while it works; for the race detector.
func TestMetricsMayBeReadAtAnyTime(t *testing.T) {
	m := newTestMetrics()
	var group sync.WaitGroup
	group.Go(func() {
		for range 200 {
			m.RunStarted(Run{Plan: "nightly"})
			m.RunEnded(ended(ResultComplete))
			m.Covered([]ClaimState{claimState("nightly", "db", false)}, night)
			m.Pruned(Pruning{Plan: "nightly", Points: map[string]int{"keep": 1}})
			m.InForce([]Plan{{Name: "nightly"}})
		}
	})
	for range 20 {
		tells(t, m, "")
	}
	group.Wait()
	expect(t, m, `runs_total{plan="nightly",result="complete"}`, `runs_total{plan="nightly",result="complete"} 200`)
}
