package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
			return nil, fmt.Errorf("nothing was changed: %w", err)
		}
	}
	r, err := m.newRun(ctx, plan, catalog.Forward)
	if err != nil {
		return nil, err
	}
	if goesBack(&r.state) {
		return nil, &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "Migration", Name: string(plan.ID), Problem: "it is being rolled back", Remedy: fmt.Sprintf("`hawser migrate --rollback %s` finishes that", plan.ID)}}}
	}
	steps := []func(context.Context) error{r.lock, r.guard, r.point, r.stop, r.fence, r.ownInTarget, r.create, r.start, r.verify, r.commit, r.mark, r.done}
	switch {
	case plan.Way == catalog.WayCopy:
		steps = []func(context.Context) error{r.point, r.createCopy, r.commit, r.done}
	case plan.Way == catalog.WayAdopt:
		steps = []func(context.Context) error{r.ownInTarget, r.create, r.start, r.commit, r.mark, r.done}
	}
	if r.state.Verdict != nil {
		r.result.Outcome = r.state.Verdict.Outcome
		steps = steps[len(steps)-2:] // what comes after the verdict
		if plan.Way == catalog.WayCopy {
			steps = steps[1:]
		}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			if given := (*restore.RefusedError)(nil); errors.As(err, &given) && r.abandoned {
				return r.result, err
			}
			return r.result, &HalfwayError{ID: r.ID, Err: err}
		}
	}
	return r.result, nil
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

// guard makes the PersistentVolumes of the source Retain.
func (r *run) guard(ctx context.Context) error {
	if err := r.step(ctx, stepGuard, ""); err != nil {
		return err
	}
	return each(ctx, r.Volumes, func(ctx context.Context, v catalog.MigratedVolume) error {
		pv := r.seen.InSource.Volume(v.Volume)
		if pv == nil || pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
			return nil
		}
		patch, err := restore.Protect(*pv)
		if err != nil {
			return err
		}
		got, err := r.Source.Kubernetes.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil && got.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			err = fmt.Errorf("the API server keeps policy %s (is an admission webhook changing it?)", got.Spec.PersistentVolumeReclaimPolicy)
		}
		if err != nil {
			return fmt.Errorf("protect PersistentVolume %s in the source: %w", pv.Name, err)
		}
		r.report("PersistentVolume", "", pv.Name, "protected", "it was "+string(pv.Spec.PersistentVolumeReclaimPolicy), true)
		return nil
	})
}

// point makes a restore point of the source, unless it was made, or stopped,
// before.
func (r *run) point(ctx context.Context) error {
	if r.Fresh == nil || stepOf(&r.state, stepStop) != nil || r.Way == catalog.WayCopy && r.result.Point != "" {
		return nil
	}
	if err := r.step(ctx, stepPoint, ""); err != nil {
		return err
	}
	selection := Options{Namespace: r.Namespace}.selection()
	for _, w := range r.Workloads {
		selection.Workloads = append(selection.Workloads, workloadOf(w))
	}
	for _, v := range r.Volumes {
		selection.Claims = append(selection.Claims, v.Claim.Name)
	}
	point, err := r.Fresh(ctx, selection)
	if err != nil {
		return fmt.Errorf("make a restore point of the source: %w; nothing was stopped (--no-point does without)", err)
	}
	r.result.Point = point
	return nil
}

// stop scales the workloads to 0.
func (r *run) stop(ctx context.Context) error {
	if err := r.step(ctx, stepStop, ""); err != nil {
		return err
	}
	began := r.Now()
	if earlier := stepOf(&r.state, stepStop); earlier != nil {
		began = earlier.At
	}
	patch := stopPatch(r.ID, r.number)
	for _, w := range r.Workloads {
		r.down[workloadOf(w)] = began
		r.report(w.Kind, w.Namespace, w.Name, "stopping", "until its Pods are gone and its disks detached", false)
	}
	return r.changeSource(ctx, patch)
}

// fence waits until nobody in the source can write to the disks.
func (r *run) fence(ctx context.Context) error {
	if err := r.step(ctx, stepFence, ""); err != nil {
		return err
	}
	if err := r.Source.Fence(ctx, r.sourceClaims(), r.sourceVolumes()); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	for _, w := range r.Workloads {
		r.report(w.Kind, w.Namespace, w.Name, "stopped", "no Pod in the source uses its disks, and none is attached", false)
	}
	r.fenced = r.Now()
	return r.stillStopped(ctx)
}

