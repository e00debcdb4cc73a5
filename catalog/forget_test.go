package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// links makes a history of point names, oldest first, each of which names the
// one before it: "b" has a commit, "b!" a commit and a tombstone, "b-" was
// removed and has a tombstone, "b-a" too, and its tombstone leads to a.
func links(history string) ([]catalog.Presence, []catalog.Entry, []catalog.Tombstone) {
	var survey []catalog.Presence
	var entries []catalog.Entry
	var tombstones []catalog.Tombstone
	var previous *catalog.CommitRef
	for _, word := range strings.Fields(history) {
		id := catalog.PointID(word[:1])
		removed, buried := strings.Contains(word, "-"), strings.HasSuffix(word, "!") || strings.Contains(word, "-")
		p := catalog.Presence{ClusterUID: clusterA, Point: id, Commit: !removed, Tombstone: buried}
		if survey = append(survey, p); !removed {
			entries = append(entries, catalog.Entry{
				ClusterUID: clusterA, Point: id, SHA256: "of " + word[:1], Commit: catalog.Commit{Point: id, Previous: previous},
			})
		}
		if buried {
			t := catalog.Tombstone{Point: id, Cluster: catalog.Cluster{UID: clusterA}, Commit: "of " + word[:1], Previous: previous}
			if _, to, _ := strings.Cut(word, "-"); to != "" {
				t.Previous = &catalog.CommitRef{Point: catalog.PointID(to), SHA256: "of " + to}
			}
			tombstones = append(tombstones, t)
		}
		previous = &catalog.CommitRef{Point: id, SHA256: "of " + word[:1]}
	}
	return survey, entries, tombstones
}

func TestWhichTombstonesCanBeForgotten(t *testing.T) {
	for _, c := range []struct{ name, history, want string }{
		{"none, if there are none", "a b c", ""},
		{"none that the next point's commit names", "a- b", ""},
		{"one whose next point was removed too", "a- b- c", ""},
		{"one that no tombstone leads to any more", "a b- c-a d", "b"},
		{"none that leads to a point", "a b- c- d", ""},
		{"none of a point that is there", "a b c!", ""},
		{"none that a buried point names", "a- b!", ""},
		{"all of a plan that has no points left", "a- b- c-", "a b c"},
		{"those that none leads to, in a long history", "a b- c-a d- e-a f g- h-f i", "b c d g"},
	} {
		t.Run(c.name, func(t *testing.T) {
			survey, entries, tombstones := links(c.history)
			forgettable, err := catalog.Forgettable(survey, entries, tombstones)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range forgettable {
				got = append(got, string(p.Point))
			}
			wantDiff(t, c.history, c.want, strings.Join(got, " "))
		})
	}
}

func TestNothingIsForgottenWhileItsRemovalIsNotOver(t *testing.T) {
	survey, entries, tombstones := links("a- b- c-")
	for i, change := range []func(p *catalog.Presence){
		func(p *catalog.Presence) { p.Removing = true },
		func(p *catalog.Presence) { p.Bundle = true },
		func(p *catalog.Presence) { p.Journal = true },
		func(p *catalog.Presence) { p.Settled = true },
	} {
		changed := slices.Clone(survey)
		change(&changed[1])
		forgettable, err := catalog.Forgettable(changed, entries, tombstones)
		if err != nil || len(forgettable) != 2 || slices.Contains(forgettable, changed[1]) {
			t.Errorf("case %d: %v, %v", i, forgettable, err)
		}
	}
}

func TestNothingIsForgottenWhileACommitCannotBeRead(t *testing.T) {
	survey, entries, tombstones := links("a- b c")
	entries[0] = catalog.Entry{ClusterUID: clusterA, Point: "b", Err: errBroken}
	if forgettable, err := catalog.Forgettable(survey, entries, tombstones); err == nil || forgettable != nil {
		t.Errorf("Forgettable = %v, %v", forgettable, err)
	}
}

