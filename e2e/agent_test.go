package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/e2e/clitest"
)

var leasesResource = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}

// agent is a hawser agent of a world.
type agent struct {
	*clitest.Process
	w      *world
	name   string
	listen string
	log    string // the file that it logs to
}

// startAgent starts an agent with the configuration in file. Its Lease is in
// the world's namespace.
func (w *world) startAgent(name, file string, args ...string) *agent {
	w.t.Helper()
	a := &agent{w: w, name: name, listen: freeAddress(w.t), log: filepath.Join(w.t.TempDir(), "log")}
	cli := w.cli()
	cli.Env = append(cli.Env, "POD_NAME="+name)
	args = append([]string{"agent", "--config", file, "--agent-listen", a.listen, "--agent-namespace", w.namespace}, args...)
	a.Process = cli.StartLogged(w.ctx, w.t, a.log, args...)
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// kill ends the agent as a lost node does.
func (a *agent) kill() {
	a.w.t.Helper()
	a.w.must(a.Signal(syscall.SIGKILL))
	a.Wait()
}

// stop ends the agent as Kubernetes does.
func (a *agent) stop() {
	a.w.t.Helper()
	a.w.must(a.Signal(syscall.SIGTERM))
	if r := a.Wait(); r.Code != 0 {
		a.w.t.Errorf("agent %s: exit code %d\n%s", a.name, r.Code, a.logged())
	}
}

func (a *agent) logged() string {
	a.w.t.Helper()
	data, err := os.ReadFile(a.log)
	a.w.must(err)
	return string(data)
}

// get asks the agent by HTTP. The code is 0 if it does not answer.
func (a *agent) get(path string) (int, string) {
	request, err := http.NewRequestWithContext(a.w.ctx, http.MethodGet, "http://"+a.listen+path, nil)
	a.w.must(err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a.w.must(err)
	return response.StatusCode, string(body)
}

// eventually waits until done, for what can only be asked.
func (w *world) eventually(what string, within time.Duration, done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("not within %s: %s", within, what)
		case <-w.ctx.Done():
			w.t.Fatalf("%s: %v", what, w.ctx.Err())
		}
	}
}

// commits reads the closed runs of a plan in the world's folder, oldest first.
func (w *world) commits(plan string) []catalog.Commit {
	w.t.Helper()
	bucket, err := dir.Open(strings.TrimPrefix(w.store, "file://"))
	w.must(err)
	defer bucket.Close()
	cat, err := catalog.Open(w.ctx, bucket, catalog.Limits{})
	w.must(err)
	survey, err := cat.Survey(w.ctx, "")
	w.must(err)
	entries, err := cat.Entries(w.ctx, survey)
	w.must(err)
	var commits []catalog.Commit
	for _, e := range entries {
		w.must(e.Err)
		if e.Commit.Plan == plan {
			commits = append(commits, e.Commit)
		}
	}
	return commits
}

// holder waits until the Lease is held by an agent of that name; "" is nobody.
func (w *world) holder(name string) {
	w.t.Helper()
	w.await(leasesResource, "hawser-agent", func(lease *unstructured.Unstructured) bool {
		if lease == nil {
			return false
		}
		holder, _, _ := unstructured.NestedString(lease.Object, "spec", "holderIdentity")
		return name == "" && holder == "" || name != "" && strings.HasPrefix(holder, name+"_")
	})
}

// configure writes the agents' configuration, as a ConfigMap's volume does: by
// putting another file in its place.
func (w *world) configure(file, text string) string {
	w.t.Helper()
	w.must(os.WriteFile(file+".next", []byte(text), 0o600))
	w.must(os.Rename(file+".next", file))
	return file
}

func (w *world) everyMinute(name string) string {
	return fmt.Sprintf("plans:\n- name: %s\n  schedule: \"* * * * *\"\n  select: {namespaces: [%s]}\n", name, w.namespace)
}

// onceSoon is a plan that starts at the next full minute for which an agent can
// be there in time, and not again before tomorrow.
func (w *world) onceSoon(name string) string {
	at := time.Now().UTC().Add(90 * time.Second).Truncate(time.Minute)
	return fmt.Sprintf("plans:\n- name: %s\n  schedule: \"%d %d * * *\"\n  timezone: UTC\n  select: {namespaces: [%s]}\n", name, at.Minute(), at.Hour(), w.namespace)
}

