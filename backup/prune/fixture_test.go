package prune

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// The fake clients cannot begin a watch with a list, and cannot say so.
func TestMain(m *testing.M) {
	os.Setenv("KUBE_FEATURE_WatchListClient", "false")
	os.Exit(m.Run())
}

const (
	clusterUID = "6f1c2d3e-0000-4000-8000-00000000000a"
	otherUID   = "6f1c2d3e-0000-4000-8000-00000000000b"
	driver     = "disks.example.com"
	classFor   = "hawser-0123456789ab"
)

var noon = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)

// lab is a catalog, a cluster whose snapshot controllers do at once what the
// real ones do, and the storage.
type lab struct {
	*Pruner
	t      *testing.T
	bucket *catalogtest.Faulty
	api    *snapshotfake.Clientset

	mu      sync.Mutex
	storage sets.Set[string] // handles of the snapshots that are there
	stuck   sets.Set[string] // handles that the driver fails to delete
	now     time.Time
	skew    time.Duration // of the store's clock
	serial  int

	writes int // to the API server
	// fault is asked before and told after each write to the store or the API
	// server; the error it returns is what the caller gets.
	fault func(what string, after bool) error
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, storage: sets.New[string](), stuck: sets.New[string](), now: noon}
	l.bucket = &catalogtest.Faulty{Bucket: clocked{new(catalogtest.Memory), l}}
	cat, err := catalog.OpenOrCreate(t.Context(), l.bucket, catalog.Limits{}, noon)
	l.must(err)
	l.bucket.Before = func(_ context.Context, c catalogtest.Call) error {
		if c.Method == catalogtest.Create || c.Method == catalogtest.Delete {
			return l.ask(fmt.Sprint(c.Method, " ", c.Key), false)
		}
		return nil
	}
	l.bucket.After = func(c catalogtest.Call, err error) error {
		return errors.Join(err, l.ask(fmt.Sprint(c.Method, " ", c.Key), true))
	}
	l.api = snapshotfake.NewSimpleClientset()
	l.api.PrependReactor("*", "*", l.react)
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: clusterUID}}
	l.add(&snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{Name: classFor, Labels: ours(cat.Repository().ID)},
		Driver:     driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
	})
	l.Pruner = &Pruner{
		Kubernetes: fake.NewClientset(system), Snapshots: l.api, Catalog: cat, Cache: &Cache{}, Writer: "hawser test",
		Now: func() time.Time { l.mu.Lock(); defer l.mu.Unlock(); return l.now },
	}
	return l
}

// clocked is a store whose clock is that of the lab, off by its skew.
type clocked struct {
	catalog.Bucket
	lab *lab
}

func (c clocked) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		for object, err := range c.Bucket.List(ctx, prefix) {
			object.Modified = c.lab.Now().Add(c.lab.skew)
			if !yield(object, err) {
				return
			}
		}
	}
}

func ours(catalogID string) map[string]string {
	return map[string]string{"app.kubernetes.io/managed-by": "hawser", backup.CatalogLabel: catalogID}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) add(object runtime.Object) {
	l.t.Helper()
	l.must(l.api.Tracker().Add(object))
}

// ask passes a write to fault.
func (l *lab) ask(what string, after bool) error {
	if l.fault == nil {
		return nil
	}
	return l.fault(what, after)
}

// react plays the API server and the snapshot controllers.
func (l *lab) react(action clienttesting.Action) (bool, runtime.Object, error) {
	write := slices.Contains([]string{"create", "update", "patch", "delete"}, action.GetVerb())
	what := action.GetVerb() + " " + action.GetResource().Resource
	if write {
		if err := l.ask(what, false); err != nil {
			return true, nil, err
		}
		l.writes++
	}
	var object runtime.Object
	var err error
	if d, ok := action.(clienttesting.DeleteAction); ok {
		err = l.delete(d)
	} else if _, object, err = clienttesting.ObjectReaction(l.api.Tracker())(action); object == nil && err == nil {
		return false, nil, nil // a collection
	}
	if write && err == nil {
		err = l.ask(what, true)
	}
	return true, object, err
}

var (
	snapshotsResource = snapshotv1.SchemeGroupVersion.WithResource("volumesnapshots")
	contentsResource  = snapshotv1.SchemeGroupVersion.WithResource("volumesnapshotcontents")
)

