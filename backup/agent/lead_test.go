package agent

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// lasting is a run that takes so long, and a minute to give up.
func lasting(d time.Duration) func(context.Context, backup.Request) error {
	return func(ctx context.Context, _ backup.Request) error {
		select {
		case <-ctx.Done():
			time.Sleep(time.Minute)
			return context.Cause(ctx)
		case <-time.After(d):
			return nil
		}
	}
}

func replacing(p *Plan) { p.Concurrency = Replace }

// says asks a health check of the agent.
func says(a *Agent, path string) string {
	r := httptest.NewRecorder()
	a.Handler().ServeHTTP(r, httptest.NewRequest("GET", path, nil))
	return strings.TrimSpace(r.Body.String())
}

// An occurrence waits for the run before it to give up, when the agent ends.
func TestAnEndStartsNothingAndPromisesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do = lasting(time.Hour)
		seen := &recorder{}
		a := w.agent("one", true, plan(t, "p", "*/10 * * * *", replacing))
		a.Observer = seen
		stop := w.start(a)
		time.Sleep(20*time.Minute + 30*time.Second)
		before := time.Now()
		stop()
		if took := time.Since(before); took > time.Minute {
			t.Errorf("the end took %s", took)
		}
		w.wantRan("runs", "p 01 00:10#0 at 01 00:10:00")
		if diff := cmp.Diff([]string{"replaced never"}, seen.ends); diff != "" {
			t.Errorf("ends and retries (-want +got):\n%s", diff)
		}

		// It is not lost: the next leader catches it up.
		w.do = nil
		stop = w.start(w.agent("two", true, plan(t, "p", "*/10 * * * *", replacing)))
		time.Sleep(time.Minute)
		stop()
		w.wantRan("runs of the next leader", "p 01 00:20#0 at 01 00:21:00")
	})
}

// skips notes what does not run.
type skips struct {
	Blind
	mu   sync.Mutex
	told []string
}

func (s *skips) OccurrencesSkipped(_ string, skipped Skipped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, string(skipped.Reason)+" "+skipped.First.Format("15:04"))
}

func TestAnOccurrenceThatIsReplacedBeforeItStartsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do = func(ctx context.Context, request backup.Request) error {
			if request.Scheduled.Minute() == 10 {
				time.Sleep(25 * time.Minute) // whatever it is told
			}
			return ctx.Err()
		}
		seen := &skips{}
		a := w.agent("one", true, plan(t, "p", "*/10 * * * *", replacing))
		a.Observer = seen
		stop := w.start(a)
		time.Sleep(39 * time.Minute)
		stop()
		w.wantRan("runs", "p 01 00:10#0 at 01 00:10:00", "p 01 00:30#0 at 01 00:35:00")
		if diff := cmp.Diff([]string{"superseded 00:20"}, seen.told); diff != "" {
			t.Errorf("skipped (-want +got):\n%s", diff)
		}
	})
}

// What a plan was yet to start does not start when the plan is paused, changed or
// gone by then.
func TestWhatIsYetToStartIsWithdrawn(t *testing.T) {
	failing := func(context.Context, backup.Request) error { return errors.New("a bad day") }
	paused := plan(t, "p", "0 * * * *", replacing, func(p *Plan) { p.Paused = true })
	for _, after := range [][]Plan{nil, {paused}, {plan(t, "p", "0 4 * * *", replacing)}, {{Name: "p"}}} {
		for name, do := range map[string]func(context.Context, backup.Request) error{"a retry": failing, "a run that waits": func(ctx context.Context, r backup.Request) error {
			err := lasting(70*time.Minute)(ctx, r)
			return errors.Join(err, ctx.Err())
		}} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.do = do
				a := w.agent("one", true, plan(t, "p", "0 * * * *", replacing))
				stop := w.start(a)
				if time.Sleep(time.Hour + 30*time.Second); name != "a retry" {
					time.Sleep(time.Hour) // to the next occurrence
				}
				w.wantRan(name+": before", "p 01 01:00#0 at 01 01:00:00")
				a.SetPlans(after)
				time.Sleep(90 * time.Minute)
				stop()
				w.wantRan(name + ": after the change")
			})
		}
	}
}

