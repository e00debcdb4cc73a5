package catalog_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// broken returns what CheckChain finds in a catalog.
func broken(t *testing.T, s store) []string {
	t.Helper()
	survey := s.survey(t, "")
	entries, err := s.Entries(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	tombstones, err := s.Tombstones(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	var gaps []string
	for _, gap := range catalog.CheckChain(entries, tombstones) {
		gaps = append(gaps, gap.String())
	}
	return gaps
}

// chains fills a catalog with the interleaved points of two plans in two clusters.
func chains(t *testing.T) store {
	s := newStore(t)
	for n := range 4 {
		for _, cluster := range []string{clusterA, clusterB} {
			for _, plan := range []string{"databases", "web"} {
				s.add(t, cluster, plan, n)
			}
		}
	}
	return s
}

func TestEachCommitNamesThePreviousOneOfItsPlanAndCluster(t *testing.T) {
	s := chains(t)
	for _, cluster := range []string{clusterA, clusterB} {
		for _, plan := range []string{"databases", "web"} {
			var want *catalog.CommitRef
			for n := range 4 {
				id := catalog.NewPointID(cluster, plan, hour(n), 0)
				commit, err := s.ReadCommit(t.Context(), catalog.Presence{ClusterUID: cluster, Point: id})
				if err != nil {
					t.Fatal(err)
				}
				wantDiff(t, fmt.Sprintf("previous of %s", id), want, commit.Previous)
				want = &catalog.CommitRef{Point: id, SHA256: digest(s.object(t, pointKey(cluster, id, "commit")))}
			}
		}
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}

func TestTheChainRunsThroughAbandonedRuns(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	abandoned := s.abandon(t, clusterA, "databases", 1)
	commit := s.add(t, clusterA, "databases", 2)
	if commit.Previous == nil || commit.Previous.Point != abandoned {
		t.Errorf("previous is %v, want the abandoned run %s", commit.Previous, abandoned)
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}

func TestAPlanWhoseNameBeginsLikeAnotherHasItsOwnChain(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "web-a-0123456", 0)
	s.add(t, clusterA, "web-a-01234567", 0) // as long as the digest in an id
	if commit := s.add(t, clusterA, "web", 1); commit.Previous != nil {
		t.Errorf("plan web names %s", commit.Previous.Point)
	}
	if commit := s.add(t, clusterA, "web-a", 1); commit.Previous != nil {
		t.Errorf("plan web-a names %s", commit.Previous.Point)
	}
}

func TestALateRunNamesNoLaterOne(t *testing.T) {
	s := newStore(t)
	first := s.add(t, clusterA, "databases", 0)
	s.add(t, clusterA, "databases", 2)
	late := s.add(t, clusterA, "databases", 1) // caught up on after an outage
	if late.Previous == nil || late.Previous.Point != first.Point {
		t.Errorf("previous is %v, want %s", late.Previous, first.Point)
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}

func TestTheChainNamesTheLastAttemptOfAnOccurrence(t *testing.T) {
	// Ids of attempts are in no order: of some hours the first sorts before the
	// second, of others after it.
	for n := range 16 {
		s := newStore(t)
		attempts := make([]catalog.PointID, 3)
		for attempt := range attempts {
			intent, commit := newIntent(clusterA, "databases", n), newCommit(clusterA, "databases", n)
			id := catalog.NewPointID(clusterA, "databases", hour(n), attempt)
			intent.Point, intent.Attempt, commit.Point, commit.Attempt = id, attempt, id, attempt
			attempts[attempt] = id
			if attempt < 2 {
				if err := s.Abandon(t.Context(), intent, catalog.Commit{}, s.survey(t, clusterA)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			commit, err := s.Commit(t.Context(), commit, newBundle(), s.survey(t, clusterA))
			if err != nil || commit.Previous == nil || commit.Previous.Point != attempts[1] {
				t.Errorf("the third attempt names %v, error %v, want the second", commit.Previous, err)
			}
		}
		if next := s.add(t, clusterA, "databases", n+1); next.Previous == nil || next.Previous.Point != attempts[2] {
			t.Errorf("the next occurrence names %v, want the third attempt %s", next.Previous, attempts[2])
		}
		wantDiff(t, "what is broken", []string(nil), broken(t, s))
	}
}

func TestAPreviousPointThatIsPrunedDuringTheRunIsNamedAllTheSame(t *testing.T) {
	s := newStore(t)
	pruned := s.add(t, clusterA, "databases", 0).Point
	sum := digest(s.object(t, pointKey(clusterA, pruned, "commit")))
	s.Before = catalogtest.Once(catalogtest.KeyEnds(catalogtest.Get, "/bundle"), func() { s.prune(t, pruned) })
	commit := s.add(t, clusterA, "databases", 1)
	wantDiff(t, "previous", &catalog.CommitRef{Point: pruned, SHA256: sum}, commit.Previous)
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}

func TestTamperingShowsInTheChain(t *testing.T) {
	id := func(n int) catalog.PointID { return catalog.NewPointID(clusterA, "databases", hour(n), 0) }
	after := func(n, m int, problem string) string {
		return fmt.Sprintf("point %s comes after point %s: %s", id(n), id(m), problem)
	}
	remove := func(t *testing.T, s store, keys ...string) {
		for _, key := range keys {
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	forge := func(t *testing.T, s store, n int) {
		key := pointKey(clusterA, id(n), "commit")
		s.replace(t, key, reseal(t, s.object(t, key), func(statement map[string]any) { statement["outcome"] = "partial" }))
	}
	const gone, changed = "its commit is gone, and no tombstone says why", "its commit was changed since"
	for _, c := range []struct {
		name   string
		tamper func(t *testing.T, s store)
		want   []string
	}{
		{"nothing is done", func(*testing.T, store) {}, nil},
		{"a point in the middle is removed", func(t *testing.T, s store) {
			remove(t, s, pointKey(clusterA, id(1), "commit"))
		}, []string{after(2, 1, gone)}},
		{"the oldest point is removed", func(t *testing.T, s store) {
			remove(t, s, pointKey(clusterA, id(0), "commit"))
		}, []string{after(1, 0, gone)}},
		{"a commit is forged with a digest that fits", func(t *testing.T, s store) { forge(t, s, 1) }, []string{after(2, 1, changed)}},
		{"a commit cannot be read, behind which nothing can be seen", func(t *testing.T, s store) {
			remove(t, s, pointKey(clusterA, id(0), "commit"))
			s.replace(t, pointKey(clusterA, id(1), "commit"), []byte("{}"))
		}, []string{
			fmt.Sprintf("point %s: commit of point %s: corrupt: it has no format version", id(1), id(1)),
			after(2, 1, changed),
		}},
		// A chain says nothing of its own end: that takes a copy of the newest
		// digest outside of the bucket, or a bucket that keeps what it was given.
		{"the newest point is removed, which no chain can show", func(t *testing.T, s store) {
			remove(t, s, pointKey(clusterA, id(3), "commit"))
		}, nil},

		{"a point in the middle is pruned", func(t *testing.T, s store) { s.prune(t, id(1)) }, nil},
		{"all but the newest are pruned", func(t *testing.T, s store) { s.prune(t, id(0), id(1), id(2)) }, nil},
		{"all but the newest are pruned, the oldest last", func(t *testing.T, s store) { s.prune(t, id(2), id(1), id(0)) }, nil},
		{"a point behind a pruned one is removed", func(t *testing.T, s store) {
			s.prune(t, id(2))
			remove(t, s, pointKey(clusterA, id(1), "commit"))
		}, []string{after(2, 1, gone)}},
		{"a point behind two pruned ones is removed, and the older tombstone forgotten", func(t *testing.T, s store) {
			s.prune(t, id(1), id(2))
			remove(t, s, tombstoneKey(clusterA, id(1)), pointKey(clusterA, id(0), "commit"))
		}, []string{after(2, 0, gone)}},
		{"a point behind a pruned one is forged", func(t *testing.T, s store) {
			s.prune(t, id(2))
			forge(t, s, 1)
		}, []string{after(2, 1, changed)}},
		{"a tombstone is removed too early", func(t *testing.T, s store) {
			s.prune(t, id(1))
			remove(t, s, tombstoneKey(clusterA, id(1)))
		}, []string{after(2, 1, gone)}},
		{"a point is forged, then pruned", func(t *testing.T, s store) {
			forge(t, s, 1)
			s.prune(t, id(1))
		}, []string{after(2, 1, "its commit is gone, and the tombstone is of another one")}},
		{"a point is forged, then pruned, and so is the next", func(t *testing.T, s store) {
			forge(t, s, 1)
			s.prune(t, id(1), id(2))
		}, []string{after(2, 1, "its commit is gone, and the tombstone is of another one")}},
		{"a point is forged once it is buried", func(t *testing.T, s store) {
			s.bury(t, id(3))
			forge(t, s, 3)
		}, []string{fmt.Sprintf("point %s: its commit was changed after it was buried", id(3))}},
		{"a point is being removed", func(t *testing.T, s store) {
			s.bury(t, id(1))
			if _, err := s.BeginRemoval(t.Context(), presenceOf(id(1)), graceEnd); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"a tombstone is taken back after the next point's was written", func(t *testing.T, s store) {
			s.bury(t, id(1), id(2))
			if err := s.Exhume(t.Context(), presenceOf(id(1))); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(t.Context(), presenceOf(id(2)), graceEnd); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"tombstones are forged to name each other", func(t *testing.T, s store) {
			s.prune(t, id(1), id(2))
			first, second := s.object(t, tombstoneKey(clusterA, id(1))), s.object(t, tombstoneKey(clusterA, id(2)))
			s.replace(t, tombstoneKey(clusterA, id(1)), renamed(t, first, id(2), second))
			s.replace(t, tombstoneKey(clusterA, id(2)), renamed(t, second, id(1), first))
			s.bury(t, id(3))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := chains(t)
			c.tamper(t, s)
			wantDiff(t, "what is broken", c.want, broken(t, s))
		})
	}
}

// renamed returns a tombstone whose previous point is that of another one.
func renamed(t *testing.T, data []byte, id catalog.PointID, other []byte) []byte {
	t.Helper()
	var changed, named catalog.Tombstone
	for into, data := range map[*catalog.Tombstone][]byte{&changed: data, &named: other} {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	changed.Previous = &catalog.CommitRef{Point: id, SHA256: named.Commit}
	data, err := json.Marshal(changed)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
