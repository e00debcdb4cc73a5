package rollback

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// owned says that a cluster owns disk-0.
func owned(clusterUID string, underway bool) catalog.Owners {
	d := catalog.Disk{Driver: driver, Handle: "disk-0"}
	return catalog.Owners{d: {
		Disk: d, Number: 2, Cluster: catalog.Cluster{UID: clusterUID, Name: "prod-us"}, Migration: "20260903-110000-0a1b2c3d",
		Taken: testNow.Add(-time.Hour), Underway: underway,
	}}
}

// rolledBack is the cluster after a rollback: the claims are on other disks, and
// those that they were on are set aside.
func rolledBack() *Observed {
	o := cluster()
	for n := range 2 {
		was, pv := o.Claims[n], &o.Volumes[n]
		aside := SetAside{ID: "id", Act: Rollback, Point: pointID, Time: testNow.Add(-time.Hour), Claim: &was}
		pv.Labels, pv.Annotations[SetAsideAnnotation] = map[string]string{UndoLabel: aside.ID}, users.Encode(aside)
		pv.Status.Phase = corev1.VolumeReleased
		o.Claims[n] = claimOf(n, types.UID(fmt.Sprint("uid-made-", n)), fmt.Sprint("pv-made-", n))
		o.Volumes = append(o.Volumes, volumeOf(fmt.Sprint("pv-made-", n), fmt.Sprint("disk-made-", n), &o.Claims[n]))
	}
	return o
}

// A claim leaves no disk, and gets none, that another cluster owns.
func TestDisksOfAnotherClusterStayWhereTheyAre(t *testing.T) {
	roll := Options{Act: Rollback, Namespace: "shop", Workload: catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Now: testNow}
	back := roll
	back.Act = Undo
	owner := "disk-0, is owned by cluster prod-us (there), which took it on 2026-09-03T11:00:00Z by migration 20260903-110000-0a1b2c3d"
	for _, test := range []struct {
		name    string
		options Options
		owners  catalog.Owners
		refused string // "": it is not
	}{
		{"a rollback from a disk of another cluster", roll, owned("there", false), "the disk that it is on, " + owner},
		{"a rollback from a disk that a migration has", roll, owned("here", true), "which is under way"},
		{"a rollback from a disk that came here", roll, owned("here", false), ""},
		{"an undo to a disk of another cluster", back, owned("there", false), "the disk that it would get back, " + owner},
		{"an undo to a disk that a migration has", back, owned("here", true), "which is under way"},
		{"an undo to a disk that came here", back, owned("here", false), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, from := cluster(), point()
			if test.options.Act == Undo {
				o, from = rolledBack(), nil
			}
			o.Owners, o.ClusterUID = test.owners, "here"
			_, err := NewPlan(from, o, test.options)
			if test.refused != "" {
				expectRefused(t, err, []string{test.refused})
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
