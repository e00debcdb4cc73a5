package e2e_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup/prune"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
)

// pruning is a world with a plan whose points are pruned after a second.
type pruning struct {
	*world
	file    string
	handles map[string]string // disks of the claims
}

// newPruning brings redis up, and a plan that keeps the last points.
func newPruning(t *testing.T, replicas, last int) *pruning {
	t.Helper()
	w := newWorld(t)
	p := &pruning{world: w, handles: w.deployRedis(replicas, "disks-delete"), file: filepath.Join(t.TempDir(), "config.yaml")}
	p.keepLast(last)
	return p
}

func (p *pruning) keepLast(n int) {
	p.t.Helper()
	p.configure(p.file, fmt.Sprintf("prune: {grace: 1s}\nplans:\n- name: databases\n  retain: {last: %d}\n  select: {namespaces: [%s]}\n", n, p.namespace))
}

// points makes n points of the plan.
func (p *pruning) points(n int) []catalog.PointID {
	p.t.Helper()
	var points []catalog.PointID
	for range n {
		r := p.run(0, "backup", "--plan", "databases", "--config", p.file, "-o", "name")
		points = append(points, catalog.PointID(strings.TrimSpace(r.Stdout)))
	}
	return points
}

// prune runs hawser prune and returns what it decided, and what it said.
func (p *pruning) prune(code int, args ...string) (prune.Result, string) {
	p.t.Helper()
	r := p.run(code, append([]string{"prune", "--config", p.file, "-o", "json"}, args...)...)
	var result prune.Result
	p.must(json.Unmarshal([]byte(r.Stdout), &result))
	return result, r.Stderr
}

// pruneUntil prunes until the verdicts have come to be these: grace periods pass.
func (p *pruning) pruneUntil(want map[catalog.PointID]prune.Verdict) {
	p.t.Helper()
	var got map[catalog.PointID]prune.Verdict
	for range 20 {
		result, _ := p.prune(0)
		if got = verdictsOf(result); maps.Equal(got, want) {
			return
		}
	}
	p.t.Fatalf("verdicts are %v, want %v", got, want)
}

func verdictsOf(r prune.Result) map[catalog.PointID]prune.Verdict {
	all := map[catalog.PointID]prune.Verdict{}
	for _, d := range r.Decisions {
		all[d.Point] = d.Verdict
	}
	return all
}

func (w *world) catalog() *catalog.Catalog {
	w.t.Helper()
	bucket, err := dir.Open(strings.TrimPrefix(w.store, "file://"))
	w.must(err)
	w.t.Cleanup(func() { bucket.Close() })
	cat, err := catalog.Open(w.ctx, bucket, catalog.Limits{})
	w.must(err)
	return cat
}

func (w *world) clusterUID() string {
	w.t.Helper()
	system, err := w.client.CoreV1().Namespaces().Get(w.ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	w.must(err)
	return string(system.UID)
}

// snapshotsIn are the snapshots on the storage that points name.
func (w *world) snapshotsIn(points ...catalog.PointID) []string {
	w.t.Helper()
	cat, uid := w.catalog(), w.clusterUID()
	var handles []string
	for _, id := range points {
		point, err := cat.Load(w.ctx, uid, id)
		w.must(err)
		for _, v := range point.Bundle.Volumes {
			handles = append(handles, string(v.Snapshot.Handle))
		}
	}
	slices.Sort(handles)
	return handles
}

func (p *pruning) expectStored(want []string) {
	p.t.Helper()
	got := p.storedSnapshots(p.handles)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		p.t.Errorf("the storage has snapshots %v, want %v", got, want)
	}
}

// storeFiles are the objects of the catalog, with what is in them.
func (w *world) storeFiles() map[string]string {
	w.t.Helper()
	root := strings.TrimPrefix(w.store, "file://")
	files := map[string]string{}
	w.must(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root)] = string(data)
		return err
	}))
	return files
}

