package verify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

const here, elsewhere = "cluster-here", "cluster-elsewhere"

func content(change func(*snapshotv1.VolumeSnapshotContent)) snapshotv1.VolumeSnapshotContent {
	c := snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content"}}
	c.Spec.Driver, c.Spec.DeletionPolicy = "d", snapshotv1.VolumeSnapshotContentRetain
	c.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: ptr.To("snap")}
	if change != nil {
		change(&c)
	}
	return c
}

func volume(change func(*corev1.PersistentVolume)) corev1.PersistentVolume {
	v := corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "disk"}
	if change != nil {
		change(&v)
	}
	return v
}

func seen(cluster string, volumes []corev1.PersistentVolume, contents ...snapshotv1.VolumeSnapshotContent) Seen {
	return Seen{Looked: true, ClusterUID: cluster, SnapshotAPI: true, Volumes: volumes, Contents: contents}
}

func TestJudge(t *testing.T) {
	disk := []corev1.PersistentVolume{volume(nil)}
	driver := func(s Seen, presence restore.Presence) Seen {
		s.Disks = map[catalog.Disk]restore.DiskState{{Driver: "d", Handle: "disk"}: {Presence: presence, Message: "says the driver"}}
		return s
	}
	failed := func(message string) snapshotv1.VolumeSnapshotContent {
		return content(func(c *snapshotv1.VolumeSnapshotContent) {
			c.Status.Error = &snapshotv1.VolumeSnapshotError{Message: &message}
		})
	}
	without := seen(here, disk)
	without.SnapshotAPI = false
	deleted := metav1.NewTime(time.Now())
	for _, c := range []struct {
		name     string
		seen     Seen
		bare     bool // the point has no snapshot
		claim    State
		snapshot State
		disk     State
		says     string
	}{
		{"all is there", seen(here, disk, content(nil)), false, OK, OK, OK, ""},
		{"a content that was made by hand", seen(here, disk, content(func(c *snapshotv1.VolumeSnapshotContent) {
			c.Status, c.Spec.Source.SnapshotHandle = nil, ptr.To("snap")
		})), false, OK, OK, OK, ""},
		{"nobody was asked", Seen{}, false, Unknown, Unknown, Unknown, "was not asked"},
		{"no snapshot in its own cluster", seen(here, disk), false, Missing, Missing, OK, "no VolumeSnapshotContent is over snapshot snap"},
		{"nothing in another cluster", seen(elsewhere, nil), false, Unknown, Unknown, Unknown, "not in this cluster, which is not the point's"},
		{"all in another cluster", seen(elsewhere, disk, content(nil)), false, OK, OK, OK, ""},
		{"the handle of another driver's", seen(here, disk, content(func(c *snapshotv1.VolumeSnapshotContent) { c.Spec.Driver = "other" })), false, Missing, Missing, OK, "no VolumeSnapshotContent"},
		{"no VolumeSnapshot API", without, false, Unknown, Unknown, OK, "no VolumeSnapshot API"},
		{"the driver does not find the snapshot", seen(here, disk, failed("rpc error: code = NotFound desc = gone")), false, Missing, Missing, OK, "the driver does not find it"},
		{"the driver has another error", seen(here, disk, failed("rpc error: code = Unavailable")), false, Unknown, Unknown, OK, "has an error"},
		{"one of two contents has an error", seen(here, disk, content(nil), failed("rpc error: code = NotFound")), false, OK, OK, OK, ""},
		{"the same, in the other order", seen(here, disk, failed("rpc error: code = NotFound"), content(nil)), false, OK, OK, OK, ""},
		{"a content that is Delete", seen(here, disk, content(func(c *snapshotv1.VolumeSnapshotContent) { c.Spec.DeletionPolicy = "Delete" })), false, OK, OK, OK, "is Delete"},
		{"a snapshot that is being deleted", seen(here, disk, content(func(c *snapshotv1.VolumeSnapshotContent) {
			c.Spec.DeletionPolicy, c.DeletionTimestamp = "Delete", &deleted
		})), false, Missing, Missing, OK, "is being deleted"},
		{"a content that is being deleted, and its snapshot stays", seen(here, disk, content(func(c *snapshotv1.VolumeSnapshotContent) { c.DeletionTimestamp = &deleted })), false, OK, OK, OK, ""},
		{"the disk is gone, the snapshot is there", seen(here, nil, content(nil)), false, OK, OK, Missing, "its disk is gone, its snapshot is there"},
		{"no snapshot and a disk", seen(here, disk), true, OK, "", OK, ""},
		{"no snapshot and no disk", seen(here, nil), true, Missing, "", Missing, "no PersistentVolume is of disk disk"},
		{"no snapshot, and a disk that is not Retain", seen(here, []corev1.PersistentVolume{volume(func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = "Delete" })}), true, OK, "", OK, "goes with its claim"},
		{"the driver does not find the disk", driver(seen(here, disk), restore.DiskGone), true, Missing, "", Missing, "says the driver"},
		{"the driver finds the disk, without a volume", driver(seen(here, nil), restore.DiskPresent), true, OK, "", OK, ""},
		{"the disk is in use elsewhere", driver(seen(elsewhere, nil), restore.DiskInUse), true, OK, "", OK, "in use"},
		{"the driver does not say", driver(seen(here, nil), restore.DiskUnknown), true, Unknown, "", Unknown, "says the driver"},
		{"the driver does not say, and a volume is there", driver(seen(here, disk), restore.DiskUnknown), true, OK, "", OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := catalog.Volume{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data"}, Driver: "d", VolumeHandle: "disk", Snapshot: &catalog.Snapshot{Handle: "snap"}}
			if c.bare {
				v.Snapshot = nil
			}
			got := Judge(catalog.Commit{Cluster: catalog.Cluster{UID: here}}, []catalog.Volume{v}, c.seen)[0]
			snapshot := State("")
			if got.Snapshot != nil {
				snapshot = got.Snapshot.State
			}
			if got.State != c.claim || snapshot != c.snapshot || got.Disk.State != c.disk || !strings.Contains(got.Reason+got.Disk.Reason, c.says) {
				t.Errorf("claim %s, snapshot %s, disk %s, because %q / %q; want %s, %s, %s, %q", got.State, snapshot, got.Disk.State, got.Reason, got.Disk.Reason, c.claim, c.snapshot, c.disk, c.says)
			}
			if got.State != OK && got.Reason == "" {
				t.Error("it gives no reason")
			}
		})
	}
}

