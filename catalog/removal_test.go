package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// deletion is one step of a point's way out of the catalog.
type deletion struct {
	name string
	do   func(ctx context.Context, s store, id catalog.PointID) error
}

var (
	bury = deletion{"Bury", func(ctx context.Context, s store, id catalog.PointID) error {
		return s.Bury(ctx, newTombstone(id))
	}}
	beginRemoval = deletion{"BeginRemoval", func(ctx context.Context, s store, id catalog.PointID) error {
		_, err := s.BeginRemoval(ctx, presenceOf(id), graceEnd)
		return err
	}}
	remove = deletion{"Remove", func(ctx context.Context, s store, id catalog.PointID) error {
		return s.Remove(ctx, presenceOf(id), graceEnd)
	}}
	exhume = deletion{"Exhume", func(ctx context.Context, s store, id catalog.PointID) error { return s.Exhume(ctx, presenceOf(id)) }}
	forget = deletion{"Forget", func(ctx context.Context, s store, id catalog.PointID) error { return s.Forget(ctx, presenceOf(id)) }}
)

// threePoints makes a catalog and returns the id of the one in the middle.
func threePoints(t *testing.T) (store, catalog.PointID) {
	t.Helper()
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	id := s.add(t, clusterA, "databases", 1).Point
	s.add(t, clusterA, "databases", 2)
	return s, id
}

