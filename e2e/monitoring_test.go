package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/e2e/chart"
	"hawser.dev/hawser/e2e/tools"
)

const alertsTest = "testdata/alerts_test.yaml"

// chartFile reads a file of the chart.
func chartFile(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := chart.Dir()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "files", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	binary, err := tools.Path(t.Context(), "promtool")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	if testing.Short() {
		t.Skip("needs promtool, which is built first; run without -short")
	}
	promtool(t, "test", "rules", alertsTest)

	var alerts struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	if err := yaml.Unmarshal(chartFile(t, "alerts.yaml"), &alerts); err != nil {
		t.Fatal(err)
	}
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	data, err := os.ReadFile(alertsTest)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &tests); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, a := range test.AlertRuleTest {
			fires[a.Alertname] = fires[a.Alertname] || len(a.ExpAlerts) > 0
			silent[a.Alertname] = silent[a.Alertname] || len(a.ExpAlerts) == 0
		}
	}
	count := 0
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			count++
			if !fires[rule.Alert] || !silent[rule.Alert] {
				t.Errorf("%s lacks a test where alert %s fires (%v), or one where it must not (%v)", alertsTest, rule.Alert, fires[rule.Alert], silent[rule.Alert])
			}
		}
	}
	if count == 0 {
		t.Error("there are no alerts: the test proves nothing")
	}
}

// panel is what we use of a panel of Grafana's.
type panel struct {
	ID      int
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, RefID string }
}

func TestTheDashboardAsksWhatPrometheusCanAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("needs promtool, which is built first; run without -short")
	}
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal(chartFile(t, "dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	rules := map[string]any{"name": "dashboard"}
	var records []any
	cells := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has the id %d of another", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or outside", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$plan", ".*").Replace(target.Expr)
			records = append(records, map[string]string{"record": "dashboard:question", "expr": expr})
		}
	}
	if len(records) == 0 {
		t.Fatal("the dashboard asks nothing")
	}
	rules["rules"] = records
	text, err := yaml.Marshal(map[string]any{"groups": []any{rules}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", file)
}

var (
	metricRow  = regexp.MustCompile("(?m)^\\| `(hawser_[a-z0-9_]+)` \\| [a-z]+ \\|([^|]*)\\|")
	metricName = regexp.MustCompile(`hawser_[a-z0-9_]+`)
	inputName  = regexp.MustCompile(`'(hawser_[a-z0-9_]+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

// documented are the metrics of docs/metrics.md and their labels.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string][]string{}
	for _, row := range metricRow.FindAllSubmatch(data, -1) {
		metrics[string(row[1])] = strings.FieldsFunc(string(row[2]), func(r rune) bool { return strings.ContainsRune("`, ", r) })
	}
	if len(metrics) == 0 {
		t.Fatal("docs/metrics.md lists no metrics")
	}
	return metrics
}

// What alerts and dashboard ask for, and what the tests of the alerts make up,
// is what the agent serves.
func TestAlertsAndDashboardUseDocumentedMetrics(t *testing.T) {
	metrics := documented(t)
	tests, err := os.ReadFile(alertsTest)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"alerts.yaml": chartFile(t, "alerts.yaml"), "dashboard.json": chartFile(t, "dashboard.json"), alertsTest: tests} {
		used := metricName.FindAll(text, -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric of ours", name)
		}
		for _, metric := range used {
			if _, known := metrics[string(metric)]; !known {
				t.Errorf("%s uses %s, which docs/metrics.md does not have", name, metric)
			}
		}
	}
	ofPrometheus := []string{"cluster", "pod"}
	for _, series := range inputName.FindAllSubmatch(tests, -1) {
		for _, label := range labelName.FindAllSubmatch(series[2], -1) {
			if !slices.Contains(slices.Concat(metrics[string(series[1])], ofPrometheus), string(label[1])) {
				t.Errorf("%s gives %s a label %s, which docs/metrics.md does not", alertsTest, series[1], label[1])
			}
		}
	}
	if bytes.Count(tests, []byte("{series:")) != len(inputName.FindAll(tests, -1))+bytes.Count(tests, []byte("'kube_")) {
		t.Error("not all series of the tests were understood")
	}
}
