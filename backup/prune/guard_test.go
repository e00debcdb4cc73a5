package prune

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// ready is a catalog of six points, of which the oldest is about to be removed
// and the one after it to be dropped, and an orphan that is about to be removed.
func readyToPrune(t *testing.T) (*lab, []catalog.PointID) {
	t.Helper()
	l := newLab(t)
	points := l.hourly(6)
	l.snapshot("20260101-000000-databases-00000000", "shop/data")
	l.prune(keepLast(5))
	l.pass(DefaultGrace)
	return l, points
}

func TestGuardsStopWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrange func(l *lab, points []catalog.PointID)
		guard   Guard
		plan    string
		says    string
	}{
		{"the store's clock is ahead", func(l *lab, _ []catalog.PointID) { l.skew = 6 * time.Minute }, GuardSkew, "", "6m0s ahead"},
		{"the store's clock is behind", func(l *lab, _ []catalog.PointID) { l.skew = -6 * time.Minute }, GuardSkew, "", "behind"},
		{"a commit is damaged", func(l *lab, points []catalog.PointID) { l.damage("points/" + string(points[5]) + "/commit") }, GuardUnreadable, "databases", "corrupt"},
		{"a bundle is damaged", func(l *lab, points []catalog.PointID) { l.damage("points/" + string(points[5]) + "/bundle") }, GuardUnreadable, "databases", "corrupt"},
		{"a bundle is gone", func(l *lab, points []catalog.PointID) {
			l.must(l.bucket.Bucket.Delete(l.t.Context(), "clusters/"+clusterUID+"/points/"+string(points[5])+"/bundle"))
		}, GuardUnreadable, "databases", "gone"},
		{"a tombstone is of a later format", func(l *lab, points []catalog.PointID) {
			l.damage("tombstones/" + string(points[0]))
		}, GuardUnreadable, "databases", "corrupt"},
		{"the cluster has none of the snapshots", func(l *lab, _ []catalog.PointID) {
			for _, s := range l.snapshots() {
				l.must(l.api.Tracker().Delete(snapshotsResource, s.Namespace, s.Name))
			}
			for _, c := range l.contents() {
				l.must(l.api.Tracker().Delete(contentsResource, "", c.Name))
			}
		}, GuardEmptyCluster, "", "none of the 6 snapshots"},
		{"the policy makes no sense", nil, GuardPolicy, "databases", "below 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, points := readyToPrune(t)
			if c.arrange != nil {
				c.arrange(l, points)
			}
			options := keepLast(4)
			if c.guard == GuardPolicy {
				options = keepLast(-1)
			}
			options.Confirm = true // overrides no guard but that of too many
			l.Cache = nil
			store, storage := l.keys(), l.storage.Len()
			result := l.prune(options)
			if len(result.Stops) != 1 {
				t.Fatalf("stops are %+v, want one", result.Stops)
			}
			stop := result.Stops[0]
			if stop.Guard != c.guard || stop.Plan != c.plan || !strings.Contains(stop.Why, c.says) || stop.Remedy == "" {
				t.Errorf("stop is %+v, want %s of plan %q that says %q", stop, c.guard, c.plan, c.says)
			}
			if counts := result.Counts("databases"); counts.Stopped == nil || len(counts.Done) != 0 {
				t.Errorf("counts are %+v, want none done and the guard", counts)
			}
			l.want("the store", store, l.keys())
			if swept := storage - l.storage.Len(); swept != 0 && (c.plan == "" || swept != 1) {
				t.Errorf("%d snapshots were removed from the storage", swept)
			}
		})
	}
}

// damage changes an object of the store.
func (l *lab) damage(key string) {
	l.t.Helper()
	key = "clusters/" + clusterUID + "/" + key
	l.must(l.bucket.Bucket.Delete(l.t.Context(), key))
	l.must(l.bucket.Bucket.Create(l.t.Context(), key, []byte("damaged")))
}

func TestAPlanThatIsStoppedDoesNotStopOthers(t *testing.T) {
	l := newLab(t)
	points := l.hourly(3)
	other := []catalog.PointID{l.make(run{plan: "other", at: noon.Add(-2 * time.Hour)}), l.make(run{plan: "other", at: noon.Add(-time.Hour)})}
	l.damage("points/" + string(points[1]) + "/commit")
	options := keepLast(1)
	options.Policies = append(options.Policies, Policy{Plan: "other", Retain: catalog.Retention{Last: 1}})
	l.want("decided", merge(same("keep", points[0], points[2]), same("leave", points[1]), same("bury", other[0]), same("keep", other[1])), verdicts(l.prune(options)))
	l.pass(DefaultGrace)
	l.prune(options)
	l.want("snapshots on the storage", 4, l.storage.Len())
}