func TestPruneRemovesWhatThePolicyDropsAndNothingElse(t *testing.T) {
	p := newPruning(t, 2, 1)
	points := p.points(2)
	for claim, handle := range p.handles {
		p.write(handle, "first", "of "+claim+", later")
	}
	points = append(points, p.points(1)...)
	byHand := catalog.PointID(p.point())
	all, kept := p.snapshotsIn(append(points, byHand)...), p.snapshotsIn(points[2], byHand)

	before := p.storeFiles()
	dry, said := p.prune(0, "--dry-run")
	drop := map[catalog.PointID]prune.Verdict{points[0]: prune.Bury, points[1]: prune.Bury, points[2]: prune.Keep, byHand: prune.Keep}
	if got := verdictsOf(dry); !maps.Equal(got, drop) || !strings.Contains(said, "clock was not checked") {
		t.Errorf("a dry run decides %v and says %q, want %v and that the clock was not checked", got, said, drop)
	}
	if after := p.storeFiles(); !maps.Equal(before, after) {
		t.Error("a dry run changed the store")
	}

	if first, _ := p.prune(0); !maps.Equal(verdictsOf(first), drop) {
		t.Errorf("the first run decides %v, want %v", verdictsOf(first), drop)
	}
	p.expectStored(all)
	p.run(0, "show", string(points[0])) // it can be restored as ever
	p.pruneUntil(map[catalog.PointID]prune.Verdict{points[1]: prune.Gone, points[2]: prune.Keep, byHand: prune.Keep})
	p.expectStored(kept)
	p.run(1, "show", string(points[1])).Says(t, "pruned")
	if snapshots, contents := p.hawserSnapshots(); len(snapshots) != 4 || len(contents) != 4 {
		t.Errorf("the cluster has %v and %v, want those of two points", snapshots, contents)
	}
	table := p.run(0, "prune", "--config", p.file).Stdout
	if !strings.Contains(table, "DECISION") || !strings.Contains(table, "last 1 of 1") || !strings.Contains(table, "2 points stay") {
		t.Errorf("the table does not explain itself:\n%s", table)
	}

	p.loseEverything()
	for _, handle := range p.handles {
		p.must(p.region.DestroyDisk(handle))
	}
	p.run(0, "restore", string(points[2]))
	p.awaitReady(2)
	for claim, handle := range p.disks() {
		p.expectFile(handle, "first", "of "+claim+", later")
	}
}

// The VolumeSnapshots go with their namespace, the contents stay. One of them
// is as snapshot-controller leaves it that did not see its VolumeSnapshot go.
func TestPruneRemovesSnapshotsWhoseNamespaceIsGone(t *testing.T) {
	p := newPruning(t, 2, 1)
	points := p.points(2)
	kept := p.snapshotsIn(points[1])
	p.must(p.client.CoreV1().Namespaces().Delete(p.ctx, p.namespace, metav1.DeleteOptions{}))
	p.awaitAll(snapshotsResource, none)
	p.expectStored(p.snapshotsIn(points...))
	point, err := p.catalog().Load(p.ctx, p.clusterUID(), points[0])
	p.must(err)
	unaware := []byte(`{"metadata":{"annotations":{"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted":null}}}`)
	_, err = p.snapshots.SnapshotV1().VolumeSnapshotContents().Patch(p.ctx, point.Bundle.Volumes[0].Snapshot.Content, types.MergePatchType, unaware, metav1.PatchOptions{})
	p.must(err)
	p.pruneUntil(map[catalog.PointID]prune.Verdict{points[0]: prune.Gone, points[1]: prune.Keep})
	p.expectStored(kept)
	if _, contents := p.hawserSnapshots(); len(contents) != 2 {
		t.Errorf("the cluster has contents %v, want those of the point that is kept", contents)
	}
}