// stillStopped makes sure that nobody has scaled a workload of the source up.
func (r *run) stillStopped(ctx context.Context) error {
	if r.Source == nil {
		return nil
	}
	return each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
		namespace, name := source(w)
		u, err := users.Read(ctx, r.Source.Kubernetes, namespace, name)
		switch {
		case err != nil:
			return fmt.Errorf("%s in the source: %w", users.Named(name), err)
		case u == nil:
			return nil
		case u.Replicas != 0:
			return fmt.Errorf("somebody has scaled %s in the source to %d meanwhile; what does that must be paused", users.Named(name), u.Replicas)
		}
		_, err = ownRecord(*u, r.ID)
		return err
	})
}

// ownInTarget makes the disks the target's.
func (r *run) ownInTarget(ctx context.Context) error {
	if err := r.step(ctx, stepOwn, ""); err != nil {
		return err
	}
	return r.take(ctx, r.Volumes, r.To, func(v catalog.MigratedVolume) string { return v.TargetVolume }, false)
}

// create makes volumes, claims and, with no replicas, workloads in the target. A
// plan that the target has overtaken is made anew once.
func (r *run) create(ctx context.Context) error {
	if err := r.step(ctx, stepCreate, ""); err != nil {
		return err
	}
	observed := r.seen.InTarget
	for again := false; ; again = true {
		plan, err := r.landing(r.seen.Point, observed, r.number, false)
		if err != nil {
			return err
		}
		result, err := r.Target.Apply(ctx, plan)
		if refused := (*restore.RefusedError)(nil); errors.As(err, &refused) && !again {
			if observed, err = r.Target.Observe(ctx, r.arriving(r.seen.Point, r.number), r.request(false)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		r.result.Bound = result.Bound
		r.result.Notes = append(r.result.Notes, result.Notes...)
		return nil
	}
}

// start scales the workloads of the target up, and waits until they are ready.
func (r *run) start(ctx context.Context) error {
	if err := r.step(ctx, stepStart, ""); err != nil {
		return err
	}
	if err := r.stillStopped(ctx); err != nil {
		return err
	}
	if err := r.changeTarget(ctx, true, r.reserve); err != nil {
		return err
	}
	if err := r.changeTarget(ctx, true, func(catalog.MigratedWorkload) patchOf { return startPatch(r.ID, r.number) }); err != nil {
		return err
	}
	if !r.fenced.IsZero() {
		r.result.Handover = r.Now().Sub(r.fenced).Seconds()
	}
	return r.awaitReady(ctx, r.Target, target, r.bringsClaim)
}

// reserve is the patch of a workload that an earlier migration has left in the
// target.
func (r *run) reserve(w catalog.MigratedWorkload) patchOf {
	return reservePatch(r.ID, r.number, r.options.replicasOf(workloadOf(w), w.Replicas))
}

// awaitReady waits until the workloads of a side are ready, and takes down how
// long each was down.
func (r *run) awaitReady(ctx context.Context, side *Side, where func(catalog.MigratedWorkload) (string, catalog.Workload), claims func(string) bool) error {
	results := make([]WorkloadResult, len(r.Workloads))
	indices := make([]int, len(r.Workloads))
	for i := range indices {
		indices[i] = i
	}
	err := each(ctx, indices, func(ctx context.Context, i int) error {
		w := r.Workloads[i]
		namespace, name := where(w)
		r.report(w.Kind, namespace, name.Name, "starting", "until its Pods are ready", false)
		if err := users.AwaitReady(ctx, side.Kubernetes, namespace, name, claims); err != nil {
			return err
		}
		results[i] = WorkloadResult{Workload: name, Namespace: namespace, Replicas: w.Replicas}
		message := ""
		if since := r.down[workloadOf(w)]; !since.IsZero() {
			down := r.Now().Sub(since)
			results[i].Downtime = down.Seconds()
			message = fmt.Sprintf("it was down for %s", down.Round(100*time.Millisecond))
		}
		r.report(w.Kind, namespace, name.Name, "ready", message, true)
		return nil
	})
	r.result.Workloads = results
	return err
}

// verifyTime bounds the proof that the source is still fenced, which is there or
// is not.
const verifyTime = 15 * time.Second

// verify makes sure that the disks are used in the target alone.
func (r *run) verify(ctx context.Context) error {
	if err := r.step(ctx, stepVerify, ""); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	if err := r.Source.Fence(ctx, r.sourceClaims(), r.sourceVolumes()); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	return r.stillStopped(ctx)
}

// commit decides that the workloads are in the target.
func (r *run) commit(ctx context.Context) error {
	if err := r.step(ctx, stepCommit, ""); err != nil {
		return err
	}
	verdict := catalog.Verdict{Outcome: catalog.Committed, Run: r.number, At: r.Now().UTC()}
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

// done says that nothing is left to do.
func (r *run) done(ctx context.Context) error { return r.step(ctx, stepDone, "") }
