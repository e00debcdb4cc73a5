package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/clustertest"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
)

// neighbour is a second cluster over the region of the shared one. It starts
// when the first test asks for it.
var neighbour struct {
	once       sync.Once
	err        error
	lab        *lab.Lab
	kubeconfig string // with a context for each of the two
}

func stopNeighbour(failed bool) error {
	if neighbour.lab == nil {
		return nil
	}
	err := errors.Join(neighbour.lab.Check(), neighbour.lab.Stop())
	if failed {
		fmt.Fprintf(os.Stderr, "the logs of cluster %s are in %s\n", neighbour.lab.Name(), neighbour.lab.Logs())
		return err
	}
	return errors.Join(err, os.RemoveAll(neighbour.lab.Logs()))
}

// The two clusters of a twin.
const (
	here  = 0
	there = 1
)

// twin is a namespace in two clusters over one region, neither of whose drivers
// sees what the other has attached, and a catalog for both. The embedded world
// is that of the first.
type twin struct {
	*world
	in       [2]*world
	uids     [2]string
	handles  map[string]string // the disk of each claim
	replicas int
	round    int
	objects  string // the folder of the catalog, where the store's URL names none
	asked    bool   // a driver is asked for disks that a lost cluster owns, which attaches them
}

// newTwin gives a test a namespace in each of the two shared clusters.
func newTwin(t *testing.T) *twin {
	t.Helper()
	w := newWorld(t)
	neighbour.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		neighbour.lab, neighbour.err = lab.Start(ctx, lab.Options{
			Region: shared.region, Faults: &shared.faults, Blind: true,
			Cluster: cluster.Options{Name: "neighbour", Dir: filepath.Join(shared.dir, "neighbour"), LogDir: filepath.Join("logs", "neighbour"), Audit: true, Progress: os.Stderr},
		})
		if neighbour.err == nil {
			neighbour.kubeconfig = filepath.Join(shared.dir, "both.kubeconfig")
			neighbour.err = lab.MergeKubeconfigs(neighbour.kubeconfig, shared.lab, neighbour.lab)
		}
	})
	w.must(neighbour.err)
	return twinOf(w, neighbour.lab, neighbour.kubeconfig)
}

// ownTwin starts two clusters for one test alone. Their drivers see what the other
// has attached, as most do, unless they are blind.
func ownTwin(t *testing.T, blind bool) *twin {
	t.Helper()
	w := ownLab(t, lab.Options{Blind: blind, Cluster: cluster.Options{Name: cluster.NewName()}})
	second := clustertest.StartLab(t, lab.Options{Region: w.region, Faults: w.faults, Blind: blind})
	kubeconfig := filepath.Join(t.TempDir(), "both.kubeconfig")
	w.must(lab.MergeKubeconfigs(kubeconfig, w.lab, second))
	return twinOf(w, second, kubeconfig)
}

func twinOf(w *world, second *lab.Lab, kubeconfig string) *twin {
	w.t.Helper()
	w.ctx = w.t.Context()
	w.env = append(w.env, "KUBECONFIG="+kubeconfig)
	other := *w
	config := second.RESTConfig("hawser-e2e-test")
	other.lab, other.client, other.snapshots = second, kubernetes.NewForConfigOrDie(config), snapshotclient.NewForConfigOrDie(config)
	t := &twin{world: w, in: [2]*world{w, &other}}
	for i, at := range t.in {
		uid, err := at.lab.UID(w.ctx)
		w.must(err)
		t.uids[i] = uid
	}
	w.t.Cleanup(func() { // whatever else a test looks at
		if err := t.judge(); err != nil {
			w.t.Errorf("the judge: %v", err)
		}
	})
	return t
}

// route are the flags that lead from one cluster to the other.
func (t *twin) route(from int) []string {
	return []string{"--from", t.in[from].lab.Name(), "--to", t.in[1-from].lab.Name()}
}

// move are the arguments that move the set out of a cluster.
func (t *twin) move(from int, more ...string) []string {
	return slices.Concat([]string{"migrate", "statefulset/redis", "-n", t.namespace}, t.route(from), more)
}

// rollBack are the arguments that lead a migration out of a cluster back.
func (t *twin) rollBack(from int, id string) []string {
	return slices.Concat([]string{"migrate", "--rollback", id}, t.route(from))
}

// at runs hawser on one of the clusters, and fails the test unless it exits with
// code.
func (t *twin) at(place, code int, args ...string) string {
	t.t.Helper()
	r := t.run(code, append(args, "--context", t.in[place].lab.Name())...)
	return r.Stdout + r.Stderr
}

// deploy brings the set up in the first cluster, with a file on each disk.
func (t *twin) deploy(replicas int, class string) {
	t.t.Helper()
	t.replicas, t.handles = replicas, t.deployRedis(replicas, class)
	t.mark()
}

// slowDetach has the driver take its time to detach the disks, as clouds do: who
// does not wait for it has them attached twice.
func (t *twin) slowDetach() {
	t.faults.Delay("ControllerUnpublishVolume", 700*time.Millisecond, slices.Collect(maps.Values(t.handles))...)
}

// mark writes on each disk what has to be there from now on.
func (t *twin) mark() {
	t.t.Helper()
	t.round++
	for _, handle := range t.handles {
		t.write(handle, fmt.Sprint("round-", t.round), "written")
	}
}

