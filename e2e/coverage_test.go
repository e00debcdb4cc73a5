package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// coveredClaim is what hawser coverage -o json says of a claim.
type coveredClaim struct {
	Name, Promise, Reason, Why, ReclaimPolicy, VolumeHandle, Point string
	Covered, Snapshot                                              bool
	AgeSeconds                                                     *int
}

// coverage is what hawser says of the claims of the namespace, by name.
func (w *world) coverage(code int, args ...string) map[string]coveredClaim {
	w.t.Helper()
	r := w.run(code, append([]string{"coverage", "-n", w.namespace, "-o", "json"}, args...)...)
	var report struct{ Claims []coveredClaim }
	w.must(json.Unmarshal([]byte(r.Stdout), &report))
	claims := map[string]coveredClaim{}
	for _, c := range report.Claims {
		claims[c.Name] = c
	}
	return claims
}

// coverageRights are all that hawser coverage needs of a cluster.
var coverageRights = []right{
	{"", "namespaces", "list"}, {"", "persistentvolumeclaims", "list"}, {"", "persistentvolumes", "list"}, {"", "pods", "list"},
	{"apps", "statefulsets", "list"}, {"apps", "deployments", "list"},
}

func TestCoverageTellsWhatCouldBeBroughtBack(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	w.must(w.lab.Apply(w.ctx, fmt.Appendf(nil, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: waiting, namespace: %s}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
`, w.namespace)))
	plan := func(rpo string) string {
		return w.configure(filepath.Join(t.TempDir(), "config.yaml"), fmt.Sprintf("plans:\n- name: sets\n  rpo: %s\n  select: {namespaces: [%s], workloads: [statefulset/redis]}\n", rpo, w.namespace))
	}
	strict, lax := plan("1ms"), plan("1h")

	// Before the first point, and after it; each by who may do nothing but list.
	reader := w.as(w.namespace+"-reader", coverageRights)
	before := reader.coverage(3, "--config", strict)
	if c := before["waiting"]; c.Covered || c.Reason != "not-selected" && c.Reason != "unbound" {
		t.Errorf("a claim without volume: %+v", c)
	}
	if c := before[redisClaim(0)]; !c.Covered || c.Promise != "broken" || c.AgeSeconds != nil || c.ReclaimPolicy != "Delete" {
		t.Errorf("a claim before its first point: %+v", c)
	}
	w.run(0, "backup", "--plan", "sets", "--config", lax)
	for claim, handle := range handles {
		if c := reader.coverage(0, "--config", lax)[claim]; c.Promise != "met" || c.AgeSeconds == nil || *c.AgeSeconds > 120 || !c.Snapshot || c.ReclaimPolicy != "Retain" || c.VolumeHandle != handle {
			t.Errorf("a claim after its first point: %+v", c)
		}
	}
	for i, missing := range coverageRights {
		w.as(fmt.Sprintf("%s-reader-%d", w.namespace, i), without(coverageRights, missing)).run(1, "coverage", "--config", lax).Says(t, missing.verb, missing.resource)
	}

	// A snapshot that fails makes no newer data.
	first := reader.coverage(0, "--config", lax)
	w.faults.Fail("CreateSnapshot", 0, codes.Internal, handles[redisClaim(1)])
	w.run(3, "backup", "--plan", "sets", "--config", lax)
	second := reader.coverage(3, "--config", strict)
	if a, b := first[redisClaim(0)], second[redisClaim(0)]; a.Point == b.Point {
		t.Errorf("after a newer point the newest data is still of %s", b.Point)
	}
	if a, b := first[redisClaim(1)], second[redisClaim(1)]; a.Point != b.Point || b.Promise != "broken" || !strings.Contains(b.Why, "code = Internal") {
		t.Errorf("after a snapshot that failed: %+v, want the data of %s", b, a.Point)
	}
	w.run(3, "coverage", "--config", strict, "-n", w.namespace).Says(t, "2 claims break their RPO", redisClaim(1))

	// A claim on a new, empty disk is not covered by the points of the old one.
	w.loseEverything()
	fresh := w.deployRedis(2, "disks-delete")
	for claim, c := range reader.coverage(3, "--config", strict) {
		if claim != "waiting" && (c.AgeSeconds != nil || c.VolumeHandle != fresh[claim]) {
			t.Errorf("a claim on a new disk: %+v", c)
		}
		if claim == redisClaim(0) && (!strings.Contains(c.Why, "the disk was replaced") || !strings.Contains(c.Why, handles[claim])) {
			t.Errorf("a claim on a new disk: %q, want it to name the old one, %s", c.Why, handles[claim])
		}
	}

	// Back on the old disks the old points count again.
	w.loseEverything()
	w.run(0, "restore", second[redisClaim(0)].Point, "--from", "disks")
	for claim, c := range reader.coverage(0, "--config", lax) {
		if claim != "waiting" && (c.AgeSeconds == nil || c.VolumeHandle != handles[claim] || c.Point != second[claim].Point) {
			t.Errorf("a claim that was restored: %+v, want the data of %s", c, second[claim].Point)
		}
	}
}
