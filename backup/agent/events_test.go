package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/clustertest"
)

// noted is an EventRecorder that keeps what it is given.
type noted struct{ events []string }

func (n *noted) Event(object runtime.Object, kind, reason, message string) {
	about := object.(*corev1.ObjectReference)
	if len(message) > eventText {
		message = fmt.Sprintf("(%d bytes)", len(message))
	}
	n.events = append(n.events, fmt.Sprintf("%s %s/%s%s %s %s: %s", about.Kind, about.Namespace, about.Name, uidText(about.UID), kind, reason, message))
}

func uidText(uid types.UID) string {
	if uid == "" {
		return ""
	}
	return " (" + string(uid) + ")"
}

func (n *noted) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	n.Event(object, kind, reason, fmt.Sprintf(format, args...))
}

func (n *noted) AnnotatedEventf(object runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	n.Eventf(object, kind, reason, format, args...)
}

// newNoted makes a Recorder of an agent in the Pod hawser-0, and what it notes.
func newNoted() (*Recorder, *noted) {
	n := &noted{}
	return newRecorder(RecorderOptions{Namespace: "hawser", Pod: "hawser-0", PodUID: "pod-uid"}, n), n
}

func TestEventsAboutPlans(t *testing.T) {
	const agent = "Pod hawser/hawser-0 (pod-uid) "
	for _, c := range []struct {
		name string
		tell func(r *Recorder)
		want []string
	}{
		{"a failure, and the recovery", func(r *Recorder) {
			r.RunEnded(ended(ResultFailed, triedAgain))
			r.RunEnded(ended(ResultFailed))
			r.RunEnded(ended(ResultCancelled))
			r.RunEnded(ended(ResultComplete))
			r.RunEnded(ended(ResultComplete))
		}, []string{
			agent + "Warning BackupFailed: plan nightly, 2025-03-02T02:00:00Z (tried again at 2025-03-02T02:02:30Z): list claims: the server is gone",
			agent + "Warning BackupFailed: plan nightly, 2025-03-02T02:00:00Z: list claims: the server is gone",
			agent + "Normal BackupRecovered: plan nightly: point 20250302-020000-nightly-0a1b2c3d is complete",
		}},
		{"a run that is replaced", func(r *Recorder) { r.RunEnded(ended(ResultCancelled, replaced)) },
			[]string{agent + "Warning BackupFailed: plan nightly, 2025-03-02T02:00:00Z: context canceled"}},
		{"a partial point", func(r *Recorder) { r.RunEnded(ended(ResultPartial)) }, []string{
			agent + "Warning BackupPartial: plan nightly, 2025-03-02T02:00:00Z: point 20250302-020000-nightly-0a1b2c3d is partial; 1 claims are not in it as the plan asks",
			"PersistentVolumeClaim shop/db Warning SnapshotFailed: plan nightly, 2025-03-02T02:00:00Z: no snapshot",
		}},
		{"occurrences that do not run", func(r *Recorder) {
			r.OccurrencesSkipped("nightly", Skipped{Reason: SkipLate, Count: 2, First: night, Last: night.Add(24 * time.Hour)})
		}, []string{agent + "Warning OccurrenceSkipped: plan nightly: 2 occurrences from 2025-03-02T02:00:00Z to 2025-03-03T02:00:00Z do not run: they could not start within catchUp"}},
		{"a configuration that is refused", func(r *Recorder) { r.Reloaded(errors.New("plans[0]: no name")); r.Reloaded(nil) },
			[]string{agent + "Warning ConfigurationRefused: the new configuration is refused, the one before stays in force: plans[0]: no name"}},
		{"guards, and a component that throttles", func(r *Recorder) {
			r.Pruned(Pruning{Plan: "nightly", Stopped: "clock-skew", Err: errors.New("the clock is off")})
			r.Pruned(Pruning{Plan: "nightly", Err: errors.New("point p: 1 of its 2 snapshots are still there")})
			r.Pruned(Pruning{Plan: "nightly"})
			r.Swept(Sweep{Err: errors.New("list: forbidden")})
			r.Swept(Sweep{})
			r.Throttled(Throttling{Message: "raise --kube-api-qps of snapshot-controller, it's at 100%"})
		}, []string{
			agent + "Warning PruneStopped: plan nightly: nothing is deleted (clock-skew): the clock is off",
			agent + "Warning PruneStopped: plan nightly: not all that was to be deleted is: point p: 1 of its 2 snapshots are still there",
			agent + "Warning SweepStopped: no snapshot is removed (error): list: forbidden",
			agent + "Warning SnapshotsThrottled: raise --kube-api-qps of snapshot-controller, it's at 100%",
		}},
		{"a plan that is gone has no recovery", func(r *Recorder) {
			r.RunEnded(ended(ResultFailed))
			r.InForce([]Plan{{Name: "hourly"}})
			r.RunEnded(ended(ResultComplete))
		}, []string{agent + "Warning BackupFailed: plan nightly, 2025-03-02T02:00:00Z: list claims: the server is gone"}},
	} {
		r, n := newNoted()
		c.tell(r)
		if diff := cmp.Diff(c.want, n.events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestWithoutAPodEventsAreAboutTheNamespace(t *testing.T) {
	n := &noted{}
	newRecorder(RecorderOptions{Namespace: "hawser"}, n).RunEnded(ended(ResultFailed))
	if len(n.events) != 1 || !strings.HasPrefix(n.events[0], "Namespace hawser/hawser Warning BackupFailed") {
		t.Errorf("got %q", n.events)
	}
}

func TestEventsAboutClaimsTellChanges(t *testing.T) {
	r, n := newNoted()
	state := func(protected, breach bool, why string) []ClaimState {
		c := claimState("nightly", "db", breach)
		c.UID, c.Protected, c.Why = "db-uid", protected, why
		return []ClaimState{c, {Claim: catalog.ClaimKey{Namespace: "dev", Name: "scratch"}, Why: "no plan selects it"}}
	}
	const claim = "PersistentVolumeClaim shop/db (db-uid) "
	for _, c := range []struct {
		name   string
		claims []ClaimState
		want   []string
	}{
		{"all is well", state(true, false, ""), nil},
		{"the volume is not Retain", state(false, false, "protect is audit"), []string{claim + "Warning NotProtected: plan nightly: the claim's volume is not Retain; its disk goes with the claim: protect is audit"}},
		{"nothing has changed", state(false, false, "protect is audit"), nil},
		{"a breach besides", state(false, true, ""), []string{claim + "Warning RPOBreached: plan nightly: the claim cannot be brought back as new as the plan's RPO asks"}},
		{"both are over", state(true, false, ""), []string{
			claim + "Normal Protected: plan nightly: the claim's volume is Retain",
			claim + "Normal RPOMet: plan nightly: the claim can be brought back as new as the plan's RPO asks",
		}},
		{"the claim is gone", nil, nil},
		{"it is back, and not as it should be", state(false, true, ""), []string{
			claim + "Warning NotProtected: plan nightly: the claim's volume is not Retain; its disk goes with the claim",
			claim + "Warning RPOBreached: plan nightly: the claim cannot be brought back as new as the plan's RPO asks",
		}},
	} {
		n.events = nil
		r.Covered(c.claims, night)
		if diff := cmp.Diff(c.want, n.events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	n.events = nil
	r.RunEnded(ended(ResultPartial))
	if len(n.events) != 2 || !strings.HasPrefix(n.events[1], claim+"Warning SnapshotFailed") {
		t.Errorf("the claim's uid is not in the Event of a run: %q", n.events)
	}
}

func TestEventsAreBounded(t *testing.T) {
	r, n := newNoted()
	var claims []ClaimState
	end := ended(ResultPartial)
	for i := range 3000 {
		c := claimState("nightly", fmt.Sprint("data-", i), false)
		c.Protected, c.Why = false, strings.Repeat("ü", 2000)
		claims = append(claims, c)
		end.Failed = append(end.Failed, backup.Event{Claim: c.Claim, Message: strings.Repeat("x", 5000)})
	}
	r.Covered(claims, night)
	if len(n.events) != claimEvents+1 || !strings.Contains(n.events[claimEvents], "MoreClaims: there are 2980 more") {
		t.Errorf("%d Events about claims, the last: %s", len(n.events), n.events[len(n.events)-1])
	}
	n.events = nil
	r.RunEnded(end)
	if len(n.events) != claimEvents+2 {
		t.Errorf("%d Events about a run", len(n.events))
	}
	if i := slices.IndexFunc(n.events, func(e string) bool { return strings.HasSuffix(e, "bytes)") }); i >= 0 {
		t.Errorf("longer than the API server takes: %s", n.events[i])
	}
}

func TestTheEventsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		reasonFailed, reasonPartial, reasonRecovered, reasonSkipped, reasonRefused, reasonPrune, reasonSweep, reasonDrill, reasonThrottled, reasonMore,
		reasonClaimFailed, reasonClaimOpen, reasonClaimProtected, reasonClaimBreach, reasonClaimMet,
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:agent|claim) \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1])
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/metrics.md (-recorded +documented):\n%s", diff)
	}
}