// wantSound fails the test unless the catalog is in one of the states in which a
// deletion may leave it, whenever it stops: each point is whole unless its removal
// has begun, what is left of a removed one is not taken for a run under way, and
// the chain has no gap.
func wantSound(t *testing.T, s store) {
	t.Helper()
	points := 0
	for _, p := range s.survey(t, clusterA) {
		points++
		switch {
		case p.Removing, p.Tombstone && !p.Commit:
			if p.Journal && !p.Settled && !p.Commit {
				t.Errorf("%+v looks like a run under way", p)
			}
			s.wantFound(t, p.Point, false)
		default:
			s.wantFound(t, p.Point, true)
			if !p.Journal || !p.Settled {
				t.Errorf("%+v has lost a part", p)
			}
		}
	}
	if points != 3 {
		t.Errorf("something is known of %d points, want 3", points)
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}

func TestADeletionThatIsInterruptedAnywhereLosesNothingAndGoesOn(t *testing.T) {
	interrupted := 0
	for _, c := range []struct {
		before []deletion
		step   deletion
	}{
		{nil, bury},
		{[]deletion{bury}, beginRemoval},
		{[]deletion{bury}, remove},
		{[]deletion{bury, beginRemoval}, remove},
		{[]deletion{bury}, exhume},
	} {
		for _, answered := range []bool{false, true} {
			for n := 1; ; n++ {
				s, id := threePoints(t)
				for _, step := range c.before {
					if err := step.do(t.Context(), s, id); err != nil {
						t.Fatal(err)
					}
				}
				calls := len(s.Calls())
				breakAt(s, calls+n, answered)
				err := c.step.do(t.Context(), s, id)
				s.Before, s.After = nil, nil
				if err == nil {
					break // it needs fewer than n calls
				}
				t.Run(fmt.Sprintf("%s, call %d, done before the answer is lost: %t", c.step.name, n, answered), func(t *testing.T) {
					if !errors.Is(err, errBroken) {
						t.Errorf("%v, want %v", err, errBroken)
					}
					wantSound(t, s)
					if err := c.step.do(t.Context(), s, id); err != nil && !(c.step.name == "Bury" && errors.Is(err, catalog.ErrExist)) {
						t.Fatalf("again: %v", err)
					}
					wantSound(t, s)
					wantEnd(t, s, c.step, id)
				})
				interrupted++
			}
		}
	}
	if t.Logf("%d interruptions", interrupted); interrupted < 40 {
		t.Errorf("only %d interruptions", interrupted)
	}
}

// breakAt lets the n-th call of all fail, and those after it, as a process that
// has ended would; either before it reaches the store, or once it was done.
func breakAt(s store, n int, answered bool) {
	count := len(s.Calls())
	s.Before = func(context.Context, catalogtest.Call) error {
		if count++; count > n || count == n && !answered {
			return errBroken
		}
		return nil
	}
	s.After = func(_ catalogtest.Call, err error) error {
		if err == nil && count == n {
			return errBroken
		}
		return err
	}
}

// wantEnd fails the test unless the point is as a step leaves it.
func wantEnd(t *testing.T, s store, step deletion, id catalog.PointID) {
	t.Helper()
	want := catalog.Presence{ClusterUID: clusterA, Point: id, Journal: true, Settled: true, Bundle: true, Commit: true}
	switch step.name {
	case "Bury":
		want.Tombstone = true
	case "BeginRemoval":
		want.Tombstone, want.Removing = true, true
	case "Remove":
		want = catalog.Presence{ClusterUID: clusterA, Point: id, Tombstone: true}
	}
	wantDiff(t, "what is there after "+step.name, want, s.find(t, id))
}

func TestAnExhumeThatWasInterruptedIsFinishedByARemoval(t *testing.T) {
	for n := range 3 {
		s, id := threePoints(t)
		s.bury(t, id)
		deleted := 0
		s.Before = func(_ context.Context, call catalogtest.Call) error {
			if call.Method == catalogtest.Delete {
				if deleted++; deleted > n {
					return errBroken
				}
			}
			return nil
		}
		if err := s.Exhume(t.Context(), presenceOf(id)); n < 2 && !errors.Is(err, errBroken) || n == 2 && err != nil {
			t.Fatalf("Exhume: %v", err)
		}
		s.Before = nil
		if err := s.Remove(t.Context(), presenceOf(id), graceEnd); err == nil {
			t.Errorf("Remove succeeded after an Exhume that deleted %d objects", n)
		}
		s.wantFound(t, id, true)
		s.bury(t, id) // what is left of the verdict does not hold for the next tombstone
		s.wantFound(t, id, true)
		if err := s.Exhume(t.Context(), presenceOf(id)); err != nil {
			t.Error(err)
		}
	}
}

// actors lets two functions run at the same time over one store, and gives the
// turn to call the store as order says: true is the first's. When one has
// ended the other has all turns.
func actors(t *testing.T, s store, order func() bool, first, second func(ctx context.Context) error) (errs [2]error) {
	t.Helper()
	type who struct{}
	var wants [2]chan chan struct{}
	var ended [2]chan error
	for i := range wants {
		wants[i], ended[i] = make(chan chan struct{}), make(chan error, 1)
	}
	s.Before = func(ctx context.Context, _ catalogtest.Call) error {
		turn := make(chan struct{})
		wants[ctx.Value(who{}).(int)] <- turn
		<-turn
		return nil
	}
	defer func() { s.Before = nil }()
	for i, do := range []func(context.Context) error{first, second} {
		go func() { ended[i] <- do(context.WithValue(t.Context(), who{}, i)) }()
	}
	waiting, running := [2]chan struct{}{}, [2]bool{true, true}
	for running[0] || running[1] {
		for i := range running {
			if running[i] && waiting[i] == nil {
				select {
				case waiting[i] = <-wants[i]:
				case errs[i] = <-ended[i]:
					running[i] = false
				}
			}
		}
		i := 1
		if running[0] && (!running[1] || order()) {
			i = 0
		}
		if running[i] {
			close(waiting[i])
			waiting[i] = nil
		}
	}
	return errs
}

// orders calls run with every order in which two functions can have their turns.
func orders(run func(order func() bool)) (n int) {
	var path []bool
	for {
		at := 0
		run(func() bool {
			if at == len(path) {
				path = append(path, true)
			}
			at++
			return path[at-1]
		})
		n++
		path = path[:at]
		for len(path) > 0 && !path[len(path)-1] {
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			return n
		}
		path[len(path)-1] = false
	}
}

func TestAPointIsRemovedOrKeptNeverBothInWhateverOrder(t *testing.T) {
	before, id := threePoints(t)
	kept := before.dump(t)
	before.bury(t, id)
	buried := before.dump(t)
	removed := maps.Clone(buried)
	maps.DeleteFunc(removed, func(key, _ string) bool {
		return strings.Contains(key, string(id)) && key != tombstoneKey(clusterA, id)
	})

	ends := map[string]int{}
	n := orders(func(order func() bool) {
		s := before.over(t, buried)
		errs := actors(t, s, order,
			func(ctx context.Context) error { return remove.do(ctx, s, id) },
			func(ctx context.Context) error { return exhume.do(ctx, s, id) })
		end, want := "both succeeded", map[string]string(nil)
		switch {
		case errs[0] == nil && errs[1] != nil:
			end, want = "removed", removed
		case errs[0] != nil && errs[1] == nil:
			end, want = "kept", kept
		case errs[0] != nil:
			end = fmt.Sprintf("neither succeeded: %v", errs)
		}
		if !maps.Equal(want, s.dump(t)) {
			t.Errorf("%s, and there is %v", end, s.keys(t, ""))
		}
		ends[end]++
	})
	t.Logf("%d orders: %v", n, ends)
	if n < 1000 || ends["removed"] == 0 || ends["kept"] == 0 {
		t.Errorf("%d orders, %v: too few to show anything", n, ends)
	}
}

// dump returns all objects of a store.
func (s store) dump(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range s.keys(t, "") {
		all[key] = string(s.object(t, key))
	}
	return all
}

// over returns the same catalog over a new store with the given objects.
func (s store) over(t *testing.T, objects map[string]string) store {
	t.Helper()
	bucket := &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}
	for key, data := range objects {
		if err := bucket.Create(t.Context(), key, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	cat, err := catalog.Open(t.Context(), bucket, catalog.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return store{Catalog: cat, Faulty: bucket}
}

func TestTwoRemovalsOfOnePointDoNoHarm(t *testing.T) {
	before, id := threePoints(t)
	before.bury(t, id)
	if _, err := before.BeginRemoval(t.Context(), presenceOf(id), graceEnd); err != nil {
		t.Fatal(err)
	}
	begun := before.dump(t)
	n := orders(func(order func() bool) {
		s := before.over(t, begun)
		// From the settled entry on, which is where they can be in each other's way.
		started := func(ctx context.Context) error { return remove.do(ctx, s, id) }
		taken := 0
		errs := actors(t, s, func() bool {
			if taken++; taken%3 != 0 { // every third turn is free, or there were too many orders
				return taken%3 == 1
			}
			return order()
		}, started, started)
		if err := errors.Join(errs[:]...); err != nil && !errors.Is(err, catalog.ErrNotExist) {
			t.Errorf("%v", errs)
		}
		wantSound(t, s)
		if err := remove.do(t.Context(), s, id); err != nil {
			t.Error(err)
		}
		wantEnd(t, s, remove, id)
	})
	t.Logf("%d orders", n)
}

func TestForgetKeepsTheTombstoneWhileTheStoreDoesNotAnswer(t *testing.T) {
	s, id := threePoints(t)
	s.prune(t, id)
	s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, "/commit"), errBroken)
	if err := forget.do(t.Context(), s, id); !errors.Is(err, errBroken) {
		t.Errorf("Forget: %v", err)
	}
	s.Before = nil
	wantSound(t, s)
}

func TestADeletionAsksLittleOfTheStore(t *testing.T) {
	s, id := threePoints(t)
	point, stone := "points/"+string(id), "tombstones/"+string(id)
	first := string(catalog.NewPointID(clusterA, "databases", hour(0), 0))
	for _, c := range []struct {
		step deletion
		want string
	}{
		{bury, "Get P/commit, Get tombstones/" + first + ", Get T, Delete T.verdict, Create T"},
		{beginRemoval, "Get T, Get P/commit, Create T.verdict, Get T, Get P/commit"},
		{remove, "Get T, Get P/commit, Create T.verdict, Get T.verdict, Get T, Get P/commit, Create J.settled, " +
			"Delete P/commit, Delete P/bundle, Delete J, Delete J.settled, Delete T.verdict"},
		{forget, "Get P/commit, Delete T"},
	} {
		before := len(s.Calls())
		if err := c.step.do(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
		got := strings.NewReplacer(point, "P", stone, "T", "journal/"+string(id), "J").Replace(strings.Join(steps(s.Calls()[before:]), ", "))
		wantDiff(t, "calls of "+c.step.name, c.want, got)
	}
}

func TestACancelledContextRemovesNothing(t *testing.T) {
	s, id := threePoints(t)
	s.bury(t, id)
	survey := s.survey(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, step := range []deletion{bury, beginRemoval, remove, exhume, forget} {
		if err := step.do(ctx, s, id); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", step.name, err, context.Canceled)
		}
	}
	if _, err := s.Tombstones(ctx, survey); !errors.Is(err, context.Canceled) {
		t.Errorf("Tombstones: %v", err)
	}
	if _, err := s.Skew(ctx, func() time.Time { return noon }); !errors.Is(err, context.Canceled) {
		t.Errorf("Skew: %v", err)
	}
	wantDiff(t, "survey after it", survey, s.survey(t, ""))
}
