package migrate

import (
	"context"
	"errors"
	"fmt"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// The steps of a move, as the journal names them.
const (
	stepLock   = "lock"  // the disks are this migration's, in the source
	stepGuard  = "guard" // PersistentVolumes of the source become Retain
	stepPoint  = "point" // a restore point of the source is made
	stepStop   = "stop"  // workloads are scaled to 0, and remember how they were
	stepFence  = "fence" // no Pod uses the claims, and no disk is attached
	stepOwn    = "own"   // the disks are the target's
	stepCreate = "create"
	stepStart  = "start"
	stepVerify = "verify"
	stepCommit = "commit" // the verdict
	stepMark   = "mark"   // what is left in the source says where it went
)

// Apply carries a plan out. When it fails or ctx ends after the migration began,
// what was done stays: planning and applying the same again goes on from there,
// and Rollback leads back until the migration is committed.
func (m *Mover) Apply(ctx context.Context, plan *Plan) (*Result, error) {
	if !plan.Resumes {
		plan.migration.Writer = m.Writer
		if err := m.Catalog.BeginMigration(ctx, plan.migration); err != nil {
			return nil, fmt.Errorf("nothing was changed in either cluster: %w", err)
		}
	}
	r, err := m.newRun(ctx, plan, catalog.Forward)
	if err != nil {
		return nil, err
	}
	if goesBack(&r.state) {
		return nil, &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "Migration", Name: string(plan.ID), Problem: "it is being rolled back", Remedy: fmt.Sprintf("`hawser migrate --rollback %s` finishes that", plan.ID)}}}
	}
	for _, step := range r.steps() {
		if err := step(ctx); err != nil {
			if given := (*restore.RefusedError)(nil); errors.As(err, &given) && r.abandoned {
				return r.result, err
			}
			return r.result, &HalfwayError{ID: r.ID, Err: err}
		}
	}
	return r.result, nil
}

// steps are those that are left to take.
func (r *run) steps() []func(context.Context) error {
	until, after := []func(context.Context) error{r.lock, r.guard, r.point, r.stop, r.fence, r.ownInTarget, r.create, r.start, r.verify, r.commit}, []func(context.Context) error{r.mark, r.done}
	switch r.Way {
	case catalog.WayCopy:
		until, after = []func(context.Context) error{r.point, r.createCopy, r.commit}, after[1:]
	case catalog.WayAdopt:
		until = []func(context.Context) error{r.ownInTarget, r.create, r.start, r.commit}
	}
	if r.state.Verdict != nil {
		r.result.Outcome = r.state.Verdict.Outcome
		return after
	}
	return append(until, after...)
}

// lock makes the disks this migration's. Where another one has been faster this
// one ends: it has changed nothing.
func (r *run) lock(ctx context.Context) error {
	if err := r.step(ctx, stepLock, ""); err != nil {
		return err
	}
	if stepOf(&r.state, stepOwn) != nil {
		return nil // they were taken for the target since
	}
	err := r.take(ctx, r.Volumes, r.From, func(v catalog.MigratedVolume) string { return v.Volume }, false)
	taken := (*catalog.TakenError)(nil)
	if errors.As(err, &taken) && taken.Owner.Migration != r.ID && !r.Resumes {
		return r.abandon(ctx, taken)
	}
	return err
}

// abandon ends a migration that has changed nothing.
func (r *run) abandon(ctx context.Context, taken *catalog.TakenError) error {
	if _, err := r.Catalog.Conclude(ctx, r.ID, catalog.Verdict{Outcome: catalog.RolledBack, Run: r.number, At: r.Now().UTC(), Notes: []string{taken.Error()}}); err != nil {
		return err
	}
	if err := r.step(ctx, stepDone, "another migration was faster"); err != nil {
		return err
	}
	r.abandoned = true
	return &restore.RefusedError{Refusals: []restore.Refusal{{
		Kind: "Migration", Name: string(taken.Owner.Migration), Problem: fmt.Sprintf("it has taken disk %s meanwhile: it is owned by %s", taken.Disk.Handle, taken.Owner), Remedy: "wait for its end",
	}}}
}

// commit decides that the workloads are in the target.
func (r *run) commit(ctx context.Context) error {
	if err := r.step(ctx, stepCommit, ""); err != nil {
		return err
	}
	verdict := catalog.Verdict{Outcome: catalog.Committed, Run: r.number, At: r.Now().UTC()}
	if r.Source == nil {
		verdict.Notes = append(verdict.Notes, "nothing was fenced: the source was said to be gone")
	}
	for _, w := range r.result.Workloads {
		if w.Downtime > 0 {
			verdict.Notes = append(verdict.Notes, fmt.Sprintf("%s was down for %.1f s", users.Named(w.Workload), w.Downtime))
		}
	}
	inForce, err := r.Catalog.Conclude(ctx, r.ID, verdict)
	if err != nil {
		return err
	}
	r.result.Outcome = inForce.Outcome
	if inForce.Outcome != catalog.Committed {
		return fmt.Errorf("it was decided meanwhile to roll it back; `hawser migrate --rollback %s` does that", r.ID)
	}
	return nil
}

// done says that nothing is left to do. A move whose source was gone has yet to
// mark what is there, should it come back.
func (r *run) done(ctx context.Context) error {
	if r.Source == nil && r.migration.Way == catalog.WayMove {
		r.note("what was stopped in cluster %s is not marked as moved; should that cluster come back, scale what runs there to 0 first, and run the same command once more with --from in place of --way adopt", clusterText(r.From))
		return nil
	}
	return r.step(ctx, stepDone, "")
}
