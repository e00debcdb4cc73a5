package prune

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// actor carries a plan out. Each step leaves the catalog and the cluster such
// that a later run can decide anew and go on.
type actor struct {
	*Pruner
	state  State
	result *Result
	errs   []error // about points
}

// act carries the plan out: what is to stay first, then what was announced,
// then what is new.
func (a *actor) act(ctx context.Context) error {
	a.each(ctx, Exhume, a.exhume)
	a.remove(ctx)
	a.each(ctx, Bury, a.bury)
	a.each(ctx, Forget, func(ctx context.Context, d *Decision) error { return a.Catalog.Forget(ctx, d.presence) })
	if ctx.Err() != nil {
		a.errs = append(a.errs, context.Cause(ctx))
	}
	if len(a.errs) > 0 {
		a.result.leaveUndone(a.errs[len(a.errs)-1])
	}
	a.result.SweepErr = a.sweep(ctx)
	return errors.Join(append(a.errs, a.result.SweepErr)...)
}

// pending returns the decisions of that verdict that no guard stops.
func (a *actor) pending(verdict Verdict) []*Decision {
	var pending []*Decision
	for i := range a.result.Decisions {
		if d := &a.result.Decisions[i]; d.Verdict == verdict && d.Stopped == "" {
			pending = append(pending, d)
		}
	}
	return pending
}

// each carries out the decisions of one verdict, the oldest point first. What
// fails because of the point itself does not keep the others.
func (a *actor) each(ctx context.Context, verdict Verdict, do func(context.Context, *Decision) error) {
	for _, d := range a.pending(verdict) {
		if ctx.Err() != nil {
			return
		}
		err := do(ctx, d)
		a.conclude(d, err)
		if err != nil && !ofPoint(err) {
			return
		}
	}
}

// ofPoint says whether an error is of one point, not of the way to the store.
func ofPoint(err error) bool {
	for _, known := range []error{catalog.ErrExist, catalog.ErrNotExist, catalog.ErrNoPoint, catalog.ErrTooEarly} {
		if errors.Is(err, known) {
			return true
		}
	}
	return catalog.Unreadable(err)
}

// conclude notes what became of a decision.
func (a *actor) conclude(d *Decision, err error) {
	if err != nil {
		d.Problem = err.Error()
		a.errs = append(a.errs, err)
		return
	}
	d.Done = true
	a.log().Info("pruning", "point", d.Point, "done", string(d.Verdict), "reasons", d.Reasons)
}

// note adds what a person should know.
func (a *actor) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	a.result.Notes = append(a.result.Notes, text)
	a.log().Info(text)
}

func (a *actor) exhume(ctx context.Context, d *Decision) error {
	return a.Catalog.Exhume(ctx, d.presence)
}

// bury writes the tombstone of a point. It reads the bundle once more: the
// tombstone names what the removal will have to delete.
func (a *actor) bury(ctx context.Context, d *Decision) error {
	now := a.Now().UTC().Truncate(time.Second)
	t := catalog.Tombstone{
		Point: d.Point, Cluster: catalog.Cluster{UID: d.presence.ClusterUID},
		Buried: now, NotBefore: now.Add(a.state.Grace), Reasons: d.Reasons, Writer: a.Writer,
	}
	if d.Outcome != catalog.Abandoned {
		point, err := a.Catalog.Load(ctx, d.presence.ClusterUID, d.Point)
		if err != nil {
			return err
		}
		t.Snapshots = intentsOf(point.Bundle)
	}
	d.Until = &t.NotBefore
	err := a.Catalog.Bury(ctx, t)
	if errors.Is(err, catalog.ErrExist) {
		return nil // another run was faster, or the answer to an earlier try got lost
	}
	return err
}

// going is a point that is being removed.
type going struct {
	*Decision
	names sets.Set[string] // NAMESPACE/NAME of its VolumeSnapshots
}

// remove removes the points whose grace period is over: their snapshots first,
// several points at once, then their objects.
func (a *actor) remove(ctx context.Context) {
	var batch []going
	snapshots := 0
	for _, d := range a.pending(Remove) {
		if ctx.Err() != nil {
			return
		}
		names, err := a.beginRemoval(ctx, d)
		if errors.Is(err, catalog.ErrExist) {
			// An earlier run was cut off while it took the tombstone back.
			d.Verdict = Exhume
			a.conclude(d, a.exhume(ctx, d))
			continue
		}
		if err != nil {
			a.conclude(d, err)
			if !ofPoint(err) {
				return
			}
			continue
		}
		batch = append(batch, going{d, names})
		if snapshots += names.Len(); snapshots >= batchSize {
			a.removeBatch(ctx, batch)
			batch, snapshots = nil, 0
		}
	}
	if len(batch) > 0 {
		a.removeBatch(ctx, batch)
	}
}

// beginRemoval makes the removal of a point certain, and returns the names of
// its snapshots.
func (a *actor) beginRemoval(ctx context.Context, d *Decision) (sets.Set[string], error) {
	if err := a.noteMissing(ctx, d); err != nil {
		return nil, err
	}
	t, err := a.Catalog.BeginRemoval(ctx, d.presence, a.Now())
	if err != nil {
		return nil, err
	}
	names := sets.New[string]()
	for _, s := range t.Snapshots {
		names.Insert(s.Claim.Namespace + "/" + s.Name)
	}
	return names, nil
}

// noteMissing says which snapshots of a point the cluster does not know: whether
// the storage has them cannot be seen, nor can they be removed from here.
func (a *actor) noteMissing(ctx context.Context, d *Decision) error {
	p := a.point(d.Point)
	if d.presence.Removing || p.contents == nil {
		return nil
	}
	missing := sets.New[id]()
	for _, s := range p.contents.snapshots {
		if _, found := a.state.uses[s.handle]; !found {
			missing.Insert(s.handle)
		}
	}
	if missing.Len() == 0 {
		return nil
	}
	point, err := a.Catalog.Load(ctx, d.presence.ClusterUID, d.Point)
	if err != nil {
		return err
	}
	for _, v := range point.Bundle.Volumes {
		if v.Snapshot != nil && missing.Has(handleID(v.Driver, v.Snapshot.Handle)) {
			a.note("the cluster does not know snapshot %s of driver %s, of claim %s in point %s; if the storage still has it, delete it there", v.Snapshot.Handle, v.Driver, v.Claim, d.Point)
		}
	}
	return nil
}

// point returns what was gathered of a point that was decided on.
func (a *actor) point(id catalog.PointID) Point {
	for _, p := range a.state.Points {
		if p.Point == id {
			return p
		}
	}
	return Point{}
}

// removeBatch removes the snapshots of points, and then the objects of those
// whose snapshots are all gone.
func (a *actor) removeBatch(ctx context.Context, batch []going) {
	names, leaving := sets.New[string](), sets.New[catalog.PointID]()
	for _, g := range batch {
		names = names.Union(g.names)
		leaving.Insert(g.Point)
	}
	gone, err := a.removeSnapshots(ctx, names, leaving)
	if err != nil {
		a.errs = append(a.errs, err)
	}
	for _, g := range batch {
		if left := g.names.Difference(gone); left.Len() > 0 {
			g.Problem = fmt.Sprintf("%d of its %d snapshots are still there; the next run goes on", left.Len(), g.names.Len())
			if err != nil {
				g.Problem += ": " + err.Error()
			}
			continue
		}
		a.conclude(g.Decision, a.Catalog.Remove(ctx, g.presence, a.Now()))
	}
}
