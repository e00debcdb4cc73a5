package e2e_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster"
)

// A run that waits for snapshots says within a minute which component throttles
// and what to raise, and blames no other.
func TestTheLogNamesTheComponentThatThrottles(t *testing.T) {
	const claims = 40
	for _, component := range []string{"snapshot-controller", "csi-snapshotter"} {
		t.Run(component, func(t *testing.T) {
			w := ownWorld(t, cluster.Options{Throttle: map[string]int{component: 1}})
			w.deployRedis(claims, "disks-retain")
			slow := w.slowBackup()
			slow.names(component, 60*time.Second)
			for _, flag := range []string{"--kube-api-qps", "--kube-api-burst", "--worker-threads"} {
				if line := slow.lines()[0]; !strings.Contains(line.Message, flag) || !strings.Contains(line.Flags, flag) {
					t.Errorf("the line does not name %s: %+v", flag, line)
				}
			}
			slow.blamesNoOther(component, 65*time.Second)
		})
	}
}

func TestTheLogNamesOurOwnLimit(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(40, "disks-retain")
	w.env = append(w.env, "HAWSER_KUBERNETES_QPS=1", "HAWSER_KUBERNETES_BURST=1")
	slow := w.slowBackup()
	slow.names("hawser", 90*time.Second) // it is slow to begin, too
	if line := slow.lines()[0]; line.Flags != "kubernetes.qps, kubernetes.burst" {
		t.Errorf("the line names %q", line.Flags)
	}
	slow.blamesNoOther("hawser", 100*time.Second)
}

// A driver that takes long is no component that throttles.
func TestTheLogNamesADriverThatTakesLong(t *testing.T) {
	w := ownWorld(t, cluster.Options{}) // it would stop the snapshots of others
	handles := w.deployRedis(14, "disks-retain")
	for _, handle := range handles {
		_, release := w.faults.Block("CreateSnapshot", handle)
		defer release()
	}
	slow := w.slowBackup()
	slow.names("driver", 60*time.Second)
	if line := slow.lines()[0]; line.Level != "INFO" || line.Driver != "disks.hawser.dev" || !strings.Contains(line.Message, "nothing throttles") {
		t.Errorf("the line says: %+v", line)
	}
	slow.blamesNoOther("driver", 50*time.Second)
}

// The agent says so in its log and in its metrics.
func TestTheAgentsMetricsNameWhatThrottles(t *testing.T) {
	w := ownWorld(t, cluster.Options{Throttle: map[string]int{"snapshot-controller": 1}})
	w.deployRedis(16, "disks-retain")
	a := w.startAgent("one", w.configure(filepath.Join(t.TempDir(), "config.yaml"), w.everyMinute("minutely")), "--agent-leader-elect=false")
	defer a.kill()
	var metrics string
	w.eventually("a metric of what throttles", 150*time.Second, func() bool {
		_, metrics = a.get("/metrics")
		return strings.Contains(metrics, `hawser_throttled_total{component="snapshot-controller"}`)
	})
	if strings.Count(metrics, "hawser_throttled_total{") != 1 || !strings.Contains(metrics, `hawser_throttled_seconds_total{component="snapshot-controller"} 15`) {
		t.Errorf("metrics:\n%s", metrics)
	}
	lines := slowLines(t, a.log)
	if len(lines) != 1 || lines[0].Component != "snapshot-controller" || lines[0].Plan != "minutely" {
		t.Fatalf("lines %+v", lines)
	}
}

// slowBackup is a backup that takes long, and what it logs.
type slowBackup struct {
	*world
	log     string
	started time.Time
}

// slowBackup starts a backup of the namespace. It is killed when the test ends.
func (w *world) slowBackup() *slowBackup {
	w.t.Helper()
	b := &slowBackup{world: w, log: filepath.Join(w.t.TempDir(), "log"), started: time.Now()}
	p := w.cli().StartLogged(w.ctx, w.t, b.log, "backup", "-n", w.namespace, "-q", "--log-level", "debug", "--log-format", "json")
	w.t.Cleanup(func() {
		p.Kill()
		p.Wait()
		if w.t.Failed() {
			log, _ := os.ReadFile(b.log)
			w.t.Logf("the log:\n%s", log)
		}
	})
	return b
}

// slowLine is a line of the log that says why snapshots are slow.
type slowLine struct {
	Time                                                  time.Time
	Level, Message, Component, Driver, Flags, Plan, Point string
	Waiting                                               int
}

// UnmarshalJSON takes the message by the name that slog gives it.
func (l *slowLine) UnmarshalJSON(data []byte) error {
	type fields slowLine
	return json.Unmarshal(data, &struct {
		*fields
		Msg *string `json:"msg"`
	}{(*fields)(l), &l.Message})
}

func (b *slowBackup) lines() []slowLine {
	b.t.Helper()
	return slowLines(b.t, b.log)
}

// slowLines reads those of a log so far.
func slowLines(t *testing.T, log string) []slowLine {
	t.Helper()
	file, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []slowLine
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line slowLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil && strings.HasPrefix(line.Message, "snapshots are slow: ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// names waits until the log names a component, and fails the test if it takes
// longer than within.
func (b *slowBackup) names(component string, within time.Duration) {
	b.t.Helper()
	b.eventually("the log names "+component, within, func() bool {
		return slices.ContainsFunc(b.lines(), func(l slowLine) bool { return l.Component == component })
	})
	b.t.Logf("named after %s: %+v", b.lines()[0].Time.Sub(b.started).Round(time.Second), b.lines()[0])
}

// blamesNoOther waits until the backup has run for a while, and fails the test
// if the log names another component.
func (b *slowBackup) blamesNoOther(component string, running time.Duration) {
	b.t.Helper()
	select {
	case <-time.After(time.Until(b.started.Add(running))):
	case <-b.ctx.Done():
	}
	for _, line := range b.lines() {
		if line.Component != component {
			b.t.Errorf("the log blames %s too: %+v", line.Component, line)
		}
	}
}
