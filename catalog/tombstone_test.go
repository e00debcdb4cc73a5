package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
)

// presenceOf names a point of clusterA.
func presenceOf(id catalog.PointID) catalog.Presence {
	return catalog.Presence{ClusterUID: clusterA, Point: id}
}

// bury fails the test if the point of clusterA cannot be buried.
func (s store) bury(t *testing.T, ids ...catalog.PointID) {
	t.Helper()
	for _, id := range ids {
		if err := s.Bury(t.Context(), newTombstone(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// prune buries and removes points of clusterA.
func (s store) prune(t *testing.T, ids ...catalog.PointID) {
	t.Helper()
	s.bury(t, ids...)
	for _, id := range ids {
		if err := s.Remove(t.Context(), presenceOf(id), graceEnd); err != nil {
			t.Fatal(err)
		}
	}
}

// find returns what the survey has of a point of clusterA.
func (s store) find(t *testing.T, id catalog.PointID) catalog.Presence {
	t.Helper()
	for _, p := range s.survey(t, clusterA) {
		if p.Point == id {
			return p
		}
	}
	return presenceOf(id)
}

// wantFound fails the test unless Find, Entries and Load have the point of
// clusterA as one that can be restored, or as one that was pruned.
func (s store) wantFound(t *testing.T, id catalog.PointID, there bool) {
	t.Helper()
	found, err := s.Find(t.Context(), clusterA, string(id))
	if there {
		if err != nil || found.Point != id {
			t.Errorf("Find(%s) = %q, %v, want the point", id, found.Point, err)
		}
		if _, err := s.Load(t.Context(), clusterA, id); err != nil {
			t.Errorf("Load(%s): %v", id, err)
		}
	} else if !errors.Is(err, catalog.ErrNoPoint) || !errors.Is(err, catalog.ErrPruned) || errors.Is(err, catalog.ErrCorrupt) {
		t.Errorf("Find(%s) = %q, %v, want it to say that the point was pruned", id, found.Point, err)
	}
	entries, err := s.Entries(t.Context(), s.survey(t, clusterA))
	if err != nil {
		t.Fatal(err)
	}
	listed := false
	for _, e := range entries {
		listed = listed || e.Point == id
		if e.Err != nil {
			t.Errorf("entry %s: %v", e.Point, e.Err)
		}
	}
	if listed != there {
		t.Errorf("Entries list point %s: %t, want %t", id, listed, there)
	}
}

// inEachBucket runs a test over memory and over a folder.
func inEachBucket(t *testing.T, run func(t *testing.T, s store)) {
	t.Run("in memory", func(t *testing.T) { run(t, newStore(t)) })
	t.Run("in a folder", func(t *testing.T) {
		bucket, err := dir.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bucket.Close() })
		faulty := &catalogtest.Faulty{Bucket: bucket}
		cat, err := catalog.OpenOrCreate(t.Context(), faulty, catalog.Limits{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		run(t, store{Catalog: cat, Faulty: faulty})
	})
}

func TestAPointIsBuriedThenRemovedThenForgotten(t *testing.T) {
	inEachBucket(t, func(t *testing.T, s store) {
		id := s.add(t, clusterA, "databases", 0).Point
		newest := s.add(t, clusterA, "databases", 1)
		whole := catalog.Presence{ClusterUID: clusterA, Point: id, Journal: true, Settled: true, Bundle: true, Commit: true}

		s.bury(t, id)
		whole.Tombstone = true
		wantDiff(t, "once it is buried", whole, s.find(t, id))
		s.wantFound(t, id, true)

		read, err := s.BeginRemoval(t.Context(), presenceOf(id), graceEnd)
		if err != nil {
			t.Fatal(err)
		}
		want := newTombstone(id)
		want.Format, want.Plan, want.Cluster.Name = catalog.Format, "databases", "prod-eu"
		want.Commit = digest(s.object(t, pointKey(clusterA, id, "commit")))
		wantDiff(t, "tombstone", want, read)
		whole.Removing = true
		wantDiff(t, "once its removal has begun", whole, s.find(t, id))
		s.wantFound(t, id, false)

		for range 2 { // the second finds nothing left to do
			if err := s.Remove(t.Context(), presenceOf(id), graceEnd); err != nil {
				t.Fatal(err)
			}
			wantDiff(t, "once it is removed", catalog.Presence{ClusterUID: clusterA, Point: id, Tombstone: true}, s.find(t, id))
			s.wantFound(t, id, false)
		}
		wantDiff(t, "what is broken", []string(nil), broken(t, s))
		if found, err := s.Find(t.Context(), clusterA, catalog.Latest); err != nil || found.Point != newest.Point {
			t.Errorf("latest is %s, %v", found.Point, err)
		}
		for range 2 {
			if err := s.Forget(t.Context(), presenceOf(id)); err != nil {
				t.Fatal(err)
			}
		}
		wantDiff(t, "keys once it is forgotten", []string{
			"clusters/" + clusterA + "/journal/" + string(newest.Point),
			"clusters/" + clusterA + "/journal/" + string(newest.Point) + ".settled",
			"clusters/" + clusterA + "/points/" + string(newest.Point) + "/bundle",
			"clusters/" + clusterA + "/points/" + string(newest.Point) + "/commit",
		}, s.keys(t, "clusters/"))
	})
}

func TestATombstoneIsTakenBack(t *testing.T) {
	inEachBucket(t, func(t *testing.T, s store) {
		id := s.add(t, clusterA, "databases", 0).Point
		before := s.find(t, id)
		s.bury(t, id)
		for range 2 { // the second finds nothing to do
			if err := s.Exhume(t.Context(), presenceOf(id)); err != nil {
				t.Fatal(err)
			}
			wantDiff(t, "the point", before, s.find(t, id))
			s.wantFound(t, id, true)
		}
		if keys := s.keys(t, tombstoneKey(clusterA, "")); keys != nil {
			t.Errorf("left: %v", keys)
		}
		s.prune(t, id) // another decision, another day
		s.wantFound(t, id, false)
	})
}

func TestWhatTheSafetyOfAPointForbids(t *testing.T) {
	id := catalog.NewPointID(clusterA, "databases", noon, 0)
	remove := func(t *testing.T, s store, now time.Time) error { return s.Remove(t.Context(), presenceOf(id), now) }
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s store) error
		want error // nil: any
		says string
	}{
		{"to remove a point that is not buried", func(t *testing.T, s store) error {
			return remove(t, s, graceEnd)
		}, catalog.ErrNotExist, "not known to be buried"},
		{"to remove a point before its grace period is over", func(t *testing.T, s store) error {
			s.bury(t, id)
			return remove(t, s, graceEnd.Add(-time.Nanosecond))
		}, catalog.ErrTooEarly, "2026-09-05T12:00:00Z"},
		{"to remove a point whose tombstone was taken back", func(t *testing.T, s store) error {
			s.bury(t, id)
			if err := s.Exhume(t.Context(), presenceOf(id)); err != nil {
				t.Fatal(err)
			}
			return remove(t, s, graceEnd)
		}, catalog.ErrNotExist, "not known to be buried"},
		{"to remove a point whose tombstone is being taken back", func(t *testing.T, s store) error {
			s.bury(t, id)
			s.put(t, tombstoneKey(clusterA, id)+".verdict", fmt.Appendf(nil, `{"format":1,"point":%q,"verdict":"keep"}`, id))
			return remove(t, s, graceEnd)
		}, catalog.ErrExist, "the point stays"},
		{"to remove a point by another's verdict", func(t *testing.T, s store) error {
			s.bury(t, id)
			s.put(t, tombstoneKey(clusterA, id)+".verdict", []byte(`{"format":1,"point":"other","verdict":"remove"}`))
			return remove(t, s, graceEnd)
		}, nil, "other"},
		{"to remove a point by a verdict that cannot be read", func(t *testing.T, s store) error {
			s.bury(t, id)
			s.put(t, tombstoneKey(clusterA, id)+".verdict", []byte(`{`))
			return remove(t, s, graceEnd)
		}, catalog.ErrCorrupt, ".verdict"},
		{"to remove a point by the tombstone of another", func(t *testing.T, s store) error {
			other := s.add(t, clusterA, "databases", 1).Point
			s.bury(t, other)
			s.put(t, tombstoneKey(clusterA, id), s.object(t, tombstoneKey(clusterA, other)))
			return remove(t, s, graceEnd)
		}, catalog.ErrCorrupt, "that of point"},
		{"to remove a point by a tombstone of a newer format", func(t *testing.T, s store) error {
			s.put(t, tombstoneKey(clusterA, id), fmt.Appendf(nil, `{"format":2,"point":%q,"cluster":{"uid":%q}}`, id, clusterA))
			return remove(t, s, graceEnd)
		}, catalog.ErrNewerFormat, ""},
		{"to remove a point that is not the one that was buried", func(t *testing.T, s store) error {
			s.bury(t, id)
			key := pointKey(clusterA, id, "commit")
			s.replace(t, key, reseal(t, s.object(t, key), func(statement map[string]any) { statement["writer"] = "another" }))
			return remove(t, s, graceEnd)
		}, catalog.ErrCorrupt, "not the one that was buried"},
		{"to bury a point twice", func(t *testing.T, s store) error {
			s.bury(t, id)
			return s.Bury(t.Context(), newTombstone(id))
		}, catalog.ErrExist, string(id)},
		{"to bury what cannot be read", func(t *testing.T, s store) error {
			s.replace(t, pointKey(clusterA, id, "commit"), []byte("{}"))
			return s.Bury(t.Context(), newTombstone(id))
		}, catalog.ErrCorrupt, string(id)},
		{"to bury without a grace period", func(t *testing.T, s store) error {
			tombstone := newTombstone(id)
			tombstone.NotBefore = time.Time{}
			return s.Bury(t.Context(), tombstone)
		}, nil, "grace period"},
		{"to bury with a grace period that ends before it begins", func(t *testing.T, s store) error {
			tombstone := newTombstone(id)
			tombstone.NotBefore = tombstone.Buried.Add(-time.Second)
			return s.Bury(t.Context(), tombstone)
		}, nil, "grace period"},
		{"to bury without a reason", func(t *testing.T, s store) error {
			tombstone := newTombstone(id)
			tombstone.Reasons = nil
			return s.Bury(t.Context(), tombstone)
		}, nil, "reason"},
		{"to bury in a cluster that is none", func(t *testing.T, s store) error {
			tombstone := newTombstone(id)
			tombstone.Cluster.UID = "../" + clusterA
			return s.Bury(t.Context(), tombstone)
		}, nil, "not a Kubernetes uid"},
		{"to forget the tombstone of a point that is there", func(t *testing.T, s store) error {
			s.bury(t, id)
			return s.Forget(t.Context(), presenceOf(id))
		}, nil, "not removed yet"},
	} {
		t.Run("it is an error "+c.name, func(t *testing.T) {
			s := newStore(t)
			s.add(t, clusterA, "databases", 0)
			bundle := s.object(t, pointKey(clusterA, id, "bundle"))
			if err := c.do(t, s); err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v that says %q", err, c.want, c.says)
			}
			p := s.find(t, id)
			p.Tombstone, p.Removing = false, false
			whole := catalog.Presence{ClusterUID: clusterA, Point: id, Journal: true, Settled: true, Bundle: true, Commit: true}
			wantDiff(t, "what is there of the point", whole, p)
			wantDiff(t, "bundle", bundle, s.object(t, pointKey(clusterA, id, "bundle")))
		})
	}
}

func TestWhatHasBegunToGoIsNotTakenBack(t *testing.T) {
	s := newStore(t)
	id := s.add(t, clusterA, "databases", 0).Point
	s.bury(t, id)
	if _, err := s.BeginRemoval(t.Context(), presenceOf(id), graceEnd); err != nil {
		t.Fatal(err)
	}
	if err := s.Exhume(t.Context(), presenceOf(id)); !errors.Is(err, catalog.ErrExist) || !strings.Contains(err.Error(), "removal has begun") {
		t.Errorf("Exhume: %v", err)
	}
	if err := s.Remove(t.Context(), presenceOf(id), graceEnd); err != nil {
		t.Fatal(err)
	}
	if err := s.Exhume(t.Context(), presenceOf(id)); !errors.Is(err, catalog.ErrNoPoint) {
		t.Errorf("Exhume after the removal: %v", err)
	}
	if err := s.Bury(t.Context(), newTombstone(id)); !errors.Is(err, catalog.ErrNoPoint) {
		t.Errorf("Bury after the removal: %v", err)
	}
	wantDiff(t, "after all this", catalog.Presence{ClusterUID: clusterA, Point: id, Tombstone: true}, s.find(t, id))
}

func TestARunThatNeverEndedCannotBeBuried(t *testing.T) {
	s := newStore(t)
	intent := newIntent(clusterA, "databases", 0)
	if err := s.Begin(t.Context(), intent); err != nil {
		t.Fatal(err)
	}
	if err := s.Bury(t.Context(), newTombstone(intent.Point)); !errors.Is(err, catalog.ErrNoPoint) || errors.Is(err, catalog.ErrPruned) {
		t.Errorf("Bury: %v", err)
	}
}

func TestAnAbandonedRunIsRemovedAsAPointIs(t *testing.T) {
	s := newStore(t)
	id := s.abandon(t, clusterA, "databases", 0)
	if err := s.Bury(t.Context(), newTombstone(id)); err != nil {
		t.Fatal(err)
	}
	// Not settled, it would look like a run under way once its commit is gone.
	s.After = func(call catalogtest.Call, err error) error {
		if call.Method == catalogtest.Delete && strings.HasSuffix(call.Key, "/commit") {
			if p := s.find(t, id); !p.Settled {
				t.Errorf("as its commit goes: %+v, want it settled", p)
			}
		}
		return err
	}
	if err := s.Remove(t.Context(), presenceOf(id), graceEnd); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "once it is removed", catalog.Presence{ClusterUID: clusterA, Point: id, Tombstone: true}, s.find(t, id))
}

