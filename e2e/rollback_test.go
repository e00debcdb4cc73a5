package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// generations writes a word on each disk and makes a point of it, n times.
func (w *world) generations(n int) []string {
	w.t.Helper()
	var points []string
	for i := range n {
		for _, handle := range w.disks() {
			w.write(handle, "word", fmt.Sprint("generation ", i))
		}
		points = append(points, w.point())
	}
	for _, handle := range w.disks() {
		w.write(handle, "word", "now")
	}
	return points
}

// expectWord fails the test unless every claim is on a disk with that word on it.
func (w *world) expectWord(want string) {
	w.t.Helper()
	handles := w.disks()
	if len(handles) == 0 {
		w.t.Error("no claim is there")
	}
	for claim, handle := range handles {
		w.expectFile(handle, "first", claim)
		w.expectFile(handle, "word", want)
	}
}

// expectNoTraces fails the test if a rollback that has ended left something in
// the way of the next.
func (w *world) expectNoTraces(target string) {
	w.t.Helper()
	for _, v := range w.volumes() {
		if v.Annotations["hawser.dev/rollback"] != "" {
			w.t.Errorf("PersistentVolume %s still bears a record", v.Name)
		}
	}
	if set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, target, metav1.GetOptions{}); err == nil && set.Annotations["hawser.dev/rollback"] != "" {
		w.t.Errorf("StatefulSet %s still bears a record: %s", target, set.Annotations["hawser.dev/rollback"])
	}
	if d, err := w.client.AppsV1().Deployments(w.namespace).Get(w.ctx, target, metav1.GetOptions{}); err == nil && d.Annotations["hawser.dev/rollback"] != "" {
		w.t.Errorf("Deployment %s still bears a record: %s", target, d.Annotations["hawser.dev/rollback"])
	}
	pointers, err := w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).List(w.ctx, metav1.ListOptions{LabelSelector: "hawser.dev/restored-from"})
	w.must(err)
	for _, p := range pointers.Items {
		if p.DeletionTimestamp == nil {
			w.t.Errorf("VolumeSnapshot %s, which only points to a snapshot, was left", p.Name)
		}
	}
}

func (w *world) expectDisks(want map[string]string) {
	w.t.Helper()
	if got := w.disks(); !maps.Equal(got, want) {
		w.t.Errorf("claims are on disks %v, want %v", got, want)
	}
}

func TestRollbackToEachOfThreePointsAndUndo(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"disks-delete", "disks-wffc"} {
		t.Run(class, func(t *testing.T) {
			w := newWorld(t)
			handles := w.deployRedis(3, class)
			points := w.generations(3)
			for _, i := range []int{0, 2, 1} {
				r := w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[i])
				if !strings.Contains(r.Stdout, "What was there before is in point") {
					t.Errorf("no fresh point is named:\n%s", r.Stdout)
				}
				w.expectWord(fmt.Sprint("generation ", i))
				w.expectRetain()
				w.expectNoTraces("redis")

				w.run(0, "undo", "statefulset/redis", "-n", w.namespace)
				w.expectWord("now")
				w.expectDisks(handles)
				w.expectRetain()
				w.expectNoTraces("redis")
			}
			w.run(0, "undo", "statefulset/redis", "-n", w.namespace, "--redo")
			w.expectWord("generation 1")
			w.run(0, "undo", "statefulset/redis", "-n", w.namespace)
			w.expectDisks(handles)
			w.run(4, "undo", "statefulset/redis", "-n", w.namespace).Says(t, "no rollback of it has set a disk aside")
		})
	}
}

