package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Options say what drill to hold.
type Options struct {
	Plan   string
	Point  catalog.PointID // "" for the newest complete point of the plan
	Prefix string          // of the scratch namespaces' names; "" for DefaultPrefix
	Check  Check
	Keep   bool // leave what was made, to look at it; CleanUp removes it
}

// ErrNoPoint: the plan has no complete point to practise on.
var ErrNoPoint = errors.New("no complete point")

// Run holds one drill, records what came of it and removes what it made, also
// when ctx ends. It first removes what drills that were killed have left. A
// drill that could be held has no error, whatever came of it; one that could
// not, because the cluster or the store did not answer, or ctx ended, leaves no
// evidence. If only the cleaning up fails, the evidence comes with an error.
func (d *Driller) Run(ctx context.Context, o Options) (drill catalog.Drill, err error) {
	if _, err := d.CleanUp(ctx, "", false); err != nil {
		if ctx.Err() != nil {
			return catalog.Drill{}, err
		}
		d.warn("what an earlier drill has left could not be removed", "error", err)
	}
	uid, err := catalog.ClusterUID(ctx, d.Kubernetes.CoreV1().Namespaces())
	if err != nil {
		return catalog.Drill{}, err
	}
	point, err := d.point(ctx, uid, o)
	if err != nil {
		return catalog.Drill{}, err
	}
	r, err := d.begin(ctx, point, o)
	if err != nil {
		return catalog.Drill{}, err
	}
	defer func() { err = errors.Join(err, r.end(ctx, o.Keep)) }()
	if err := r.hold(ctx); err != nil {
		return catalog.Drill{}, fmt.Errorf("drill %s: %w", r.scratch.ID, err)
	}
	if err := d.Catalog.RecordDrill(ctx, r.drill); err != nil {
		return catalog.Drill{}, err
	}
	return r.drill, nil
}

// point loads the point of a drill.
func (d *Driller) point(ctx context.Context, clusterUID string, o Options) (*catalog.RestorePoint, error) {
	id := o.Point
	if id == "" {
		survey, err := d.Catalog.Survey(ctx, clusterUID)
		if err != nil {
			return nil, err
		}
		if id, err = d.newest(ctx, survey, o.Plan); err != nil {
			return nil, err
		}
	}
	point, err := d.Catalog.Load(ctx, clusterUID, id)
	if err != nil {
		return nil, err
	}
	if point.Commit.Plan != o.Plan {
		return nil, fmt.Errorf("point %s is of plan %s, not of %s", id, point.Commit.Plan, o.Plan)
	}
	return point, nil
}

// newest is the newest complete point of a plan that is not on its way out.
func (d *Driller) newest(ctx context.Context, survey []catalog.Presence, plan string) (catalog.PointID, error) {
	for _, p := range slices.Backward(survey) {
		if !p.Commit || p.Tombstone || p.Removing || p.Point.Plan() != plan {
			continue
		}
		commit, err := d.Catalog.ReadCommit(ctx, p)
		if errors.Is(err, catalog.ErrNoPoint) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return "", err
		}
		if commit.Outcome == catalog.Complete {
			return p.Point, nil
		}
	}
	return "", fmt.Errorf("plan %s has %w in this cluster; back it up first: hawser backup --plan %s", plan, ErrNoPoint, plan)
}

// run is one drill under way.
type run struct {
	*Driller
	point   *catalog.RestorePoint
	scratch *Scratch
	check   Check
	drill   catalog.Drill
	started time.Time
	stop    context.CancelFunc // of the signs of life
	stopped chan struct{}
}

// begin makes the namespaces and classes of a drill. What it has made when it
// fails it removes.
func (d *Driller) begin(ctx context.Context, point *catalog.RestorePoint, o Options) (*run, error) {
	var classes []storagev1.StorageClass
	if err := restore.Collect(ctx, "storageclasses", d.Kubernetes.StorageV1().StorageClasses().List, &classes); err != nil {
		return nil, err
	}
	started := d.Now()
	scratch, err := NewScratch(point, catalog.NewDrillID(o.Plan, started), cmp.Or(o.Prefix, DefaultPrefix), classes)
	if err != nil {
		return nil, err
	}
	r := &run{Driller: d, point: point, scratch: scratch, check: o.Check, started: started}
	r.drill = catalog.Drill{
		Format: catalog.Format, ID: scratch.ID, Cluster: point.Commit.Cluster, Plan: o.Plan, Point: point.Commit.Point,
		Started: started.UTC(), Image: o.Check.image(), Command: o.Check.Command, Writer: d.Writer,
	}
	// From the first object on it is under way, and is cleaned up.
	var alive context.Context
	alive, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.stopped = make(chan struct{})
	for i := range scratch.Namespaces {
		if err == nil {
			_, err = d.Kubernetes.CoreV1().Namespaces().Create(ctx, &scratch.Namespaces[i], metav1.CreateOptions{})
		}
	}
	for i := range scratch.Classes {
		if err == nil {
			_, err = d.Kubernetes.StorageV1().StorageClasses().Create(ctx, &scratch.Classes[i], metav1.CreateOptions{})
		}
	}
	go r.live(alive)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("drill %s: make what it needs: %w", scratch.ID, err), r.end(ctx, false))
	}
	return r, nil
}

