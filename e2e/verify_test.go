package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/verify"
)

// verify runs hawser verify and returns its report.
func (w *world) verify(code int, args ...string) verify.Report {
	w.t.Helper()
	r := w.run(code, append([]string{"verify", "-o", "json"}, args...)...)
	var report verify.Report
	w.must(json.Unmarshal([]byte(r.Stdout), &report))
	return report
}

// states says of each point, and of each claim of it: state, snapshot, disk.
func states(report verify.Report) []string {
	var lines []string
	for _, p := range report.Points {
		lines = append(lines, string(p.State))
		for _, c := range p.Claims {
			snapshot := "none"
			if c.Snapshot != nil {
				snapshot = string(c.Snapshot.State)
			}
			lines = append(lines, fmt.Sprintf("%s: %s, snapshot %s, disk %s", c.Name, c.State, snapshot, c.Disk.State))
		}
	}
	return lines
}

func (w *world) wantStates(what string, report verify.Report, want ...string) {
	w.t.Helper()
	if got := states(report); strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.t.Errorf("%s:\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// allMutations counts the requests of one user that change something anywhere.
func (w *world) allMutations(user string) int {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	n := 0
	for _, r := range requests {
		switch r.Verb {
		case "create", "update", "patch", "delete", "deletecollection":
			if r.User == user {
				n++
			}
		}
	}
	return n
}

func TestVerifySaysWhatIsThereAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	first := w.point()
	second := w.point("--snapshots=false")
	rights := rightsOf(roles(t)["hawser-restore"])
	rights = append(rights, right{resource: "namespaces", verb: "get"}, right{group: "snapshot.storage.k8s.io", resource: "volumesnapshotcontents", verb: "list"})
	user := w.as(w.namespace+"-verifier", rights)
	before := w.storeFiles()

	good := []string{"ok", "redis-pvc-redis-0: ok, snapshot ok, disk ok", "redis-pvc-redis-1: ok, snapshot ok, disk ok"}
	bare := []string{"ok", "redis-pvc-redis-0: ok, snapshot none, disk ok", "redis-pvc-redis-1: ok, snapshot none, disk ok"}
	w.wantStates("all is there", user.verify(0, "--all"), append(good, bare...)...)
	w.wantStates("the newest", user.verify(0), bare...)
	w.wantStates("one that is named", user.verify(0, first), good...)
	w.wantStates("without a cluster", user.verify(0, first, "--offline"),
		"unknown", "redis-pvc-redis-0: unknown, snapshot unknown, disk unknown", "redis-pvc-redis-1: unknown, snapshot unknown, disk unknown")
	table := user.run(0, "verify", "--plan", "manual").Stdout
	for _, want := range []string{"POINT", "SNAPSHOT", first, second, w.namespace + "/redis-pvc-redis-1", "2 points with 4 claims: 2 ok, 0 missing, 0 unknown."} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if n := w.allMutations(w.namespace + "-verifier"); n != 0 {
		t.Errorf("verify sent %d requests that change something", n)
	}

	// Attached disks need no asking; those that are not are asked about.
	w.wantStates("by the drivers' word", user.verify(0, first, "--check-disks"), good...)

	// One disk is destroyed, with its volume; of the other only the volume is gone.
	w.loseEverything()
	w.must(w.region.DestroyDisk(handles[redisClaim(0)]))
	w.wantStates("no volume is there", user.verify(3, "--all"),
		"ok", "redis-pvc-redis-0: ok, snapshot ok, disk missing", "redis-pvc-redis-1: ok, snapshot ok, disk missing",
		"missing", "redis-pvc-redis-0: missing, snapshot none, disk missing", "redis-pvc-redis-1: missing, snapshot none, disk missing")
	report := user.verify(3, second, "--check-disks")
	w.wantStates("the drivers know", report,
		"missing", "redis-pvc-redis-0: missing, snapshot none, disk missing", "redis-pvc-redis-1: ok, snapshot none, disk ok")
	if reason := report.Points[0].Claims[0].Reason; !strings.Contains(reason, "the driver does not find it") {
		t.Errorf("the reason is %q, want the driver's word", reason)
	}

	// The content of one snapshot goes, as a careless hand would take it.
	point, err := w.catalog().Load(w.ctx, w.clusterUID(), catalog.PointID(first))
	w.must(err)
	snapshot := point.Bundle.Volumes[1].Snapshot
	w.must(w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).Delete(w.ctx, snapshot.Name, metav1.DeleteOptions{}))
	w.must(ignoreNotFound(w.snapshots.SnapshotV1().VolumeSnapshotContents().Delete(w.ctx, snapshot.Content, metav1.DeleteOptions{})))
	w.await(contentsResource, snapshot.Content, func(o *unstructured.Unstructured) bool { return o == nil })
	w.wantStates("a snapshot is not known", user.verify(3, first),
		"missing", "redis-pvc-redis-0: ok, snapshot ok, disk missing", "redis-pvc-redis-1: missing, snapshot missing, disk missing")
	if after := w.storeFiles(); len(before) != len(after) {
		t.Errorf("the store has %d objects, it had %d", len(after), len(before))
	}

	// What may not be read is an error, and no finding.
	less := w.as(w.namespace+"-less", without(rights, right{group: "snapshot.storage.k8s.io", resource: "volumesnapshotcontents", verb: "list"}))
	less.run(1, "verify", first).Says(t, "volumesnapshotcontents", "list")
	w.run(2, "verify", first, "--all")
}

