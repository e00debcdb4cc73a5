package node_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node/nodetest"
	"hawser.dev/hawser/e2e/seed"
)

var (
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	volumes      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	attachments  = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"}
)

// limit is for each part of a test, on a machine that is busy with other things.
const limit = 2 * time.Minute

func newRegion(t *testing.T) *disks.Region {
	t.Helper()
	region, err := disks.OpenRegion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return region
}

// A fixture is a lab with the short cuts that tests want.
type fixture struct {
	*testing.T
	ctx    context.Context
	lab    *nodetest.Lab
	region *disks.Region
}

func start(t *testing.T, region *disks.Region) fixture {
	t.Helper()
	l := nodetest.Start(t, lab.Options{Region: region})
	return fixture{T: t, lab: l, region: region}
}

// part runs a part of the test, with a time of its own.
func (f fixture) part(name string, test func(fixture)) {
	f.Run(name, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began := time.Now()
		test(fixture{t, ctx, f.lab, f.region})
		t.Logf("took %.1fs", time.Since(began).Seconds())
	})
}

func (f fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f fixture) apply(manifest string, args ...any) {
	f.Helper()
	f.must(f.lab.Apply(f.ctx, fmt.Appendf(nil, manifest, args...)))
}

// remove deletes what was applied and waits until no Pod is left.
func (f fixture) remove(manifest []byte) {
	f.Helper()
	f.must(f.lab.Delete(f.ctx, manifest))
	f.must(f.lab.AwaitAll(f.ctx, pods, "default", "", func(pods []*unstructured.Unstructured) bool { return len(pods) == 0 }))
}

func (f fixture) awaitReady(pod string) {
	f.Helper()
	f.must(f.lab.Await(f.ctx, pods, "default", pod, isReady))
}

func isReady(pod *unstructured.Unstructured) bool {
	if pod == nil || pod.GetDeletionTimestamp() != nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(pod.Object, "status", "conditions")
	for _, condition := range conditions {
		condition := condition.(map[string]any)
		if condition["type"] == string(corev1.PodReady) {
			return condition["status"] == "True"
		}
	}
	return false
}

func (f fixture) exec(pod string, command ...string) string {
	f.Helper()
	output, err := f.lab.Node.Exec(f.ctx, "default", pod, "", command...)
	f.must(err)
	return strings.TrimSpace(output)
}

// eventually runs a command until it prints what is wanted.
func (f fixture) eventually(want, pod string, command ...string) {
	f.Helper()
	for {
		output, err := f.lab.Node.Exec(f.ctx, "default", pod, "", command...)
		if err == nil && strings.TrimSpace(output) == want {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-f.ctx.Done():
			f.Fatalf("%q in Pod %s never prints %q; last: %q, %v", command, pod, want, output, err)
		}
	}
}

// expect compares the output of a command.
func (f fixture) expect(want, pod string, command ...string) {
	f.Helper()
	if got := f.exec(pod, command...); got != want {
		f.Errorf("%q in Pod %s prints %q, want %q", command, pod, got, want)
	}
}

// diskOf returns the disk that a claim is bound to.
func (f fixture) diskOf(claim string) disks.Disk {
	f.Helper()
	var handle string
	f.must(f.lab.AwaitAll(f.ctx, volumes, "", "", func(volumes []*unstructured.Unstructured) bool {
		for _, volume := range volumes {
			if name, _, _ := unstructured.NestedString(volume.Object, "spec", "claimRef", "name"); name == claim {
				handle, _, _ = unstructured.NestedString(volume.Object, "spec", "csi", "volumeHandle")
				return true
			}
		}
		return false
	}))
	disk, err := f.region.Disk(handle)
	f.must(err)
	return disk
}

// One node, on which the parts run in turn.
func TestNode(t *testing.T) {
	f := start(t, newRegion(t))
	f.part("a Pod writes to its disk", testDisk)
	f.part("raw block disks and subPaths", testBlockAndSubPath)
	f.part("what a Pod in the cluster relies on", testInCluster)
	f.part("Redis replicates from redis-0.redis-service", testRedis)
	f.part("MariaDB keeps its data when its Pod goes", testMariaDB)
	f.part("the other shapes of the chapter run", testShapes)
	f.part("a node that lost its power boots with its Pods", testPowerCut)
}

const writer = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: notes}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: redis:7.0
    command: [bash, -c, "echo hello; exec sleep infinity"]
    volumeMounts: [{name: notes, mountPath: /notes}]
  volumes:
  - name: notes
    persistentVolumeClaim: {claimName: notes}