func TestAgentsRunAPlanAndTakeOver(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(2, "disks-delete")
	file := w.configure(filepath.Join(t.TempDir(), "config.yaml"), w.everyMinute("minutely"))
	one := w.startAgent("one", file)
	w.holder("one")
	two := w.startAgent("two", file)

	started := time.Now()
	w.eventually("a point of the plan's schedule", 80*time.Second, func() bool { return len(w.commits("minutely")) > 0 })
	first := w.commits("minutely")[0]
	if first.Scheduled.Second() != 0 || first.Scheduled.Before(started.Truncate(time.Minute)) || first.Outcome != catalog.Complete || first.Counts.Snapshots != 2 {
		t.Errorf("the first point: %+v, want a complete one of the next full minute, with 2 snapshots", first)
	}
	w.expectRetain()
	if code, body := one.get("/readyz"); code != 200 {
		t.Errorf("the leader's /readyz: %d %s", code, body)
	}

	died := time.Now()
	one.kill()
	w.holder("two")
	took := time.Since(died)
	t.Logf("two leads %s after one was killed", took.Round(100*time.Millisecond))
	if took > 20*time.Second {
		t.Errorf("the takeover took %s, want at most 20 s", took)
	}
	w.eventually("a point by the second agent", 80*time.Second, func() bool {
		return slices.ContainsFunc(w.commits("minutely"), func(c catalog.Commit) bool { return c.Scheduled.After(died) })
	})
	two.stop()
	w.holder("")
	occurrences := map[time.Time]int{}
	for _, c := range w.commits("minutely") {
		if c.Outcome != catalog.Abandoned {
			occurrences[c.Scheduled]++
		}
	}
	for at, n := range occurrences {
		if n > 1 {
			t.Errorf("%d points of %s", n, at)
		}
	}
	// It can be restored, as any point.
	w.loseEverything()
	w.run(0, "restore", string(first.Point), "--from", "disks")
	w.awaitReady(2)
}

func TestAnAgentReadsItsConfigurationAnew(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	paused := w.everyMinute("minutely") + "  paused: true\n"
	file := w.configure(filepath.Join(t.TempDir(), "config.yaml"), paused)
	a := w.startAgent("one", file, "--agent-leader-elect=false")
	w.eventually("it works", patience, func() bool { code, _ := a.get("/readyz"); return code == 200 })

	w.configure(file, "plans:\n- name: minutely\n  schedule: \"* * *\"\n")
	w.eventually("it refuses a configuration that is wrong", patience, func() bool { return strings.Contains(a.logged(), "the new configuration is refused") })
	if code, _ := a.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d after a refused configuration", code)
	}
	resumed := time.Now()
	w.configure(file, w.everyMinute("minutely"))
	w.eventually("a point", 80*time.Second, func() bool { return len(w.commits("minutely")) > 0 })
	if first := w.commits("minutely")[0]; !first.Scheduled.After(resumed) {
		t.Errorf("the plan was resumed at %s and began with the occurrence of %s", resumed, first.Scheduled)
	}
	r := w.run(0, "plans", "--config", file, "-o", "json")
	var plans []struct{ Name, Health string }
	w.must(json.Unmarshal([]byte(r.Stdout), &plans))
	if len(plans) != 1 || plans[0].Name != "minutely" || plans[0].Health != "ok" {
		t.Errorf("hawser plans: %+v, want minutely to be ok", plans)
	}
	a.stop()
}

// A leader that is told to stop in the midst of a run leaves nothing behind, and
// the next one makes the point.
func TestAnAgentThatIsStoppedLeavesItsRunToTheNext(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	arrived, release := w.faults.Block("CreateSnapshot", handles[redisClaim(0)])
	defer release()
	file := w.configure(filepath.Join(t.TempDir(), "config.yaml"), w.onceSoon("soon"))
	one := w.startAgent("one", file, "--agent-leader-elect=false")
	select {
	case <-arrived:
	case <-w.ctx.Done():
		t.Fatalf("no snapshot is being taken\n%s", one.logged())
	}
	one.stop()
	release()
	two := w.startAgent("two", file, "--agent-leader-elect=false")
	var made catalog.Commit
	w.eventually("the next agent makes the point", patience, func() bool {
		for _, c := range w.commits("soon") {
			if c.Outcome == catalog.Complete {
				made = c
			}
		}
		return made.Point != ""
	})
	if made.Attempt != 1 {
		t.Errorf("the point is of attempt %d, want the second of the same occurrence", made.Attempt)
	}
	two.stop()
	if stored := w.storedSnapshots(handles); len(stored) != len(w.commits("soon"))-1 {
		t.Errorf("%d snapshots on the storage for %d runs, of which one was abandoned", len(stored), len(w.commits("soon")))
	}
}