func TestATombstoneCanAlwaysBeReadBack(t *testing.T) {
	s := newStore(t)
	id := s.add(t, clusterA, "databases", 0).Point
	tombstone := newTombstone(id)
	for range 20_000 {
		tombstone.Reasons = append(tombstone.Reasons, "no rule of the policy keeps it")
		tombstone.Snapshots = append(tombstone.Snapshots, tombstone.Snapshots[0])
	}
	if err := s.Bury(t.Context(), tombstone); err != nil {
		t.Fatal(err)
	}
	read, err := s.Tombstone(t.Context(), presenceOf(id))
	if err != nil || len(read.Snapshots) != len(tombstone.Snapshots) || len(read.Reasons) > 101 {
		t.Errorf("%d snapshots and %d reasons, error %v", len(read.Snapshots), len(read.Reasons), err)
	}
}

func TestTombstonesAreReadAllOrNotAtAll(t *testing.T) {
	s := newStore(t)
	var ids []catalog.PointID
	for n := range 5 {
		ids = append(ids, s.add(t, clusterA, "databases", n).Point)
	}
	s.bury(t, ids[:3]...)
	read, err := s.Tombstones(t.Context(), s.survey(t, clusterA))
	if err != nil || len(read) != 3 {
		t.Fatalf("%d tombstones, error %v", len(read), err)
	}
	for i, tombstone := range read {
		if tombstone.Point != ids[i] {
			t.Errorf("tombstone %d is that of %s, want %s", i, tombstone.Point, ids[i])
		}
	}
	s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, string(ids[1])), errBroken)
	if read, err := s.Tombstones(t.Context(), s.survey(t, clusterA)); !errors.Is(err, errBroken) || read != nil {
		t.Errorf("Tombstones = %v, %v", read, err)
	}
}

