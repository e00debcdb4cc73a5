package prune

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

func TestAPointGoesInTwoPhases(t *testing.T) {
	l := newLab(t)
	points := l.hourly(3)

	l.want("first run", merge(same("bury", points[:2]...), same("keep", points[2])), verdicts(l.prune(keepLast(1))))
	for _, point := range points {
		if _, err := l.Catalog.Load(t.Context(), clusterUID, point); err != nil {
			t.Errorf("within its grace period: %v", err)
		}
	}
	l.want("snapshots on the storage", 3, l.storage.Len())

	l.pass(DefaultGrace - time.Minute)
	l.want("second run", merge(same("expiring", points[:2]...), same("keep", points[2])), verdicts(l.prune(keepLast(1))))
	l.want("snapshots on the storage", 3, l.storage.Len())

	l.pass(time.Minute)
	third := l.prune(keepLast(1))
	l.want("third run", merge(same("remove", points[:2]...), same("keep", points[2])), verdicts(third))
	l.want("done", map[Verdict]int{Remove: 2}, third.Counts("databases").Done)
	kept := []string{"VolumeSnapshot shop/" + snapshotName(points[2], "shop/data"), "VolumeSnapshotContent snapcontent-3", "snap-3"}
	l.want("left in the cluster", kept, l.left())
	newest := string(points[2])
	l.want("left in the store", []string{
		"journal/" + newest, "journal/" + newest + ".settled", "points/" + newest + "/bundle", "points/" + newest + "/commit",
		"tombstones/" + string(points[0]), "tombstones/" + string(points[1]),
	}, l.keys())

	// The newer tombstone leads past the older one.
	l.want("fourth run", merge(same("forget", points[0]), same("gone", points[1]), same("keep", points[2])), verdicts(l.prune(keepLast(1))))
	l.want("fifth run", merge(same("gone", points[1]), same("keep", points[2])), verdicts(l.prune(keepLast(1))))
}

func TestATombstoneGoesWhenNoPointLeadsToIt(t *testing.T) {
	l := newLab(t)
	l.hourly(2)
	for range 3 {
		l.pass(time.Hour)
		l.make(run{at: l.now.Add(-time.Minute)})
		for range 3 {
			l.prune(keepLast(1))
			l.pass(DefaultGrace)
		}
	}
	tombstones := slices.DeleteFunc(l.keys(), func(key string) bool { return !strings.HasPrefix(key, "tombstones/") })
	if len(tombstones) > 4 || l.storage.Len() != 1 {
		t.Errorf("left are %d snapshots and %v, want one and no tombstone without use", l.storage.Len(), tombstones)
	}
}

func TestAPolicyThatKeepsMoreTakesTombstonesBack(t *testing.T) {
	for _, after := range []time.Duration{time.Hour, 2 * DefaultGrace} {
		l := newLab(t)
		points := l.hourly(4)
		l.prune(keepLast(1))
		l.pass(after)
		l.want("decided", merge(same("exhume", points[1:3]...), same("keep", points[3])), without(verdicts(l.prune(keepLast(3))), points[0]))
		l.want("decided next", merge(same("keep", points[1:]...)), without(verdicts(l.prune(keepLast(3))), points[0]))
		for _, point := range points[1:] {
			if _, err := l.Catalog.Load(t.Context(), clusterUID, point); err != nil {
				t.Error(err)
			}
		}
	}
}

func without(all map[catalog.PointID]string, points ...catalog.PointID) map[catalog.PointID]string {
	for _, p := range points {
		delete(all, p)
	}
	return all
}

func TestWhatThePolicyDoesNotCoverStays(t *testing.T) {
	l := newLab(t)
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	var foreign, none, byHand []catalog.PointID
	for i := range 5 {
		foreign = append(foreign, l.make(run{cluster: otherUID, at: hour(i)}))
		none = append(none, l.make(run{plan: "unknown", at: hour(i)}))
		byHand = append(byHand, l.make(run{plan: catalog.ManualPlan, at: hour(i)}))
	}
	running := l.make(run{at: hour(0), open: true})
	newest := l.make(run{at: hour(1)})
	l.make(run{plan: "all", at: hour(0)})
	before := l.keys()
	options := keepLast(1)
	options.Confirm = true
	options.Policies = append(options.Policies, Policy{Plan: catalog.ManualPlan, Retain: catalog.Retention{Last: 1}}, Policy{Plan: "all"})
	for range 3 {
		result := l.prune(options)
		for point, verdict := range verdicts(result) {
			want := "keep"
			if point == running {
				want = "leave"
			}
			if verdict != want || slices.Contains(foreign, point) {
				t.Errorf("point %s: %s, want %s, and no word of other clusters", point, verdict, want)
			}
		}
		l.want("decisions", len(none)+len(byHand)+3, len(result.Decisions))
		l.pass(DefaultGrace)
	}
	l.want("the store", before, l.keys())
	l.want("snapshots on the storage", 5+5+3, l.storage.Len())
	_ = newest
}

