package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// A bubble of synctest begins at midnight of a day 01, and its time passes when
// nothing is left to do.

func TestADayOfSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		nightly, err := ParseSchedule("30 2 * * *", berlin, 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		stop := w.start(w.agent("one", true,
			plan(t, "often", "*/10 * * * *"), plan(t, "hourly", "17 * * * *"), Plan{Name: "nightly", Schedule: nightly, CatchUp: time.Hour}))
		time.Sleep(24*time.Hour + 30*time.Second)
		stop()
		got := w.ran()
		var want []string
		for minute := 1; minute <= 24*60; minute++ {
			at := time.Date(2000, 1, 1, 0, minute, 0, 0, time.UTC)
			expect := func(name string, start time.Time) {
				want = append(want, fmt.Sprintf("%s %s#0 at %s", name, at.Format("02 15:04"), start.Format("02 15:04:05")))
			}
			if minute%10 == 0 {
				expect("often", at)
			}
			if minute%60 == 17 {
				expect("hourly", at)
			}
			if at.Hour() == 1 && at.Minute() == 30 { // 02:30 in Berlin's winter
				expect("nightly", at.Add(nightly.Delay(clusterUID, "nightly").Truncate(time.Second)))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a day's runs (-want +got):\n%s", diff)
		}
		if len(want) != 24*6+24+1 {
			t.Errorf("the test expects %d runs", len(want))
		}
	})
}

func TestNothingStartsEarly(t *testing.T) {
	paused := func(p *Plan) { p.Paused = true }
	for _, c := range []struct {
		name          string
		before, after []Plan
		want          []string
	}{
		{"a plan is new", nil, []Plan{plan(t, "p", "0 * * * *")}, []string{"p 01 02:00#0 at 01 02:00:00"}},
		{"a plan is no longer paused", []Plan{plan(t, "p", "0 * * * *", paused)}, []Plan{plan(t, "p", "0 * * * *")}, []string{"p 01 02:00#0 at 01 02:00:00"}},
		{"its schedule is another", []Plan{plan(t, "p", "30 4 * * *")}, []Plan{plan(t, "p", "*/20 * * * *")}, []string{"p 01 01:40#0 at 01 01:40:00", "p 01 02:00#0 at 01 02:00:00"}},
		{"it is gone", []Plan{plan(t, "p", "0 2 * * *")}, nil, nil},
		{"it is paused", []Plan{plan(t, "p", "0 2 * * *")}, []Plan{plan(t, "p", "0 2 * * *", paused)}, nil},
		{"nothing of it changes", []Plan{plan(t, "p", "0 2 * * *")}, []Plan{plan(t, "p", "0 2 * * *")}, []string{"p 01 02:00#0 at 01 02:00:00"}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", c.name, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					a := w.agent("one", true, c.before...)
					stop := w.start(a)
					time.Sleep(90 * time.Minute)
					w.ran()
					if restart {
						stop()
						stop = w.start(w.agent("two", true, c.after...))
					} else {
						a.SetPlans(c.after)
					}
					time.Sleep(31 * time.Minute)
					stop()
					w.wantRan("runs after the change", c.want...)
				})
			})
		}
	}
}

func TestAfterAnOutageOneRunCatchesUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		outage time.Duration
		want   []string
	}{
		{"within the bound the newest occurrence", 3*time.Hour + 30*time.Minute, []string{"p 01 04:00#0 at 01 04:35:00"}},
		{"nothing that is older", 3*time.Hour + 57*time.Minute, []string{"p 01 05:00#0 at 01 05:02:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				hourly := plan(t, "p", "0 * * * *", func(p *Plan) { p.CatchUp = 40 * time.Minute })
				stop := w.start(w.agent("one", true, hourly))
				time.Sleep(65 * time.Minute)
				stop()
				w.wantRan("before", "p 01 01:00#0 at 01 01:00:00")
				time.Sleep(c.outage)
				stop = w.start(w.agent("two", true, hourly))
				time.Sleep(10 * time.Minute)
				stop()
				w.wantRan("after the outage", c.want...)
			})
		})
	}
}

func TestARunThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do = func(context.Context, backup.Request) error { return errors.New("a bad day") }
		seen := &recorder{}
		a := w.agent("one", true, plan(t, "p", "0 * * * *"))
		a.Observer = seen
		stop := w.start(a)
		time.Sleep(110 * time.Minute)
		stop()
		w.wantRan("attempts", "p 01 01:00#0 at 01 01:00:00", "p 01 01:00#1 at 01 01:01:00", "p 01 01:00#2 at 01 01:06:00")
		if diff := cmp.Diff([]string{"failed 01:01", "failed 01:06", "failed never"}, seen.ends); diff != "" {
			t.Errorf("ends and retries (-want +got):\n%s", diff)
		}
	})
}

