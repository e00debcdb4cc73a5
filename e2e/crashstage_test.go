package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/e2e/crash"
)

// crashStage is where one case is performed: a catalog of its own, and a lane's
// namespace. Its methods may be called by any goroutine, one after the other.
type crashStage struct {
	books
	play    *crashPlay
	request backup.Request
	folder  string
	pods    *quietPods
	rejects string
	deaths  []*crash.Switch
	buckets []*dir.Bucket
}

func (l *lane) newCrashStage(ctx context.Context, play *crashPlay) (s *crashStage, err error) {
	s = &crashStage{books: books{world: l.world, handles: l.handles}, play: play, pods: &quietPods{}}
	s.request = backup.Request{Plan: "databases", Scheduled: time.Now().UTC().Truncate(time.Second)}
	s.request.Select.Namespaces = []string{l.namespace}
	for _, ordinal := range play.claims {
		s.request.Select.Claims = append(s.request.Select.Claims, redisClaim(ordinal))
	}
	if play.change != nil {
		play.change(&s.request)
	}
	if s.existing, err = l.storedOf(l.handles); err != nil {
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

// check compares the books, and makes sure that the occurrence has its point.
func (s *crashStage) check(ctx context.Context) error {
	points, err := s.points(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if len(points) != 1 {
		errs = append(errs, fmt.Errorf("the occurrence has %d points, want one", len(points)))
	}
	for _, point := range points {
		if want := s.wanted(); point.Commit.Outcome != want {
			errs = append(errs, fmt.Errorf("the point is %s, want %s: %q", point.Commit.Outcome, want, point.Commit.Reasons))
		}
	}
	return errors.Join(append(errs, s.books.check(ctx))...)
}

// wanted is what a point that is made without trouble is.
func (s *crashStage) wanted() catalog.Outcome {
	if slices.Contains(s.play.claims, crashReplicas-1) {
		return catalog.Partial
	}
	return catalog.Complete
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
