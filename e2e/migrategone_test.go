package e2e_test

import (
	"slices"
	"testing"
)

// One of the two clusters is gone for good in the middle. The workload ends in the
// other; where the driver says that a disk is still attached, nothing is done. The
// one that was lost may turn up again.
func TestAClusterIsGoneForGoodDuringAMigration(t *testing.T) {
	w := ownTwin(t, false)
	w.asked = true
	w.deploy(2, "disks-delete")
	w.point()
	w.loseTarget()
	w.loseSource()
}

// interrupt begins a migration, kills it when it has come so far, and returns its
// id.
func (t *twin) interrupt(come func(*race) bool, args ...string) string {
	t.t.Helper()
	run := t.race(args...)
	if r, ok := run.await(func() bool { return come(run) }); !ok {
		t.t.Fatalf("the migration ended before it was to be killed: exit code %d\n%s", r.Code, r.Stderr)
	}
	run.kill()
	j, underway := t.underway()
	if !underway {
		t.t.Fatal("it has ended before it was killed")
	}
	return j.id
}

// attachedIn says whether a disk is attached in a cluster.
func (t *twin) attachedIn(place int) bool {
	for _, handle := range t.handles {
		disk, err := t.region.Disk(handle)
		t.must(err)
		for _, a := range disk.Attachments {
			if a.Cluster == t.in[place].lab.Name() {
				return true
			}
		}
	}
	return false
}

// without takes a cluster away, and who attaches its disks, and returns what
// brings them back.
func (t *twin) without(place int) (back func()) {
	t.t.Helper()
	l, parts := t.in[place].lab, []string{"csi-attacher", "kube-apiserver"}
	for _, part := range parts {
		t.must(l.KillComponent(part))
	}
	return func() {
		t.t.Helper()
		for _, part := range slices.Backward(parts) {
			t.must(l.StartComponent(t.ctx, part))
		}
	}
}

// loseTarget loses the target of a migration when Pods start there.
func (t *twin) loseTarget() {
	t.t.Helper()
	id := t.interrupt(func(*race) bool { return t.attachedIn(there) }, t.move(here, "--no-point")...)
	back := t.without(there)
	from := []string{"--from", t.in[here].lab.Name()}
	alone := slices.Concat([]string{"migrate", "--rollback", id}, from, []string{"--confirm-target-gone"})
	t.run(1, t.rollBack(here, id)...).Says(t.t, "the target: ", "--confirm-target-gone")
	t.run(4, alone...).Says(t.t, "in use elsewhere", "the target is not gone")
	if j, underway := t.underway(); !underway || slices.Contains(j.steps, "back") {
		t.t.Errorf("a rollback that was refused has begun: %+v", j)
	}

	t.must(t.region.PowerOff(t.in[there].lab.Name()))
	t.run(0, alone...).Says(t.t, "is still there; should that cluster come back", "--rollback "+id)
	t.in[here].awaitReady(t.replicas)
	t.in[here].expectDisks(t.handles)
	if owner := t.owner(); owner != t.uids[here] {
		t.t.Errorf("the disks are owned by cluster %s, want %s", owner, t.uids[here])
	}

	back()
	t.run(4, t.move(here, "--no-point")...).Says(t.t, "--rollback "+id) // its remains are in the way
	remains := t.in[there].volumes()
	t.run(0, t.rollBack(here, id)...)
	for _, pv := range remains { // once the attacher, which was away as well, has let go
		t.in[there].await(volumesResource, pv.Name, gone)
	}
	t.expectAt(here)
	t.mark()
}

// loseSource loses the source of a migration after its fence.
func (t *twin) loseSource() {
	t.t.Helper()
	id := t.interrupt(func(run *race) bool { return slices.Contains(run.steps(), "create") }, t.move(here, "--no-point")...)
	back := t.without(here)
	alone := []string{"migrate", "statefulset/redis", "-n", t.namespace, "--way", "adopt", "--from-cluster", t.uids[here], "--to", t.in[there].lab.Name()}
	t.run(1, t.move(here)...).Says(t.t, "the source: ", "--way adopt", "--confirm-source-gone")
	t.run(4, alone...).Says(t.t, "--confirm-source-gone")
	t.run(0, append(alone, "--confirm-source-gone")...).Says(t.t, "is not marked as moved")
	t.in[there].awaitReady(t.replicas)
	t.in[there].expectDisks(t.handles)
	if owner := t.owner(); owner != t.uids[there] {
		t.t.Errorf("the disks are owned by cluster %s, want %s", owner, t.uids[there])
	}

	back()
	t.run(4, t.rollBack(here, id)...).Says(t.t, "it is committed")
	t.run(4, "migrate", "--cleanup", id, "--from", t.in[here].lab.Name(), "--to", t.in[there].lab.Name()).Says(t.t, "not done")
	t.run(0, t.move(here, "--no-point")...)
	t.expectAt(there)
	t.run(0, "migrate", "--cleanup", id, "--from", t.in[here].lab.Name(), "--to", t.in[there].lab.Name())
	t.expectAt(there)
}