// The worst finding is the point's, and each problem of its own is kept.
func TestThePointIsAsBadAsItsWorst(t *testing.T) {
	p := Point{Finding: Finding{State: OK}}
	p.worsen(Finding{Unknown, "one"})
	p.worsen(Finding{Unknown, "two"})
	p.note(Finding{Missing, "three"})
	p.note(Finding{Missing, "four"})
	p.worsen(Finding{Unknown, "five"})
	if p.State != Missing || p.Reason != "three" || len(p.Problems) != 2 {
		t.Errorf("the point: %+v", p)
	}
}

func TestWhatAnErrorTells(t *testing.T) {
	for _, c := range []struct {
		err   error
		tells bool
		state State
	}{
		{fmt.Errorf("bundle: %w", catalog.ErrCorrupt), true, Missing},
		{fmt.Errorf("bundle: %w", catalog.ErrNewerFormat), true, Unknown},
		{fmt.Errorf("bundle: %w", catalog.ErrTooLarge), true, Unknown},
		{errors.New("connection refused"), false, ""},
	} {
		if tells(c.err) != c.tells || c.tells && finding(c.err).State != c.state {
			t.Errorf("%v: tells %v, is %s; want %v, %s", c.err, tells(c.err), finding(c.err).State, c.tells, c.state)
		}
	}
}

func TestAPointThatContradictsItself(t *testing.T) {
	p := &catalog.RestorePoint{Commit: catalog.Commit{Counts: catalog.Counts{Claims: 2, Snapshots: 0, Objects: 0}}, Bundle: catalog.Bundle{
		Volumes: []catalog.Volume{{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data"}, PersistentVolume: "pv", Snapshot: &catalog.Snapshot{Handle: "snap"}}},
	}}
	if got := contradictions(p); len(got) != 4 {
		t.Errorf("contradictions are %q, want that two objects are missing and two counts are wrong", got)
	}
}
