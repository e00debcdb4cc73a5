package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var (
	claimsResource      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	volumesResource     = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	podsResource        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	setsResource        = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	attachmentsResource = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"}
	snapshotsResource   = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}
	contentsResource    = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}
)

// redis is the book's StatefulSet: name, replicas, class.
func (w *world) redis(replicas int, class string) []byte {
	return fmt.Appendf(nil, `
apiVersion: v1
kind: ConfigMap
metadata: {name: redis-config, namespace: %[1]s}
data: {redis.conf: "appendonly yes"}
---
apiVersion: v1
kind: Service
metadata: {name: redis-service, namespace: %[1]s}
spec: {clusterIP: None, ports: [{port: 6379}], selector: {app: redis-sts}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: redis, namespace: %[1]s, labels: {tier: database}}
spec:
  selector: {matchLabels: {app: redis-sts}}
  serviceName: redis-service
  replicas: %[2]d
  podManagementPolicy: Parallel
  template:
    metadata: {labels: {app: redis-sts}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: redis-container
        image: redis:7.2.1
        volumeMounts:
        - {name: redis-pvc, mountPath: /redis/data}
        - {name: config, mountPath: /redis/conf}
      volumes:
      - {name: config, configMap: {name: redis-config}}
  volumeClaimTemplates:
  - metadata: {name: redis-pvc}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: %[3]s
      resources: {requests: {storage: 1Gi}}
`, w.namespace, replicas, class)
}

func redisClaim(ordinal int) string { return fmt.Sprintf("redis-pvc-redis-%d", ordinal) }

// deployRedis brings the set up and writes a file of its own on each disk. It
// returns the disk of each claim.
func (w *world) deployRedis(replicas int, class string) map[string]string {
	w.t.Helper()
	w.must(w.lab.Apply(w.ctx, w.redis(replicas, class)))
	w.awaitReady(replicas)
	w.awaitAll(claimsResource, allBound(replicas)) // a Pod may be ready a moment before
	handles := w.disks()
	if len(handles) != replicas {
		w.t.Fatalf("%d claims are bound, want %d", len(handles), replicas)
	}
	for claim, handle := range handles {
		w.write(handle, "first", claim)
	}
	return handles
}

func (w *world) awaitReady(replicas int) {
	w.t.Helper()
	w.await(setsResource, "redis", func(set *unstructured.Unstructured) bool {
		if set == nil {
			return false
		}
		ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return ready == int64(replicas)
	})
}

func (w *world) await(resource schema.GroupVersionResource, name string, done func(*unstructured.Unstructured) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must(w.lab.Await(ctx, resource, w.scope(resource), name, done))
}

func (w *world) awaitAll(resource schema.GroupVersionResource, done func([]*unstructured.Unstructured) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must(w.lab.AwaitAll(ctx, resource, w.scope(resource), "", done))
}

// scope is the namespace of this world, or "" for a kind that has none.
func (w *world) scope(resource schema.GroupVersionResource) string {
	if resource == volumesResource || resource == attachmentsResource || resource == contentsResource {
		return ""
	}
	return w.namespace
}

// disks tells which disk each claim of the namespace is on, and fails the test
// if a claim and its volume do not name each other.
func (w *world) disks() map[string]string {
	w.t.Helper()
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	handles := map[string]string{}
	for _, claim := range claims.Items {
		volume, err := w.client.CoreV1().PersistentVolumes().Get(w.ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		w.must(err)
		if claim.Status.Phase != corev1.ClaimBound || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
			w.t.Fatalf("claim %s (%s) and PersistentVolume %s (%s) are not bound to each other", claim.Name, claim.Status.Phase, volume.Name, volume.Status.Phase)
		}
		handles[claim.Name] = volume.Spec.CSI.VolumeHandle
	}
	return handles
}

// volumes are the PersistentVolumes that are, or were, of this namespace.
func (w *world) volumes() []corev1.PersistentVolume {
	w.t.Helper()
	list, err := w.client.CoreV1().PersistentVolumes().List(w.ctx, metav1.ListOptions{})
	w.must(err)
	var ours []corev1.PersistentVolume
	for _, volume := range list.Items {
		if ref := volume.Spec.ClaimRef; ref != nil && ref.Namespace == w.namespace {
			ours = append(ours, volume)
		}
	}
	return ours
}

func (w *world) expectRetain() {
	w.t.Helper()
	for _, volume := range w.volumes() {
		if policy := volume.Spec.PersistentVolumeReclaimPolicy; policy != corev1.PersistentVolumeReclaimRetain {
			w.t.Errorf("PersistentVolume %s is %s, want Retain", volume.Name, policy)
		}
	}
}

