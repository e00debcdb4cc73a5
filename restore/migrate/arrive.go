package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

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
	ready := func(ctx context.Context, w catalog.MigratedWorkload) (WorkloadResult, error) {
		namespace, name := where(w)
		r.report(w.Kind, namespace, name.Name, "starting", "until its Pods are ready", false)
		if err := users.AwaitReady(ctx, side.Kubernetes, namespace, name, claims); err != nil {
			return WorkloadResult{}, err
		}
		result := WorkloadResult{Workload: name, Namespace: namespace, Replicas: w.Replicas}
		message := ""
		if since := r.down[workloadOf(w)]; !since.IsZero() {
			down := r.Now().Sub(since)
			result.Downtime = down.Seconds()
			message = fmt.Sprintf("it was down for %s", down.Round(100*time.Millisecond))
		}
		r.report(w.Kind, namespace, name.Name, "ready", message, true)
		return result, nil
	}
	return r.whileInCharge(ctx, func(ctx context.Context) (err error) {
		r.result.Workloads, err = restore.Map(ctx, r.Workloads, ready)
		return err
	})
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