func TestReadersTellWhatWasPrunedFromWhatNeverWas(t *testing.T) {
	s := newStore(t)
	pruned, other := s.add(t, clusterA, "databases", 0).Point, s.add(t, clusterA, "web", 0).Point
	s.add(t, clusterA, "databases", 30)
	s.prune(t, pruned)
	never := catalog.NewPointID(clusterA, "databases", hour(7), 0)
	for _, c := range []struct {
		reference string
		pruned    bool
	}{
		{string(pruned), true}, {string(pruned[:len(pruned)-1]), true}, {string(never), false}, {"20260903-13", false},
	} {
		_, err := s.Find(t.Context(), clusterA, c.reference)
		if !errors.Is(err, catalog.ErrNoPoint) || errors.Is(err, catalog.ErrPruned) != c.pruned {
			t.Errorf("Find(%s): %v, want it to say that it was pruned: %t", c.reference, err, c.pruned)
		}
	}
	// What is left of it stands in no other point's way.
	if found, err := s.Find(t.Context(), clusterA, "20260903-12"); err != nil || found.Point != other {
		t.Errorf("Find = %s, %v, want %s", found.Point, err, other)
	}
	for name, read := range map[string]func(id catalog.PointID) error{
		"Load":       func(id catalog.PointID) error { _, err := s.Load(t.Context(), clusterA, id); return err },
		"ReadCommit": func(id catalog.PointID) error { _, err := s.ReadCommit(t.Context(), presenceOf(id)); return err },
	} {
		if err := read(pruned); !errors.Is(err, catalog.ErrNoPoint) || !strings.Contains(err.Error(), "no rule of the policy keeps it") {
			t.Errorf("%s of the pruned point: %v, want the reason", name, err)
		}
		if err := read(never); !errors.Is(err, catalog.ErrNoPoint) || errors.Is(err, catalog.ErrPruned) {
			t.Errorf("%s of one that never was: %v", name, err)
		}
	}
	s.Before = catalogtest.Fail(func(c catalogtest.Call) bool { return strings.Contains(c.Key, "/tombstones/") }, errBroken)
	if _, err := s.Load(t.Context(), clusterA, pruned); !errors.Is(err, errBroken) || errors.Is(err, catalog.ErrNoPoint) {
		t.Errorf("Load while tombstones cannot be read: %v, want %v", err, errBroken)
	}
}