func TestVerifyFindsWhatTheStoreHasDamaged(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	points := []string{w.point(), w.point(), w.point()}
	file := func(n int, name string) string {
		return filepath.Join(strings.TrimPrefix(w.store, "file://"), "clusters", w.clusterUID(), "points", points[n], name)
	}
	damage := func(what, path, want string, change func(data []byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		w.must(err)
		if changed := change(data); changed != nil {
			w.must(os.WriteFile(path, changed, 0o600))
		} else {
			w.must(os.Remove(path))
		}
		for _, args := range [][]string{{"--all"}, {points[1]}} {
			r := w.run(3, append([]string{"verify", "--offline"}, args...)...)
			if !strings.Contains(r.Stdout+r.Stderr, want) {
				t.Errorf("%s, verify %v says\n%s%s\nwant %q", what, args, r.Stdout, r.Stderr, want)
			}
		}
		w.must(os.WriteFile(path, data, 0o600))
		w.run(0, "verify", "--all", "--offline")
	}
	flip := func(data []byte) []byte { data = append([]byte(nil), data...); data[len(data)/2] ^= 1; return data }
	damage("a bit of a bundle is another", file(1, "bundle"), "SHA-256", flip)
	damage("a bundle is cut", file(1, "bundle"), "bytes, the commit says", func(data []byte) []byte { return data[:len(data)-1] })
	damage("a bundle is gone", file(1, "bundle"), "the bundle is gone", func([]byte) []byte { return nil })
	damage("a bit of a commit is another", file(1, "commit"), "commit of point "+points[1], flip)
	damage("an earlier commit is gone", file(0, "commit"), "its commit is gone, and no tombstone says why", func([]byte) []byte { return nil })
}

// A point of another cluster is not missing, though nothing of it is here.
func TestVerifyOfAnotherClustersPoint(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	point, err := w.catalogLoad(w.point())
	w.must(err)
	other := point.Commit
	other.Cluster = catalog.Cluster{UID: "22222222-bbbb-4bbb-8bbb-222222222222", Name: "other"}
	other.Point = catalog.NewPointID(other.Cluster.UID, other.Plan, other.Scheduled, 0)
	for i := range point.Bundle.Volumes {
		point.Bundle.Volumes[i].VolumeHandle, point.Bundle.Volumes[i].Snapshot.Handle = "elsewhere", "elsewhere-too"
	}
	other.Previous = nil
	_, err = w.catalog().Commit(w.ctx, other, point.Bundle, nil)
	w.must(err)
	report := w.verify(0, "--all", "--from-cluster", "other")
	w.wantStates("of another cluster", report, "unknown", "redis-pvc-redis-0: unknown, snapshot unknown, disk unknown")
	if reason := report.Points[0].Claims[0].Reason; !strings.Contains(reason, "not in this cluster") {
		t.Errorf("the reason is %q, want that it is not in this cluster", reason)
	}
}

func (w *world) catalogLoad(point string) (*catalog.RestorePoint, error) {
	return w.catalog().Load(w.ctx, w.clusterUID(), catalog.PointID(point))
}