// recorder notes how runs end.
type recorder struct {
	Blind
	ends []string
}

func (r *recorder) RunEnded(end RunEnd) {
	retry := "never"
	if !end.Retry.IsZero() {
		retry = end.Retry.UTC().Format("15:04")
	}
	result := string(end.Result())
	if end.Replaced {
		result = "replaced"
	}
	r.ends = append(r.ends, result+" "+retry)
}

func TestWhileARunIsUnderWay(t *testing.T) {
	for _, c := range []struct {
		concurrency Concurrency
		want        []string
		ends        []string
	}{
		{Forbid, []string{"p 01 00:10#0 at 01 00:10:00", "p 01 00:40#0 at 01 00:40:00"}, []string{"complete never", "complete never"}},
		{Replace, []string{"p 01 00:10#0 at 01 00:10:00", "p 01 00:20#0 at 01 00:20:00", "p 01 00:30#0 at 01 00:30:00", "p 01 00:40#0 at 01 00:40:00"},
			[]string{"replaced never", "replaced never", "replaced never", "cancelled never"}},
	} {
		t.Run(string(c.concurrency), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.do = func(ctx context.Context, _ backup.Request) error {
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-time.After(25 * time.Minute):
						return nil
					}
				}
				seen := &recorder{}
				a := w.agent("one", true, plan(t, "p", "*/10 * * * *", func(p *Plan) { p.Concurrency = c.concurrency }))
				a.Observer = seen
				stop := w.start(a)
				time.Sleep(49 * time.Minute)
				if c.concurrency == Forbid {
					time.Sleep(20 * time.Minute) // its second run ends at 01:05
				}
				stop()
				w.wantRan("runs", c.want...)
				if diff := cmp.Diff(c.ends, seen.ends[:len(c.ends)]); diff != "" {
					t.Errorf("ends (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What a leader that died has left open is rolled back, and tried again at once.
func TestTheNextLeaderTriesAgainWhatTheLastBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hourly := plan(t, "p", "0 * * * *")
		stop := w.start(w.agent("one", true, hourly))
		time.Sleep(59 * time.Minute)
		stop()
		scheduled := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		id := catalog.NewPointID(clusterUID, "p", scheduled, 0)
		if err := w.catalog.Begin(t.Context(), catalog.Intent{Point: id, Cluster: catalog.Cluster{UID: clusterUID}, Plan: "p", Scheduled: scheduled, Agent: "one"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		seen := &recorder{}
		two := w.agent("two", true, hourly)
		two.Observer = seen
		stop = w.start(two)
		time.Sleep(time.Minute)
		stop()
		w.wantRan("after the takeover", "p 01 01:00#1 at 01 01:09:00")
		if diff := cmp.Diff([]string{"failed 01:09", "complete never"}, seen.ends); diff != "" {
			t.Errorf("ends and retries (-want +got):\n%s", diff)
		}
	})
}

func TestWhatAnotherProcessHasBegunIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.start(w.agent("one", true, plan(t, "p", "0 * * * *")))
		time.Sleep(59 * time.Minute)
		scheduled := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
		id := catalog.NewPointID(clusterUID, "p", scheduled, 0)
		if err := w.catalog.Begin(t.Context(), catalog.Intent{Point: id, Cluster: catalog.Cluster{UID: clusterUID}, Plan: "p", Scheduled: scheduled, Agent: "other"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		stop()
		w.wantRan("runs", "p 01 01:00#0 at 01 01:00:00") // and no second attempt
	})
}

func TestALeaderThatCannotWorkIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var broken atomic.Bool
		broken.Store(true)
		w.cluster.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return broken.Load(), nil, errors.New("the API server is away")
		})
		a := w.agent("one", true, plan(t, "p", "0 * * * *"))
		stop := w.start(a)
		check := func(path string, want int, says string) {
			t.Helper()
			r := httptest.NewRecorder()
			a.Handler().ServeHTTP(r, httptest.NewRequest("GET", path, nil))
			if r.Code != want || !strings.Contains(r.Body.String(), says) {
				t.Errorf("%s: %d %q, want %d and %q", path, r.Code, r.Body, want, says)
			}
		}
		time.Sleep(time.Minute)
		check("/readyz", 503, "read ConfigMap hawser/hawser-agent-state: the API server is away")
		check("/healthz", 200, "ok")
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		check("/readyz", 200, "ok")
		stop()
		time.Sleep(10 * time.Minute)
		check("/healthz", 503, "the loop has not come round for 10m")
	})
}
