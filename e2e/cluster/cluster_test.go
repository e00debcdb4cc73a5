package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/e2e/tools"
)

// Two clusters side by side, whom the parts of this test share in turn, since a
// start is the most costly thing here.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Kubernetes control planes; run without -short")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	a, b := startTwo(t, ctx)
	pids := append(a.pids(), b.pids()...)

	t.Run("they are two", func(t *testing.T) { testTwo(t, ctx, a, b) })
	t.Run("the Pods of a StatefulSet become ready", func(t *testing.T) { testStatefulSet(t, ctx, a) })
	t.Run("requests are counted by who made them", func(t *testing.T) { testAudit(t, ctx, a) })
	t.Run("a user may do what RBAC grants", func(t *testing.T) { testUser(t, ctx, a) })
	t.Run("the API server can go and come back", func(t *testing.T) { testOutage(t, ctx, b) })
	t.Run("a component that dies is named", func(t *testing.T) { testCheck(t, b) })
	t.Run("nothing is left after Stop", func(t *testing.T) {
		for _, c := range []*Cluster{a, b, a} {
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		}
		awaitDead(t, pids)
		if _, err := os.Stat(a.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the temporary folder %s is left: %v", a.Dir(), err)
		}
	})
}

func startTwo(t *testing.T, ctx context.Context) (a, b *Cluster) {
	t.Helper()
	if err := tools.Build(ctx, "kubernetes"); err != nil {
		t.Fatal(err)
	}
	var progress lockedLog
	var both errgroup.Group
	both.Go(func() (err error) {
		a, err = Start(ctx, Options{Name: "a", LogDir: keptLogs(t, "a"), Audit: true, Progress: &progress})
		return err
	})
	both.Go(func() (err error) {
		b, err = Start(ctx, Options{Name: "b", LogDir: keptLogs(t, "b"), Nodes: 1, SkipSnapshots: true, Progress: &progress})
		return err
	})
	err := both.Wait()
	t.Log("\n" + progress.String())
	for _, c := range []*Cluster{a, b} {
		if c != nil {
			t.Cleanup(func() { c.Stop() })
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// keptLogs returns a folder that is named if the test fails, and else removed.
func keptLogs(t *testing.T, name string) string {
	dir := filepath.Join("..", "logs", t.Name(), name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs of cluster %s are in %s", name, dir)
			return
		}
		os.RemoveAll(dir)
		os.Remove(filepath.Dir(dir)) // if it is empty now
	})
	return dir
}

func testTwo(t *testing.T, ctx context.Context, a, b *Cluster) {
	uidA, errA := a.UID(ctx)
	uidB, errB := b.UID(ctx)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if uidA == uidB {
		t.Errorf("both clusters have the uid %s", uidA)
	}
	if got, want := strings.Join(append(a.Nodes(), b.Nodes()...), " "), "a-node-0 a-node-1 a-node-2 b-node-0"; got != want {
		t.Errorf("nodes are %s, want %s", got, want)
	}
}

const statefulSet = `
# A comment makes no object.
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1"}]
`

func testStatefulSet(t *testing.T, ctx context.Context, c *Cluster) {
	for range 2 { // applying again changes nothing
		if err := c.Apply(ctx, []byte(statefulSet)); err != nil {
			t.Fatal(err)
		}
	}
	statefulSets := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	err := c.Await(ctx, statefulSets, "shop", "web", func(set *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return ready == 3
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, []byte(statefulSet)); err != nil {
		t.Fatal(err)
	}
	if err := c.Await(ctx, statefulSets, "shop", "web", func(set *unstructured.Unstructured) bool { return set == nil }); err != nil {
		t.Fatal(err)
	}
}

func testAudit(t *testing.T, ctx context.Context, c *Cluster) {
	const agent = "counted/v1"
	client, err := kubernetes.NewForConfig(c.RESTConfig(agent))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	watch, err := client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	requests, err := c.Requests(ctx)
	if err != nil {
		t.Fatal(err)
	}
	counts := CountRequests(requests, agent)
	if len(counts) != 2 || counts["get namespaces"] != 3 || counts["watch pods"] != 1 {
		t.Errorf("counted %v, want 3 × get namespaces and 1 × watch pods", counts)
	}
	if others := CountRequests(requests, controllerManager); others["create serviceaccounts"] == 0 {
		t.Errorf("the log does not know the requests of the controller manager: %v", others)
	}
}

const podReader = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pod-reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
`

func testUser(t *testing.T, ctx context.Context, c *Cluster) {
	if err := c.Apply(ctx, []byte(podReader)); err != nil {
		t.Fatal(err)
	}
	for _, user := range []struct {
		name    string
		groups  []string
		allowed bool
	}{{"jane", nil, false}, {"joe", []string{"readers"}, true}} {
		config, err := c.UserConfig(user.name, user.groups...)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		// RBAC's own cache may be a moment behind the binding.
		for {
			_, err = client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if !user.allowed || !apierrors.IsForbidden(err) || ctx.Err() != nil {
				break
			}
		}
		if user.allowed && err != nil {
			t.Errorf("%s may not list Pods: %v", user.name, err)
		}
		if !user.allowed && !apierrors.IsForbidden(err) {
			t.Errorf("%s lists Pods without a right to: %v", user.name, err)
		}
		if _, err := client.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s lists Secrets without a right to: %v", user.name, err)
		}
	}
}

func testOutage(t *testing.T, ctx context.Context, c *Cluster) {
	client, err := kubernetes.NewForConfig(c.RESTConfig("outage"))
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(string) error{c.KillComponent, c.StopComponent} {
		if err := end(apiServer); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err == nil {
			t.Error("the API answers without an API server")
		}
		if err := c.StartComponent(ctx, apiServer); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil {
			t.Errorf("the API does not answer after it came back: %v", err)
		}
	}
	if err := c.StartComponent(ctx, apiServer); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("starting what runs is not refused: %v", err)
	}
	if err := c.Check(); err != nil {
		t.Errorf("a component did not survive the outage: %v", err)
	}
}

func testCheck(t *testing.T, c *Cluster) {
	k, err := c.component(kwok)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.latest().cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-k.latest().exited
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "kwok ended by itself (signal: killed)") {
		t.Errorf("Check does not name the dead component: %v", err)
	}
}

func TestAStartThatIsCancelledLeavesNothing(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("starts a Kubernetes control plane and reads /proc")
	}
	if err := tools.Build(t.Context(), "kubernetes"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	var before []int
	_, err := Start(ctx, Options{Dir: dir, Progress: writerFunc(func(line []byte) {
		if strings.Contains(string(line), "API server is ready") {
			before = processesOf(t, dir)
			cancel()
		}
	})})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want one of a cancelled context", err)
	}
	if len(before) < 2 {
		t.Errorf("%d processes ran at the time of the cancellation, want etcd and the API server", len(before))
	}
	awaitDead(t, append(before, processesOf(t, dir)...))
}

func TestStartRefuses(t *testing.T) {
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, "etcd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options Options
		want    string
	}{
		{"a name that no node could have", Options{Name: "Two Words"}, `cluster name "Two Words"`},
		{"a socket path that is too long", Options{CSISocket: "/" + strings.Repeat("x", 107)}, "has 108 bytes"},
		{"a socket that nobody serves", Options{CSISocket: filepath.Join(used, "csi.sock")}, "no CSI driver is served"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Start(t.Context(), test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one that says %q", err, test.want)
			}
		})
	}
	t.Run("a folder that holds a cluster", func(t *testing.T) {
		_, _, err := Options{Name: "a", Dir: used}.makeFolders()
		if err == nil || !strings.Contains(err.Error(), "holds a cluster already") {
			t.Errorf("error is %v", err)
		}
	})
}
