package migrate

import (
	"context"
	"fmt"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// The steps of a rollback, as the journal names them.
const (
	stepBack        = "back" // what runs in the target is stopped
	stepFenceTarget = "fence target"
	stepOwnBack     = "own back" // the disks are the source's
	stepRemove      = "remove"   // what the migration has made in the target goes
	stepStartSource = "start source"
)

// Rollback leads a migration back: its workloads run in the source again, on their
// disks, and what it has made in the target is removed. Without a Target, which is
// gone then, nothing can be fenced there: whoever leaves it out knows that nobody in
// it can write to the disks any more. It fails with *restore.RefusedError if the
// migration is committed, or if the driver says that a disk is in use elsewhere. It
// may be run again, also with a Target that has come back.
func (m *Mover) Rollback(ctx context.Context, id catalog.MigrationID) (*Result, error) {
	state, err := m.Catalog.Migration(ctx, id)
	if err != nil {
		return nil, err
	}
	plan, err := m.backPlan(&state)
	if err != nil {
		return nil, err
	}
	if err := m.checkFree(ctx, plan); err != nil {
		return nil, err
	}
	r, err := m.newRun(ctx, plan, catalog.Back)
	if err != nil {
		return nil, err
	}
	// From here on the migration cannot be committed any more.
	verdict, err := m.Catalog.Conclude(ctx, id, catalog.Verdict{Outcome: catalog.RolledBack, Run: r.number, At: m.Now().UTC()})
	if err != nil {
		return nil, &HalfwayError{ID: id, Back: true, Err: err}
	}
	r.result.Outcome = verdict.Outcome
	if verdict.Outcome == catalog.Committed {
		return nil, committedRefusal(&state)
	}
	// Read now: what an earlier run may take yet, it has locked before.
	if r.owners, err = m.Catalog.OwnersOf(ctx, disksBack(plan.Volumes)); err != nil {
		return r.result, &HalfwayError{ID: id, Back: true, Err: err}
	}
	if plan.Way == catalog.WayCopy {
		r.note("the source was never touched; what the copy has made in the target, on disks of its own, stays until it is deleted there (annotation %s: %s)", MadeByAnnotation, id)
		return r.result, r.done(ctx)
	}
	steps := []func(context.Context) error{r.back, r.fenceTarget, r.ownBack, r.remove, r.startSource, r.done}
	if m.Target == nil {
		steps = []func(context.Context) error{r.back, r.ownBack, r.startSource, r.done}
		r.note("what the migration has made in cluster %s is still there; should that cluster come back, run `hawser migrate --rollback %s` once more with --to, before anything else is done there", clusterText(plan.To), id)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r.result, &HalfwayError{ID: id, Back: true, Err: err}
		}
	}
	return r.result, nil
}

func disksBack(volumes []catalog.MigratedVolume) []catalog.Disk {
	var disks []catalog.Disk
	for _, v := range volumes {
		disks = append(disks, v.Disk)
	}
	return disks
}

// backPlan is the plan of a migration that is to be led back.
func (m *Mover) backPlan(state *catalog.MigrationState) (*Plan, error) {
	if state.Verdict != nil && state.Verdict.Outcome == catalog.Committed {
		return nil, committedRefusal(state)
	}
	refuse := func(problem, remedy string) error {
		return &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "Migration", Name: string(state.Migration.ID), Problem: problem, Remedy: remedy}}}
	}
	if state.Migration.Way == catalog.WayAdopt {
		return nil, refuse("it has adopted the disks of a cluster that is gone: there is no place to go back to", "finish it with the same command as before")
	}
	if err := m.isOf(state.Migration); err != nil {
		return nil, err
	}
	migration := state.Migration
	plan := &Plan{ID: migration.ID, Way: migration.Way, From: migration.Source, To: migration.Target, Workloads: migration.Workloads, Volumes: migration.Volumes, migration: migration, seen: &Seen{Unfinished: state}}
	options, err := resumed(migration, Options{})
	if err != nil {
		return nil, err
	}
	plan.options, plan.Namespace = options, options.Namespace
	return plan, nil
}

// isOf refuses to act on other clusters than those of the migration.
func (m *Mover) isOf(migration catalog.Migration) error {
	var refusals []restore.Refusal
	for _, side := range []struct {
		flag string
		have *Side
		want catalog.Cluster
	}{{"--from", m.Source, migration.Source}, {"--to", m.Target, migration.Target}} {
		if side.have != nil && side.have.UID != side.want.UID {
			refusals = append(refusals, restore.Refusal{Kind: "Cluster", Name: side.have.UID, Problem: fmt.Sprintf("migration %s is of cluster %s", migration.ID, clusterText(side.want)), Remedy: "correct " + side.flag})
		}
	}
	if len(refusals) > 0 {
		return &restore.RefusedError{Refusals: refusals}
	}
	return nil
}