`

func testDisk(f fixture) {
	f.apply(writer)
	f.awaitReady("writer")
	f.exec("writer", "bash", "-c", "echo Canberra > /notes/capital")
	f.expect("Canberra", "writer", "cat", "/notes/capital")

	disk := f.diskOf("notes")
	data, err := os.ReadFile(filepath.Join(f.region.DataDir(disk.Handle), "capital"))
	f.must(err)
	if string(data) != "Canberra\n" {
		f.Errorf("on the disk is %q", data)
	}
	if len(disk.Attachments) != 1 || disk.Attachments[0].Node != f.lab.Node.Name() {
		f.Errorf("the disk is attached to %v", disk.Attachments)
	}

	if _, err := f.lab.Node.Exec(f.ctx, "default", "writer", "", "bash", "-c", "echo sorry >&2; exit 3"); err == nil ||
		!strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "sorry") {
		f.Errorf("a command that fails ends with %v", err)
	}
	if got := f.logs("writer"); got != "hello\n" {
		f.Errorf("the Pod's log is %q", got)
	}

	f.remove([]byte(writer))
	f.must(f.lab.AwaitAll(f.ctx, attachments, "", "", func(all []*unstructured.Unstructured) bool { return len(all) == 0 }))
	f.must(f.lab.AwaitAll(f.ctx, volumes, "", "", func(all []*unstructured.Unstructured) bool { return len(all) == 0 }))
	if _, err := f.region.Disk(disk.Handle); err == nil {
		f.Error("the disk of policy Delete is left")
	}
}

func (f fixture) logs(pod string) string {
	f.Helper()
	client, err := kubernetes.NewForConfig(f.lab.RESTConfig("test"))
	f.must(err)
	stream, err := client.CoreV1().Pods("default").GetLogs(pod, &corev1.PodLogOptions{}).Stream(f.ctx)
	f.must(err)
	defer stream.Close()
	text, err := io.ReadAll(stream)
	f.must(err)
	return string(text)
}

const blockAndSubPath = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: raw}
spec:
  accessModes: [ReadWriteOnce]
  volumeMode: Block
  resources: {requests: {storage: 64Mi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: odd}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: redis:7.0
    command: [sleep, infinity]
    volumeDevices: [{name: raw, devicePath: /dev/raw}]
    volumeMounts:
    - {name: shared, mountPath: /a, subPath: deep/a}
    - {name: shared, mountPath: /all, readOnly: true}
  volumes:
  - name: raw
    persistentVolumeClaim: {claimName: raw}
  - name: shared
    persistentVolumeClaim: {claimName: shared}
`

func testBlockAndSubPath(f fixture) {
	f.apply(blockAndSubPath)
	f.awaitReady("odd")
	f.exec("odd", "bash", "-c", "echo Canberra | dd of=/dev/raw bs=512 seek=7 conv=fsync,sync")
	f.expect("Canberra", "odd", "bash", "-c", "dd if=/dev/raw bs=512 skip=7 count=1 | tr -d '\\0'")
	image, err := os.ReadFile(filepath.Join(filepath.Dir(f.region.DataDir(f.diskOf("raw").Handle)), "device.img"))
	f.must(err)
	if !strings.HasPrefix(string(image[7*512:]), "Canberra\n") {
		f.Error("what was written to the device is not on the disk")
	}
	f.exec("odd", "bash", "-c", "echo Sydney > /a/city")
	f.expect("Sydney", "odd", "cat", "/all/deep/a/city")
	if _, err := f.lab.Node.Exec(f.ctx, "default", "odd", "", "touch", "/all/x"); err == nil {
		f.Error("a mount that is read-only takes a write")
	}

	// The Pod alone is made anew, with the same disks.
	client, err := kubernetes.NewForConfig(f.lab.RESTConfig("test"))
	f.must(err)
	f.must(client.CoreV1().Pods("default").Delete(f.ctx, "odd", metav1.DeleteOptions{}))
	f.must(f.lab.Await(f.ctx, pods, "default", "odd", func(pod *unstructured.Unstructured) bool { return pod == nil }))
	f.apply(blockAndSubPath)
	f.awaitReady("odd")
	f.expect("Canberra", "odd", "bash", "-c", "dd if=/dev/raw bs=512 skip=7 count=1 | tr -d '\\0'")
	f.expect("Sydney", "odd", "cat", "/a/city")
	f.remove([]byte(blockAndSubPath))
}

const client = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: redis:7.0
    command: [sleep, infinity]
