// Package e2e_test runs the hawser command against a real Kubernetes control
// plane, real CSI sidecars and a real S3 server, as a user would.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/e2e/clitest"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/clustertest"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/tools"
)

// patience bounds each wait of a test on a busy machine.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(stopNeighbour(code != 0), shared.stop(code != 0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// shared is the one cluster that tests use side by side, each in a namespace
// of its own. It starts when the first test asks for it.
var shared sharedLab

type sharedLab struct {
	once   sync.Once
	err    error
	dir    string
	hawser string
	lab    *lab.Lab
	region *disks.Region
	faults disks.Faults
}

func (s *sharedLab) start() {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
		defer cancel()
		s.err = s.bringUp(ctx)
	})
}

func (s *sharedLab) bringUp(ctx context.Context) (err error) {
	if err := tools.Build(ctx, "kubernetes"); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "hawser-e2e-"); err != nil {
		return err
	}
	if s.hawser, err = clitest.Build(ctx, s.dir); err != nil {
		return err
	}
	if s.region, err = disks.OpenRegion(filepath.Join(s.dir, "region")); err != nil {
		return err
	}
	s.lab, err = lab.Start(ctx, lab.Options{
		Region: s.region, Faults: &s.faults, Blind: true, // see newTwin
		Cluster: cluster.Options{Name: "shared", Dir: filepath.Join(s.dir, "cluster"), LogDir: filepath.Join("logs", "shared"), Audit: true, Progress: os.Stderr},
	})
	return err
}

func (s *sharedLab) stop(failed bool) error {
	if s.lab == nil {
		return nil
	}
	err := errors.Join(s.lab.Check(), s.lab.Stop())
	if failed {
		fmt.Fprintf(os.Stderr, "the logs of cluster %s are in %s\n", s.lab.Name(), s.lab.Logs())
	} else {
		err = errors.Join(err, os.RemoveAll(s.lab.Logs()))
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// world is what one test works in: a namespace of a cluster and a catalog.
type world struct {
	t         *testing.T
	ctx       context.Context
	lab       *lab.Lab
	region    *disks.Region
	faults    *disks.Faults
	client    kubernetes.Interface
	snapshots snapshotclient.Interface
	namespace string
	store     string // URL
	env       []string
	hawserBin string
	counted   budget // requests counted so far; see spent
}

// newWorld gives a test its own namespace in the shared cluster, and its own
// catalog in a folder. The test runs in parallel with others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return soleWorld(t)
}

// soleWorld is newWorld for a test that needs the whole machine: it runs before
// all that run in parallel, and alone.
func soleWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Kubernetes control plane; run without -short")
	}
	shared.start()
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return worldOf(t, shared.lab, shared.region, &shared.faults)
}

// ownWorld starts a cluster for one test alone, whose driver does not see what
// other clusters have attached.
func ownWorld(t *testing.T, options cluster.Options) *world {
	t.Helper()
	return ownLab(t, lab.Options{Blind: true, Cluster: options})
}

// ownLab is ownWorld with another driver, over a region of its own.
func ownLab(t *testing.T, options lab.Options) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Kubernetes control plane; run without -short")
	}
	t.Parallel()
	shared.start() // builds hawser
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	region, err := disks.OpenRegion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	faults := &disks.Faults{}
	options.Region, options.Faults = region, faults
	return worldOf(t, clustertest.StartLab(t, options), region, faults)
}

func worldOf(t *testing.T, l *lab.Lab, region *disks.Region, faults *disks.Faults) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	config := l.RESTConfig("hawser-e2e-test")
	w := &world{
		t: t, ctx: ctx, lab: l, region: region, faults: faults,
		client: kubernetes.NewForConfigOrDie(config), snapshots: snapshotclient.NewForConfigOrDie(config),
		store: "file://" + t.TempDir(), hawserBin: shared.hawser,
	}
	namespace, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-", Labels: map[string]string{"team": "shop"}},
	}, metav1.CreateOptions{})
	w.must(err)
	w.namespace = namespace.Name
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// cli is hawser with this world's kubeconfig and catalog.
func (w *world) cli() clitest.CLI {
	return clitest.CLI{
		Binary: w.hawserBin,
		Env:    append([]string{"KUBECONFIG=" + w.lab.Kubeconfig(), "HAWSER_STORE_URL=" + w.store}, w.env...),
	}
}

// hawser runs the program to its end.
func (w *world) hawser(args ...string) clitest.Result {
	w.t.Helper()
	return w.cli().Do(w.ctx, w.t, args...)
}

// run runs hawser and fails the test unless it exits with code.
func (w *world) run(code int, args ...string) clitest.Result {
	w.t.Helper()
	return w.cli().Run(w.ctx, w.t, code, args...)
}

func (w *world) start(args ...string) *clitest.Process {
	w.t.Helper()
	return w.cli().Start(w.ctx, w.t, args...)
}
