package prune

import (
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

const lost = catalog.PointID("20260101-000000-databases-00000000")

// orphans names what a run found to be orphans.
func orphans(r Result) []string {
	names := []string{}
	for _, o := range r.Orphans {
		name := o.Namespace + "/" + o.Name
		if o.Alone {
			name += " alone"
		}
		if o.Done {
			name += " removed"
		}
		names = append(names, name+": "+o.Reason)
	}
	return names
}

func TestASnapshotThatNothingNamesIsRemovedAfterItsGracePeriod(t *testing.T) {
	for _, alone := range []bool{false, true} {
		l := newLab(t)
		l.hourly(3)
		v := l.snapshot(lost, "shop/data")
		name := "shop/" + v.Snapshot.Name
		want := name + ": the catalog has no point " + string(lost)
		if alone {
			l.must(l.api.Tracker().Delete(snapshotsResource, "shop", v.Snapshot.Name))
			want = name + " alone: no point names it, and its VolumeSnapshot is gone"
		}
		first := l.prune(keepLast(3))
		l.want("first", []string{want}, orphans(first))
		if since := first.Orphans[0].Since; since == nil || !since.Equal(l.now) {
			t.Errorf("it is one since %v, want since now", since)
		}
		l.pass(DefaultGrace - time.Minute)
		l.want("second", []string{want}, orphans(l.prune(keepLast(3))))
		l.want("snapshots on the storage", 4, l.storage.Len())
		l.pass(time.Minute)
		third := l.prune(keepLast(3))
		l.want("third", []string{strings.Replace(want, ": ", " removed: ", 1)}, orphans(third))
		l.want("removed", 1, third.OrphansRemoved)
		l.want("it is on the storage", false, l.storage.Has(string(v.Snapshot.Handle)))
		l.want("snapshots on the storage", 3, l.storage.Len())
		l.want("fourth", []string{}, orphans(l.prune(keepLast(3))))
	}
}

func TestASnapshotThatIsNamedAgainIsNoOrphan(t *testing.T) {
	l := newLab(t)
	points := l.hourly(3)
	bundle := "clusters/" + clusterUID + "/points/" + string(points[1]) + "/"
	kept := map[string][]byte{}
	for _, object := range []string{"commit", "bundle"} {
		data, err := l.bucket.Get(t.Context(), bundle+object, 1<<20)
		l.must(err)
		kept[object] = data
		l.must(l.bucket.Bucket.Delete(t.Context(), bundle+object))
	}
	l.must(l.bucket.Bucket.Delete(t.Context(), "clusters/"+clusterUID+"/journal/"+string(points[1])))
	l.must(l.bucket.Bucket.Delete(t.Context(), "clusters/"+clusterUID+"/journal/"+string(points[1])+".settled"))
	l.want("while its point is lost", 1, len(l.prune(keepLast(3)).Orphans))
	for object, data := range kept {
		l.must(l.bucket.Bucket.Create(t.Context(), bundle+object, data))
	}
	l.pass(DefaultGrace)
	l.want("when its point is back", 0, len(l.prune(keepLast(3)).Orphans))
	for _, s := range l.snapshots() {
		if since, found := s.Annotations[OrphanedSince]; found {
			t.Errorf("VolumeSnapshot %s still has its orphan's time %s", s.Name, since)
		}
	}
	l.want("snapshots on the storage", 3, l.storage.Len())
}

func TestTheSweepLeavesWhatIsOthers(t *testing.T) {
	l := newLab(t)
	l.hourly(20)
	other := l.make(run{cluster: otherUID, at: noon})
	catalogID := l.Catalog.Repository().ID
	change := func(v catalog.Volume, edit func(*snapshotv1.VolumeSnapshot)) {
		object, err := l.api.Tracker().Get(snapshotsResource, "shop", v.Snapshot.Name)
		l.must(err)
		s := object.(*snapshotv1.VolumeSnapshot)
		edit(s)
		l.must(l.api.Tracker().Update(snapshotsResource, s, "shop"))
	}
	edit := func(v catalog.Volume, change func(*snapshotv1.VolumeSnapshotContent)) {
		object, err := l.api.Tracker().Get(contentsResource, "", v.Snapshot.Content)
		l.must(err)
		c := object.(*snapshotv1.VolumeSnapshotContent)
		change(c)
		l.must(l.api.Tracker().Update(contentsResource, c, ""))
	}
	removeSnapshot := func(v catalog.Volume) { l.must(l.api.Tracker().Delete(snapshotsResource, "shop", v.Snapshot.Name)) }

	// Of another catalog, by its label, and by its class when its VolumeSnapshot is gone.
	change(l.snapshot(lost, "shop/a"), func(s *snapshotv1.VolumeSnapshot) { s.Labels[backup.CatalogLabel] = "another" })
	v := l.snapshot(lost, "shop/b")
	edit(v, func(c *snapshotv1.VolumeSnapshotContent) { *c.Spec.VolumeSnapshotClassName = "hawser-another" })
	removeSnapshot(v)
	// Copied from another cluster that keeps its points here.
	l.snapshot(other, "shop/c")
	// A user's, through our class.
	v = l.snapshot(lost, "shop/d")
	edit(v, func(c *snapshotv1.VolumeSnapshotContent) { c.Spec.VolumeSnapshotRef.Name = "mine" })
	removeSnapshot(v)
	// A user's copy of ours, with our labels.
	v = l.snapshot(lost, "shop/e")
	l.add(&snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "copy", UID: "copy", Labels: map[string]string{
		"app.kubernetes.io/managed-by": "hawser", backup.CatalogLabel: catalogID, backup.PointLabel: string(lost),
	}}})
	change(v, func(s *snapshotv1.VolumeSnapshot) { s.Labels = nil })
	// A user's, imported under our name.
	imported := static("imported", "snap-of-old", noon)
	imported.Spec.VolumeSnapshotRef.Name = snapshotName(lost, "shop/imported")
	l.add(imported)
	// A restore's: they are over a snapshot that was there, and name our class.
	l.add(static("hawser-restore-0123456789abcdef0123", "snap-1", noon))
	l.add(&snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "hawser-restore-0123456789abcdef0123", UID: "r", Labels: map[string]string{
		"app.kubernetes.io/managed-by": "hawser", backup.CatalogLabel: catalogID, restoredFrom: string(lost),
	}}})
	// Of a run under way.
	running := catalog.NewPointID(clusterUID, "databases", noon.Add(time.Hour), 0)
	v = l.snapshot(running, "shop/f")
	removed := l.snapshot(running, "shop/g") // its namespace went meanwhile
	removeSnapshot(removed)
	intent := catalog.Intent{Point: running, Cluster: catalog.Cluster{UID: clusterUID}, Plan: "databases", Snapshots: []catalog.IntentSnapshot{
		{Claim: v.Claim, Name: v.Snapshot.Name}, {Claim: removed.Claim, Name: removed.Snapshot.Name},
	}}
	l.must(l.Catalog.Begin(t.Context(), intent))

	before := l.left()
	for range 3 {
		result := l.prune(keepLast(20))
		l.want("orphans", []string{}, orphans(result))
		// Those that were copied, from ours and from another cluster.
		l.want("notes", []string{"of 2 snapshots it cannot be told whether a point names them; they stay"}, result.Notes)
		l.pass(DefaultGrace)
	}
	l.want("left", before, l.left())
	for _, s := range l.snapshots() {
		if s.Annotations[OrphanedSince] != "" {
			t.Errorf("VolumeSnapshot %s was marked as an orphan", s.Name)
		}
	}
}

