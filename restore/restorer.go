package restore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

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

// Plan looks at the cluster and plans the restore of point. It writes nothing
// but, unless SkipCheck is set or the request says where the data comes from,
// VolumeAttachments with which it asks the driver about the disks and which it
// takes away again. It fails with *RefusedError if the restore is refused.
func (r *Restorer) Plan(ctx context.Context, point *catalog.RestorePoint, request Request) (*Plan, error) {
	if request.From == "" {
		request.From = FromAuto
	}
	namespace := onlyNamespace(point, request)
	observed, err := r.observe(ctx, namespace, request.From != FromDisks, holdsSecrets(point))
	if err != nil {
		return nil, fmt.Errorf("look at the cluster: %w", err)
	}
	plan, err := NewPlan(point, request, observed)
	if err != nil || request.From != FromAuto || r.SkipCheck {
		return plan, err
	}
	// The plan stands if the disks do; ask about those that it rests on.
	toCheck, pairs, err := reattached(point, plan)
	if err != nil || len(toCheck) == 0 {
		return plan, err
	}
	if err := r.checkDisks(ctx, observed, toCheck, pairs); err != nil {
		return nil, err
	}
	return NewPlan(point, request, observed)
}

// reattached finds the volumes of point that plan reattaches.
func reattached(point *catalog.RestorePoint, plan *Plan) ([]catalog.Volume, map[catalog.ClaimKey]Pair, error) {
	everything := planner{point: point, plan: plan}
	if err := everything.index(); err != nil {
		return nil, nil, err
	}
	ways := map[catalog.ClaimKey]Way{}
	for _, v := range plan.Volumes {
		ways[v.Claim] = v.Way
	}
	var volumes []catalog.Volume
	for _, v := range everything.volumes {
		if ways[v.Claim] == Reattach {
			volumes = append(volumes, v)
		}
	}
	return volumes, everything.pairs, nil
}

// onlyNamespace is the one namespace that the request concerns, or "".
func onlyNamespace(point *catalog.RestorePoint, request Request) string {
	only := ""
	p := planner{request: request}
	for _, object := range point.Bundle.Objects {
		namespace := object.GetNamespace()
		if namespace == "" || !p.wantsNamespace(namespace) {
			continue
		}
		if only != "" && only != namespace {
			return ""
		}
		only = namespace
	}
	return only
}

func holdsSecrets(point *catalog.RestorePoint) bool {
	for _, object := range point.Bundle.Objects {
		if object.GetKind() == "Secret" {
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
