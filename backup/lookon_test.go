package backup

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// onlookerLab is a run that waits for the snapshots of these claims, and what
// it tells of them.
type onlookerLab struct {
	*lab
	shots *shots
	told  []string
	stop  func()
}

// lookedOn begins to wait. It must be called in a bubble of synctest.
func lookedOn(t *testing.T, claims ...string) (*onlookerLab, *run) {
	t.Helper()
	l := &onlookerLab{lab: newLab(t)}
	l.Now = time.Now
	l.Throttled = func(th Throttling) {
		l.told = append(l.told, fmt.Sprintf("%s %d for %s", th.Component, th.Waiting, th.Waited))
	}
	r := &run{Runner: l.Runner, request: Request{Plan: "plan"}, point: "point"}
	var all []*shot
	for _, claim := range claims {
		v := dataOf(claim, "disk", time.Time{})
		all = append(all, &shot{volume: &v, name: "snapshot-of-" + v.Claim.Name})
	}
	l.shots = newShots(all, 10*time.Minute, func(catalog.ClaimKey, Stage, string) {})
	l.stop = r.lookOn(t.Context(), l.shots)
	return l, r
}

// show is what the watch shows of each snapshot from now on.
func (l *onlookerLab) show(change func(*snapshotv1.VolumeSnapshot)) {
	for _, shot := range l.shots.all {
		snapshot := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{
			Namespace: shot.volume.Claim.Namespace, Name: shot.name, UID: "uid", CreationTimestamp: metav1.Now(),
		}}
		change(snapshot)
		l.shots.observe(snapshot, false, l.Now())
	}
}

// lists counts the lists of contents.
func (l *onlookerLab) lists() (n int) {
	for _, action := range l.snapshots.Actions() {
		if action.GetVerb() == "list" && action.GetResource().Resource == "volumesnapshotcontents" {
			n++
		}
	}
	return n
}

func TestARunIsToldOfWhatThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := lookedOn(t, "shop/a", "shop/b")
		l.show(func(s *snapshotv1.VolumeSnapshot) { s.Finalizers = []string{"touched"} })
		time.Sleep(50 * time.Second)
		l.show(func(s *snapshotv1.VolumeSnapshot) {
			s.Status = &snapshotv1.VolumeSnapshotStatus{ReadyToUse: ptr.To(true), BoundVolumeSnapshotContentName: ptr.To("content")}
		})
		time.Sleep(time.Minute)
		l.stop()
		wantDiff(t, "the caller", []string{"snapshot-controller 2 for 15s", "snapshot-controller 2 for 15s", "snapshot-controller 2 for 15s"}, l.told)
		if n := strings.Count(l.log.String(), "snapshot-controller is the bottleneck"); n != 1 {
			t.Errorf("the log says it %d times, want once:\n%s", n, l.log)
		}
		for _, part := range []string{"level=WARN", "component=snapshot-controller", `flags="--kube-api-qps, --kube-api-burst, --worker-threads"`, "waiting=2", "of=2", "plan=plan"} {
			if !strings.Contains(l.log.String(), part) {
				t.Errorf("the log lacks %s:\n%s", part, l.log)
			}
		}
		if len(r.notes) != 1 || !strings.HasPrefix(r.notes[0], "snapshots waited for about 45s: snapshot-controller is the bottleneck") {
			t.Errorf("notes %q", r.notes)
		}
		if l.lists() != 0 {
			t.Errorf("%d lists of contents, though no snapshot that it waited for had one", l.lists())
		}
	})
}

// What is over within the first 15 s costs nothing.
func TestAFastRunIsNotLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := lookedOn(t, "shop/a")
		l.show(func(s *snapshotv1.VolumeSnapshot) {
			s.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To("content")}
		})
		time.Sleep(14 * time.Second)
		l.stop()
		if l.lists() != 0 || l.log.Len() > 0 || len(r.notes) > 0 || len(l.told) > 0 {
			t.Errorf("%d lists, log %q, notes %q, told %q", l.lists(), l.log, r.notes, l.told)
		}
	})
}

func TestTheContentsAreListedOnceForEachLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := lookedOn(t, "shop/a", "shop/b")
		l.show(func(s *snapshotv1.VolumeSnapshot) {
			s.Finalizers = []string{"touched"}
			s.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To("content-of-" + s.Name)}
		})
		for _, content := range []struct{ name, uid string }{{"snapshot-of-a", "uid"}, {"snapshot-of-b", "another"}, {"of-somebody-else", "x"}} {
			object := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{
				Name: "content-of-" + content.name, CreationTimestamp: metav1.Now(), Annotations: map[string]string{beingCreated: "yes"},
			}}
			object.Spec.VolumeSnapshotRef.Namespace, object.Spec.VolumeSnapshotRef.Name = "shop", content.name
			object.Spec.VolumeSnapshotRef.UID = "uid"
			if content.uid != "uid" {
				object.Spec.VolumeSnapshotRef.UID = "another"
			}
			if err := l.snapshots.Tracker().Add(object); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(46 * time.Second)
		l.stop()
		if l.lists() != 3 {
			t.Errorf("%d lists of contents in 46 s, want 3", l.lists())
		}
		// a is at its driver; what b names is the content of another snapshot.
		wantDiff(t, "the caller", []string(nil), l.told)
		if log := l.log.String(); !strings.Contains(log, "level=INFO") || !strings.Contains(log, "component=driver driver=disks.example.com") {
			t.Errorf("the log does not name the driver:\n%s", log)
		}
		if len(r.notes) != 0 {
			t.Errorf("notes %q of what does not throttle", r.notes)
		}
	})
}

// Snapshots that fail have an error, and wait for nothing.
func TestWhatFailsIsNotSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := lookedOn(t, "shop/a")
		l.show(func(s *snapshotv1.VolumeSnapshot) {
			s.Status = &snapshotv1.VolumeSnapshotStatus{Error: &snapshotv1.VolumeSnapshotError{Message: ptr.To("the disk is busy")}}
		})
		time.Sleep(time.Minute)
		l.stop()
		if l.log.Len() > 0 {
			t.Errorf("log: %s", l.log)
		}
	})
}

func TestARunThatMayNotListContentsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := lookedOn(t, "shop/a")
		forbid(&l.snapshots.Fake, "list", "volumesnapshotcontents")
		l.show(func(s *snapshotv1.VolumeSnapshot) {
			s.Finalizers = []string{"touched"}
			s.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To("content")}
		})
		time.Sleep(20 * time.Second)
		l.stop()
		if len(l.told) > 0 {
			t.Errorf("told %q of what could not be seen", l.told)
		}
	})
}
