package restore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// Event is one thing that a restore did to one object.
type Event struct {
	Kind, Namespace, Name string
	Stage                 string // one word: created, kept, re-armed, protected, bound, waiting
	Message               string // more, or ""
	Done                  bool   // nothing more will be said of the object
	At                    time.Time
}

// Restorer restores into one cluster. Kubernetes, Dynamic, Snapshots and Now
// are required.
type Restorer struct {
	Kubernetes kubernetes.Interface
	Dynamic    dynamic.Interface
	Snapshots  snapshotclient.Interface
	Now        func() time.Time
	// Owners asks who owns disks, and which cluster this is: Plan, and Apply once
	// more, refuse disks that are held elsewhere. nil: no catalog is asked.
	Owners func(context.Context) (owners catalog.Owners, clusterUID string, err error)
	// SkipCheck leaves out the check whether disks exist, with which FromAuto
	// chooses between disk and snapshot.
	SkipCheck bool
	// Patience is how long Apply waits without seeing any claim bound or any
	// snapshot become ready before it gives up; 0 means DefaultPatience.
	Patience time.Duration
	Report   func(Event)  // called from several goroutines; nil for none
	Log      *slog.Logger // nil for none
}

// DefaultPatience covers the 15 s after which the binder retries, several
// times over.
const DefaultPatience = 2 * time.Minute

// parallel is how many requests are under way at once.
const parallel = 16

// Each does act for all items side by side, and returns the first error.
func Each[T any](ctx context.Context, items []T, act func(context.Context, T) error) error {
	_, err := Map(ctx, items, func(ctx context.Context, item T) (struct{}, error) { return struct{}{}, act(ctx, item) })
	return err
}

// Map is Each with what act returns of each item, in the order of the items; with
// an error, of those that came so far.
func Map[T, R any](ctx context.Context, items []T, act func(context.Context, T) (R, error)) ([]R, error) {
	results := make([]R, len(items))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() (err error) {
			results[i], err = act(gctx, item)
			return err
		})
	}
	return results, group.Wait()
}

// Plan looks at the cluster and plans the restore of point. It writes nothing
// but, unless SkipCheck is set or the request says where the data comes from,
// VolumeAttachments with which it asks the driver about the disks and which it
// takes away again. It fails with *RefusedError if the restore is refused.
func (r *Restorer) Plan(ctx context.Context, point *catalog.RestorePoint, request Request) (*Plan, error) {
	if request.From == "" {
		request.From = FromAuto
	}
	t, err := aim(point, request)
	if err != nil {
		return nil, err
	}
	observed, err := r.observe(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	plan, err := t.plan(observed)
	if err != nil || request.From != FromAuto || r.SkipCheck {
		return plan, err
	}
	// The plan stands if the disks do; ask about those that it rests on.
	toCheck := plan.reattached()
	if len(toCheck) == 0 {
		return plan, nil
	}
	if err := r.checkDisks(ctx, newLookup(observed), toCheck, t.pairs); err != nil {
		return nil, err
	}
	return t.plan(observed)
}

// Observe lists what a plan for the restore of point rests on. It writes nothing.
func (r *Restorer) Observe(ctx context.Context, point *catalog.RestorePoint, request Request) (*Observed, error) {
	t, err := aim(point, request)
	if err != nil {
		return nil, err
	}
	observed, err := r.observe(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	return observed, nil
}

// reattached are the volumes that the plan reattaches.
func (p *Plan) reattached() []catalog.Volume {
	ways := map[catalog.ClaimKey]Way{}
	for _, v := range p.Volumes {
		ways[v.Claim] = v.Way
	}
	return slices.DeleteFunc(slices.Clone(p.target.volumes), func(v catalog.Volume) bool { return ways[v.Claim] != Reattach })
}

// namespace is the one namespace that the target is in, or "".
func (t *target) namespace() string {
	only := ""
	for _, object := range t.point.Bundle.Objects {
		namespace := object.GetNamespace()
		if namespace == "" {
			continue
		}
		if only != "" && only != namespace {
			return ""
		}
		only = namespace
	}
	return only
}

func (t *target) holds(kind string) bool {
	return slices.ContainsFunc(t.point.Bundle.Objects, func(o unstructured.Unstructured) bool { return o.GetKind() == kind })
}

// hasAffinity says whether some volume cannot be reached from every node.
func (t *target) hasAffinity() bool {
	for _, pair := range t.pairs {
		if pair.Volume.Spec.NodeAffinity != nil {
			return true
		}
	}
	return false
}

// hasAttributes says whether some claim names a VolumeAttributesClass.
func (t *target) hasAttributes() bool {
	for _, pair := range t.pairs {
		if ptr.Deref(pair.Claim.Spec.VolumeAttributesClassName, "") != "" {
			return true
		}
	}
	return false
}

func (r *Restorer) report(e Event) {
	if r.Report != nil {
		e.At = r.Now()
		r.Report(e)
	}
}

func (r *Restorer) patience() time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return DefaultPatience
}
