package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

var (
	night      = time.Date(2025, 3, 2, 2, 0, 0, 0, time.UTC)
	prodEU     = catalog.Cluster{UID: uid, Name: "prod-eu"}
	everything = []Occasion{OnFailure, OnRecovery, OnRPO}
)

// receiver is a webhook.
type receiver struct {
	mu     sync.Mutex
	bodies []string
	answer func(n int, w http.ResponseWriter) // of the nth request, from 0; nil is 200
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, string(body))
	if r.answer != nil {
		r.answer(len(r.bodies)-1, w)
	}
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies
}

// RoundTrip lets a client reach the webhook without a network, so that time can
// be the test's.
func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	r.ServeHTTP(recorder, request)
	return recorder.Result(), nil
}

// events are what the messages say happened, and to which plan.
func (r *receiver) events(t *testing.T) []string {
	t.Helper()
	var events []string
	for _, body := range r.received() {
		var m Message
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		event := m.Event + " " + m.Plan
		if m.Run != nil {
			event += " " + string(m.Run.Result)
		}
		if m.Drill != nil {
			event += " " + string(m.Drill.Result)
		}
		events = append(events, event)
	}
	return events
}

// notifier makes one that tells r of all, with a plan "nightly" and one "hourly".
// It runs until stop is called, which returns when all is delivered.
func notifier(t *testing.T, r *receiver, options NotifierOptions) (n *Notifier, stop func()) {
	t.Helper()
	if options.Webhooks == nil {
		options.Webhooks = []Webhook{{URL: "https://hooks.example.com/secret", On: everything}}
	}
	options.Cluster, options.Client = prodEU, &http.Client{Transport: r}
	n = NewNotifier(options)
	n.InForce([]Plan{{Name: "nightly", RPO: 26 * time.Hour}, {Name: "hourly"}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	return n, func() { cancel(); <-done }
}

// ended is the end of a run of the plan nightly.
func ended(result Result, change ...func(*RunEnd)) RunEnd {
	end := RunEnd{Run: Run{Plan: "nightly", Occurrence: night, Started: night}, Ended: night.Add(90 * time.Second)}
	switch result {
	case ResultComplete:
		end.Commit = catalog.Commit{Point: "20250302-020000-nightly-0a1b2c3d", Outcome: catalog.Complete, Committed: end.Ended, Counts: catalog.Counts{Claims: 3, Snapshots: 3}}
	case ResultPartial:
		end.Commit = catalog.Commit{Point: "20250302-020000-nightly-0a1b2c3d", Outcome: catalog.Partial, Committed: end.Ended, Counts: catalog.Counts{Claims: 3, Snapshots: 2}, Reasons: []string{"claim shop/db: no snapshot"}}
		end.Failed = []backup.Event{{Claim: catalog.ClaimKey{Namespace: "shop", Name: "db"}, Stage: backup.StageFailed, Message: "no snapshot"}}
	case ResultFailed:
		end.Err = errors.New("list claims: the server is gone")
	case ResultCancelled:
		end.Err, end.Cancelled = context.Canceled, "a newer occurrence takes its place"
	}
	for _, c := range change {
		c(&end)
	}
	return end
}

func replaced(end *RunEnd) { end.Replaced = true }

func triedAgain(end *RunEnd) { end.Retry = end.Ended.Add(time.Minute) }

func TestEachChangeOfAPlanIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		ends []RunEnd
		want []string
	}{
		{"a plan that is well", []RunEnd{ended(ResultComplete), ended(ResultComplete)}, nil},
		{"a failure, and the recovery", []RunEnd{ended(ResultFailed), ended(ResultComplete), ended(ResultComplete)}, []string{"failure nightly failed", "recovery nightly complete"}},
		{"night after night of failures", []RunEnd{ended(ResultFailed), ended(ResultFailed), ended(ResultFailed)}, []string{"failure nightly failed"}},
		{"attempts, of which the last is well", []RunEnd{ended(ResultFailed, triedAgain), ended(ResultFailed, triedAgain), ended(ResultComplete)}, nil},
		{"attempts, of which none is well", []RunEnd{ended(ResultFailed, triedAgain), ended(ResultFailed, triedAgain), ended(ResultFailed)}, []string{"failure nightly failed"}},
		{"a partial point is a failure, and no recovery", []RunEnd{ended(ResultPartial), ended(ResultPartial), ended(ResultFailed), ended(ResultPartial), ended(ResultComplete)}, []string{"failure nightly partial", "failure nightly failed", "failure nightly partial", "recovery nightly complete"}},
		{"a run that the agent stopped", []RunEnd{ended(ResultCancelled), ended(ResultComplete)}, nil},
		{"stopping a run changes nothing", []RunEnd{ended(ResultFailed), ended(ResultCancelled), ended(ResultFailed)}, []string{"failure nightly failed"}},
		{"a run that is replaced has no point, and night after night", []RunEnd{ended(ResultCancelled, replaced), ended(ResultCancelled, replaced), ended(ResultComplete)}, []string{"failure nightly cancelled", "recovery nightly complete"}},
		{"another process has the occurrence", []RunEnd{ended(ResultFailed, func(e *RunEnd) { e.Err = fmt.Errorf("another run: %w", catalog.ErrExist) })}, nil},
		{"a plan that is not in force any more", []RunEnd{ended(ResultFailed, func(e *RunEnd) { e.Plan = "gone" })}, nil},
		{"each plan for itself", []RunEnd{ended(ResultFailed), ended(ResultFailed, func(e *RunEnd) { e.Plan = "hourly" }), ended(ResultComplete)}, []string{"failure nightly failed", "failure hourly failed", "recovery nightly complete"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &receiver{}
			n, stop := notifier(t, r, NotifierOptions{})
			for _, end := range c.ends {
				n.RunEnded(end)
			}
			stop()
			if diff := cmp.Diff(c.want, r.events(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func claimState(plan, name string, breach bool) ClaimState {
	return ClaimState{Claim: catalog.ClaimKey{Namespace: "shop", Name: name}, Plan: plan, Restorable: night, Protected: true, Breach: breach, Why: "the driver has no snapshots"}
}

func TestABreachOfTheRPOIsToldOnceAndSoIsItsEnd(t *testing.T) {
	r := &receiver{}
	n, stop := notifier(t, r, NotifierOptions{})
	for _, claims := range [][]ClaimState{
		{claimState("nightly", "db", false)},
		{claimState("nightly", "db", true), claimState("nightly", "cache", false)},
		{claimState("nightly", "db", true), claimState("nightly", "cache", true), claimState("gone", "x", true)},
		{claimState("nightly", "db", false), claimState("nightly", "cache", true)},
		{claimState("nightly", "db", false)},
		{claimState("nightly", "db", false)},
	} {
		n.Covered(claims, night)
	}
	stop()
	if diff := cmp.Diff([]string{"rpo-breach nightly", "rpo-recovery nightly"}, r.events(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// drillOf is a drill of the plan nightly.
func drillOf(outcome catalog.DrillOutcome) catalog.Drill {
	d := catalog.Drill{ID: "20250302-013000-nightly-0a1b2c3d", Point: "20250302-020000-nightly-0a1b2c3d", Outcome: outcome}
	if outcome == catalog.DrillFailed {
		d.Reasons = []string{"the namespace is full"}
		d.Claims = []catalog.DrillClaim{{Namespace: "shop", Name: "db", Outcome: outcome, Message: "the check ended with 1"}, {Namespace: "shop", Name: "web", Outcome: catalog.DrillPassed}}
	}
	return d
}

// A leader's drills, and what the next leaders recall, at hours of the night.
func TestEachChangeOfDrillsIsToldOnce(t *testing.T) {
	at := func(hour int, outcome catalog.DrillOutcome) DrillEnd {
		return DrillEnd{Plan: "nightly", Ended: night.Add(time.Duration(hour) * time.Hour), Drill: drillOf(outcome)}
	}
	passed := func(hour int) DrillEnd { return at(hour, catalog.DrillPassed) }
	failed := func(hour int) DrillEnd { return at(hour, catalog.DrillFailed) }
	notHeld := func(hour int) DrillEnd {
		return DrillEnd{Plan: "nightly", Ended: night.Add(time.Duration(hour) * time.Hour), Err: errors.New("no Pod starts")}
	}
	recalled := func(end DrillEnd) DrillEnd { end.Recalled = true; return end }
	for _, c := range []struct {
		name string
		ends []DrillEnd
		want []string
	}{
		{"drills that pass", []DrillEnd{recalled(passed(0)), passed(1), passed(2)}, nil},
		{"failures, and the recovery", []DrillEnd{failed(1), failed(2), passed(3), passed(4)}, []string{"drill-failure nightly failed", "drill-recovery nightly passed"}},
		{"one that could not be held", []DrillEnd{notHeld(1), notHeld(2), failed(3), passed(4)}, []string{"drill-failure nightly error", "drill-failure nightly failed", "drill-recovery nightly passed"}},
		{"the next leader tells it not again", []DrillEnd{passed(1), failed(2), recalled(passed(1)), recalled(failed(2)), passed(3)}, []string{"drill-failure nightly failed", "drill-recovery nightly passed"}},
		{"nor that all was well before", []DrillEnd{passed(1), notHeld(2), recalled(passed(1)), notHeld(3)}, []string{"drill-failure nightly error"}},
		{"but what the last one died over", []DrillEnd{failed(1), recalled(failed(0)), recalled(passed(2))}, []string{"drill-failure nightly failed", "drill-recovery nightly passed"}},
		{"or has not told", []DrillEnd{recalled(passed(0)), recalled(failed(1)), recalled(failed(1))}, []string{"drill-failure nightly failed"}},
		{"a plan that is gone", []DrillEnd{{Plan: "gone", Err: errors.New("no Pod starts")}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &receiver{}
			n, stop := notifier(t, r, NotifierOptions{})
			for _, end := range c.ends {
				n.Drilled(end)
			}
			stop()
			if diff := cmp.Diff(c.want, r.events(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWebhooksAreToldWhatTheyAskFor(t *testing.T) {
	r := &receiver{}
	n, stop := notifier(t, r, NotifierOptions{Webhooks: []Webhook{{URL: "https://hooks.example.com/a", On: []Occasion{OnRecovery}}}})
	n.RunEnded(ended(ResultFailed))
	n.Covered([]ClaimState{claimState("nightly", "db", true)}, night)
	n.RunEnded(ended(ResultComplete))
	n.Drilled(DrillEnd{Plan: "nightly", Ended: night, Err: errors.New("no Pod starts")})
	n.Drilled(DrillEnd{Plan: "nightly", Ended: night.Add(time.Hour), Drill: drillOf(catalog.DrillPassed)})
	stop()
	if diff := cmp.Diff([]string{"recovery nightly complete", "drill-recovery nightly passed"}, r.events(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatWasToldOutlivesTheNotifier(t *testing.T) {
	r := &receiver{}
	var kept map[string]Told
	first, stop := notifier(t, r, NotifierOptions{Changed: func(told map[string]Told) { kept = told }})
	first.RunEnded(ended(ResultFailed))
	first.Covered([]ClaimState{claimState("nightly", "db", true)}, night)
	stop()
	if diff := cmp.Diff(map[string]Told{"nightly": {Run: ResultFailed, Breach: true}}, kept); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	second, stop := notifier(t, r, NotifierOptions{})
	second.Resume(kept)
	second.RunEnded(ended(ResultFailed))
	second.Covered([]ClaimState{claimState("nightly", "db", true)}, night)
	second.RunEnded(ended(ResultComplete))
	second.InForce([]Plan{{Name: "hourly"}})
	stop()
	want := []string{"failure nightly failed", "rpo-breach nightly", "recovery nightly complete"}
	if diff := cmp.Diff(want, r.events(t)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if told := second.Told(); len(told) > 0 {
		t.Errorf("of plans that are gone is kept: %v", told)
	}
}

func TestEachChangeOfWhatWasToldIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []map[string]Told
		n, stop := notifier(t, &receiver{}, NotifierOptions{Changed: func(told map[string]Told) { reported = append(reported, told) }})
		defer stop()
		for _, result := range []Result{ResultComplete, ResultFailed, ResultFailed, ResultComplete} {
			n.RunEnded(ended(result))
			synctest.Wait()
		}
		if diff := cmp.Diff([]map[string]Told{{"nightly": {Run: ResultFailed}}, {}}, reported); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The schema is a promise: these bodies must not change but for more keys.
func TestTheBodiesOfMessages(t *testing.T) {
	never := claimState("nightly", "new", true)
	never.Restorable, never.Why = time.Time{}, ""
	plan := Plan{Name: "nightly", RPO: 26 * time.Hour}
	for _, c := range []struct {
		name    string
		message Message
		want    string
	}{
		{"failure", runMessage(eventFailure, ended(ResultFailed)), `{
  "version": 1,
  "event": "failure",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:01:30Z",
  "text": "plan nightly, 2025-03-02 02:00 UTC: the backup failed: list claims: the server is gone",
  "run": {
    "occurrence": "2025-03-02T02:00:00Z",
    "attempt": 0,
    "result": "failed",
    "error": "list claims: the server is gone",
    "claimCount": 0
  }
}`},
		{"a partial point", runMessage(eventFailure, ended(ResultPartial)), `{
  "version": 1,
  "event": "failure",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:01:30Z",
  "text": "plan nightly, 2025-03-02 02:00 UTC: point 20250302-020000-nightly-0a1b2c3d is partial: claim shop/db: no snapshot",
  "run": {
    "occurrence": "2025-03-02T02:00:00Z",
    "attempt": 0,
    "result": "partial",
    "point": "20250302-020000-nightly-0a1b2c3d",
    "reasons": ["claim shop/db: no snapshot"],
    "claims": [{"namespace": "shop", "name": "db", "message": "no snapshot"}],
    "claimCount": 1
  }
}`},
		{"recovery", runMessage(eventRecovery, ended(ResultComplete)), `{
  "version": 1,
  "event": "recovery",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:01:30Z",
  "text": "plan nightly is well again: point 20250302-020000-nightly-0a1b2c3d is complete",
  "run": {
    "occurrence": "2025-03-02T02:00:00Z",
    "attempt": 0,
    "result": "complete",
    "point": "20250302-020000-nightly-0a1b2c3d",
    "claimCount": 0
  }
}`},
		{"breach", rpoMessage(eventRPOBreach, plan, []ClaimState{claimState("nightly", "db", true), never}, night.Add(30*time.Hour)), `{
  "version": 1,
  "event": "rpo-breach",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-03T08:00:00Z",
  "text": "plan nightly: 2 of its claims cannot be brought back as new as its RPO of 26h0m0s asks: shop/db, shop/new",
  "rpo": {
    "seconds": 93600,
    "claims": [
      {"namespace": "shop", "name": "db", "message": "the driver has no snapshots", "restorable": "2025-03-02T02:00:00Z"},
      {"namespace": "shop", "name": "new"}
    ],
    "claimCount": 2
  }
}`},
		{"end of a breach", rpoMessage(eventRPORecovery, plan, nil, night), `{
  "version": 1,
  "event": "rpo-recovery",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:00:00Z",
  "text": "plan nightly: every claim can be brought back as new as its RPO of 26h0m0s asks",
  "rpo": {"seconds": 93600, "claimCount": 0}
}`},
		{"a drill that failed", drillMessage(eventDrillFailure, DrillEnd{Plan: "nightly", Ended: night, Drill: drillOf(catalog.DrillFailed)}), `{
  "version": 1,
  "event": "drill-failure",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:00:00Z",
  "text": "plan nightly: the drill of point 20250302-020000-nightly-0a1b2c3d failed: the namespace is full; claim shop/db: the check ended with 1",
  "drill": {
    "id": "20250302-013000-nightly-0a1b2c3d",
    "point": "20250302-020000-nightly-0a1b2c3d",
    "result": "failed",
    "reasons": ["the namespace is full"],
    "claims": [{"namespace": "shop", "name": "db", "message": "the check ended with 1"}],
    "claimCount": 1
  }
}`},
		{"one that could not be held", drillMessage(eventDrillFailure, DrillEnd{Plan: "nightly", Ended: night, Err: errors.New("the API server is away")}), `{
  "version": 1,
  "event": "drill-failure",
  "cluster": {"uid": "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "name": "prod-eu"},
  "plan": "nightly",
  "time": "2025-03-02T02:00:00Z",
  "text": "plan nightly: a drill could not be held: the API server is away",
  "drill": {"result": "error", "error": "the API server is away", "claimCount": 0}
}`},
	} {
		c.message.Cluster = prodEU
		body, err := c.message.body(FormatJSON)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestASlackMessageIsTextWithoutMarkup(t *testing.T) {
	m := runMessage(eventFailure, ended(ResultFailed, func(e *RunEnd) { e.Err = errors.New("<!channel> a & b") }))
	m.Cluster = prodEU
	body, err := m.body(FormatSlack)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"text": "Hawser, cluster prod-eu: plan nightly, 2025-03-02 02:00 UTC: the backup failed: &lt;!channel&gt; a &amp; b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	var breached []ClaimState
	end := ended(ResultPartial)
	for i := range 5000 {
		breached = append(breached, claimState("nightly", fmt.Sprint("data-", i), true))
		end.Failed = append(end.Failed, backup.Event{Message: strings.Repeat("ü", 5000)})
		end.Commit.Reasons = append(end.Commit.Reasons, strings.Repeat("x", 300))
	}
	drill := drillOf(catalog.DrillFailed)
	for range 5000 {
		drill.Claims = append(drill.Claims, catalog.DrillClaim{Outcome: catalog.DrillFailed, Message: strings.Repeat("ü", 2000)})
	}
	for _, m := range []Message{rpoMessage(eventRPOBreach, Plan{Name: "nightly", RPO: time.Hour}, breached, night), runMessage(eventFailure, end), drillMessage(eventDrillFailure, DrillEnd{Drill: drill})} {
		body, err := m.body(FormatJSON)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) > 64<<10 {
			t.Errorf("%s: %d bytes", m.Event, len(body))
		}
		if m.RPO != nil && (m.RPO.ClaimCount != 5000 || !strings.Contains(m.Text, "and 4980 more")) {
			t.Errorf("the message does not count what it leaves out: %d, %s", m.RPO.ClaimCount, m.Text)
		}
	}
}

// docs/notify.md must tell of every key.
func TestTheMessagesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	full := runMessage(eventFailure, ended(ResultFailed, func(e *RunEnd) {
		e.Commit.Point, e.Commit.Reasons = "p", []string{"r"}
		e.Failed = []backup.Event{{Message: "m"}}
	}))
	full.Drill = drillMessage(eventDrillFailure, DrillEnd{Err: errors.New("e"), Drill: drillOf(catalog.DrillFailed)}).Drill
	full.Drill.Error = "e"
	full.RPO = rpoMessage(eventRPOBreach, Plan{}, []ClaimState{claimState("nightly", "db", true)}, night).RPO
	body, err := full.body(FormatJSON)
	if err != nil {
		t.Fatal(err)
	}
	words := []string{eventFailure, eventRecovery, eventDrillFailure, eventDrillRecovery, eventRPOBreach, eventRPORecovery, string(FormatJSON), string(FormatSlack)}
	for _, key := range regexp.MustCompile(`"([a-zA-Z]+)":`).FindAllStringSubmatch(string(body), -1) {
		words = append(words, key[1])
	}
	if len(words) < 25 {
		t.Fatalf("only %d words are looked for", len(words))
	}
	for _, word := range words {
		if !strings.Contains(string(page), "`"+word+"`") && !strings.Contains(string(page), "."+word+"`") {
			t.Errorf("docs/notify.md does not mention `%s`", word)
		}
	}
}