// delete does what comes of a deletion in the end.
func (l *lab) delete(action clienttesting.DeleteAction) error {
	tracker := l.api.Tracker()
	if action.GetResource() == contentsResource {
		object, err := tracker.Get(contentsResource, "", action.GetName())
		if err != nil {
			return err
		}
		return l.deleteContent(object.(*snapshotv1.VolumeSnapshotContent))
	}
	object, err := tracker.Get(snapshotsResource, action.GetNamespace(), action.GetName())
	if err != nil {
		return err
	}
	snapshot := object.(*snapshotv1.VolumeSnapshot)
	if err := tracker.Delete(snapshotsResource, snapshot.Namespace, snapshot.Name); err != nil {
		return err
	}
	for _, c := range l.contents() {
		if c.Spec.VolumeSnapshotRef.UID != snapshot.UID {
			continue
		}
		c.Annotations = map[string]string{"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}
		if err := tracker.Update(contentsResource, &c, ""); err != nil {
			return err
		}
		if c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
			return l.deleteContent(&c)
		}
	}
	return nil
}

func (l *lab) deleteContent(c *snapshotv1.VolumeSnapshotContent) error {
	handle := ptr.Deref(c.Status.SnapshotHandle, "")
	_, told := c.Annotations["snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"]
	if !told || l.stuck.Has(handle) {
		c.DeletionTimestamp = ptr.To(metav1.NewTime(noon))
		return l.api.Tracker().Update(contentsResource, c, "")
	}
	if c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
		l.storage.Delete(handle)
	}
	return l.api.Tracker().Delete(contentsResource, "", c.Name)
}

func (l *lab) contents() []snapshotv1.VolumeSnapshotContent {
	l.t.Helper()
	list, err := l.api.Tracker().List(contentsResource, snapshotv1.SchemeGroupVersion.WithKind("VolumeSnapshotContent"), "")
	l.must(err)
	return list.(*snapshotv1.VolumeSnapshotContentList).Items
}

func (l *lab) snapshots() []snapshotv1.VolumeSnapshot {
	l.t.Helper()
	list, err := l.api.Tracker().List(snapshotsResource, snapshotv1.SchemeGroupVersion.WithKind("VolumeSnapshot"), "")
	l.must(err)
	return list.(*snapshotv1.VolumeSnapshotList).Items
}

// snapshotName is how a run calls the VolumeSnapshot of a claim.
func snapshotName(point catalog.PointID, claim string) string {
	sum := sha256.Sum256([]byte(string(point) + "/" + claim))
	return "hawser-" + hex.EncodeToString(sum[:10])
}

// snapshot puts a snapshot of a point into the cluster, as a run does, and
// returns what a point says of it.
func (l *lab) snapshot(point catalog.PointID, claim string) catalog.Volume {
	l.t.Helper()
	l.serial++
	namespace, _, _ := strings.Cut(claim, "/")
	name, uid := snapshotName(point, claim), types.UID(fmt.Sprint("uid-", l.serial))
	handle, content := fmt.Sprint("snap-", l.serial), fmt.Sprint("snapcontent-", l.serial)
	labels := ours(l.Catalog.Repository().ID)
	labels[backup.PointLabel], labels[backup.PlanLabel] = string(point), point.Plan()
	l.add(&snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid, Labels: labels},
		Status:     &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &content, ReadyToUse: ptr.To(true)},
	})
	l.add(&snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: content, UID: types.UID("uid-of-" + content)},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			Driver: driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, VolumeSnapshotClassName: ptr.To(classFor),
			Source:            snapshotv1.VolumeSnapshotContentSource{VolumeHandle: ptr.To("disk-of-" + claim)},
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: namespace, Name: name, UID: uid},
		},
		Status: &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: &handle, ReadyToUse: ptr.To(true)},
	})
	l.storage.Insert(handle)
	return volume(claim, &catalog.Snapshot{Name: name, Content: content, Handle: catalog.SnapshotHandle(handle)})
}

func volume(claim string, snapshot *catalog.Snapshot) catalog.Volume {
	namespace, name, _ := strings.Cut(claim, "/")
	return catalog.Volume{Claim: catalog.ClaimKey{Namespace: namespace, Name: name}, Driver: driver, VolumeHandle: catalog.VolumeHandle("disk-of-" + claim), Snapshot: snapshot}
}

// run is a run to be made: of a plan, at a time.
type run struct {
	cluster string // clusterUID if ""
	plan    string // "databases" if ""
	at      time.Time
	outcome catalog.Outcome // Complete if ""
	claims  []string        // "shop/data" if nil
	open    bool            // it is not settled
	alter   func(*catalog.Bundle)
}

