package e2e_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/disks"
)

// give gives disks to a cluster, by a migration that has ended or has not.
func (w *world) give(migration catalog.MigrationID, to catalog.Cluster, ended bool, handles ...string) {
	w.t.Helper()
	cat := w.catalog()
	owners, err := cat.Owners(w.ctx)
	w.must(err)
	for _, handle := range handles {
		d := catalog.Disk{Driver: disks.DefaultDriver, Handle: catalog.VolumeHandle(handle)}
		w.must(cat.Take(w.ctx, catalog.Ownership{Disk: d, Number: owners.Next(d), Cluster: to, Migration: migration, Taken: time.Now()}))
	}
	if ended {
		_, err := cat.Conclude(w.ctx, migration, catalog.Verdict{Outcome: catalog.Committed, At: time.Now()})
		w.must(err)
	}
}

// What another cluster owns is not restored, rolled back, put back, deleted or
// backed up; the owner is named, and nothing is written. When the disks come back
// all goes on.
func TestDisksOfAnotherClusterAreLeftAlone(t *testing.T) {
	w := ownWorld(t, cluster.Options{Audit: true})
	aside := w.deployRedis(2, "disks-delete")
	point := w.generations(1)[0]
	target := []string{"statefulset/redis", "-n", w.namespace}
	w.run(0, append([]string{"rollback", "--to", point}, target...)...)
	used := w.disks()
	there := catalog.Cluster{UID: "0d5c1a52-0000-4000-8000-00000000000c", Name: "prod-us"}
	const first, second, third = catalog.MigrationID("20260903-120000-0a1b2c3d"), catalog.MigrationID("20260903-130000-0a1b2c3d"), catalog.MigrationID("20260903-140000-0a1b2c3d")

	// A point is made of what is left.
	w.give(first, there, true, used[redisClaim(0)], aside[redisClaim(0)])
	partly := w.point()
	if shown := w.run(0, "show", partly).Stdout; !strings.Contains(shown, "its disk "+used[redisClaim(0)]+" is owned by cluster prod-us ("+there.UID+")") {
		t.Errorf("the point does not say whose the disk is:\n%s", shown)
	}
	loaded, err := w.catalog().Load(w.ctx, w.clusterUID(), catalog.PointID(partly))
	w.must(err)
	if volumes := loaded.Bundle.Volumes; len(volumes) != 1 || volumes[0].Claim.Name != redisClaim(1) {
		t.Errorf("the point holds %v, want only the claim whose disk is of this cluster", volumes)
	}

	w.give(second, there, false, used[redisClaim(1)])
	versions, writes := w.versions(), len(w.writes())
	owned := func(handle string, by catalog.MigrationID) string {
		return handle + ", is owned by cluster prod-us (" + there.UID + "), which took it on "
	}
	refuse := func(says ...string) func(args ...string) {
		return func(args ...string) {
			t.Helper()
			w.run(4, args...).Says(t, says...)
		}
	}
	refuse(owned(used[redisClaim(0)], first), owned(used[redisClaim(1)], second), "by migration "+string(first), string(second)+", which is under way", "`hawser migrate --rollback "+string(second)+"`")(
		append([]string{"rollback", "--to", point}, target...)...)
	refuse(owned(used[redisClaim(0)], first), owned(aside[redisClaim(0)], first))(append([]string{"undo"}, target...)...)
	refuse("its disk "+aside[redisClaim(0)]+" is owned by cluster prod-us")("release", w.volumeOver(aside[redisClaim(0)]), "--yes", "--force-uncovered")
	for _, from := range []string{"auto", "disks"} {
		refuse("its disk "+aside[redisClaim(0)]+" is owned by cluster prod-us", "bring it here with `hawser migrate`", "--from snapshots")("restore", point, "--from", from)
	}
	w.run(1, "backup", "-n", w.namespace).Says(t, "nothing to back up", redisClaim(0)+": its disk "+used[redisClaim(0)]+" is owned by cluster prod-us", redisClaim(1)+": its disk "+used[redisClaim(1)])
	copied := w.run(0, "restore", point, "--from", "snapshots", "--map-namespace", w.namespace+"="+w.namespace+"-copy", "--dry-run").Stdout
	if !strings.Contains(copied, "becomes a copy: its disk "+aside[redisClaim(0)]) {
		t.Errorf("the plan does not say that the disk is elsewhere:\n%s", copied)
	}
	if now := w.versions(); !maps.Equal(versions, now) {
		t.Errorf("claims and volumes were %v, and are %v", versions, now)
	}
	if now := w.writes(); len(now) != writes {
		t.Errorf("what was refused has written: %s", strings.Join(now[writes:], ", "))
	}

	// Once they are back nothing is refused.
	here := catalog.Cluster{UID: w.clusterUID()}
	w.give(third, here, true, used[redisClaim(0)], used[redisClaim(1)], aside[redisClaim(0)])
	w.run(0, append([]string{"undo"}, target...)...)
	w.expectDisks(aside)
	w.expectWord("now")
}