func TestRollbackOfSomeOrdinals(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	points := w.generations(1)
	w.unprotect()
	w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--ordinals", "1,2", "--no-point")
	got := w.disks()
	for n, want := range []string{"now", "generation 0", "generation 0"} {
		claim := redisClaim(n)
		w.expectFile(got[claim], "word", want)
		if same := got[claim] == handles[claim]; same != (n == 0) {
			t.Errorf("claim %s is on disk %s, it was on %s", claim, got[claim], handles[claim])
		}
	}
	w.run(4, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--ordinals", "7").Says(t, "it has no claim of ordinal 7")
	for _, v := range w.volumes() { // that of ordinal 0 was not touched
		if untouched := v.Spec.CSI.VolumeHandle == handles[redisClaim(0)]; untouched != (v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete) {
			t.Errorf("PersistentVolume %s is %s", v.Name, v.Spec.PersistentVolumeReclaimPolicy)
		}
	}
	w.run(0, "undo", "statefulset/redis", "-n", w.namespace)
	w.expectDisks(handles)
}

// unprotect makes the volumes Delete again, which a backup has made Retain.
func (w *world) unprotect() {
	w.t.Helper()
	for _, v := range w.volumes() {
		_, err := w.client.CoreV1().PersistentVolumes().Patch(w.ctx, v.Name, types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`), metav1.PatchOptions{})
		w.must(err)
	}
}

// A set that deletes its claims when it is scaled down keeps them through a
// rollback, and is so again afterwards.
func TestRollbackOfASetThatDeletesItsClaims(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	_, err := w.client.AppsV1().StatefulSets(w.namespace).Patch(w.ctx, "redis", types.MergePatchType,
		[]byte(`{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete","whenDeleted":"Delete"}}}`), metav1.PatchOptions{})
	w.must(err)
	w.awaitAll(claimsResource, ownedByTheSet(2))
	points := w.generations(1)
	w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--no-point")
	w.expectWord("generation 0")
	w.run(0, "undo", "statefulset/redis", "-n", w.namespace)
	w.expectDisks(handles)
	w.expectWord("now")
	set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "redis", metav1.GetOptions{})
	w.must(err)
	if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p.WhenScaled != "Delete" || p.WhenDeleted != "Delete" {
		t.Errorf("its policy is %+v afterwards, want Delete for both", p)
	}
	w.awaitAll(claimsResource, ownedByTheSet(2))
}

func TestRollbackOfADeploymentAndOfSingleClaims(t *testing.T) {
	w := newWorld(t)
	w.must(w.lab.Apply(w.ctx, []byte(strings.ReplaceAll(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: used, namespace: NS, labels: {team: shop}, annotations: {note: kept}}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: alone, namespace: NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: "mariadb:11", volumeMounts: [{name: v, mountPath: /data}]}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: used}}]
`, "NS", w.namespace))))
	w.awaitAll(podsResource, allRunning(1))
	w.awaitAll(claimsResource, allBound(2))
	handles := w.disks()
	for claim, handle := range handles {
		w.write(handle, "first", claim)
	}
	points := w.generations(1)

	for _, target := range []string{"deployment/web", "pvc/used", "pvc/alone"} {
		claim := map[bool]string{true: "alone", false: "used"}[target == "pvc/alone"]
		r := w.run(0, "rollback", target, "-n", w.namespace, "--to", points[0], "--no-point")
		got := w.disks()
		w.expectFile(got[claim], "word", "generation 0")
		for other, handle := range handles {
			if same := got[other] == handle; same != (other != claim) {
				t.Errorf("%s: claim %s is on disk %s, it was on %s:\n%s", target, other, got[other], handle, r.Stdout)
			}
		}
		if claim == "used" {
			made, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.ctx, claim, metav1.GetOptions{})
			w.must(err)
			if made.Labels["team"] != "shop" || made.Annotations["note"] != "kept" || made.Spec.Resources.Requests.Storage().String() != "2Gi" {
				t.Errorf("%s: the claim is not as it was: labels %v, annotations %v", target, made.Labels, made.Annotations)
			}
		}
		w.expectNoTraces("web")
		w.run(0, "undo", target, "-n", w.namespace)
		w.expectDisks(handles)
		w.expectNoTraces("web")
		w.awaitAll(podsResource, allRunning(1))
	}
}

func ownedByTheSet(n int) func([]*unstructured.Unstructured) bool {
	return func(claims []*unstructured.Unstructured) bool {
		owned := slices.DeleteFunc(slices.Clone(claims), func(c *unstructured.Unstructured) bool { return len(c.GetOwnerReferences()) == 0 })
		return len(owned) == n
	}
}