func TestPruneLeavesWhatIsOthers(t *testing.T) {
	p := newPruning(t, 1, 1)
	points := p.points(1)
	// Another cluster keeps points of a plan of that name in the same catalog.
	other := catalog.Cluster{UID: "22222222-bbbb-4bbb-8bbb-222222222222", Name: "other"}
	cat := p.catalog()
	for i := range 3 {
		at := time.Now().Add(time.Duration(i-300) * time.Hour)
		id := catalog.NewPointID(other.UID, "databases", at, 0)
		p.must(cat.Begin(p.ctx, catalog.Intent{Point: id, Cluster: other, Plan: "databases", Scheduled: at}))
		_, err := cat.Commit(p.ctx, catalog.Commit{Point: id, Cluster: other, Plan: "databases", Scheduled: at, Outcome: catalog.Complete}, catalog.Bundle{}, nil)
		p.must(err)
	}
	// A restore from the point is under way.
	p.restoreObjects(p.snapshotsIn(points[0])[0])
	before, made := p.storeFiles(), p.madeByRestores()
	points = append(points, p.points(1)...)
	for range 4 {
		result, _ := p.prune(0)
		for _, d := range result.Decisions {
			if !slices.Contains(points, d.Point) {
				t.Errorf("it decides on point %s of another cluster", d.Point)
			}
		}
		if len(result.Orphans) != 0 {
			t.Errorf("orphans are %+v, want none", result.Orphans)
		}
	}
	if got := p.madeByRestores(); !slices.Equal(got, made) {
		t.Errorf("of the restore's objects %v, %v are left", made, got)
	}
	after := p.storeFiles()
	for path, data := range before {
		if strings.Contains(path, other.UID) && after[path] != data {
			t.Errorf("object %s of another cluster is not what it was", path)
		}
	}
	if result, _ := p.prune(0); !slices.Contains(result.Decisions[0].Reasons, "a restore from it may be under way") {
		t.Errorf("decisions are %+v, want that the restore is waited for", result.Decisions)
	}
	p.expectStored(p.snapshotsIn(points...))
}

// restoreObjects makes what a restore makes over a snapshot.
func (w *world) restoreObjects(handle string) {
	w.t.Helper()
	const name = "hawser-restore-0123456789abcdef0123"
	classes, err := w.snapshots.SnapshotV1().VolumeSnapshotClasses().List(w.ctx, metav1.ListOptions{LabelSelector: "hawser.dev/catalog=" + w.catalog().Repository().ID})
	w.must(err)
	labels := map[string]string{"app.kubernetes.io/managed-by": "hawser", "hawser.dev/restored-from": "a-point"}
	class := classes.Items[0]
	_, err = w.snapshots.SnapshotV1().VolumeSnapshotContents().Create(w.ctx, &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: class.Driver, VolumeSnapshotClassName: &class.Name,
			Source:            snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &handle},
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: w.namespace, Name: name},
		},
	}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).Create(w.ctx, &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: labels},
		Spec: snapshotv1.VolumeSnapshotSpec{
			VolumeSnapshotClassName: &class.Name, Source: snapshotv1.VolumeSnapshotSource{VolumeSnapshotContentName: ptr.To(name)},
		},
	}, metav1.CreateOptions{})
	w.must(err)
	w.await(snapshotsResource, name, func(o *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedBool(o.Object, "status", "readyToUse")
		return ready
	})
}

