package e2e_test

import (
	"slices"
	"testing"
	"time"
)

// As long as the driver has not detached a disk in the target, a rollback does not
// go on.
func TestARollbackWaitsForTheDriver(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	run := w.race(w.move(here, "--no-point")...)
	allow := run.preventVerdict()
	if r := <-run.ended; r.Code == 0 {
		t.Fatalf("the migration is said to be done without a verdict:\n%s", r.Stdout)
	}
	allow()
	w.in[there].awaitReady(2)
	j, _ := w.underway()
	arrived, release := w.faults.Block("ControllerUnpublishVolume", w.handles[redisClaim(1)])
	defer release()
	back := w.race(w.rollBack(here, j.id)...)
	<-arrived
	unless := time.Now().Add(outage)
	if _, come := back.await(func() bool { return slices.Contains(back.steps(), "own back") || time.Now().After(unless) }); !come {
		t.Error("the rollback ended while a disk was attached in the target")
	}
	if steps := back.steps(); slices.Contains(steps, "own back") {
		t.Errorf("the rollback went on while a disk was attached in the target: %v", steps)
	}
	release()
	if r := <-back.ended; r.Code != 0 {
		t.Fatalf("exit code %d\n%s", r.Code, r.Stderr)
	}
	w.expectAt(here)
}