`

// Hawser's agent will run in a Pod: it needs a token, the authority and the
// address of the API server, by name.
func testInCluster(f fixture) {
	f.apply(client)
	f.awaitReady("client")
	const secrets = "/var/run/secrets/kubernetes.io/serviceaccount/"
	f.exec("client", "test", "-s", secrets+"token")
	f.exec("client", "grep", "BEGIN CERTIFICATE", secrets+"ca.crt")
	f.expect("10.96.0.1", "client", "printenv", "KUBERNETES_SERVICE_HOST")
	f.exec("client", "bash", "-c", "exec 3<>/dev/tcp/kubernetes.default/443")
	f.remove([]byte(client))
}

func testRedis(f fixture) {
	f.must(f.lab.Apply(f.ctx, seed.RedisRoles.Manifest()))
	f.must(f.lab.Await(f.ctx, statefulSets, "default", "redis", func(set *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return ready == 3
	}))
	f.expect("OK", "redis-0", "redis-cli", "SET", "capital:australia", "Canberra")
	f.eventually("Canberra", "redis-1", "redis-cli", "GET", "capital:australia")
	f.eventually("Canberra", "redis-2", "redis-cli", "GET", "capital:australia")
	if got := f.exec("redis-1", "redis-cli", "SET", "capital:usa", "Washington"); !strings.HasPrefix(got, "READONLY") {
		f.Errorf("a replica answers a write with %q", got)
	}
	f.must(f.lab.Delete(f.ctx, seed.RedisRoles.Manifest()))
}

func testMariaDB(f fixture) {
	sql := func(statement string) []string {
		return []string{"mariadb", "-uroot", "-p" + seed.RootPassword, "-NBe", statement}
	}
	f.must(f.lab.Apply(f.ctx, seed.MariaDBStatefulSet.Manifest()))
	f.awaitReady("mariadb-0")
	f.exec("mariadb-0", sql("CREATE DATABASE geo; CREATE TABLE geo.capitals (country VARCHAR(40) PRIMARY KEY, city VARCHAR(40))")...)
	f.exec("mariadb-0", sql("INSERT INTO geo.capitals VALUES ('australia', 'Canberra')")...)

	client, err := kubernetes.NewForConfig(f.lab.RESTConfig("test"))
	f.must(err)
	old, err := client.CoreV1().Pods("default").Get(f.ctx, "mariadb-0", metav1.GetOptions{})
	f.must(err)
	f.must(client.CoreV1().Pods("default").Delete(f.ctx, "mariadb-0", metav1.DeleteOptions{}))
	f.must(f.lab.Await(f.ctx, pods, "default", "mariadb-0", func(pod *unstructured.Unstructured) bool {
		return isReady(pod) && pod.GetUID() != old.UID
	}))
	f.expect("Canberra", "mariadb-0", sql("SELECT city FROM geo.capitals WHERE country = 'australia'")...)
	if _, err := f.lab.Node.Exec(f.ctx, "default", "mariadb-0", "", "mariadb", "-uroot", "-pwrong", "-e", "SELECT 1"); err == nil {
		f.Error("it takes a wrong password")
	}
	f.must(f.lab.Delete(f.ctx, seed.MariaDBStatefulSet.Manifest()))
}

func testShapes(f fixture) {
	f.must(f.lab.Apply(f.ctx, seed.StorageClass.Manifest()))
	for _, shape := range []struct {
		of    seed.Shape
		label string
	}{
		{seed.MariaDBPod, "app=mariadb"},
		{seed.MariaDBDeployment, "app=mariadb"},
		{seed.RedisStatefulSet, "app=redis-sts"},
		{seed.EphemeralVolume, "pod=timeserver-pod"},
		{seed.EmptyDir, "pod=timeserver-pod"},
	} {
		f.must(f.lab.AwaitAll(f.ctx, pods, "default", shape.label, func(pods []*unstructured.Unstructured) bool { return len(pods) == 0 }))
		f.must(f.lab.Apply(f.ctx, shape.of.Manifest()))
		began := time.Now()
		err := f.lab.AwaitAll(f.ctx, pods, "default", shape.label, func(pods []*unstructured.Unstructured) bool {
			return len(pods) == 1 && isReady(pods[0])
		})
		if err != nil {
			f.Fatalf("%s: %v", shape.of, err)
		}
		f.Logf("%s ready after %.1fs", shape.of, time.Since(began).Seconds())
		f.must(f.lab.Delete(f.ctx, shape.of.Manifest()))
	}
}

func testPowerCut(f fixture) {
	f.apply(writer)
	f.awaitReady("writer")
	f.exec("writer", "bash", "-c", "echo Canberra > /notes/capital")
	f.must(f.lab.StopComponent("node"))
	f.must(f.lab.StartComponent(f.ctx, "node"))
	f.eventually("Canberra", "writer", "cat", "/notes/capital")
	f.remove([]byte(writer))
}