// What something unreadable may name is left alone.
func TestTheSweepLeavesWhatItCannotJudge(t *testing.T) {
	unreadable := catalog.NewPointID(clusterUID, "other", noon, 0)
	for _, key := range []string{"points/" + string(unreadable) + "/commit", "points/" + string(unreadable) + "/bundle", "journal/" + string(unreadable), "tombstones/" + string(unreadable)} {
		t.Run(strings.Split(key, "/")[0], func(t *testing.T) {
			l := newLab(t)
			l.hourly(20)
			l.must(l.bucket.Bucket.Create(t.Context(), "clusters/"+clusterUID+"/"+key, []byte(`{"format":99}`)))
			l.snapshot(unreadable, "shop/data")
			alone := l.snapshot(lost, "shop/data")
			l.must(l.api.Tracker().Delete(snapshotsResource, "shop", alone.Snapshot.Name))
			told := l.snapshot(lost, "shop/log") // its label says whose it is
			for range 3 {
				l.prune(keepLast(20))
				l.pass(DefaultGrace)
			}
			result := l.prune(keepLast(20))
			l.want("it is on the storage", false, l.storage.Has(string(told.Snapshot.Handle)))
			l.want("snapshots on the storage", 22, l.storage.Len())
			if key != "journal/"+string(unreadable) || len(result.Notes) > 0 {
				l.want("notes", "of 2 snapshots it cannot be told whether a point names them; they stay", strings.Join(result.Notes, "; "))
			}
		})
	}
}

func TestManyOrphansMustBeConfirmed(t *testing.T) {
	l := newLab(t)
	l.hourly(10)
	for i := range 4 {
		l.snapshot(lost, fmt.Sprint("shop/data-", i))
	}
	for range 2 {
		result := l.prune(keepLast(10))
		if len(result.Stops) != 1 || result.Stops[0].Guard != GuardOrphans || !strings.Contains(result.Stops[0].Why, "4 of 14") {
			t.Errorf("stops are %+v, want that of too many orphans", result.Stops)
		}
		l.want("points are pruned all the same", true, result.Counts("databases").Stopped == nil)
		l.want("times of orphans", true, result.Orphans[0].Since == nil)
		l.pass(DefaultGrace)
	}
	options := keepLast(10)
	options.Confirm = true
	l.prune(options)
	l.pass(DefaultGrace)
	l.want("removed", 4, l.prune(options).OrphansRemoved)
	l.want("snapshots on the storage", 10, l.storage.Len())
}

// A time that is yet to come says nothing.
func TestAnOrphansTimeMustBePast(t *testing.T) {
	l := newLab(t)
	l.hourly(3)
	v := l.snapshot(lost, "shop/data")
	for _, written := range []string{"yesterday", noon.Add(time.Hour).Format(time.RFC3339)} {
		object, err := l.api.Tracker().Get(snapshotsResource, "shop", v.Snapshot.Name)
		l.must(err)
		s := object.(*snapshotv1.VolumeSnapshot)
		s.Annotations = map[string]string{OrphanedSince: written}
		l.must(l.api.Tracker().Update(snapshotsResource, s, "shop"))
		if since := l.prune(keepLast(3)).Orphans[0].Since; !since.Equal(noon) {
			t.Errorf("written %q it is an orphan since %s, want since now", written, since)
		}
	}
}
