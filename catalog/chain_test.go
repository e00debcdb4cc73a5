package catalog_test

import (
	"fmt"
	"testing"

	"hawser.dev/hawser/catalog"
)

// walk follows the chains of a catalog as docs/format.md tells a reader to:
// every commit that another one names must be there, and its stored bytes must
// have the digest that the other one gives. It returns what is broken.
func walk(t *testing.T, s store) []string {
	t.Helper()
	var broken []string
	survey := s.survey(t, "")
	stored := map[string][]byte{}
	for _, p := range survey {
		if p.Commit {
			stored[p.ClusterUID+string(p.Point)] = s.object(t, pointKey(p.ClusterUID, p.Point, "commit"))
		}
	}
	for _, p := range survey {
		data, ok := stored[p.ClusterUID+string(p.Point)]
		if !ok {
			continue
		}
		commit, err := catalog.DecodeCommit(data)
		if err != nil || commit.Previous == nil {
			continue
		}
		previous, ok := stored[p.ClusterUID+string(commit.Previous.Point)]
		switch {
		case !ok:
			broken = append(broken, fmt.Sprintf("%s names %s, which is gone", p.Point, commit.Previous.Point))
		case digest(previous) != commit.Previous.SHA256:
			broken = append(broken, fmt.Sprintf("%s names %s, which has changed", p.Point, commit.Previous.Point))
		}
	}
	return broken
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
	wantDiff(t, "what is broken", []string(nil), walk(t, s))
}

func TestTheChainRunsThroughAbandonedRuns(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	abandoned := s.abandon(t, clusterA, "databases", 1)
	commit := s.add(t, clusterA, "databases", 2)
	if commit.Previous == nil || commit.Previous.Point != abandoned {
		t.Errorf("previous is %v, want the abandoned run %s", commit.Previous, abandoned)
	}
	wantDiff(t, "what is broken", []string(nil), walk(t, s))
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
	wantDiff(t, "what is broken", []string(nil), walk(t, s))
}

func TestTamperingShowsInTheChain(t *testing.T) {
	id := func(n int) catalog.PointID { return catalog.NewPointID(clusterA, "databases", hour(n), 0) }
	for _, c := range []struct {
		name   string
		tamper func(t *testing.T, s store)
		want   []string
	}{
		{"nothing is done", func(*testing.T, store) {}, nil},
		{"a point in the middle is removed", func(t *testing.T, s store) {
			if err := s.Delete(t.Context(), pointKey(clusterA, id(1), "commit")); err != nil {
				t.Fatal(err)
			}
		}, []string{fmt.Sprintf("%s names %s, which is gone", id(2), id(1))}},
		{"the oldest point is removed", func(t *testing.T, s store) {
			if err := s.Delete(t.Context(), pointKey(clusterA, id(0), "commit")); err != nil {
				t.Fatal(err)
			}
		}, []string{fmt.Sprintf("%s names %s, which is gone", id(1), id(0))}},
		{"a commit is forged with a digest that fits", func(t *testing.T, s store) {
			key := pointKey(clusterA, id(1), "commit")
			s.replace(t, key, reseal(t, s.object(t, key), func(statement map[string]any) { statement["outcome"] = "partial" }))
		}, []string{fmt.Sprintf("%s names %s, which has changed", id(2), id(1))}},
		// A chain says nothing of its own end: that takes a copy of the newest
		// digest outside of the bucket, or a bucket that keeps what it was given.
		{"the newest point is removed, which no chain can show", func(t *testing.T, s store) {
			if err := s.Delete(t.Context(), pointKey(clusterA, id(3), "commit")); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := chains(t)
			c.tamper(t, s)
			wantDiff(t, "what is broken", c.want, walk(t, s))
		})
	}
}