// A plan that is no longer paused starts nothing early, though its last run was
// abandoned and another agent begins to lead.
func TestATakeoverDoesNotTryAgainWhatWasBeforeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do = func(context.Context, backup.Request) error { return errors.New("a bad day") }
		hourly := plan(t, "p", "0 * * * *", func(p *Plan) { p.CatchUp = 12 * time.Hour })
		paused := hourly
		paused.Paused = true
		a := w.agent("one", true, hourly)
		stop := w.start(a)
		time.Sleep(time.Hour + 30*time.Second)
		w.wantRan("before the pause", "p 01 01:00#0 at 01 01:00:00")
		for _, plans := range [][]Plan{{paused}, {hourly}} {
			a.SetPlans(plans)
			time.Sleep(10 * time.Minute)
		}
		stop()
		stop = w.start(w.agent("two", true, hourly))
		time.Sleep(30 * time.Minute)
		stop()
		w.wantRan("after the pause")
	})
}

// troubles notes what a leader has trouble with.
type troubles struct {
	Blind
	mu    sync.Mutex
	told  []string
	times []time.Time
}

func (s *troubles) Troubled(problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := "none"
	if problem != nil {
		text, _, _ = strings.Cut(problem.Error(), ";")
		s.times = append(s.times, time.Now())
	}
	if len(s.told) == 0 || s.told[len(s.told)-1] != text {
		s.told = append(s.told, text)
	}
}

// That the schedules cannot be kept ends neither the agent nor a run.
func TestPlansThatCannotBeKeptRunAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do = lasting(20 * time.Minute)
		var broken atomic.Bool
		w.cluster.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return broken.Load(), nil, errors.New("a webhook denies it")
		})
		seen := &troubles{}
		a := w.agent("one", true, plan(t, "p", "0 * * * *"))
		a.Observer = seen
		stop := w.start(a)
		time.Sleep(time.Hour + time.Minute)
		broken.Store(true)
		q := plan(t, "q", "30 * * * *")
		a.SetPlans([]Plan{plan(t, "p", "0 * * * *"), q})
		time.Sleep(40 * time.Minute)
		w.wantRan("runs", "p 01 01:00#0 at 01 01:00:00", "q 01 01:30#0 at 01 01:30:00")
		if ready := says(a, "/readyz"); !strings.Contains(ready, "cannot be kept") || !strings.Contains(ready, "a webhook denies it") {
			t.Errorf("/readyz says %q", ready)
		}
		survey, err := w.catalog.Survey(t.Context(), clusterUID)
		if err != nil || len(survey) != 2 || !survey[0].Commit {
			t.Errorf("the run under way is not in the catalog: %v %v", survey, err)
		}
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		if ready := says(a, "/readyz"); ready != "ok" {
			t.Errorf("/readyz says %q", ready)
		}
		stop()
		if tries := len(seen.times); tries > 50 || tries < 30 {
			t.Errorf("%d tries in 40 minutes", tries)
		}
		if diff := cmp.Diff([]string{"none", "since when the plans are in force cannot be kept", "none"}, seen.told); diff != "" {
			t.Errorf("troubles (-want +got):\n%s", diff)
		}
		state, err := w.cluster.CoreV1().ConfigMaps("hawser").Get(t.Context(), StateName, metav1.GetOptions{})
		if err != nil || !strings.Contains(state.Data[schedulesKey], `"q"`) {
			t.Errorf("the state is %v, %v", state, err)
		}
	})
}

// slowTakeOver is a Runner that finds one run to complete, for which it waits.
type slowTakeOver struct {
	Runner
	takes time.Duration
	done  bool
}