func TestNothingIsForgottenOfWhichTheTombstoneWasNotRead(t *testing.T) {
	survey, entries, tombstones := links("a- b- c-")
	forgettable, err := catalog.Forgettable(survey, entries, tombstones[1:])
	if err != nil || slices.Contains(forgettable, survey[0]) || len(forgettable) != 2 {
		t.Errorf("Forgettable = %v, %v, want all but the first", forgettable, err)
	}
}

func TestClustersHaveTheirOwnTombstones(t *testing.T) {
	survey, entries, tombstones := links("a- b")
	entries[0].ClusterUID = clusterB // the other cluster's b names the other's a
	forgettable, err := catalog.Forgettable(survey, entries, tombstones)
	if err != nil || len(forgettable) != 1 {
		t.Errorf("Forgettable = %v, %v, want the tombstone that nothing in its cluster needs", forgettable, err)
	}
	if gaps := catalog.CheckChain(entries, tombstones); len(gaps) != 1 {
		t.Errorf("gaps %v, want the other cluster's", gaps)
	}
}

// The whole of it, over the months of a plan that runs every two hours: the
// tombstones stay few, the chain stays whole, and the removal of any point but
// the newest shows.
func TestTombstonesStayFewAndTheChainWhole(t *testing.T) {
	const runs, grace = 12 * 70, 12 // of two hours
	policy := catalog.Retention{Last: 3, Daily: 7, Weekly: 4, Monthly: 12}
	s := newStore(t)
	most := 0
	for n := range runs {
		s.add(t, clusterA, "databases", 2*n)
		if n%12 == 0 {
			s.pruneByPolicy(t, policy, hour(2*n), 2*grace*time.Hour)
			stones := len(s.keys(t, tombstoneKey(clusterA, "")))
			most = max(most, stones)
		}
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
	survey := s.survey(t, clusterA)
	entries, err := s.Entries(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	tombstones, err := s.Tombstones(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries[:len(entries)-1] {
		if slices.ContainsFunc(tombstones, func(t catalog.Tombstone) bool { return t.Point == e.Point }) {
			continue // it may go
		}
		if gaps := catalog.CheckChain(slices.Delete(slices.Clone(entries), i, i+1), tombstones); len(gaps) != 1 {
			t.Errorf("the removal of point %s shows as %v", e.Point, gaps)
		}
	}
	t.Logf("%d runs, %d points and %d tombstones left, at most %d", runs, len(entries), len(tombstones), most)
	if most > 60 {
		t.Errorf("there were %d tombstones", most)
	}
}

// pruneByPolicy does what a pruning run does to the catalog.
func (s store) pruneByPolicy(t *testing.T, policy catalog.Retention, now time.Time, grace time.Duration) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	survey := s.survey(t, clusterA)
	entries, err := s.Entries(t.Context(), survey)
	must(err)
	presences := map[catalog.PointID]catalog.Presence{}
	for _, p := range survey {
		presences[p.Point] = p
	}
	var history []catalog.History
	for _, e := range entries {
		history = append(history, catalog.History{Presence: presences[e.Point], Commit: e.Commit, Verified: true})
	}
	decisions, err := policy.Apply(history, nil)
	must(err)
	for _, d := range decisions {
		p := presences[d.Point]
		switch {
		case d.Keep && p.Tombstone:
			must(s.Exhume(t.Context(), p))
		case !d.Keep && !p.Tombstone:
			stone := newTombstone(d.Point)
			stone.Buried, stone.NotBefore, stone.Reasons = now, now.Add(grace), d.Reasons
			must(s.Bury(t.Context(), stone))
		case !d.Keep:
			stone, err := s.Tombstone(t.Context(), p)
			must(err)
			if !now.Before(stone.NotBefore) {
				must(s.Remove(t.Context(), p, now))
			}
		}
	}
	survey = s.survey(t, clusterA)
	entries, err = s.Entries(t.Context(), survey)
	must(err)
	tombstones, err := s.Tombstones(t.Context(), survey)
	must(err)
	forgettable, err := catalog.Forgettable(survey, entries, tombstones)
	must(err)
	for _, p := range forgettable {
		must(s.Forget(t.Context(), p))
	}
}
