package e2e_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A set moves to the other cluster and back, twice, on the disks that it has.
func TestMigrateThereAndBack(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"disks-delete", "disks-wffc"} {
		t.Run(class, func(t *testing.T) {
			w := newTwin(t)
			w.deploy(3, class)
			w.slowDetach()
			place := here
			for range 4 {
				out := w.run(0, w.move(place)...)
				if !regexp.MustCompile(`(?i)downtime`).MatchString(out.Stdout) {
					t.Errorf("the summary says nothing of the downtime:\n%s", out.Stdout)
				}
				place = 1 - place
				w.expectAt(place)
				w.mark()
			}
			all := w.journals()
			if len(all) != 4 {
				t.Fatalf("%d migrations are in the catalog, want 4", len(all))
			}
			status := w.run(0, "migrate", "--status").Stdout
			for _, j := range all {
				if j.verdict != "committed" || !strings.Contains(status, j.id) {
					t.Errorf("migration %s ended as %q; --status says:\n%s", j.id, j.verdict, status)
				}
			}
		})
	}
}

// As long as the driver has not detached a disk, nothing goes on.
func TestAMigrationWaitsForTheDriver(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	arrived, release := w.faults.Block("ControllerUnpublishVolume", w.handles[redisClaim(1)])
	defer release()
	run := w.race(w.move(here, "--no-point")...)
	<-arrived
	unless := time.Now().Add(outage)
	if _, come := run.await(func() bool {
		j, _ := w.underway()
		return slices.Contains(j.steps, "own") || time.Now().After(unless)
	}); !come {
		t.Error("the migration ended while a disk was attached in the source")
	}
	if j, _ := w.underway(); slices.Contains(j.steps, "own") {
		t.Errorf("the migration went on while a disk was attached in the source: %v", j.steps)
	}
	release()
	if r := <-run.ended; r.Code != 0 {
		t.Fatalf("exit code %d\n%s", r.Code, r.Stderr)
	}
	w.expectAt(there)
}

// After a move the old cluster refuses whatever could bring the disks to life
// there, and says who has them.
func TestTheOldClusterRefuses(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	point := w.point()
	w.run(0, w.move(here)...)
	w.expectAt(there)
	w.refusesHere(point)

	// The disks stay, whatever becomes of the old cluster's objects.
	w.in[here].loseNamespace()
	for _, v := range w.in[here].volumes() {
		w.must(ignoreNotFound(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, v.Name, metav1.DeleteOptions{})))
	}
	w.expectAt(there)
	w.namesOwner(w.at(here, 4, "restore", point), there)
	w.expectAt(there)

	// The way back needs nothing of what was there.
	w.run(0, w.move(there)...)
	w.expectAt(here)
}

// refusesHere tries, in the first cluster, what would take the disks back.
func (t *twin) refusesHere(point string) {
	t.t.Helper()
	for _, args := range [][]string{
		{"restore", point},
		{"restore", point, "--from", "disks"},
		{"restore", point, "statefulset/redis", "-n", t.namespace},
		{"rollback", "statefulset/redis", "-n", t.namespace, "--to", point, "--no-point"},
		t.move(here),
		{"migrate", "pvc/" + redisClaim(0), "-n", t.namespace, "--from", t.in[here].lab.Name(), "--to", t.in[there].lab.Name()},
	} {
		r := t.hawser(args...)
		if r.Code != 4 {
			t.t.Errorf("hawser %s: exit code %d, want 4\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
		}
		t.namesOwner(r.Stderr, there)
	}
	r := t.hawser("backup", "-n", t.namespace)
	if r.Code == 0 {
		t.t.Errorf("a backup of disks that another cluster has: exit code 0\n%s", r.Stdout)
	}
	t.namesOwner(r.Stdout+r.Stderr, there)
	t.expectAt(there)
}

// What keeps the disks does so too when the class and the set say Delete, and
// both namespaces go.
func TestDeletedNamespacesLeaveMovedDisks(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	_, err := w.client.AppsV1().StatefulSets(w.namespace).Patch(w.ctx, "redis", types.MergePatchType,
		[]byte(`{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete","whenDeleted":"Delete"}}}`), metav1.PatchOptions{})
	w.must(err)
	w.awaitAll(claimsResource, ownedByTheSet(2))
	w.run(0, w.move(here, "--no-point")...)
	w.expectAt(there)
	w.in[here].loseNamespace()
	w.expectAt(there)
	w.in[there].loseNamespace()
	for claim, handle := range w.handles {
		w.expectFile(handle, "first", claim)
		w.expectFile(handle, "round-1", "written")
	}
}

// A rollback before the commit leads back to where the set was, and one after it
// is refused.
func TestAMigrationIsRolledBack(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.point()
	for _, step := range []string{"fence", "create"} {
		run := w.race(w.move(here, "--no-point")...)
		if r, come := run.awaitStep(step); !come {
			t.Fatalf("the migration ended before its step %s: exit code %d\n%s", step, r.Code, r.Stderr)
		}
		run.kill()
		j, _ := w.underway()
		w.run(0, w.rollBack(here, j.id)...)
		w.expectAt(here)
		w.mark()
		w.run(0, w.rollBack(here, j.id)...) // again: it is done
	}
	w.run(0, w.move(here, "--no-point")...)
	w.expectAt(there)
	all := w.journals()
	r := w.run(4, w.rollBack(here, all[len(all)-1].id)...)
	if !strings.Contains(r.Stderr, "migrate") {
		t.Errorf("the refusal does not say how to come back:\n%s", r.Stderr)
	}
	w.expectAt(there)
}