func TestAPolicyThatWouldDropMuchAtOnceMustBeConfirmed(t *testing.T) {
	for _, c := range []struct {
		points, last int
		stopped      bool
	}{{3, 1, false}, {4, 1, false}, {5, 1, true}, {20, 16, false}, {20, 15, true}, {25, 20, false}} {
		l := newLab(t)
		points := l.hourly(c.points)
		l.make(run{at: l.now.Add(-100 * time.Hour), outcome: catalog.Abandoned}) // counts for nothing
		result := l.prune(keepLast(c.last))
		want := merge(same("bury", points[:c.points-c.last]...), same("keep", points[c.points-c.last:]...))
		if c.stopped {
			want = merge(want, same("bury (too-many)", points[:c.points-c.last]...))
		}
		got := verdicts(result)
		for point := range got {
			if !slices.Contains(points, point) {
				delete(got, point)
			}
		}
		l.want("decided", want, got)
		if !c.stopped {
			l.want("stops", 0, len(result.Stops))
			continue
		}
		stop := result.Stops[0]
		if stop.Guard != GuardTooMany || !strings.Contains(stop.Remedy, "--confirm") || result.Counts("databases").Done[Bury] != 0 {
			t.Errorf("stop is %+v", stop)
		}
		options := keepLast(c.last)
		options.Confirm = true
		l.want("confirmed", c.points-c.last+1, l.prune(options).Counts("databases").Points[Bury])
	}
}

// Of what cannot be read now nothing may be concluded.
func TestErrorsOfReadingStopEverything(t *testing.T) {
	broken := errors.New("the network has a bad day")
	for _, c := range []struct {
		name    string
		arrange func(l *lab)
	}{
		{"the catalog cannot be listed", func(l *lab) { l.failRead(catalogtest.KeyEnds(catalogtest.List, "/"), broken) }},
		{"the listing breaks off", func(l *lab) {
			l.bucket.Listed = func(_ catalogtest.Call, i int, _ catalog.Object) error {
				if i == 5 {
					return broken
				}
				return nil
			}
		}},
		{"a commit cannot be read", func(l *lab) { l.failRead(catalogtest.KeyEnds(catalogtest.Get, "/commit"), broken) }},
		{"a bundle cannot be read", func(l *lab) { l.failRead(catalogtest.KeyEnds(catalogtest.Get, "/bundle"), broken) }},
		{"a tombstone cannot be read", func(l *lab) {
			l.failRead(func(c catalogtest.Call) bool {
				return c.Method == catalogtest.Get && strings.Contains(c.Key, "/tombstones/")
			}, broken)
		}},
		{"the classes cannot be listed", func(l *lab) { l.failList("volumesnapshotclasses", broken) }},
		{"the snapshots cannot be listed", func(l *lab) { l.failList("volumesnapshots", broken) }},
		{"the contents cannot be listed", func(l *lab) { l.failList("volumesnapshotcontents", broken) }},
		{"the store lists no probe", func(l *lab) { l.failRead(catalogtest.KeyEnds(catalogtest.List, "probes/"), broken) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := readyToPrune(t)
			l.Cache = nil
			before, storage, writes := l.keys(), l.storage.Clone(), l.writes
			c.arrange(l)
			if _, err := l.Run(t.Context(), keepLast(4)); !errors.Is(err, broken) {
				t.Errorf("error %v, want %v", err, broken)
			}
			l.bucket.Listed = nil
			l.want("the store", before, slices.DeleteFunc(l.keys(), func(key string) bool { return strings.HasPrefix(key, "probes/") }))
			l.want("the storage", storage, l.storage)
			l.want("writes to the cluster", writes, l.writes)
		})
	}
}

func (l *lab) failRead(match func(catalogtest.Call) bool, err error) {
	before := l.bucket.Before
	l.bucket.Before = func(ctx context.Context, c catalogtest.Call) error {
		if match(c) {
			return err
		}
		return before(ctx, c)
	}
}

func (l *lab) failList(resource string, err error) {
	l.api.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, err
	})
}

// An empty bucket is not a reason to delete.
func TestAnEmptyCatalogIsNoReasonToDelete(t *testing.T) {
	l, _ := readyToPrune(t)
	for _, key := range l.keys() {
		l.must(l.bucket.Bucket.Delete(t.Context(), "clusters/"+clusterUID+"/"+key))
	}
	options := keepLast(1)
	options.Confirm = true
	for range 3 {
		result := l.prune(options)
		if len(result.Stops) != 1 || result.Stops[0].Guard != GuardEmptyStore {
			t.Errorf("stops are %+v, want that of an empty catalog", result.Stops)
		}
		l.pass(10 * DefaultGrace)
	}
	l.want("snapshots on the storage", 7, l.storage.Len())
}