// make makes the point of a run.
func (l *lab) make(r run) catalog.PointID {
	l.t.Helper()
	if r.cluster == "" {
		r.cluster = clusterUID
	}
	if r.plan == "" {
		r.plan = "databases"
	}
	if r.outcome == "" {
		r.outcome = catalog.Complete
	}
	if r.claims == nil {
		r.claims = []string{"shop/data"}
	}
	ctx := l.t.Context()
	point, cluster := catalog.NewPointID(r.cluster, r.plan, r.at, 0), catalog.Cluster{UID: r.cluster, Name: "prod"}
	survey, err := l.Catalog.Survey(ctx, r.cluster)
	l.must(err)
	intent := catalog.Intent{Point: point, Cluster: cluster, Plan: r.plan, Scheduled: r.at, Started: r.at, Deadline: r.at.Add(time.Hour)}
	var bundle catalog.Bundle
	for _, claim := range r.claims {
		v := volume(claim, nil)
		if r.cluster == clusterUID && r.outcome != catalog.Abandoned {
			v = l.snapshot(point, claim)
		}
		intent.Snapshots = append(intent.Snapshots, catalog.IntentSnapshot{Claim: v.Claim, Name: snapshotName(point, claim)})
		bundle.Volumes = append(bundle.Volumes, v)
	}
	if r.alter != nil {
		r.alter(&bundle)
	}
	l.must(l.Catalog.Begin(ctx, intent))
	commit := catalog.Commit{Point: point, Cluster: cluster, Plan: r.plan, Scheduled: r.at, Started: r.at, Committed: r.at.Add(time.Minute), Outcome: r.outcome}
	if r.outcome == catalog.Abandoned {
		l.must(l.Catalog.Abandon(ctx, intent, commit, survey))
	} else {
		_, err = l.Catalog.Commit(ctx, commit, bundle, survey)
		l.must(err)
	}
	if !r.open {
		l.must(l.Catalog.Settle(ctx, r.cluster, point))
	}
	return point
}

// hourly makes n points, the newest an hour ago.
func (l *lab) hourly(n int, claims ...string) []catalog.PointID {
	l.t.Helper()
	var points []catalog.PointID
	for i := range n {
		points = append(points, l.make(run{at: l.now.Add(time.Duration(i-n) * time.Hour), claims: claims}))
	}
	return points
}

// keepLast asks for pruning by a policy for the plan databases.
func keepLast(n int) Options {
	return Options{Policies: []Policy{{Plan: "databases", Retain: catalog.Retention{Last: n}}}, Sweep: true}
}

func (l *lab) prune(options Options) Result {
	l.t.Helper()
	result, err := l.Run(l.t.Context(), options)
	l.must(err)
	return result
}

func (l *lab) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// verdicts are the decisions in short: "verdict" or "verdict (guard)" by point.
func verdicts(r Result) map[catalog.PointID]string {
	all := map[catalog.PointID]string{}
	for _, d := range r.Decisions {
		all[d.Point] = string(d.Verdict)
		if d.Stopped != "" {
			all[d.Point] += " (" + string(d.Stopped) + ")"
		}
	}
	return all
}

// each says the same of several points.
func same(verdict string, points ...catalog.PointID) map[catalog.PointID]string {
	all := map[catalog.PointID]string{}
	for _, p := range points {
		all[p] = verdict
	}
	return all
}

func merge(parts ...map[catalog.PointID]string) map[catalog.PointID]string {
	all := map[catalog.PointID]string{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

func (l *lab) want(what string, want, got any, options ...cmp.Option) {
	l.t.Helper()
	if diff := cmp.Diff(want, got, options...); diff != "" {
		l.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// keys are those of the store, without the cluster's folder.
func (l *lab) keys() []string {
	l.t.Helper()
	var keys []string
	for object, err := range l.bucket.Bucket.List(l.t.Context(), "clusters/") {
		l.must(err)
		keys = append(keys, strings.TrimPrefix(object.Key, "clusters/"+clusterUID+"/"))
	}
	return keys
}

// left names what the cluster and the storage have of snapshots.
func (l *lab) left() []string {
	l.t.Helper()
	left := sets.List(l.storage)
	for _, s := range l.snapshots() {
		left = append(left, "VolumeSnapshot "+s.Namespace+"/"+s.Name)
	}
	for _, c := range l.contents() {
		left = append(left, "VolumeSnapshotContent "+c.Name)
	}
	slices.Sort(left)
	return left
}

func deletion(namespace, name string) clienttesting.DeleteAction {
	return clienttesting.NewDeleteAction(snapshotsResource, namespace, name)
}
