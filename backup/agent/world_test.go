package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

const clusterUID = "0b9f4f57-3f0e-4b5e-9d3c-1a2b3c4d5e6f"

// The fake clients cannot begin a watch with a list, and cannot say so.
func TestMain(m *testing.M) {
	os.Setenv("KUBE_FEATURE_WatchListClient", "false")
	os.Exit(m.Run())
}

// world is a cluster and a catalog, in which agents come and go.
type world struct {
	t       *testing.T
	cluster *fake.Clientset
	catalog *catalog.Catalog
	store   *catalogtest.Faulty // that the catalog is in
	away    atomic.Bool         // the store cannot be listed

	mu   sync.Mutex
	runs []string // "plan occurrence#attempt at start"
	// do says what becomes of a run; nil makes a complete point at once.
	do func(ctx context.Context, request backup.Request) error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cluster: fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: clusterUID}})}
	w.store = &catalogtest.Faulty{Bucket: &catalogtest.Memory{}, Before: func(_ context.Context, call catalogtest.Call) error {
		if call.Method == catalogtest.List && w.away.Load() {
			return errors.New("the store is away")
		}
		return nil
	}}
	var err error
	if w.catalog, err = catalog.OpenOrCreate(t.Context(), w.store, catalog.Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	// The fake does not refuse an update of an object that has changed since.
	version := 0
	w.cluster.PrependReactor("update", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		update := action.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease)
		w.mu.Lock()
		defer w.mu.Unlock()
		if update.ResourceVersion != "" && update.ResourceVersion != strconv.Itoa(version) && version > 0 {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, update.Name, errors.New("it has changed"))
		}
		version++
		update.ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
	return w
}

// agent makes an agent of this world. alone leads without an election.
func (w *world) agent(identity string, alone bool, plans ...Plan) *Agent {
	a := New(Options{
		Runner: &fakeRunner{world: w, identity: identity}, Catalog: w.catalog, ClusterUID: clusterUID, Identity: identity,
		Kubernetes: w.cluster, Namespace: "hawser", Alone: alone, Log: slog.New(slog.DiscardHandler),
	})
	a.SetPlans(plans)
	return a
}

// start runs an agent until stop is called.
func (w *world) start(a *Agent) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the agent ended with %v", err)
		}
	}
}

// ran are the runs since the last call.
func (w *world) ran() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	runs := w.runs
	w.runs = nil
	return runs
}

func (w *world) wantRan(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.ran()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// fakeRunner writes to the catalog what a backup.Runner would, and nothing to a
// cluster.
type fakeRunner struct {
	*world
	identity string
}

func (r *fakeRunner) Run(ctx context.Context, request backup.Request, _ func(backup.Event)) (catalog.Commit, error) {
	r.mu.Lock()
	r.runs = append(r.runs, fmt.Sprintf("%s %s#%d at %s", request.Plan, request.Scheduled.UTC().Format("02 15:04"), request.Attempt, time.Now().UTC().Format("02 15:04:05")))
	do := r.do
	r.mu.Unlock()
	cluster := catalog.Cluster{UID: clusterUID}
	id := catalog.NewPointID(clusterUID, request.Plan, request.Scheduled, request.Attempt)
	intent := catalog.Intent{Point: id, Cluster: cluster, Plan: request.Plan, Scheduled: request.Scheduled, Attempt: request.Attempt, Agent: r.identity, Started: time.Now()}
	if err := r.catalog.Begin(ctx, intent); err != nil {
		return catalog.Commit{}, err
	}
	if do != nil {
		if err := do(ctx, request); err != nil {
			ctx := context.WithoutCancel(ctx)
			return catalog.Commit{}, errors.Join(err, r.catalog.Abandon(ctx, intent, catalog.Commit{}, nil), r.catalog.Settle(ctx, clusterUID, id))
		}
	}
	commit, err := r.catalog.Commit(ctx, catalog.Commit{
		Point: id, Cluster: cluster, Plan: request.Plan, Scheduled: request.Scheduled, Attempt: request.Attempt, Outcome: catalog.Complete,
	}, catalog.Bundle{}, nil)
	return commit, errors.Join(err, r.catalog.Settle(ctx, clusterUID, id))
}

func (r *fakeRunner) TakeOver(ctx context.Context, _ func(string) (backup.Request, bool)) ([]backup.TakenOver, error) {
	survey, err := r.catalog.Survey(ctx, clusterUID)
	if err != nil {
		return nil, err
	}
	var taken []backup.TakenOver
	for _, p := range survey {
		if !p.Journal || p.Settled || p.Commit {
			continue
		}
		intent, err := r.catalog.Intent(ctx, p)
		if err != nil {
			return nil, err
		}
		if intent.Agent != r.identity {
			err := errors.Join(r.catalog.Abandon(ctx, intent, catalog.Commit{}, nil), r.catalog.Settle(ctx, clusterUID, p.Point))
			taken = append(taken, backup.TakenOver{Intent: intent, Err: errors.Join(backup.ErrRolledBack, err)})
		}
	}
	return taken, nil
}

// plan is one of the schedule, which is UTC's.
func plan(t *testing.T, name, expr string, change ...func(*Plan)) Plan {
	t.Helper()
	schedule, err := ParseSchedule(expr, time.UTC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Name: name, Schedule: schedule, CatchUp: time.Hour}
	for _, c := range change {
		c(&p)
	}
	return p
}