// expectAt fails the test unless the set runs in one cluster and in no other, on
// its own disks with all data, which that cluster owns and keeps.
func (t *twin) expectAt(place int) {
	t.t.Helper()
	t.in[place].awaitReady(t.replicas)
	t.in[place].expectDisks(t.handles)
	t.expectNothingRuns(1 - place)
	for claim, handle := range t.handles {
		t.expectFile(handle, "first", claim)
		for n := range t.round {
			t.expectFile(handle, fmt.Sprint("round-", n+1), "written")
		}
		disk, err := t.region.Disk(handle)
		t.must(err)
		for _, a := range disk.Attachments {
			if a.Cluster != t.in[place].lab.Name() {
				t.t.Errorf("the disk of %s is attached to %s, where it does not belong", claim, a)
			}
		}
	}
	if owner := t.owner(); owner != "" && owner != t.uids[place] {
		t.t.Errorf("the disks are owned by cluster %s, want %s (%s)", owner, t.in[place].lab.Name(), t.uids[place])
	}
	for _, w := range t.in {
		w.expectRetain()
	}
	if err := t.judge(); err != nil {
		t.t.Fatalf("the judge: %v", err)
	}
}

// expectNothingRuns fails the test if something of the set is, or can come, to
// life in a cluster.
func (t *twin) expectNothingRuns(place int) {
	t.t.Helper()
	w := t.in[place]
	set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "redis", metav1.GetOptions{})
	if err == nil && ptr.Deref(set.Spec.Replicas, 1) != 0 {
		t.t.Errorf("the set has %d replicas in cluster %s, want 0", *set.Spec.Replicas, w.lab.Name())
	}
	if err != nil && !apierrors.IsNotFound(err) {
		t.t.Fatal(err)
	}
	pods, err := w.client.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, pod := range pods.Items {
		t.t.Errorf("Pod %s is in cluster %s", pod.Name, w.lab.Name())
	}
	ours := map[string]bool{}
	for _, v := range w.volumes() {
		ours[v.Name] = true
	}
	attachments, err := w.client.StorageV1().VolumeAttachments().List(w.ctx, metav1.ListOptions{})
	w.must(err)
	for _, a := range attachments.Items {
		if name := ptr.Deref(a.Spec.Source.PersistentVolumeName, ""); ours[name] {
			t.t.Errorf("PersistentVolume %s is attached in cluster %s", name, w.lab.Name())
		}
	}
}

// owned is an entry of the chain of a disk's owners, and when it came to be.
type owned struct {
	catalog.Ownership
	since time.Time
}

// chains reads who has owned each disk, oldest first, from the catalog's folder.
func (t *twin) chains() map[string][]owned {
	t.t.Helper()
	files, err := filepath.Glob(filepath.Join(t.folder(), "disks", disks.DefaultDriver, "*", "*"))
	t.must(err)
	chains := map[string][]owned{}
	for _, file := range files { // Glob sorts
		var o owned
		o.since = t.readJSON(file, &o.Ownership)
		chains[string(o.Disk.Handle)] = append(chains[string(o.Disk.Handle)], o)
	}
	return chains
}

// owner is the uid of the cluster that owns the disks, or "" if none does so
// far. It fails the test if they have several owners.
func (t *twin) owner() string {
	t.t.Helper()
	chains, uids := t.chains(), map[string]bool{}
	for _, handle := range t.handles {
		uid := ""
		if chain := chains[handle]; len(chain) > 0 {
			uid = chain[len(chain)-1].Cluster.UID
		}
		uids[uid] = true
	}
	if len(uids) > 1 {
		t.t.Fatalf("some disks are owned by one cluster, some by the other: %v", uids)
	}
	for uid := range uids {
		return uid
	}
	return ""
}

// readJSON reads an object of the catalog, and returns when it was created.
func (t *twin) readJSON(file string, into any) time.Time {
	t.t.Helper()
	data, err := os.ReadFile(file)
	t.must(err)
	t.must(json.Unmarshal(data, into))
	info, err := os.Stat(file)
	t.must(err)
	return info.ModTime()
}

// folder is where the catalog's objects are.
func (t *twin) folder() string {
	if t.objects != "" {
		return t.objects
	}
	return strings.TrimPrefix(t.store, "file://")
}

// judge fails if one of the disks was ever attached in two clusters, or, unless a
// driver was asked, in one that did not own it at that time.
func (t *twin) judge() error {
	t.t.Helper()
	events, err := t.region.Attachments()
	if err != nil {
		return err
	}
	ours := slices.Collect(maps.Values(t.handles))
	events = slices.DeleteFunc(events, func(e disks.AttachmentEvent) bool { return !slices.Contains(ours, e.Disk) })
	var found []error
	for _, overlap := range disks.Overlaps(events) {
		found = append(found, overlap)
	}
	chains := t.chains()
	for _, e := range events {
		owner := "" // anybody
		for _, o := range chains[e.Disk] {
			if o.since.Before(e.Time) {
				owner = t.in[slices.Index(t.uids[:], o.Cluster.UID)].lab.Name()
			}
		}
		if e.Event == disks.Attach && !t.asked && owner != "" && owner != e.Cluster {
			found = append(found, fmt.Errorf("disk %s was attached in cluster %s at %s, when cluster %s owned it", e.Disk, e.Cluster, e.Time.Format(time.StampMicro), owner))
		}
	}
	return errors.Join(found...)
}

// namesOwner fails the test unless a message names the cluster that owns a disk.
func (t *twin) namesOwner(said string, place int) {
	t.t.Helper()
	if !strings.Contains(said, t.uids[place]) && !strings.Contains(said, t.in[place].lab.Name()) {
		t.t.Errorf("the message does not name cluster %s (%s), which owns the disks:\n%s", t.in[place].lab.Name(), t.uids[place], said)
	}
}

// loseNamespace deletes the namespace in a cluster and waits until it is gone.
func (w *world) loseNamespace() {
	w.t.Helper()
	w.must(w.client.CoreV1().Namespaces().Delete(w.ctx, w.namespace, metav1.DeleteOptions{}))
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must(w.lab.Await(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", w.namespace, gone))
}
