package seed_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/seed"
)

// device is a raw block volume that nothing uses.
const device = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: device}
spec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: disks-delete, resources: {requests: {storage: 64Mi}}}
`

// Redis saves its data; a command in a Pod of a drill checks the file on the disk
// that was made from the snapshot. A snapshot that was damaged is found out.
func TestADrillChecksTheData(t *testing.T) {
	s := raise(t, "drill", newRegion(t))
	w := s.world(t, "practice")
	w.apply(seed.RedisStatefulSet.Manifest())
	w.apply([]byte(device))
	w.podsReady(1)
	redis := redisServer{"redis-0"}
	for i := range 50 {
		redis.write(w, fmt.Sprint("capital:", i))
	}
	if out := redis.cli(w, "SAVE"); out != "OK" {
		t.Fatalf("SAVE: %s", out)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	plan := func(check string) {
		t.Helper()
		w.must(os.WriteFile(file, fmt.Appendf(nil, "plans:\n- name: shop\n  select: {namespaces: [%s]}\n  drill: {image: \"redis:7.0\", timeout: 5m%s}\n", w.namespace, check), 0o600))
	}
	checkRDB := `, command: [sh, -c, 'test "$HAWSER_NAMESPACE/$HAWSER_CLAIM" = practice/device || redis-check-rdb /data/dump.rdb']`
	plan(checkRDB)
	w.run(0, "backup", "--plan", "shop", "--config", file)
	disks := w.disksOf()

	hold := func(code int, what string) catalog.Drill {
		t.Helper()
		r := w.run(code, "drill", "--plan", "shop", "--config", file, "-o", "json")
		var d catalog.Drill
		w.must(json.Unmarshal([]byte(r.Stdout), &d))
		t.Logf("%s: %s; bound after %.1f s, checked after %.1f s", what, d.Outcome, d.BoundAfter, d.CheckedAfter)
		w.expectNoDrill()
		return d
	}
	claim := func(d catalog.Drill, name string) catalog.DrillClaim {
		t.Helper()
		for _, c := range d.Claims {
			if c.Name == name {
				return c
			}
		}
		t.Fatalf("the drill has no claim %s: %+v", name, d)
		return catalog.DrillClaim{}
	}
	good := hold(0, "good data")
	if c := claim(good, "redis-pvc-redis-0"); c.Outcome != catalog.DrillPassed || !strings.Contains(c.Output, "RDB looks OK") {
		t.Errorf("of good data: %+v", c)
	}
	plan("") // no check: it is read
	if c := claim(hold(0, "no check"), "redis-pvc-redis-0"); !strings.Contains(c.Output, "files were read") {
		t.Errorf("without a check it says %q", c.Output)
	}

	// The storage damages the snapshot.
	point, err := os.ReadFile(snapshotFile(w, "dump.rdb", disks["redis-pvc-redis-0"]))
	w.must(err)
	for i := 20; i < len(point); i += 7 {
		point[i] ^= 0xff
	}
	w.must(os.WriteFile(snapshotFile(w, "dump.rdb", disks["redis-pvc-redis-0"]), point, 0o644))
	plan(checkRDB)
	bad := hold(3, "a damaged snapshot")
	if c := claim(bad, "redis-pvc-redis-0"); c.Outcome != catalog.DrillFailed || c.Stage != "check" || !strings.Contains(c.Output, "RDB") {
		t.Errorf("of a damaged snapshot: %+v", c)
	}
	if c := claim(bad, "device"); c.Outcome != catalog.DrillPassed {
		t.Errorf("of what is not damaged: %+v", c)
	}
	if got := len(redis.read(w)); got != 50 {
		t.Errorf("the running Redis has %d words, want 50: a drill has touched it", got)
	}
}

// snapshotFile is a file in the one snapshot of a disk.
func snapshotFile(w *world, name, disk string) string {
	w.t.Helper()
	all := w.snapshotsOf(map[string]string{"": disk})
	if len(all) != 1 {
		w.t.Fatalf("disk %s has snapshots %v, want one", disk, all)
	}
	return filepath.Join(w.region.DataDir(all[0].Handle), name)
}

// expectNoDrill fails the test if a drill has left anything.
func (w *world) expectNoDrill() {
	w.t.Helper()
	namespaces, err := w.client.CoreV1().Namespaces().List(w.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	w.must(err)
	volumes, err := w.client.CoreV1().PersistentVolumes().List(w.ctx, metav1.ListOptions{})
	w.must(err)
	disks, err := w.region.Disks()
	w.must(err)
	if len(namespaces.Items) > 0 || len(volumes.Items) != 2 || len(disks) != 2 {
		w.t.Errorf("a drill has left %d namespaces; there are %d volumes and %d disks, want 2 of each", len(namespaces.Items), len(volumes.Items), len(disks))
	}
}