// The API server takes these Events, and those that are alike become one.
func TestEventsInACluster(t *testing.T) {
	c := clustertest.Start(t, cluster.Options{})
	client, err := kubernetes.NewForConfig(c.RESTConfig("hawser-test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hawser", "shop"} {
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	watcher, err := client.CoreV1().Events("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()

	inPod := NewRecorder(ctx, RecorderOptions{Kubernetes: client, Namespace: "hawser", Pod: "hawser-0", PodUID: "pod-uid", Log: slog.New(slog.DiscardHandler)})
	outside := NewRecorder(ctx, RecorderOptions{Kubernetes: client, Namespace: "hawser", Log: slog.New(slog.DiscardHandler)})
	inPod.RunEnded(ended(ResultPartial, func(e *RunEnd) { e.Failed[0].Message = strings.Repeat("ü", 3000) }))
	for range 3 {
		inPod.Pruned(Pruning{Plan: "nightly", Stopped: "clock-skew", Err: errors.New("the clock is off")})
	}
	outside.RunEnded(ended(ResultFailed))

	want := map[string]bool{
		"Pod hawser/hawser-0 BackupPartial 1":            true,
		"Pod hawser/hawser-0 PruneStopped 3":             true,
		"PersistentVolumeClaim shop/db SnapshotFailed 1": true,
		"Namespace hawser/hawser BackupFailed 1":         true,
	}
	for len(want) > 0 {
		change, open := <-watcher.ResultChan()
		if !open {
			t.Fatalf("not seen: %v", want)
		}
		if e, ok := change.Object.(*corev1.Event); ok && e.Source.Component == "hawser" {
			about := e.InvolvedObject
			delete(want, fmt.Sprintf("%s %s/%s %s %d", about.Kind, about.Namespace, about.Name, e.Reason, e.Count))
		}
	}
}
