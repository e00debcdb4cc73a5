package e2e_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/restore"
)

func TestReattachAfterEverythingWasDeleted(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	w.scale(2) // the claim of ordinal 2 stays, and belongs to the set
	point := w.point("statefulset/redis")
	w.expectRetain()
	for _, handle := range handles {
		w.write(handle, "later", "after the backup")
	}
	w.loseEverything()

	w.run(0, "restore", point)
	w.awaitReady(2)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
	w.expectRetain()
	for claim, handle := range handles {
		w.expectFile(handle, "first", claim)
		w.expectFile(handle, "later", "after the backup")
	}

	// Once more: there is nothing left to do, and nothing is touched.
	before := w.versions()
	var again restore.Result
	w.must(json.Unmarshal([]byte(w.run(0, "restore", point, "-o", "json").Stdout), &again))
	if again.Created != 0 || again.Patched != 0 {
		t.Errorf("a second restore created %d and patched %d objects, want none", again.Created, again.Patched)
	}
	if after := w.versions(); !maps.Equal(before, after) {
		t.Errorf("a second restore changed objects: before %v, after %v", before, after)
	}
}

// versions are the resourceVersions of claims and volumes.
func (w *world) versions() map[string]string {
	w.t.Helper()
	versions := map[string]string{}
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, c := range claims.Items {
		versions["claim "+c.Name] = string(c.UID) + " " + c.ResourceVersion
	}
	for _, v := range w.volumes() {
		versions["volume "+v.Name] = string(v.UID) + " " + v.ResourceVersion
	}
	return versions
}

func TestReleasedVolumesAreRearmedInPlace(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	w.loseWorkload()
	uids := map[string]types.UID{}
	for _, v := range w.volumes() {
		uids[v.Name] = v.UID
	}
	w.loseClaims()
	for name := range uids {
		w.await(volumesResource, name, hasPhase("Released"))
	}

	w.run(0, "restore", point)
	w.awaitReady(2)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
	for _, v := range w.volumes() {
		if v.UID != uids[v.Name] {
			t.Errorf("PersistentVolume %s was made anew, want it re-armed in place", v.Name)
		}
	}
}

func TestALostClaimGetsItsDiskBack(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	point := w.point()
	w.scale(0)
	w.awaitAll(podsResource, none)
	w.awaitDetached()
	for _, v := range w.volumes() {
		w.must(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, v.Name, metav1.DeleteOptions{}))
		_, err := w.client.CoreV1().PersistentVolumes().Patch(w.ctx, v.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		w.must(err)
	}
	w.await(claimsResource, redisClaim(0), hasPhase("Lost"))

	w.run(0, "restore", point)
	w.await(claimsResource, redisClaim(0), hasPhase("Bound"))
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
}

func TestRehydrateAfterTheDisksWereDestroyed(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"disks-delete", "disks-wffc"} {
		t.Run(class, func(t *testing.T) {
			w := newWorld(t)
			handles := w.deployRedis(3, class)
			point := w.point()
			for _, handle := range handles {
				w.write(handle, "later", "after the backup")
			}
			w.loseEverything()
			for _, handle := range handles {
				w.must(w.region.DestroyDisk(handle))
			}

			w.run(0, "restore", point)
			w.awaitReady(3)
			got := w.disks()
			if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(handles))) {
				t.Errorf("claims are %v, want those of %v", got, handles)
			}
			for claim, handle := range got {
				if handle == handles[claim] {
					t.Errorf("claim %s is on disk %s, which was destroyed", claim, handle)
				}
				w.expectFile(handle, "first", claim)
				w.expectNoFile(handle, "later")
			}
			w.expectRetain()
			w.run(0, "restore", point) // again: nothing to do
		})
	}
}

// Auto reattaches what is there and rehydrates what is not.
func TestAutoDecidesForEachDisk(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	for _, handle := range handles {
		w.write(handle, "later", "after the backup")
	}
	w.loseEverything()
	w.must(w.region.DestroyDisk(handles[redisClaim(1)]))

	w.run(0, "restore", point)
	w.awaitReady(2)
	got := w.disks()
	if got[redisClaim(0)] != handles[redisClaim(0)] || got[redisClaim(1)] == handles[redisClaim(1)] {
		t.Errorf("claims are on disks %v, they were on %v, of which that of claim 1 was destroyed", got, handles)
	}
	w.expectFile(got[redisClaim(0)], "later", "after the backup")
	w.expectFile(got[redisClaim(1)], "first", redisClaim(1))
	w.expectNoFile(got[redisClaim(1)], "later")
}

// The book restores only the disk of the primary.
func TestOnlyTheChosenOrdinals(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	point := w.point()
	w.loseEverything()

	w.run(0, "restore", point, "statefulset/redis", "--ordinals", "0")
	w.awaitReady(3)
	got := w.disks()
	if got[redisClaim(0)] != handles[redisClaim(0)] {
		t.Errorf("claim 0 is on disk %s, want %s", got[redisClaim(0)], handles[redisClaim(0)])
	}
	for _, n := range []int{1, 2} {
		if got[redisClaim(n)] == handles[redisClaim(n)] {
			t.Errorf("claim %d is on its old disk, want a fresh one", n)
		}
		w.expectNoFile(got[redisClaim(n)], "first")
	}
}

func TestDeploymentPodAndSingleClaim(t *testing.T) {
	w := newWorld(t)
	manifest := strings.ReplaceAll(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: mariadb-pvc, namespace: NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mariadb-demo, namespace: NS}
spec:
  replicas: 1
  selector: {matchLabels: {app: mariadb}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: mariadb}}
    spec:
      containers: [{name: mariadb, image: "mariadb:11", volumeMounts: [{name: v, mountPath: /var/lib/mysql}]}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: mariadb-pvc}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: mariadb-pv-claim, namespace: NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: mariadb, namespace: NS}
spec:
  containers: [{name: mariadb, image: "mariadb:11", volumeMounts: [{name: v, mountPath: /var/lib/mysql}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: mariadb-pv-claim}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: alone, namespace: NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, "NS", w.namespace)
	w.must(w.lab.Apply(w.ctx, []byte(manifest)))
	w.awaitAll(podsResource, allRunning(2))
	w.awaitAll(claimsResource, allBound(3))
	handles := w.disks()
	for claim, handle := range handles {
		w.write(handle, "first", claim)
	}
	point := w.point()
	w.loseEverything()

	w.run(0, "restore", point)
	w.awaitAll(podsResource, allRunning(2))
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
	for claim, handle := range handles {
		w.expectFile(handle, "first", claim)
	}
}

// What --dry-run -o yaml prints does the same when it is applied by hand.
func TestManifestsOfADryRunCanBeAppliedByHand(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	w.loseEverything()
	before := w.mutations()
	manifests := w.run(0, "restore", point, "--from", "disks", "--dry-run", "-o", "yaml").Stdout
	if after := w.mutations(); after != before {
		t.Errorf("a dry run sent %d requests that change something", after-before)
	}
	w.run(0, "restore", point, "--from", "disks", "--dry-run")
	w.must(w.lab.Apply(w.ctx, []byte(manifests)))
	w.awaitReady(2)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
}

// mutations counts the requests of hawser that change something in this
// world's namespace or in no namespace at all; dry runs of other tests do not
// matter, but their restores would, so it counts what names this namespace.
func (w *world) mutations() int {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	n := 0
	for _, r := range requests {
		if strings.HasPrefix(r.UserAgent, "hawser/") && r.Namespace == w.namespace && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb) {
			n++
		}
	}
	return n
}
