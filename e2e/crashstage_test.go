package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/e2e/crash"
)

// crashStage is where one case is performed: a catalog of its own, and a lane's
// namespace. Its methods may be called by any goroutine, one after the other.
type crashStage struct {
	*lane
	play     *crashPlay
	request  backup.Request
	folder   string
	catalog  *catalog.Catalog
	pods     *quietPods
	rejects  string
	existing sets.Set[string] // snapshots of the lane's disks on the storage
	deaths   []*crash.Switch
	buckets  []*dir.Bucket
}

func (l *lane) newCrashStage(ctx context.Context, play *crashPlay) (s *crashStage, err error) {
	s = &crashStage{lane: l, play: play, pods: &quietPods{}}
	s.request = backup.Request{Plan: "databases", Scheduled: time.Now().UTC().Truncate(time.Second)}
	s.request.Select.Namespaces = []string{l.namespace}
	for _, ordinal := range play.claims {
		s.request.Select.Claims = append(s.request.Select.Claims, redisClaim(ordinal))
	}
	if play.change != nil {
		play.change(&s.request)
	}
	if s.existing, err = l.stored(); err != nil {
		return nil, err
	}
	if s.folder, err = os.MkdirTemp(strings.TrimPrefix(l.store, "file://"), "catalog-"); err != nil {
		return nil, err
	}
	bucket, err := s.open()
	if err != nil {
		return nil, err
	}
	s.catalog, err = catalog.OpenOrCreate(ctx, bucket, catalog.Limits{}, time.Now())
	return s, err
}

func (s *crashStage) open() (*dir.Bucket, error) {
	bucket, err := dir.Open(s.folder)
	if err == nil {
		s.buckets = append(s.buckets, bucket)
	}
	return bucket, err
}

// stored names the snapshots of the lane's disks on the storage.
func (l *lane) stored() (sets.Set[string], error) {
	all, err := l.region.Snapshots()
	if err != nil {
		return nil, err
	}
	ours := sets.New(slices.Collect(maps.Values(l.handles))...)
	stored := sets.New[string]()
	for _, snapshot := range all {
		if ours.Has(snapshot.Disk) {
			stored.Insert(snapshot.Handle)
		}
	}
	return stored, nil
}

// close ends what is left of the dead, and has the points' snapshots go in
// their own time: the next case must not wait for them.
func (s *crashStage) close() {
	for _, dead := range s.deaths {
		dead.Bury()
	}
	points, err := s.points(s.t.Context())
	if err != nil {
		return // the test has failed
	}
	for _, point := range points {
		for _, v := range point.Bundle.Volumes {
			if v.Snapshot != nil {
				s.forget(v)
			}
		}
	}
	for _, bucket := range s.buckets {
		bucket.Close()
	}
}

func (s *crashStage) forget(v catalog.Volume) {
	release := []byte(`{"spec":{"deletionPolicy":"Delete"}}`)
	_, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().Patch(s.t.Context(), v.Snapshot.Content, types.MergePatchType, release, metav1.PatchOptions{})
	if err == nil {
		_ = s.snapshots.SnapshotV1().VolumeSnapshots(v.Claim.Namespace).Delete(s.t.Context(), v.Snapshot.Name, metav1.DeleteOptions{})
	}
}

// act has a process play a role, until it has ended or died.
func (s *crashStage) act(ctx context.Context, name string, via *crash.Switch, role func(context.Context, *backup.Runner) error) error {
	ctx, cancel := context.WithCancel(ctx)
	s.deaths = append(s.deaths, via)
	bucket, err := s.open()
	if err != nil {
		cancel()
		return err
	}
	store := &catalogtest.Faulty{Bucket: bucket}
	if s.rejects != "" {
		store.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, s.rejects), errors.New("the store rejects it"))
	}
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		runner, err := s.runnerVia(ctx, name, via, store)
		if err == nil {
			err = role(ctx, runner)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil && s.rejects == "" {
			return fmt.Errorf("the process %q: %w", name, err)
		}
		return nil
	case <-via.Dead():
	}
	select {
	case <-via.Calm():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("requests of the dead process %q do not come back: %w", name, context.Cause(ctx))
	}
}

