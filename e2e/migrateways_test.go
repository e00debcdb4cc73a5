package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

var deploymentsResource = appsv1.SchemeGroupVersion.WithResource("deployments")

func hasReadyReplica(o *unstructured.Unstructured) bool {
	if o == nil {
		return false
	}
	ready, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
	return ready == 1
}

// A copy runs on disks of its own, with the data of the moment, and the source
// goes on as if nothing had been.
func TestMigrateACopy(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.run(0, w.move(here, "--way", "copy")...)
	w.expectDisks(w.handles)
	w.awaitReady(2)
	w.in[there].awaitReady(2)
	for claim, handle := range w.in[there].disks() {
		if handle == w.handles[claim] {
			t.Errorf("the copy of %s is on the same disk", claim)
		}
		w.expectFile(handle, "first", claim)
		w.expectFile(handle, "round-1", "written")
	}
	w.in[there].expectRetain()
	if owner := w.owner(); owner != "" {
		t.Errorf("a copy has made cluster %s the owner of the disks", owner)
	}
	w.run(4, w.move(here, "--way", "copy")...) // its names are taken
}

// The disks of a cluster that is gone are adopted only if that is confirmed, and
// are the target's then.
func TestMigrateAdoptsWhatALostClusterLeft(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.point()
	w.scale(0) // the nodes of the lost cluster are off
	w.awaitDetached()
	w.mark() // after the point: the disks count, not their snapshots
	adopt := []string{"migrate", "--all", "-n", w.namespace, "--way", "adopt", "--from-cluster", w.uids[here], "--to", w.in[there].lab.Name()}
	if r := w.run(4, adopt...); !strings.Contains(r.Stderr, "--confirm-source-gone") {
		t.Errorf("the refusal does not say what is to be confirmed:\n%s", r.Stderr)
	}
	if owner := w.owner(); owner != "" {
		t.Fatalf("a refusal has made cluster %s the owner", owner)
	}
	w.run(0, append(adopt, "--confirm-source-gone")...)
	w.expectAt(there)
	w.refusesHere("latest")
}

// filesClaim is a claim beside those of the set. %[1]s is the namespace.
const filesClaim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files, namespace: %[1]s}
spec: {accessModes: [ReadWriteOnce], storageClassName: disks-delete, resources: {requests: {storage: 1Gi}}}
`

// takeAlong has a claim, which the first cluster has beside those of the set,
// looked at as theirs are, and writes on its disk what is on theirs.
func (t *twin) takeAlong(claim string) {
	t.t.Helper()
	t.handles = t.disks()
	t.write(t.handles[claim], "first", claim)
	for n := range t.round {
		t.write(t.handles[claim], fmt.Sprint("round-", n+1), "written")
	}
}

// All of a namespace goes, and what it leaves is removed without its disks: also
// where the set has changed since, so that it could not come back otherwise.
func TestMigrateANamespaceAndCleanUp(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.must(w.lab.Apply(w.ctx, fmt.Appendf(nil, filesClaim+`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %[1]s}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web, volumeMounts: [{name: files, mountPath: /files}]}]
      volumes: [{name: files, persistentVolumeClaim: {claimName: files}}]
`, w.namespace)))
	w.await(deploymentsResource, "web", hasReadyReplica)
	w.takeAlong("files")

	all := append([]string{"migrate", "--all", "-n", w.namespace, "--no-point"}, w.route(here)...)
	w.run(0, all...)
	w.expectAt(there)
	w.in[there].await(deploymentsResource, "web", hasReadyReplica)

	_, err := w.in[there].client.AppsV1().StatefulSets(w.namespace).Patch(w.ctx, "redis", types.MergePatchType,
		[]byte(`{"spec":{"template":{"metadata":{"annotations":{"changed":"since"}}}}}`), metav1.PatchOptions{})
	w.must(err)
	w.in[there].awaitReady(2)
	first := w.journals()[0].id
	back := append([]string{"migrate", "--all", "-n", w.namespace, "--no-point"}, w.route(there)...)
	if r := w.run(4, back...); !strings.Contains(r.Stderr, "--cleanup "+first) {
		t.Errorf("the refusal does not name what is to be cleaned up:\n%s", r.Stderr)
	}
	w.run(0, append([]string{"migrate", "--cleanup", first}, w.route(here)...)...)
	if _, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "redis", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the set that went is still there: %v", err)
	}
	if left := w.volumes(); len(left) > 0 {
		t.Errorf("%d PersistentVolumes are left", len(left))
	}
	w.expectAt(there)
	w.run(0, back...)
	w.expectAt(here)
	w.await(deploymentsResource, "web", hasReadyReplica)
}

// A single claim goes once nothing uses it, and not before.
func TestMigrateAClaim(t *testing.T) {
	w := newTwin(t)
	w.deploy(1, "disks-delete")
	claim := append([]string{"migrate", "pvc/" + redisClaim(0), "-n", w.namespace, "--no-point"}, w.route(here)...)
	if r := w.run(4, claim...); !strings.Contains(r.Stderr, "redis") {
		t.Errorf("the refusal does not name who uses the claim:\n%s", r.Stderr)
	}
	w.expectDisks(w.handles)
	w.must(w.client.AppsV1().StatefulSets(w.namespace).Delete(w.ctx, "redis", metav1.DeleteOptions{}))
	w.awaitDetached()
	w.run(0, claim...)
	if got := w.in[there].disks(); got[redisClaim(0)] != w.handles[redisClaim(0)] {
		t.Errorf("the claim is on %v in the target, want %v", got, w.handles)
	}
	if owner := w.owner(); owner != w.uids[there] {
		t.Errorf("the disk is owned by cluster %s", owner)
	}
}
