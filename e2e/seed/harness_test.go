// Package seed_test runs the workloads of the book chapter for real, loses
// them, and brings them back with their data, which the servers themselves
// write and read.
package seed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/e2e/clitest"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node"
	"hawser.dev/hawser/e2e/node/nodetest"
	"hawser.dev/hawser/e2e/seed"
)

// patience bounds each wait: a server starts in seconds, and a busy machine
// takes longer.
const patience = 3 * time.Minute

var (
	podsResource    = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	claimsResource  = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	volumesResource = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
)

// stage is a cluster whose node runs Pods, and the hawser that works on it.
type stage struct {
	*nodetest.Lab
	region *disks.Region
	faults *disks.Faults
	hawser string
}

var built struct {
	once   sync.Once
	binary string
	err    error
}

// raise starts a cluster with a node over region, which has these images beside
// its own.
func raise(t *testing.T, name string, region *disks.Region, images ...node.Image) *stage {
	t.Helper()
	return raiseWith(t, lab.Options{Region: region, Faults: &disks.Faults{}, Cluster: cluster.Options{Name: name}}, images...)
}

func raiseWith(t *testing.T, options lab.Options, images ...node.Image) *stage {
	t.Helper()
	nodetest.Require(t)
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "hawser-seed-"); built.err == nil {
			built.binary, built.err = clitest.Build(t.Context(), dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	l := nodetest.Start(t, options, images...)
	return &stage{Lab: l, region: options.Region, faults: options.Faults, hawser: built.binary}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.binary != "" {
		os.RemoveAll(filepath.Dir(built.binary))
	}
	if imaged.dir != "" {
		os.RemoveAll(imaged.dir)
	}
	os.Exit(code)
}

func newRegion(t *testing.T) *disks.Region {
	t.Helper()
	region, err := disks.OpenRegion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return region
}

// world is a namespace of a stage, and a catalog.
type world struct {
	*stage
	t         *testing.T
	ctx       context.Context
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
	store     string
	env       []string // of hawser, besides
}

// world gives a test a namespace of that name.
func (s *stage) world(t *testing.T, namespace string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	config := s.RESTConfig("hawser-seed-test")
	w := &world{
		stage: s, t: t, ctx: ctx, config: config, client: kubernetes.NewForConfigOrDie(config),
		namespace: namespace, store: "file://" + t.TempDir(),
	}
	_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(code int, args ...string) clitest.Result {
	w.t.Helper()
	return w.cli().Run(w.ctx, w.t, code, args...)
}

func (w *world) cli() clitest.CLI {
	return clitest.CLI{Binary: w.hawser, Env: append([]string{"KUBECONFIG=" + w.Kubeconfig(), "HAWSER_STORE_URL=" + w.store}, w.env...)}
}

// point backs the namespace up and returns the point's id.
func (w *world) point(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run(0, append([]string{"backup", "-n", w.namespace, "-o", "name"}, args...)...).Stdout)
}

// apply creates the objects of a manifest in this world's namespace.
func (w *world) apply(manifest []byte) {
	w.t.Helper()
	w.must(w.Apply(w.ctx, seed.In(w.namespace, manifest)))
}

// exec runs a command in a container and returns what it printed.
func (w *world) exec(pod, container string, command ...string) (string, error) {
	return w.execFor(time.Minute, pod, container, command...)
}

// execFor is exec with a bound of its own.
func (w *world) execFor(bound time.Duration, pod, container string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, bound)
	defer cancel()
	var stdout, stderr bytes.Buffer
	err := backup.NewExecutor(w.config, w.client).Exec(ctx, w.namespace, pod, container, command, nil, &stdout, &stderr)
	if err != nil {
		return "", fmt.Errorf("%q in Pod %s/%s: %w: %s%s", command, w.namespace, pod, err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// podsReady waits until n Pods are there, and all are Ready.
func (w *world) podsReady(n int) {
	w.t.Helper()
	w.awaitAll(podsResource, w.namespace, func(pods []*unstructured.Unstructured) bool {
		for _, pod := range pods {
			if pod.GetDeletionTimestamp() != nil || !hasCondition(pod, "Ready") {
				return false
			}
		}
		return len(pods) == n
	})
}

func hasCondition(object *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		if condition, ok := c.(map[string]any); ok && condition["type"] == kind {
			return condition["status"] == "True"
		}
	}
	return false
}

func (w *world) awaitAll(resource schema.GroupVersionResource, namespace string, done func([]*unstructured.Unstructured) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must(w.AwaitAll(ctx, resource, namespace, "", done))
}

// lose deletes workloads, claims and volumes, as the book does, and waits until
// they are gone.
func (w *world) lose() {
	w.t.Helper()
	background := metav1.DeletePropagationBackground
	remove, all := metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}
	volumes := w.volumes()
	w.must(errors.Join(
		w.client.AppsV1().StatefulSets(w.namespace).DeleteCollection(w.ctx, remove, all),
		w.client.AppsV1().Deployments(w.namespace).DeleteCollection(w.ctx, remove, all)))
	w.awaitNoControllers()
	w.must(w.client.CoreV1().Pods(w.namespace).DeleteCollection(w.ctx, remove, all))
	w.awaitAll(podsResource, w.namespace, none)
	w.must(w.client.CoreV1().PersistentVolumeClaims(w.namespace).DeleteCollection(w.ctx, remove, all))
	w.awaitAll(claimsResource, w.namespace, none)
	for name := range volumes {
		err := w.client.CoreV1().PersistentVolumes().Delete(w.ctx, name, remove)
		if err != nil && !strings.Contains(err.Error(), "not found") {
			w.t.Fatal(err)
		}
	}
	w.awaitAll(volumesResource, "", func(left []*unstructured.Unstructured) bool {
		for _, v := range left {
			if _, ours := volumes[v.GetName()]; ours {
				return false
			}
		}
		return true
	})
}

// awaitNoControllers waits until nothing makes Pods any more.
func (w *world) awaitNoControllers() {
	w.t.Helper()
	for _, resource := range []string{"statefulsets", "deployments", "replicasets"} {
		w.awaitAll(appsv1.SchemeGroupVersion.WithResource(resource), w.namespace, none)
	}
}

func none(objects []*unstructured.Unstructured) bool { return len(objects) == 0 }

// volumes are the PersistentVolumes of this namespace's claims, with their disks.
func (w *world) volumes() map[string]string {
	w.t.Helper()
	list, err := w.client.CoreV1().PersistentVolumes().List(w.ctx, metav1.ListOptions{})
	w.must(err)
	handles := map[string]string{}
	for _, v := range list.Items {
		if ref := v.Spec.ClaimRef; ref != nil && ref.Namespace == w.namespace {
			handles[v.Name] = v.Spec.CSI.VolumeHandle
		}
	}
	return handles
}

// disksOf are the disks of this namespace's claims, by claim.
func (w *world) disksOf() map[string]string {
	w.t.Helper()
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	volumes, handles := w.volumes(), map[string]string{}
	for _, claim := range claims.Items {
		handles[claim.Name] = volumes[claim.Spec.VolumeName]
	}
	return handles
}

// snapshotsOf are the snapshots on the storage of the given disks.
func (w *world) snapshotsOf(handles map[string]string) []disks.Snapshot {
	w.t.Helper()
	all, err := w.region.Snapshots()
	w.must(err)
	var of []disks.Snapshot
	for _, snapshot := range all {
		for _, handle := range handles {
			if snapshot.Disk == handle {
				of = append(of, snapshot)
			}
		}
	}
	return of
}

// destroyDisks loses the disks themselves.
func (w *world) destroyDisks(handles map[string]string) {
	w.t.Helper()
	for _, handle := range handles {
		w.must(w.region.DestroyDisk(handle))
	}
}

// eventually waits for what no watch shows.
func (w *world) eventually(condition func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			w.t.Fatal("it did not come about")
		case <-tick.C:
		}
	}
}