// runnerVia is a runner of a process of that name.
func (s *crashStage) runnerVia(ctx context.Context, name string, via *crash.Switch, store catalog.Bucket) (*backup.Runner, error) {
	config := s.lab.RESTConfig("hawser/crash")
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	client.Transport = via.Transport(client.Transport) // the connections are shared by all
	r := &backup.Runner{Writer: name, Agent: name, Now: time.Now, Exec: via.Executor(s.pods)}
	if r.Kubernetes, err = kubernetes.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if r.Dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	if r.Snapshots, err = snapshotclient.NewForConfigAndClient(config, client); err != nil {
		return nil, err
	}
	r.Catalog, err = catalog.Open(ctx, via.Bucket(store), catalog.Limits{})
	return r, err
}

// run is the role of an agent that comes to the occurrence.
func (s *crashStage) run(ctx context.Context, r *backup.Runner) error {
	_, err := r.Run(ctx, s.request)
	return err
}

// lead is the role of an agent that comes to lead: it takes over, and then tries
// the occurrence if no point came of it.
func (s *crashStage) lead(ctx context.Context, r *backup.Runner) error {
	taken, err := r.TakeOver(ctx, func(string) (backup.Request, bool) { return s.request, true })
	if err != nil {
		return err
	}
	for _, run := range taken {
		if run.Err != nil && !errors.Is(run.Err, backup.ErrRolledBack) {
			return fmt.Errorf("take over %s: %w", run.Intent.Point, run.Err)
		}
	}
	if quiet := s.pods.quiet(); len(quiet) > 0 {
		return fmt.Errorf("after the takeover Pods %v are quiet", quiet)
	}
	points, err := s.points(ctx)
	if err != nil || len(points) > 0 {
		return err
	}
	request := s.request
	request.Attempt = 5 // at most: it becomes the first that has not begun
	_, err = r.Run(ctx, request)
	return err
}

// points are the committed points.
func (s *crashStage) points(ctx context.Context) ([]*catalog.RestorePoint, error) {
	survey, err := s.catalog.Survey(ctx, "")
	if err != nil {
		return nil, err
	}
	var points []*catalog.RestorePoint
	for _, p := range survey {
		if !p.Commit {
			continue
		}
		point, err := s.catalog.Load(ctx, p.ClusterUID, p.Point)
		if errors.Is(err, catalog.ErrNoPoint) {
			continue
		}
		if err != nil {
			return nil, err
		}
		points = append(points, point)
	}
	return points, nil
}