func (r *slowTakeOver) TakeOver(ctx context.Context, _ func(string) (backup.Request, bool)) ([]backup.TakenOver, error) {
	if r.done {
		return nil, nil
	}
	select {
	case <-time.After(r.takes):
		r.done = true
		return []backup.TakenOver{{Intent: catalog.Intent{Plan: "p", Scheduled: time.Now()}, Commit: catalog.Commit{Outcome: catalog.Complete}}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A takeover that waits for snapshots must not look like an agent that is stuck;
// one that hangs must.
func TestALongTakeoverIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := plan(t, "p", "0 * * * *")
		slow.Request.Snapshot.Timeout = time.Hour
		a := w.agent("one", true, slow)
		a.Runner = &slowTakeOver{Runner: a.Runner, takes: 24 * time.Hour}
		stop := w.start(a)
		for range 80 {
			time.Sleep(time.Minute)
			if health := says(a, "/healthz"); health != "ok" {
				t.Fatalf("after %s of a takeover /healthz says %q", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), health)
			}
		}
		if ready := says(a, "/readyz"); ready != "taking over" {
			t.Errorf("/readyz says %q", ready)
		}
		time.Sleep(time.Hour)
		if health := says(a, "/healthz"); !strings.HasPrefix(health, "the loop has not come round") {
			t.Errorf("a takeover that hangs: /healthz says %q", health)
		}
		stop()
	})
}

// What was finished of the last leader is told though the first try to begin fails
// after it.
func TestWhatWasTakenOverIsToldThoughTheBeginningFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		seen := &recorder{}
		a := w.agent("one", true, plan(t, "p", "0 * * * *"))
		a.Observer, a.Runner = seen, &slowTakeOver{Runner: a.Runner, takes: time.Minute}
		w.away.Store(true)
		stop := w.start(a)
		time.Sleep(90 * time.Second)
		if ready := says(a, "/readyz"); !strings.Contains(ready, "the store is away") {
			t.Errorf("/readyz says %q", ready)
		}
		w.away.Store(false)
		time.Sleep(5 * time.Minute)
		stop()
		if diff := cmp.Diff([]string{"complete never"}, seen.ends); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
	})
}

// One object that is damaged, in the store or in the cluster, keeps no plan from
// running.
func TestWhatIsDamagedDoesNotStopTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		damaged := catalog.NewPointID(clusterUID, "p", time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC), 0)
		if err := w.store.Create(t.Context(), "clusters/"+clusterUID+"/points/"+string(damaged)+"/commit", []byte("{")); err != nil {
			t.Fatal(err)
		}
		stop := w.start(w.agent("one", true, plan(t, "p", "0 * * * *")))
		time.Sleep(30 * time.Minute)
		stop()
		state, err := w.cluster.CoreV1().ConfigMaps("hawser").Get(t.Context(), StateName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		state.Data[schedulesKey] = `{"p": {"schedule": "0 * * * * UTC", "since": "yesterday"}}`
		if _, err := w.cluster.CoreV1().ConfigMaps("hawser").Update(t.Context(), state, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		stop = w.start(w.agent("two", true, plan(t, "p", "0 * * * *"), plan(t, "q", "5 * * * *")))
		time.Sleep(time.Hour)
		stop()
		w.wantRan("runs", "p 01 01:00#0 at 01 01:00:00", "q 01 01:05#0 at 01 01:05:00")
	})
}

// A clock that was a year ahead, and is right now, must not put the plans to sleep.
func TestAClockThatWasWrongPutsNoPlanToSleep(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hourly := plan(t, "p", "30 * * * *")
	before := map[string]inForce{"p": {Schedule: hourly.Schedule.String(), Since: now.AddDate(1, 0, 0)}}
	after, differs := enforce(before, []Plan{hourly}, now)
	if want := map[string]inForce{"p": {Schedule: hourly.Schedule.String(), Since: now}}; !differs || !cmp.Equal(want, after) {
		t.Errorf("in force: %v, differs: %t", after, differs)
	}
	if d := Due(hourly, clusterUID, now.AddDate(1, 0, 0), now, false); !d.Next.Equal(now.Add(30*time.Minute)) || !d.Base.Equal(now) {
		t.Errorf("Due: %+v", d)
	}
}