func TestAPointThatIsPrunedUnderAReaderIsNotCorrupt(t *testing.T) {
	for name, when := range map[string]func(catalogtest.Call) bool{
		"before the commit is read": catalogtest.KeyEnds(catalogtest.Get, "/commit"),
		"before the bundle is read": catalogtest.KeyEnds(catalogtest.Get, "/bundle"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			id, newest := s.add(t, clusterA, "databases", 0).Point, s.add(t, clusterA, "databases", 1).Point
			survey := s.survey(t, clusterA)
			s.Before = catalogtest.Once(when, func() { s.prune(t, id) })
			if _, err := s.Load(t.Context(), clusterA, id); !errors.Is(err, catalog.ErrPruned) || errors.Is(err, catalog.ErrCorrupt) {
				t.Errorf("Load: %v, want %v", err, catalog.ErrPruned)
			}
			entries, err := s.Entries(t.Context(), survey)
			if err != nil || len(entries) != 1 || entries[0].Point != newest {
				t.Errorf("Entries of a survey from before it: %v, %v", entries, err)
			}
		})
	}
}

func TestABundleThatIsGoneIsCorruptionUnlessThePointIsPruned(t *testing.T) {
	s := newStore(t)
	id := s.add(t, clusterA, "databases", 0).Point
	s.bury(t, id)
	if err := s.Delete(t.Context(), pointKey(clusterA, id, "bundle")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), clusterA, id); !errors.Is(err, catalog.ErrCorrupt) {
		t.Errorf("Load: %v, want %v", err, catalog.ErrCorrupt)
	}
}

func TestTheLatestPointIsNoneThatIsBeingRemoved(t *testing.T) {
	s := newStore(t)
	older, newest := s.add(t, clusterA, "databases", 0).Point, s.add(t, clusterA, "databases", 1).Point
	s.bury(t, newest)
	if _, err := s.BeginRemoval(t.Context(), presenceOf(newest), graceEnd); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Find(t.Context(), clusterA, catalog.Latest); err != nil || found.Point != older {
		t.Errorf("latest is %s, %v, want %s", found.Point, err, older)
	}
}
