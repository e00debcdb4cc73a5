package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

func TestFind(t *testing.T) {
	databases := func(n int) string { return string(catalog.NewPointID(clusterA, "databases", hour(n), 0)) }
	web := string(catalog.NewPointID(clusterB, "web", hour(0), 0))
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	s.add(t, clusterA, "databases", 1)
	s.abandon(t, clusterA, "databases", 2)
	s.add(t, clusterB, "web", 0)
	begun := newIntent(clusterB, "web", 3)
	if err := s.Begin(t.Context(), begun); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, cluster, reference string
		want                     string
		err                      error
		says                     string
	}{
		{"a point by its id", clusterA, databases(0), databases(0), nil, ""},
		{"a point by its id among all clusters", "", databases(0), databases(0), nil, ""},
		{"a point by the beginning of its id", clusterA, "20260903-13", databases(1), nil, ""},
		{"a point by its id less one character", "", databases(1)[:len(databases(1))-1], databases(1), nil, ""},
		{"a beginning that an abandoned run shares", clusterA, "20260903-1", "", catalog.ErrAmbiguous, databases(0) + ", " + databases(1)},
		{"a beginning that points of two clusters share", "", "20260903-12", "", catalog.ErrAmbiguous, web},
		{"a beginning that is unique in the cluster", clusterB, "2", web, nil, ""},
		{"a beginning that only an abandoned run has", clusterA, "20260903-14", "", catalog.ErrNoPoint, "`hawser points`"},
		{"an abandoned run by its id", clusterA, databases(2), "", catalog.ErrNoPoint, "abandoned: interrupted"},
		{"a run that is under way", clusterB, string(begun.Point), "", catalog.ErrNoPoint, string(begun.Point)},
		{"the middle of an id", clusterA, "databases", "", catalog.ErrNoPoint, "databases"},
		{"a point of another cluster", clusterA, web, "", catalog.ErrNoPoint, web},
		{"nothing", clusterA, "", "", catalog.ErrNoPoint, "latest"},
		{"the latest, past a newer abandoned run", clusterA, "latest", databases(1), nil, ""},
		{"the latest, past a run under way", clusterB, "latest", web, nil, ""},
		{"the latest of two clusters", "", "latest", "", catalog.ErrAmbiguous, "prod-eu " + clusterA + ", prod-eu " + clusterB + "; name the cluster with --from-cluster"},
		{"the latest of a cluster without points", "0000", "latest", "", catalog.ErrNoPoint, "latest"},
		{"a cluster that is none", "../x", "latest", "", nil, "not a Kubernetes uid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			commit, err := s.Find(t.Context(), c.cluster, c.reference)
			if c.want != "" {
				if err != nil || string(commit.Point) != c.want {
					t.Errorf("Find = %q, %v, want %q", commit.Point, err, c.want)
				}
				return
			}
			if err == nil || c.err != nil && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Find = %q, %v, want %v that says %q", commit.Point, err, c.err, c.says)
			}
		})
	}
}

func TestTheIdOfOnePointMayBeginLikeAnothers(t *testing.T) {
	s := newStore(t)
	long := s.add(t, clusterA, "web", 0).Point
	// An id that ends where the other goes on is a point id only by chance; the
	// exact one wins.
	short := long[:len(long)-9] + "-00000000"
	longer := short + "-00000000"
	for _, id := range []catalog.PointID{short, longer} {
		key := pointKey(clusterA, long, "commit")
		s.put(t, pointKey(clusterA, id, "commit"), reseal(t, s.object(t, key), func(statement map[string]any) { statement["point"] = id }))
	}
	for _, id := range []catalog.PointID{short, longer} {
		if commit, err := s.Find(t.Context(), clusterA, string(id)); err != nil || commit.Point != id {
			t.Errorf("Find(%s) = %s, %v", id, commit.Point, err)
		}
	}
}

func TestFindDoesNotPassOverWhatItCannotRead(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	newest := s.add(t, clusterA, "databases", 1)
	s.replace(t, pointKey(clusterA, newest.Point, "commit"), []byte("{}"))
	for _, reference := range []string{"latest", string(newest.Point), "20260903-13"} {
		if commit, err := s.Find(t.Context(), clusterA, reference); !errors.Is(err, catalog.ErrCorrupt) || !strings.Contains(err.Error(), string(newest.Point)) {
			t.Errorf("Find(%s) = %q, %v, want %v that names the point", reference, commit.Point, err, catalog.ErrCorrupt)
		}
	}
}

func TestAnUnreadableCommitStillMakesABeginningAmbiguous(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	newest := s.add(t, clusterA, "databases", 1)
	s.replace(t, pointKey(clusterA, newest.Point, "commit"), []byte("{}"))
	if commit, err := s.Find(t.Context(), clusterA, "20260903"); !errors.Is(err, catalog.ErrAmbiguous) {
		t.Errorf("Find = %q, %v, want %v", commit.Point, err, catalog.ErrAmbiguous)
	}
}

func TestEntriesKeepTheirOrderAndReportWhatCannotBeRead(t *testing.T) {
	s := newStore(t)
	var want []catalog.Entry
	for n := range 40 {
		commit := s.add(t, clusterA, "databases", n)
		sum := digest(s.object(t, pointKey(clusterA, commit.Point, "commit")))
		want = append(want, catalog.Entry{ClusterUID: clusterA, Point: commit.Point, SHA256: sum, Commit: commit})
	}
	abandoned := s.abandon(t, clusterA, "databases", 40)
	s.replace(t, pointKey(clusterA, want[7].Point, "commit"), []byte("{}"))
	s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, string(want[9].Point)+"/commit"), errBroken)
	survey := s.survey(t, clusterA)
	survey = append(survey, catalog.Presence{ClusterUID: clusterA, Point: "no-commit", Journal: true, Bundle: true})

	got, err := s.Entries(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 41 || got[40].Point != abandoned || got[40].Commit.Outcome != catalog.Abandoned {
		t.Fatalf("%d entries, the last %+v, want 41 and the abandoned run", len(got), got[len(got)-1])
	}
	for i, target := range map[int]error{7: catalog.ErrCorrupt, 9: errBroken} {
		if !errors.Is(got[i].Err, target) {
			t.Errorf("entry %d: %v, want %v", i, got[i].Err, target)
		}
		wantDiff(t, fmt.Sprintf("commit of entry %d", i), catalog.Commit{}, got[i].Commit)
		want[i], got[i] = catalog.Entry{}, catalog.Entry{}
	}
	wantDiff(t, "entries", want, got[:40])
}

func TestEntriesOfNothing(t *testing.T) {
	s := newStore(t)
	if entries, err := s.Entries(t.Context(), nil); err != nil || len(entries) != 0 {
		t.Errorf("Entries = %v, %v", entries, err)
	}
}

func TestEntriesEndWhenTheyAreCancelled(t *testing.T) {
	s := newStore(t)
	for n := range 20 {
		s.add(t, clusterA, "databases", n)
	}
	survey := s.survey(t, clusterA)
	ctx, cancel := context.WithCancel(t.Context())
	s.Before = func(ctx context.Context, call catalogtest.Call) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	if _, err := s.Entries(ctx, survey); !errors.Is(err, context.Canceled) {
		t.Errorf("Entries: %v, want %v", err, context.Canceled)
	}
}
