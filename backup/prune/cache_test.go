package prune

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// asked counts the requests that do makes to the store: "Get bundle" and such.
func (l *lab) asked(do func()) map[string]int {
	before := len(l.bucket.Calls())
	do()
	counts := map[string]int{}
	for _, c := range l.bucket.Calls()[before:] {
		what := c.Key[strings.LastIndexByte(c.Key, '/')+1:]
		switch {
		case c.Method == catalogtest.List, strings.HasPrefix(c.Key, "probes/"):
			what = strings.Split(c.Key, "/")[0]
		case strings.Contains(c.Key, "/tombstones/"):
			what = "tombstone"
		}
		counts[string(c.Method)+" "+what]++
	}
	return counts
}

// An agent that prunes again and again reads what is new, and that once.
func TestWhatCannotChangeIsReadOnce(t *testing.T) {
	l := newLab(t)
	l.hourly(10)
	prune := func() { l.prune(keepLast(10)) }
	l.want("first run", map[string]int{"List clusters": 1, "Get commit": 10 + 10, "Get bundle": 10}, l.asked(prune))
	l.want("second run", map[string]int{"List clusters": 1}, l.asked(prune))
	l.make(run{at: l.now})
	l.want("with a new point", map[string]int{"List clusters": 1, "Get commit": 2, "Get bundle": 1}, l.asked(func() {
		options := keepLast(10)
		options.DryRun = true
		l.prune(options)
	}))
	l.pass(trusted)
	options := keepLast(11)
	l.want("a week later", map[string]int{"List clusters": 1, "Get commit": 11, "Get bundle": 11}, l.asked(func() { l.prune(options) }))
	l.want("then", map[string]int{"List clusters": 1}, l.asked(func() { l.prune(options) }))
}

// What was read long ago does not count when something else is removed for it.
func TestARemovalRestsOnWhatWasReadLately(t *testing.T) {
	l := newLab(t)
	points := l.hourly(3)
	l.prune(keepLast(2))
	l.pass(DefaultGrace + time.Minute)
	l.damage("points/" + string(points[2]) + "/bundle")
	l.want("decided", merge(same("keep", points[:2]...), same("leave", points[2])), verdicts(l.prune(keepLast(2))))
	l.want("snapshots on the storage", 3, l.storage.Len())
}

// A removed point's tombstone says what it says for good; another may be taken
// back by anyone.
func TestTombstonesOfRemovedPointsAreReadOnce(t *testing.T) {
	l := newLab(t)
	l.hourly(4)
	l.prune(keepLast(2))
	l.pass(DefaultGrace)
	for range 3 {
		l.prune(keepLast(2))
	}
	l.want("requests", map[string]int{"List clusters": 1}, l.asked(func() { l.prune(keepLast(2)) }))
	if l.keys()[len(l.keys())-1][:11] != "tombstones/" {
		t.Errorf("there is no tombstone: %v", l.keys())
	}
}

// 200 points of 100 claims are more than most clusters ever keep.
func TestTheCacheOfABigCatalogIsSmall(t *testing.T) {
	const points, claims = 200, 100
	var bundle catalog.Bundle
	for i := range claims {
		bundle.Volumes = append(bundle.Volumes, volume(fmt.Sprintf("namespace-%d/redis-pvc-redis-%d", i%10, i), &catalog.Snapshot{
			Name: snapshotName(lost, fmt.Sprint(i)), Handle: catalog.SnapshotHandle(fmt.Sprintf("projects/some-project/global/snapshots/snapshot-%032d", i)),
		}))
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, cache := heap(), &Cache{}
	for i := range points {
		id := catalog.NewPointID(clusterUID, "databases", noon.Add(time.Duration(i)*time.Hour), 0)
		cache.update(id, func(r *remembered) {
			r.entry = &catalog.Entry{Point: id, Commit: catalog.Commit{Point: id, Plan: "databases"}}
			r.contents = contentsOf(bundle)
		})
	}
	each := float64(heap()-before) / (points * claims)
	t.Logf("%.0f bytes for each snapshot of a point", each)
	if each > 150 {
		t.Errorf("the cache takes %.0f bytes for each snapshot, want 150 at most", each)
	}
	runtime.KeepAlive(cache)
}