// live shows that the drill is under way, until ctx ends.
func (r *run) live(ctx context.Context) {
	defer close(r.stopped)
	ticker := time.NewTicker(renewal)
	defer ticker.Stop()
	for beat := 1; ; beat++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.annotate(ctx, aliveAnnotation, strconv.Itoa(beat)); err != nil && ctx.Err() == nil {
			r.warn("a drill cannot show that it is under way; another may remove it", "drill", r.scratch.ID, "error", err)
		}
	}
}

func (r *run) annotate(ctx context.Context, key, value string) error {
	var errs []error
	for _, n := range r.scratch.Namespaces {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
		_, err := r.Kubernetes.CoreV1().Namespaces().Patch(ctx, n.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// end removes what the drill made, also after ctx has ended, or marks it as kept.
func (r *run) end(ctx context.Context, keep bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	r.stop()
	<-r.stopped
	if keep {
		return r.annotate(ctx, keptAnnotation, "true")
	}
	var result Cleaned
	err := r.remove(ctx, func(id catalog.DrillID) bool { return id == r.scratch.ID }, &result)
	if err != nil {
		return fmt.Errorf("%w; `hawser drill --cleanup` goes on with it", err)
	}
	return nil
}

// hold restores, checks, and fills in what came of it. Its error is for a drill
// that could not be held.
func (r *run) hold(ctx context.Context) error {
	hctx, cancel := context.WithTimeoutCause(ctx, r.check.timeout(), errTime)
	defer cancel()
	t := newTally(r.point, r.started)
	watching := r.watchClaims(hctx, t)
	problem := r.restore(hctx, t)
	if problem == nil {
		problem = r.checkAll(hctx, t)
	}
	cancel()
	<-watching
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if problem != nil && !isVerdict(problem) && !errors.Is(problem, errTime) {
		return problem
	}
	r.drill.Ended = r.Now().UTC()
	t.conclude(&r.drill, problem, r.check.timeout())
	return nil
}

// errTime ends a drill that takes too long.
var errTime = errors.New("the time of the drill is over")

// restore makes the claims, and waits for those that bind without a Pod.
func (r *run) restore(ctx context.Context, t *tally) error {
	restorer := &restore.Restorer{
		Kubernetes: r.Kubernetes, Dynamic: r.Dynamic, Snapshots: r.Snapshots, Now: r.Now, SkipCheck: true,
		Patience: r.check.timeout(), Report: r.reportClaims(), Log: r.Log,
	}
	plan, err := restorer.Plan(ctx, r.scratch.Point, r.scratch.Request)
	if err != nil {
		return timely(ctx, err)
	}
	t.stage("bind")
	_, err = restorer.Apply(ctx, plan)
	return timely(ctx, err)
}

// reportClaims passes on what a restore tells of claims, under their names in the
// point.
func (r *run) reportClaims() func(restore.Event) {
	origins := r.origins()
	return func(e restore.Event) {
		if origin, ours := origins[catalog.ClaimKey{Namespace: e.Namespace, Name: e.Name}]; ours && e.Kind == "PersistentVolumeClaim" {
			e.Namespace, e.Done = origin.Namespace, false
			r.report(e)
		}
	}
}

// timely is err, or that time is over if that is why.
func timely(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errTime) {
		return fmt.Errorf("%w: %w", errTime, err)
	}
	return err
}

// isVerdict says whether an error of a restore says something of the point: what
// the API server or the network says does not.
func isVerdict(err error) bool {
	var status apierrors.APIStatus
	var network *url.Error
	return !errors.As(err, &status) && !errors.As(err, &network) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
