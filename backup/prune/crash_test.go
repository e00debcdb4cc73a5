package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

var errKilled = errors.New("killed")

// killAt ends the process at its n-th write, before it is done or after: from
// there on nothing it asks for happens. It returns the context of the process.
func (l *lab) killAt(n int, after bool) (context.Context, func() (killed bool)) {
	ctx, cancel := context.WithCancel(l.t.Context())
	writes, dead := 0, false
	l.fault = func(_ string, done bool) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if dead {
			return errKilled
		}
		if !done {
			writes++
		}
		if writes == n && done == after {
			dead = true
			cancel()
			return errKilled
		}
		return nil
	}
	return ctx, func() bool {
		cancel()
		l.fault = nil
		return dead
	}
}

// busy is a lab in which a run has everything to do: points to remove, to take
// back and to bury, a tombstone to forget, orphans to note, to remove and to
// leave alone.
func busy(t *testing.T) (*lab, Options) {
	l := newLab(t)
	options := Options{Confirm: true, Sweep: true, Policies: []Policy{
		{Plan: "databases", Retain: catalog.Retention{Last: 1}},
		{Plan: "other", Retain: catalog.Retention{Last: 10}},
	}}
	first := l.hourly(4, "shop/data", "shop/log")
	for i := range 3 {
		l.make(run{plan: "other", at: noon.Add(time.Duration(i-10) * time.Hour), claims: []string{"shop/data", "bills/data"}})
	}
	l.snapshot(lost, "shop/data")
	regained := l.snapshot(first[3], "shop/more")
	l.prune(options)
	l.pass(DefaultGrace)
	l.make(run{at: l.now.Add(-4 * time.Hour), outcome: catalog.Abandoned})
	l.hourly(2, "shop/data", "shop/log")
	// A removed point, whose tombstone is of no use any more.
	gone := catalog.NewPointID(clusterUID, "databases", noon.Add(-1000*time.Hour), 0)
	l.make(run{at: noon.Add(-1000 * time.Hour), outcome: catalog.Abandoned})
	presence := catalog.Presence{ClusterUID: clusterUID, Point: gone}
	l.must(l.Catalog.Bury(t.Context(), catalog.Tombstone{Point: gone, Cluster: catalog.Cluster{UID: clusterUID}, Buried: noon, NotBefore: noon, Reasons: []string{"test"}}))
	l.must(l.Catalog.Remove(t.Context(), presence, noon))
	// One orphan is named by a journal now.
	running := catalog.NewPointID(clusterUID, "databases", l.now, 0)
	l.must(l.Catalog.Begin(t.Context(), catalog.Intent{
		Point: running, Cluster: catalog.Cluster{UID: clusterUID}, Plan: "databases",
		Snapshots: []catalog.IntentSnapshot{{Claim: regained.Claim, Name: regained.Snapshot.Name}},
	}))
	l.snapshot(lost, "shop/new")
	options.Policies[0].Retain.Last = 4
	options.Policies[1].Retain.Last = 1
	l.Cache = nil // that of a new process
	return l, options
}

// end is what there is of a lab.
type end struct{ Store, Cluster []string }

// settle prunes as long as there is something to do, and one grace period on.
// A killed run may have made the next one decide otherwise, but never for good.
func (l *lab) settle(options Options) end {
	l.t.Helper()
	for range 2 {
		for range 2 {
			l.prune(options)
			l.checkPoints()
		}
		l.pass(DefaultGrace)
	}
	// A verdict without a tombstone means nothing.
	keys := slices.DeleteFunc(l.keys(), func(key string) bool { return strings.HasSuffix(key, ".verdict") })
	return end{keys, l.left()}
}

// checkPoints fails the test if a point that can be found has lost a snapshot.
func (l *lab) checkPoints() {
	l.t.Helper()
	survey, err := l.Catalog.Survey(l.t.Context(), clusterUID)
	l.must(err)
	for _, p := range survey {
		if !p.Commit || p.Removing {
			continue
		}
		point, err := l.Catalog.Load(l.t.Context(), clusterUID, p.Point)
		if errors.Is(err, catalog.ErrNoPoint) {
			continue // abandoned
		}
		l.must(err)
		for _, v := range point.Bundle.Volumes {
			if !l.storage.Has(string(v.Snapshot.Handle)) {
				l.t.Errorf("point %s has lost the snapshot of claim %s", p.Point, v.Claim)
			}
		}
	}
}

func TestARunThatIsKilledAtAnyStepIsFinishedByTheNext(t *testing.T) {
	var want end
	synctest.Test(t, func(t *testing.T) {
		l, options := busy(t)
		seen := sets.New[Verdict]()
		result := l.prune(options)
		for _, d := range result.Decisions {
			if d.Done {
				seen.Insert(d.Verdict)
			}
		}
		if !seen.HasAll(Exhume, Remove, Bury, Forget) || result.OrphansRemoved == 0 || len(result.Orphans) < 2 || len(result.regained) != 1 {
			t.Fatalf("the run did only %v, removed %d of %d orphans, and left %d alone", sets.List(seen), result.OrphansRemoved, len(result.Orphans), len(result.regained))
		}
		want = l.settle(options)
	})
	n := 0
	for killed := true; killed; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, done %t", n+1, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l, options := busy(t)
					ctx, revive := l.killAt(n+1, after)
					_, err := l.Run(ctx, options)
					if killed = revive(); killed && err == nil {
						t.Error("the run that was killed says that all is well")
					}
					l.checkPoints()
					l.want("in the end", want, l.settle(options))
				})
			})
		}
	}
	t.Logf("killed at %d writes, before and after each", n-1)
	if n < 40 {
		t.Errorf("the run made only %d writes: it proves little", n)
	}
}

// Two runs at once, as of an agent and a person, come to the same as one.
func TestTwoRunsAtOnce(t *testing.T) {
	var want end
	synctest.Test(t, func(t *testing.T) {
		l, options := busy(t)
		want = l.settle(options)
	})
	for n := range 20 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, options := busy(t)
				var both sync.WaitGroup
				for range 2 {
					both.Go(func() {
						one := *l.Pruner
						one.Cache = &Cache{}
						_, _ = one.Run(t.Context(), options) // one may find that the other was faster
					})
				}
				both.Wait()
				l.checkPoints()
				l.want("in the end", want, l.settle(options))
			})
		})
	}
}