// madeByRestores names what restores have left of snapshots in the cluster.
func (w *world) madeByRestores() []string {
	w.t.Helper()
	var names []string
	snapshots, contents := w.hawserSnapshots()
	for _, name := range append(snapshots, contents...) {
		if strings.HasPrefix(name, "hawser-restore-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A snapshot that leaked is noted, and removed when its grace period is over.
func TestPruneRemovesLeakedSnapshots(t *testing.T) {
	p := newPruning(t, 1, 5)
	points := p.points(3)
	kept := p.snapshotsIn(points[1:]...)
	p.forget(points[0])
	first, _ := p.prune(0)
	if len(first.Orphans) != 1 || first.Orphans[0].Since == nil || first.OrphansRemoved != 0 || !strings.Contains(first.Orphans[0].Reason, string(points[0])) {
		t.Fatalf("orphans are %+v, want that of point %s", first.Orphans, points[0])
	}
	eventually(t, func() bool {
		result, _ := p.prune(0)
		return result.OrphansRemoved == 1
	})
	p.expectStored(kept)
	if result, _ := p.prune(0); len(result.Orphans) != 0 {
		t.Errorf("orphans are %+v, want none", result.Orphans)
	}
}

// forget takes all objects of a point out of the store.
func (w *world) forget(point catalog.PointID) {
	w.t.Helper()
	root := filepath.Join(strings.TrimPrefix(w.store, "file://"), "clusters", w.clusterUID())
	w.must(os.RemoveAll(filepath.Join(root, "points", string(point))))
	for _, suffix := range []string{"", ".settled"} {
		w.must(os.Remove(filepath.Join(root, "journal", string(point)+suffix)))
	}
}

func TestPruneIsStoppedByItsGuards(t *testing.T) {
	p := newPruning(t, 1, 1)
	points := p.points(5)
	all := p.snapshotsIn(points...)

	result, said := p.prune(4)
	if len(result.Stops) != 1 || result.Stops[0].Guard != prune.GuardTooMany || !strings.Contains(said, "--confirm") || !strings.Contains(said, "4 of 5") {
		t.Errorf("the run was stopped by %+v and says %q, want that 4 of 5 points must be confirmed", result.Stops, said)
	}

	commit := filepath.Join(strings.TrimPrefix(p.store, "file://"), "clusters", p.clusterUID(), "points", string(points[2]), "commit")
	data, err := os.ReadFile(commit)
	p.must(err)
	p.must(os.WriteFile(commit, []byte("{"), 0o600))
	if result, said := p.prune(4, "--confirm"); result.Stops[0].Guard != prune.GuardUnreadable || !strings.Contains(said, string(points[2])) {
		t.Errorf("the run was stopped by %+v and says %q, want that %s cannot be read", result.Stops, said, points[2])
	}
	p.must(os.WriteFile(commit, data, 0o600))

	// A clock that is an hour ahead of the store's.
	late, err := p.pruner(time.Hour).Run(p.ctx, prune.Options{Policies: []prune.Policy{{Plan: "databases", Retain: catalog.Retention{Last: 1}}}, Sweep: true, Confirm: true})
	if err != nil || len(late.Stops) != 1 || late.Stops[0].Guard != prune.GuardSkew || late.Counts("databases").Done[prune.Bury] != 0 {
		t.Errorf("with a clock that is ahead it was stopped by %+v (%v), want the clock", late.Stops, err)
	}

	clusters := filepath.Join(strings.TrimPrefix(p.store, "file://"), "clusters")
	p.must(os.Rename(clusters, clusters+".away"))
	p.must(os.Mkdir(clusters, 0o700))
	if result, said := p.prune(4, "--confirm"); result.Stops[0].Guard != prune.GuardEmptyStore || !strings.Contains(said, "has no points of the cluster") {
		t.Errorf("with an empty store it was stopped by %+v and says %q", result.Stops, said)
	}
	p.must(os.Remove(clusters))
	p.must(os.Rename(clusters+".away", clusters))
	p.expectStored(all)

	if result, _ := p.prune(0, "--confirm"); result.Counts("databases").Done[prune.Bury] != 4 {
		t.Errorf("confirmed it drops %v, want 4 points", result.Counts("databases").Done)
	}
}

// pruner prunes in this process, by a clock that is ahead.
func (w *world) pruner(ahead time.Duration) *prune.Pruner {
	w.t.Helper()
	config := w.lab.RESTConfig("hawser/test")
	return &prune.Pruner{
		Kubernetes: kubernetes.NewForConfigOrDie(config), Snapshots: snapshotclient.NewForConfigOrDie(config), Catalog: w.catalog(),
		Grace: time.Second, Writer: "hawser/test", Now: func() time.Time { return time.Now().Add(ahead) },
	}
}

// pruneWrites are the rights that a removal needs after it began to write, in
// the order in which it needs them.
var pruneWrites = []string{
	"watch volumesnapshots", "patch volumesnapshotcontents", "delete volumesnapshots", "watch volumesnapshotcontents", "delete volumesnapshotcontents",
}

func TestEachRightOfPruningIsNeededAndNamed(t *testing.T) {
	p := newPruning(t, 2, 1)
	rights := rightsOf(roles(t)["hawser-prune"])
	points := p.points(2)
	kept := p.snapshotsIn(points[1])
	attempt := func(name string, args ...string) {
		t.Helper()
		i := slices.IndexFunc(rights, func(r right) bool { return r.String() == name })
		if i < 0 {
			t.Fatalf("the role hawser-prune does not hold the right to %s", name)
		}
		user := p.as(p.namespace+"-"+strings.ReplaceAll(name, " ", "-"), without(rights, rights[i]))
		r := user.hawser(append([]string{"prune", "--config", p.file}, args...)...)
		if r.Code != 1 && r.Code != 3 {
			t.Errorf("without the right to %s: exit code %d", name, r.Code)
		}
		r.Says(t, rights[i].verb, rights[i].resource)
	}
	for _, missing := range rights {
		if !slices.Contains(pruneWrites, missing.String()) && missing.String() != "patch volumesnapshots" {
			attempt(missing.String(), "--dry-run")
		}
	}
	all := p.as(p.namespace+"-all", rights)
	prune := func() { t.Helper(); all.run(0, "prune", "--config", p.file) }
	prune()

	// One of the two VolumeSnapshots is gone, so that its content is alone.
	cat := p.catalog()
	point, err := cat.Load(p.ctx, p.clusterUID(), points[0])
	p.must(err)
	first := point.Bundle.Volumes[0].Snapshot.Name
	p.must(p.snapshots.SnapshotV1().VolumeSnapshots(p.namespace).Delete(p.ctx, first, metav1.DeleteOptions{}))
	p.await(snapshotsResource, first, func(o *unstructured.Unstructured) bool { return o == nil })
	eventually(t, func() bool { return time.Now().After(p.tombstone(points[0]).NotBefore) })
	for _, name := range pruneWrites {
		attempt(name)
	}
	prune()
	p.expectStored(kept)

	leaked := snapshotOf(p.t, p.world, point)
	p.await(snapshotsResource, leaked, func(o *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedBool(o.Object, "status", "readyToUse")
		return ready
	})
	attempt("patch volumesnapshots")
	prune()
}

func (w *world) tombstone(point catalog.PointID) catalog.Tombstone {
	w.t.Helper()
	stone, err := w.catalog().Tombstone(w.ctx, catalog.Presence{ClusterUID: w.clusterUID(), Point: point})
	w.must(err)
	return stone
}

// snapshotOf takes a snapshot with the labels of a run that nothing knows of.
func snapshotOf(t *testing.T, w *world, like *catalog.RestorePoint) string {
	t.Helper()
	v := like.Bundle.Volumes[0]
	list, err := w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	leaked := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "hawser-0123456789abcdef0123", Labels: list.Items[0].Labels},
		Spec:       list.Items[0].Spec,
	}
	leaked.Labels["hawser.dev/point"] = "20260101-000000-databases-00000000"
	leaked.Spec.Source.PersistentVolumeClaimName = &v.Claim.Name
	_, err = w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).Create(w.ctx, leaked, metav1.CreateOptions{})
	w.must(err)
	return leaked.Name
}
