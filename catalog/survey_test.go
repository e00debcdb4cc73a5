package catalog_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

func TestSurvey(t *testing.T) {
	const first, second = "20260903-120000-databases-0a1b2c3d", "20260903-130000-web-4e5f6071"
	s := newStore(t)
	for _, key := range []string{
		"clusters/a/points/" + second + "/commit",
		"clusters/a/points/" + second + "/bundle",
		"clusters/a/points/" + first + "/bundle",
		"clusters/a/journal/" + first,
		"clusters/a/journal/" + second,
		"clusters/a/journal/" + second + ".settled",
		"clusters/b/points/" + first + "/commit",
		"clusters/b/journal/20260903-140000-x-00000000.settled",
		"clusters/ab/journal/" + first,
		"clusters/b/tombstones/" + first,
		"clusters/b/tombstones/" + second,
		"clusters/b/tombstones/" + second + ".verdict",

		// None of these is of the layout.
		"readme.txt",
		"clusters/d",
		"clusters/points/" + first + "/commit",
		"clusters/c/points/" + first + "/commit/old",
		"clusters/c/points/" + first + "/commit.tmp",
		"clusters/c/points/" + first + ".settled/bundle",
		"clusters/c/points/" + first + ".settled/commit",
		"clusters/c/points/latest/commit",
		"clusters/c/points/commit",
		"clusters/c/journal/" + first + "/commit",
		"clusters/c/journal/" + first + ".settled.settled",
		"clusters/c/journal/" + first + ".tmp",
		"clusters/c/journal/" + strings.ToUpper(first),
		"clusters/c/tombstones/" + first + ".settled",
		"clusters/c/tombstones/" + first + ".verdict", // left behind by one who took the tombstone back
		"clusters/c/tombstones/" + first + ".verdict/old",
		"clusters/c/journal/" + first + ".verdict",
		"clusters/c/points/" + first + ".verdict/commit",
		"disks/hostpath.csi.k8s.io/" + first,
		"other/clusters/c/points/" + first + "/commit",
	} {
		s.put(t, key, nil)
	}
	a := []catalog.Presence{
		{ClusterUID: "a", Point: first, Journal: true, Bundle: true},
		{ClusterUID: "a", Point: second, Journal: true, Settled: true, Bundle: true, Commit: true},
	}
	all := []catalog.Presence{
		a[0], {ClusterUID: "ab", Point: first, Journal: true}, {ClusterUID: "b", Point: first, Commit: true, Tombstone: true}, a[1],
		{ClusterUID: "b", Point: second, Tombstone: true, Removing: true},
		{ClusterUID: "b", Point: "20260903-140000-x-00000000", Settled: true},
	}
	wantDiff(t, "survey of all clusters", all, s.survey(t, ""))
	wantDiff(t, "survey of cluster a", a, s.survey(t, "a"))
	wantDiff(t, "survey of a cluster of which only foreign keys are there", []catalog.Presence{}, s.survey(t, "c"))
	if _, err := s.Survey(t.Context(), "a/points"); err == nil {
		t.Error("a survey of what is no cluster uid succeeded")
	}
}

func TestASurveyFindsWhatWasWrittenAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var bucket catalogtest.Memory
		want := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) catalog.Presence {
			flag := rapid.Bool()
			uid := uids.Draw(t, "uid")
			return catalog.Presence{
				ClusterUID: uid, Point: catalog.NewPointID(uid, plans.Draw(t, "plan"), times.Draw(t, "scheduled"), 0),
				Journal: true, Settled: flag.Draw(t, "settled"), Bundle: flag.Draw(t, "bundle"), Commit: flag.Draw(t, "commit"),
			}
		}), 0, 20, func(p catalog.Presence) catalog.PointID { return p.Point }).Draw(t, "points")
		put := func(there bool, key string) {
			if err := bucket.Create(context.Background(), key, nil); there && err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range want {
			put(true, journalKey(p.ClusterUID, p.Point))
			for key, there := range map[string]bool{
				journalKey(p.ClusterUID, p.Point) + ".settled":   p.Settled,
				pointKey(p.ClusterUID, p.Point, "bundle"):        p.Bundle,
				pointKey(p.ClusterUID, p.Point, "commit"):        p.Commit,
				pointKey(p.ClusterUID, p.Point, "bundle") + ".x": true,
			} {
				if there {
					put(true, key)
				}
			}
		}
		cat, err := catalog.OpenOrCreate(context.Background(), &bucket, catalog.Limits{}, noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cat.Survey(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		less := func(a, b catalog.Presence) bool { return a.Point < b.Point }
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(less), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("survey (-want +got):\n%s", diff)
		}
	})
}

func TestAListingThatBreaksIsNoSurvey(t *testing.T) {
	s := newStore(t)
	for n := range 3 {
		s.add(t, clusterA, "databases", n)
	}
	for name, hook := range map[string]func(){
		"at once": func() { s.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.List, ""), errBroken) },
		"midway": func() {
			s.Before = nil
			s.Listed = func(_ catalogtest.Call, i int, _ catalog.Object) error {
				if i == 5 {
					return errBroken
				}
				return nil
			}
		},
	} {
		hook()
		if survey, err := s.Survey(t.Context(), clusterA); !errors.Is(err, errBroken) || survey != nil {
			t.Errorf("a listing that breaks %s: %v, %v", name, survey, err)
		}
		if _, err := s.Find(t.Context(), clusterA, catalog.Latest); !errors.Is(err, errBroken) || errors.Is(err, catalog.ErrNoPoint) {
			t.Errorf("Find in a listing that breaks %s: %v, want %v", name, err, errBroken)
		}
	}
}

// unsorted is a store whose listings keep no order.
type unsorted struct{ catalog.Bucket }

func (u unsorted) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		var all []catalog.Object
		for object, err := range u.Bucket.List(ctx, prefix) {
			if err != nil {
				yield(object, err)
				return
			}
			all = append([]catalog.Object{object}, all...)
		}
		for _, object := range all {
			if !yield(object, nil) {
				return
			}
		}
	}
}

func TestASurveyIsInOrderOfIds(t *testing.T) {
	s := newStore(t)
	var want []catalog.PointID
	for n := range 5 {
		want = append(want, s.add(t, []string{clusterB, clusterA}[n%2], "databases", n).Point)
	}
	s.Bucket = unsorted{s.Bucket}
	var got []catalog.PointID
	for _, p := range s.survey(t, "") {
		got = append(got, p.Point)
	}
	wantDiff(t, "order of the survey", want, got)
}