// checkFree asks the driver in the source, if the target is gone, whether the disks
// are still attached elsewhere, and refuses if one is. What could not be checked is
// a note of the plan.
func (m *Mover) checkFree(ctx context.Context, plan *Plan) error {
	if m.Target != nil || plan.Way == catalog.WayCopy {
		return nil
	}
	point, err := m.leaving(ctx, plan.options)
	if err != nil {
		return err
	}
	observed, err := m.Source.Look(ctx, plan.Namespace)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	notes, err := m.Source.Usable(ctx, point, observed, map[restore.Presence]string{
		restore.DiskGone:  "find out who has deleted it",
		restore.DiskInUse: "the target is not gone: lead the migration back with --to, or see that its nodes are off and the storage has detached the disk",
	})
	plan.Notes = append(plan.Notes, notes...)
	return err
}

func committedRefusal(state *catalog.MigrationState) error {
	return &restore.RefusedError{Refusals: []restore.Refusal{{
		Kind: "Migration", Name: string(state.Migration.ID), Problem: "it is committed: the workloads are in cluster " + clusterText(state.Migration.Target),
		Remedy: "migrate them back, with --from and --to exchanged",
	}}}
}

// back keeps every earlier run from scaling anything, and stops what runs in the
// target.
func (r *run) back(ctx context.Context) error {
	if err := r.step(ctx, stepBack, ""); err != nil {
		return err
	}
	err := restore.Each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
		namespace, name := source(w)
		if _, err := r.change(ctx, r.Source, namespace, name, holdPatch(r.ID, r.number)); err != nil {
			return fmt.Errorf("%s in the source: %w", users.Named(name), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.Target == nil {
		return nil
	}
	return r.changeTarget(ctx, false, func(catalog.MigratedWorkload) patchOf { return haltPatch(r.ID, r.number) })
}

// fenceTarget waits until nobody in the target can write to the disks.
func (r *run) fenceTarget(ctx context.Context) error {
	if err := r.step(ctx, stepFenceTarget, ""); err != nil {
		return err
	}
	err := r.whileInCharge(ctx, func(ctx context.Context) error { return r.Target.Fence(ctx, r.targetClaims(), r.targetVolumes()) })
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

// ownBack makes the disks that this migration has taken the source's again, also
// those that the source has: an earlier run may be about to take them.
func (r *run) ownBack(ctx context.Context) error {
	if err := r.step(ctx, stepOwnBack, ""); err != nil {
		return err
	}
	var taken []catalog.MigratedVolume
	for _, v := range r.Volumes {
		if owner, known := r.owners.Of(v.Disk); known && owner.Migration == r.ID {
			taken = append(taken, v)
		}
	}
	return r.take(ctx, taken, r.From, func(v catalog.MigratedVolume) string { return v.Volume }, true)
}

// remove deletes what the migration has made in the target: workloads, which are
// at 0, then claims, then PersistentVolumes, which are Retain.
func (r *run) remove(ctx context.Context) error {
	if err := r.step(ctx, stepRemove, ""); err != nil {
		return err
	}
	if err := restore.Each(ctx, r.Workloads, r.removeWorkload); err != nil {
		return err
	}
	_, err := removePairs(ctx, r.Target, r.targetPairs(), madeBy(r.ID))
	return err
}

func (r *run) removeWorkload(ctx context.Context, w catalog.MigratedWorkload) error {
	namespace, name := target(w)
	u, err := users.Read(ctx, r.Target.Kubernetes, namespace, name)
	if err != nil || u == nil {
		return err
	}
	if !madeBy(r.ID)(u.Object) {
		_, err := r.change(ctx, r.Target, namespace, name, unreservePatch(r.ID))
		return err
	}
	if u.Replicas != 0 {
		return fmt.Errorf("somebody has scaled %s in the target to %d meanwhile; what does that must be paused", users.Named(name), u.Replicas)
	}
	if err := r.inCharge(ctx); err != nil {
		return err
	}
	return deleteWorkload(ctx, r.Target, u)
}

// startSource scales the workloads of the source back.
func (r *run) startSource(ctx context.Context) error {
	if err := r.step(ctx, stepStartSource, ""); err != nil {
		return err
	}
	if stop := stepOf(&r.state, stepStop); stop != nil {
		for _, w := range r.Workloads {
			r.down[workloadOf(w)] = stop.At
		}
	}
	err := restore.Each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
		namespace, name := source(w)
		found, err := r.change(ctx, r.Source, namespace, name, backPatch(r.ID))
		if err != nil {
			return fmt.Errorf("%s in the source: %w", users.Named(name), err)
		}
		if !found {
			r.note("%s is gone from the source, whose disks are its own again; hawser restore --from disks brings it back", users.Named(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.awaitReady(ctx, r.Source, source, r.takesClaim)
}
