package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// tender is a Keeper and a Watchman that note what they are asked for, and an
// Observer of what came of it.
type tender struct {
	Blind
	takes time.Duration // to prune
	blind bool          // looks fail

	mu    sync.Mutex
	asked []string
	told  []string
}

func (k *tender) note(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, time.Now().UTC().Format("02 15:04 ")+fmt.Sprintf(format, args...))
}

func (k *tender) Keep(ctx context.Context, plans []Plan, sweep bool) ([]Pruning, *Sweep) {
	k.note("keep %d, sweep %t", len(plans), sweep)
	select {
	case <-ctx.Done():
		return []Pruning{{Plan: "p", Err: ctx.Err()}}, nil
	case <-time.After(k.takes):
		return []Pruning{{Plan: "p"}}, nil
	}
}

func (k *tender) Look(_ context.Context, _ []Plan, made []catalog.Commit) error {
	k.note("look at %d", len(made))
	if k.blind {
		return errors.New("the API server is away")
	}
	return nil
}

func (k *tender) States(time.Time) ([]ClaimState, bool) { return nil, false }

func (k *tender) Pruned(p Pruning) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, fmt.Sprintf("%s %v", p.Plan, p.Err))
}

// tended makes an agent whose points are pruned and looked at by k.
func (w *world) tended(k *tender, keepAt string, plans ...Plan) *Agent {
	a := w.agent("one", true, plans...)
	a.Observer = k
	if keepAt != "" {
		a.Keeper, a.KeepAt = k, plan(w.t, "", keepAt).Schedule
	} else {
		a.Watch = func() Watchman { return k }
	}
	return a
}

// The daily search for orphans waits for what is pruned after a run; a nightly plan
// must not keep it from ever being made.
func TestALongPruningDoesNotKeepTheSweepFromBeingMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := newWorld(t), &tender{takes: 20 * time.Minute}
		stop := w.start(w.tended(k, "17 3 * * *", plan(t, "p", "10 3 * * *"), plan(t, "q", "0 0 1 1 *")))
		time.Sleep(47 * time.Hour)
		stop()
		want := []string{"01 03:10 keep 1, sweep false", "01 03:30 keep 2, sweep true", "02 03:10 keep 1, sweep false", "02 03:30 keep 2, sweep true"}
		if diff := cmp.Diff(want, k.asked); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A pruning that the end of the agent cuts off is no failure.
func TestAPruningThatIsCutOffIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := newWorld(t), &tender{takes: 20 * time.Minute}
		stop := w.start(w.tended(k, "17 3 * * *", plan(t, "p", "0 0 * * *")))
		time.Sleep(3*time.Hour + 20*time.Minute)
		stop()
		if len(k.asked) != 1 || len(k.told) > 0 {
			t.Errorf("asked for %v, told %v", k.asked, k.told)
		}
	})
}

// A look that fails is made again soon, with the points that it was to look at.
func TestALookThatFailsIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := newWorld(t), &tender{blind: true}
		stop := w.start(w.tended(k, "", plan(t, "p", "10 * * * *")))
		time.Sleep(18 * time.Minute)
		stop()
		want := []string{"01 00:00 look at 0", "01 00:05 look at 0", "01 00:10 look at 0", "01 00:10 look at 1", "01 00:15 look at 1"}
		if diff := cmp.Diff(want, k.asked); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestThePointsThatWaitForALookAreBounded(t *testing.T) {
	l := &leadership{}
	for n := range mostMade + 10 {
		l.lookFor(append(l.made, catalog.Commit{Attempt: n}))
	}
	if first, last := l.made[0].Attempt, l.made[len(l.made)-1].Attempt; first != 10 || last != mostMade+9 {
		t.Errorf("points %d to %d wait", first, last)
	}
}

// One new point that is damaged must not keep the claims from being seen.
func TestADamagedPointIsPassedOver(t *testing.T) {
	w := newWorld(t)
	var made []catalog.Commit
	for hour := range 2 {
		request := backup.Request{Plan: "p", Scheduled: time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)}
		commit, err := (&fakeRunner{world: w, identity: "one"}).Run(t.Context(), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, commit)
	}
	bundle := "clusters/" + clusterUID + "/points/" + string(made[0].Point) + "/bundle"
	if err := errors.Join(w.store.Delete(t.Context(), bundle), w.store.Create(t.Context(), bundle, []byte("damaged"))); err != nil {
		t.Fatal(err)
	}
	watch := &ClaimWatch{Dynamic: dynamicfake.NewSimpleDynamicClient(scheme.Scheme), Catalog: w.catalog, ClusterUID: clusterUID, Now: time.Now}
	if err := watch.Look(t.Context(), nil, made); err != nil {
		t.Errorf("the claims cannot be seen: %v", err)
	}
}

func TestADrillOfAPlanThatWasPausedMeanwhileIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t), &practice{takes: 90 * time.Minute}
		first, second, third := practised(t, "a", "30 * * * *"), practised(t, "b", "30 0 * * *"), practised(t, "c", "30 0 * * *")
		first.Drill.Schedule = plan(t, "", "30 0 * * *").Schedule
		a := w.practising(p, first, second, third)
		stop := w.start(a)
		time.Sleep(time.Hour) // the first is under way, the others wait
		second.Paused = true
		a.SetPlans([]Plan{first, second})
		time.Sleep(5 * time.Hour)
		stop()
		p.wantHeld(t, "held", "a at 01 00:30")
	})
}