// What is left of a point that is gone goes too: its tombstone names it.
func TestASnapshotOfARemovedPointIsRemoved(t *testing.T) {
	l := newLab(t)
	points := l.hourly(3)
	l.prune(keepLast(1))
	l.pass(DefaultGrace)
	l.prune(keepLast(1))
	v := l.snapshot(points[1], "shop/data") // made by a controller that was late
	result := l.prune(keepLast(1))
	l.want("decided", merge(same("forget", points[0]), same("remove", points[1]), same("keep", points[2])), verdicts(result))
	l.want("orphans", []string{}, orphans(result))
	l.want("it is on the storage", false, l.storage.Has(string(v.Snapshot.Handle)))
	l.want("decided next", merge(same("gone", points[1]), same("keep", points[2])), verdicts(l.prune(keepLast(1))))
}

// A point without snapshots brings no data back: it takes the place of none that
// does. But of a claim of which there is no more the record stays.
func TestAPointOfDisksAloneTakesNoSnapshotsPlace(t *testing.T) {
	l := newLab(t)
	disksAlone := func(b *catalog.Bundle) { b.Volumes[0].Snapshot = nil }
	first := l.make(run{at: noon.Add(-5 * time.Hour)})
	record := l.make(run{at: noon.Add(-4 * time.Hour), claims: []string{"shop/static"}, alter: disksAlone})
	middle := l.make(run{at: noon.Add(-3 * time.Hour), alter: disksAlone})
	newest := l.make(run{at: noon.Add(-2 * time.Hour), alter: disksAlone})
	result := l.prune(keepLast(1))
	l.want("decided", merge(same("keep", first, record, newest), same("bury", middle)), verdicts(result))
	l.want("why", []string{"newest point with claim shop/data"}, result.Decisions[0].Reasons)
}

// A snapshot is kept for whoever else relies on it; only this point's objects go.
func TestASnapshotThatOthersRelyOnStays(t *testing.T) {
	for _, c := range []struct {
		name  string
		relay func(l *lab, point catalog.PointID, first catalog.Volume)
		left  bool
	}{
		{"another point names it", func(l *lab, _ catalog.PointID, first catalog.Volume) {
			l.make(run{plan: "other", at: noon, alter: func(b *catalog.Bundle) { b.Volumes[0].Snapshot.Handle = first.Snapshot.Handle }})
		}, true},
		{"someone else's content is over it", func(l *lab, _ catalog.PointID, first catalog.Volume) {
			l.add(static("imported", first.Snapshot.Handle, noon))
		}, true},
		{"an old restore's content is over it", func(l *lab, _ catalog.PointID, first catalog.Volume) {
			l.add(static("hawser-restore-0", first.Snapshot.Handle, noon))
		}, false},
		{"nobody", func(*lab, catalog.PointID, catalog.Volume) {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			var first catalog.Volume
			point := l.make(run{at: noon.Add(-2 * time.Hour), alter: func(b *catalog.Bundle) { first = b.Volumes[0] }})
			l.make(run{at: noon.Add(-time.Hour)})
			c.relay(l, point, first)
			l.prune(keepLast(1))
			l.pass(DefaultGrace)
			result := l.prune(keepLast(1))
			l.want("done", map[Verdict]int{Remove: 1}, result.Counts("databases").Done)
			l.want("it is said", c.left, len(result.Notes) == 1 && strings.Contains(result.Notes[0], "stays on the storage"))
			l.want("it is on the storage", c.left, l.storage.Has(string(first.Snapshot.Handle)))
			if _, err := l.api.Tracker().Get(contentsResource, "", first.Snapshot.Content); err == nil {
				t.Error("the point's own content is still there")
			}
		})
	}
}

// static is a content that was made over a snapshot that exists.
func static(name string, handle catalog.SnapshotHandle, at time.Time) *snapshotv1.VolumeSnapshotContent {
	return &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-of-" + "x", CreationTimestamp: metav1.NewTime(at)},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			Driver: driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, VolumeSnapshotClassName: ptr.To(classFor),
			Source:            snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: ptr.To(string(handle))},
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "elsewhere", Name: name},
		},
		Status: &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: ptr.To(string(handle))},
	}
}