// check compares the catalog, VolumeSnapshots, contents and the storage.
func (s *crashStage) check(ctx context.Context) error {
	points, err := s.points(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if len(points) != 1 {
		errs = append(errs, fmt.Errorf("the occurrence has %d points, want one", len(points)))
	}
	survey, err := s.catalog.Survey(ctx, "")
	if err != nil {
		return err
	}
	for _, p := range survey {
		if !p.Journal || !p.Settled || !p.Commit {
			errs = append(errs, fmt.Errorf("run %s is not settled: %+v", p.Point, p))
		}
	}
	snapshots, contents, handles := sets.New[string](), sets.New[string](), sets.New[string]()
	for _, point := range points {
		for _, v := range point.Bundle.Volumes {
			if v.Snapshot != nil {
				snapshots.Insert(v.Snapshot.Name)
				contents.Insert(v.Snapshot.Content)
				handles.Insert(string(v.Snapshot.Handle))
			}
		}
		if want := s.wanted(); point.Commit.Outcome != want {
			errs = append(errs, fmt.Errorf("the point is %s, want %s: %q", point.Commit.Outcome, want, point.Commit.Reasons))
		}
	}
	errs = append(errs, s.checkSnapshots(ctx, snapshots), s.checkContents(ctx, contents, handles), s.checkStored(handles))
	return errors.Join(errs...)
}

// wanted is what a point that is made without trouble is.
func (s *crashStage) wanted() catalog.Outcome {
	if slices.Contains(s.play.claims, crashReplicas-1) {
		return catalog.Partial
	}
	return catalog.Complete
}

// checkSnapshots waits until the VolumeSnapshots of this catalog are those that
// its points rely on: those that were discarded go in their own time.
func (s *crashStage) checkSnapshots(ctx context.Context, want sets.Set[string]) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var got []string
	err := s.lab.AwaitAll(ctx, snapshotsResource, s.namespace, backup.CatalogLabel+"="+s.catalog.Repository().ID, func(objects []*unstructured.Unstructured) bool {
		got = nil
		for _, object := range objects {
			if ready, _, _ := unstructured.NestedBool(object.Object, "status", "readyToUse"); ready && object.GetDeletionTimestamp() == nil {
				got = append(got, object.GetName())
			} else {
				got = append(got, object.GetName()+" (not ready)")
			}
		}
		return want.Equal(sets.New(got...))
	})
	if err != nil {
		return fmt.Errorf("VolumeSnapshots %q, want %q: %w", got, sets.List(want), err)
	}
	return nil
}

// checkContents compares the contents of this catalog, which its class marks.
func (s *crashStage) checkContents(ctx context.Context, want, handles sets.Set[string]) error {
	classes, err := s.snapshots.SnapshotV1().VolumeSnapshotClasses().List(ctx, metav1.ListOptions{LabelSelector: backup.CatalogLabel + "=" + s.catalog.Repository().ID})
	if err != nil {
		return err
	}
	ours := sets.New[string]()
	for _, class := range classes.Items {
		ours.Insert(class.Name)
	}
	list, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	got := sets.New[string]()
	var errs []error
	for _, content := range list.Items {
		if !ours.Has(ptr.Deref(content.Spec.VolumeSnapshotClassName, "")) {
			continue
		}
		got.Insert(content.Name)
		handle := ""
		if content.Status != nil {
			handle = ptr.Deref(content.Status.SnapshotHandle, "")
		}
		if content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain || content.DeletionTimestamp != nil || !handles.Has(handle) {
			errs = append(errs, fmt.Errorf("VolumeSnapshotContent %s of %s is %s and of handle %q", content.Name, cache.NewObjectName(content.Spec.VolumeSnapshotRef.Namespace, content.Spec.VolumeSnapshotRef.Name), content.Spec.DeletionPolicy, handle))
		}
	}
	if !got.Equal(want) {
		errs = append(errs, fmt.Errorf("VolumeSnapshotContents %q, want %q", sets.List(got), sets.List(want)))
	}
	return errors.Join(errs...)
}

// checkStored compares what has come to the storage.
func (s *crashStage) checkStored(want sets.Set[string]) error {
	stored, err := s.stored()
	if err != nil {
		return err
	}
	if got := stored.Difference(s.existing); !got.Equal(want) {
		return fmt.Errorf("snapshots %q have come to the storage, want %q", sets.List(got), sets.List(want))
	}
	return nil
}

// quietPods plays the containers: it notes which Pods are quiet.
type quietPods struct {
	mu     sync.Mutex
	locked map[string]bool
}

// Exec implements backup.Executor.
func (q *quietPods) Exec(_ context.Context, _, pod, _ string, command []string, _ io.Reader, _, _ io.Writer) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.locked == nil {
		q.locked = map[string]bool{}
	}
	q.locked[pod] = command[0] == "lock"
	return nil
}

func (q *quietPods) quiet() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var quiet []string
	for pod, locked := range q.locked {
		if locked {
			quiet = append(quiet, pod)
		}
	}
	return quiet
}