func (w *world) write(handle, name, content string) {
	w.t.Helper()
	w.must(os.WriteFile(filepath.Join(w.region.DataDir(handle), name), []byte(content), 0o600))
}

func (w *world) expectFile(handle, name, want string) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(w.region.DataDir(handle), name))
	if err != nil || string(got) != want {
		w.t.Errorf("file %s on disk %s holds %q (%v), want %q", name, handle, got, err, want)
	}
}

func (w *world) expectNoFile(handle, name string) {
	w.t.Helper()
	if _, err := os.Stat(filepath.Join(w.region.DataDir(handle), name)); !errors.Is(err, os.ErrNotExist) {
		w.t.Errorf("file %s is on disk %s (%v), want none", name, handle, err)
	}
}

// loseWorkload deletes the set, and waits until its Pods are gone and its disks
// detached.
func (w *world) loseWorkload() {
	w.t.Helper()
	background := metav1.DeletePropagationBackground
	w.must(w.client.AppsV1().StatefulSets(w.namespace).DeleteCollection(w.ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}))
	w.must(w.client.AppsV1().Deployments(w.namespace).DeleteCollection(w.ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}))
	w.must(w.client.CoreV1().Pods(w.namespace).DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	w.awaitAll(podsResource, none)
	w.awaitDetached()
}

// awaitDetached waits until no volume of the namespace is attached.
func (w *world) awaitDetached() {
	w.t.Helper()
	ours := map[string]bool{}
	for _, volume := range w.volumes() {
		ours[volume.Name] = true
	}
	w.awaitAll(attachmentsResource, func(attachments []*unstructured.Unstructured) bool {
		for _, a := range attachments {
			name, _, _ := unstructured.NestedString(a.Object, "spec", "source", "persistentVolumeName")
			if ours[name] {
				return false
			}
		}
		return true
	})
}

// loseClaims deletes the claims; their volumes stay Released if they are Retain.
func (w *world) loseClaims() {
	w.t.Helper()
	w.must(w.client.CoreV1().PersistentVolumeClaims(w.namespace).DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	w.awaitAll(claimsResource, none)
}

// loseVolumes deletes the PersistentVolume objects that were of the namespace.
func (w *world) loseVolumes() {
	w.t.Helper()
	for _, volume := range w.volumes() {
		w.must(ignoreNotFound(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, volume.Name, metav1.DeleteOptions{})))
	}
	w.awaitAll(volumesResource, func(volumes []*unstructured.Unstructured) bool {
		for _, v := range volumes {
			if namespace, _, _ := unstructured.NestedString(v.Object, "spec", "claimRef", "namespace"); namespace == w.namespace {
				return false
			}
		}
		return true
	})
}

// loseEverything deletes workloads, claims and volumes, as the book does.
func (w *world) loseEverything() {
	w.t.Helper()
	w.loseWorkload()
	w.loseClaims()
	w.loseVolumes()
}

func none(objects []*unstructured.Unstructured) bool { return len(objects) == 0 }

// scale sets the replicas of the set.
func (w *world) scale(replicas int) {
	w.t.Helper()
	_, err := w.client.AppsV1().StatefulSets(w.namespace).Patch(w.ctx, "redis", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{})
	w.must(err)
}

// point makes a backup of the namespace and returns its id.
func (w *world) point(args ...string) string {
	w.t.Helper()
	r := w.run(0, append([]string{"backup", "-n", w.namespace, "-o", "name"}, args...)...)
	return strings.TrimSpace(r.Stdout)
}

// hawserSnapshots lists the VolumeSnapshots of the namespace, and the contents
// that name one of it.
func (w *world) hawserSnapshots() (snapshots, contents []string) {
	w.t.Helper()
	list, err := w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, s := range list.Items {
		snapshots = append(snapshots, s.Name)
	}
	all, err := w.snapshots.SnapshotV1().VolumeSnapshotContents().List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, c := range all.Items {
		if c.Spec.VolumeSnapshotRef.Namespace == w.namespace {
			contents = append(contents, c.Name)
		}
	}
	return snapshots, contents
}

// storedSnapshots are the snapshots on the storage of the given disks.
func (w *world) storedSnapshots(handles map[string]string) []string {
	w.t.Helper()
	all, err := w.region.Snapshots()
	w.must(err)
	var of []string
	for _, s := range all {
		for _, handle := range handles {
			if s.Disk == handle {
				of = append(of, s.Handle)
			}
		}
	}
	return of
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