func TestARestoreUnderWayPutsTheRemovalOff(t *testing.T) {
	l := newLab(t)
	points := l.hourly(2)
	l.prune(keepLast(1))
	l.pass(DefaultGrace)
	l.add(static("hawser-restore-0", "snap-1", l.now.Add(-time.Minute)))
	l.want("decided", merge(same("expiring", points[0]), same("keep", points[1])), verdicts(l.prune(keepLast(1))))
	l.pass(24 * time.Hour)
	l.want("decided later", merge(same("remove", points[0]), same("keep", points[1])), verdicts(l.prune(keepLast(1))))
	l.want("left", []string{"VolumeSnapshot shop/" + snapshotName(points[1], "shop/data"), "VolumeSnapshotContent hawser-restore-0", "VolumeSnapshotContent snapcontent-2", "snap-2"}, l.left())
}

func TestSnapshotsOfANamespaceThatIsGoneAreRemoved(t *testing.T) {
	for _, forced := range []bool{false, true} { // whether snapshot-controller saw it go
		l := newLab(t)
		points := l.hourly(2)
		name := snapshotName(points[0], "shop/data")
		if forced {
			l.must(l.api.Tracker().Delete(snapshotsResource, "shop", name))
		} else {
			l.must(l.api.SnapshotV1().VolumeSnapshots("shop").Delete(t.Context(), name, metav1.DeleteOptions{}))
		}
		first := l.prune(keepLast(1))
		l.want("orphans", 0, len(first.Orphans))
		l.pass(DefaultGrace)
		l.want("done", map[Verdict]int{Remove: 1}, l.prune(keepLast(1)).Counts("databases").Done)
		l.want("left", []string{"VolumeSnapshot shop/" + snapshotName(points[1], "shop/data"), "VolumeSnapshotContent snapcontent-2", "snap-2"}, l.left())
	}
}

func TestWhatTheClusterDoesNotKnowIsSaid(t *testing.T) {
	l := newLab(t)
	l.hourly(2, "shop/data", "shop/log")
	l.must(l.api.Tracker().Delete(contentsResource, "", "snapcontent-1"))
	l.prune(keepLast(1))
	l.pass(DefaultGrace)
	result := l.prune(keepLast(1))
	l.want("done", map[Verdict]int{Remove: 1}, result.Counts("databases").Done)
	if len(result.Notes) != 1 || !strings.Contains(result.Notes[0], "snap-1 ") || !strings.Contains(result.Notes[0], "shop/data") {
		t.Errorf("notes are %q, want one of snap-1", result.Notes)
	}
}

// A snapshot that the driver cannot delete does not keep other points.
func TestASnapshotThatDoesNotGoIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		points := l.hourly(3)
		l.stuck.Insert("snap-1")
		l.prune(keepLast(1))
		l.pass(DefaultGrace)
		began := time.Now()
		result, err := l.Run(t.Context(), keepLast(1))
		if err == nil || !strings.Contains(err.Error(), "snapcontent-1") {
			t.Errorf("error %v, want one that names the content", err)
		}
		if waited := time.Since(began); waited < removalTime || waited > removalTime+2*2*timePerSnapshot {
			t.Errorf("it waited for %s", waited)
		}
		l.want("done", map[Verdict]int{Remove: 1}, result.Counts("databases").Done)
		if _, err := l.Catalog.Find(t.Context(), clusterUID, string(points[0])); !errors.Is(err, catalog.ErrPruned) {
			t.Errorf("the point whose removal has begun is found: %v", err)
		}
		l.stuck.Delete("snap-1")
		l.must(l.api.SnapshotV1().VolumeSnapshotContents().Delete(t.Context(), "snapcontent-1", metav1.DeleteOptions{})) // the driver tries again
		l.want("done next", map[Verdict]int{Remove: 1}, l.prune(keepLast(1)).Counts("databases").Done)
		l.want("left", []string{"VolumeSnapshot shop/" + snapshotName(points[2], "shop/data"), "VolumeSnapshotContent snapcontent-3", "snap-3"}, l.left())
	})
}

func TestADryRunWritesNothing(t *testing.T) {
	l := newLab(t)
	points := l.hourly(5)
	l.snapshot("20260101-000000-databases-00000000", "shop/data")
	options := keepLast(4)
	options.DryRun = true
	writes, keys := l.bucket.Writes(), l.keys()
	result := l.prune(options)
	l.want("decided", merge(same("bury", points[0]), same("keep", points[1:]...)), verdicts(result))
	l.want("orphans", 1, len(result.Orphans))
	l.want("writes to the store", writes, l.bucket.Writes())
	l.want("writes to the cluster", 0, l.writes)
	l.want("the store", keys, l.keys())
}
