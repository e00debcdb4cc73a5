package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	backupagent "hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
)

// The agent is killed at random moments, while it takes over, runs a plan that
// became due, and tries again what it was killed in. The last one brings all of
// it to an end.
func TestAgentsAreKilledAtAnyMoment(t *testing.T) {
	w := newWorld(t)
	w.ctx = t.Context()
	random := seeded(t)
	k := newKilling(w)
	took := k.measure()
	for range *crashRuns {
		k.addPlan()
		a := k.startAgent()
		moment := time.Duration(random.Int64N(int64(took + took/2)))
		if random.IntN(4) > 0 {
			k.awaitLog(a, `"agent started"`) // else also while it starts
		}
		time.Sleep(moment)
		a.kill()
	}
	k.addPlan()
	last := k.startAgent()
	w.eventually("every plan has its point, or was given up", time.Duration(2+*crashRuns/10)*time.Minute, k.ended)
	last.stop()

	if err := k.books().check(w.ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, in runs of %s: %s", *crashRuns, took.Round(10*time.Millisecond), k.tally())
}

// killing is a series of agents that are killed. Each finds one plan more, which
// has become due while no agent ran.
type killing struct {
	*world
	handles    map[string]string
	file       string
	occurrence time.Time
	plans      []string
	agents     int
}

func newKilling(w *world) *killing {
	k := &killing{world: w, handles: w.deployRedis(2, "disks-delete"), file: filepath.Join(w.t.TempDir(), "config.yaml")}
	k.occurrence = time.Now().UTC().Truncate(time.Minute).Add(-time.Minute)
	return k
}

func (k *killing) schedule() string {
	return fmt.Sprintf("%d %d * * *", k.occurrence.Minute(), k.occurrence.Hour())
}

// addPlan has one plan more, in force since before its occurrence.
func (k *killing) addPlan() {
	k.t.Helper()
	k.plans = append(k.plans, fmt.Sprintf("plan-%d", len(k.plans)))
	var text strings.Builder
	text.WriteString("plans:\n")
	type inForce struct {
		Schedule string    `json:"schedule"`
		Since    time.Time `json:"since"`
	}
	state := map[string]inForce{}
	for _, name := range k.plans {
		fmt.Fprintf(&text, "- {name: %s, schedule: %q, catchUp: 12h, select: {namespaces: [%s]}}\n", name, k.schedule(), k.namespace)
		state[name] = inForce{Schedule: k.schedule() + " UTC", Since: k.occurrence.Add(-time.Minute)}
	}
	k.configure(k.file, text.String())
	data, err := json.Marshal(state)
	k.must(err)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: backupagent.StateName}, Data: map[string]string{"schedules": string(data)}}
	if _, err = k.client.CoreV1().ConfigMaps(k.namespace).Update(k.ctx, object, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = k.client.CoreV1().ConfigMaps(k.namespace).Create(k.ctx, object, metav1.CreateOptions{})
	}
	k.must(err)
}

func (k *killing) startAgent() *agent {
	k.t.Helper()
	k.agents++
	return k.world.startAgent(fmt.Sprintf("agent-%d", k.agents), k.file, "--agent-leader-elect=false")
}

func (k *killing) awaitLog(a *agent, text string) {
	k.t.Helper()
	k.eventually("the log says "+text, patience, func() bool { return strings.Contains(a.logged(), text) })
}

// measure tells how long an agent takes from its start to the point of a plan
// that is due.
func (k *killing) measure() time.Duration {
	k.t.Helper()
	k.addPlan()
	a := k.startAgent()
	k.awaitLog(a, `"agent started"`)
	began := time.Now()
	k.awaitLog(a, `"point committed"`)
	took := time.Since(began)
	a.stop()
	return took
}

// ended says whether each plan has its point, or was given up after its attempts.
func (k *killing) ended() bool {
	for _, plan := range k.plans {
		abandoned, made := k.count(plan)
		if made == 0 && abandoned < 3 {
			return false
		}
	}
	return true
}

// count counts the runs of a plan that are closed.
func (k *killing) count(plan string) (abandoned, made int) {
	for _, c := range k.commits(plan) {
		if c.Outcome == catalog.Abandoned {
			abandoned++
		} else {
			made++
		}
	}
	return abandoned, made
}

// tally tells how the plans fared.
func (k *killing) tally() string {
	resumed, tries := 0, map[int]int{}
	for _, plan := range k.plans {
		abandoned, made := k.count(plan)
		if made == 0 {
			abandoned = -1
		}
		tries[abandoned+1]++
		for _, c := range k.commits(plan) {
			if len(c.Notes) > 0 {
				resumed++
			}
		}
	}
	return fmt.Sprintf("%d plans made their point at the first attempt, %d at the second, %d at the third, %d never; %d runs were taken up and completed", tries[1], tries[2], tries[3], tries[0], resumed)
}

func (k *killing) books() *books {
	bucket, err := dir.Open(strings.TrimPrefix(k.store, "file://"))
	k.must(err)
	k.t.Cleanup(func() { bucket.Close() })
	cat, err := catalog.Open(k.ctx, bucket, catalog.Limits{})
	k.must(err)
	return &books{world: k.world, handles: k.handles, catalog: cat}
}
