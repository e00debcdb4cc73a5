package rollback

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// stop scales the workloads to 0. Claims that no workload uses bear the record
// on their PersistentVolumes.
func (a *applier) stop(ctx context.Context) error {
	if a.written && a.arrived() {
		return nil
	}
	for _, w := range a.record.Workloads {
		if err := a.change(ctx, w, func(u user) ([]byte, error) { return stopPatch(a.record, u) }); err != nil {
			return fmt.Errorf("stop %s: %w", users.Named(w), err)
		}
	}
	if len(a.record.Workloads) == 0 {
		return a.recordOnVolumes(ctx, users.Encode(a.record))
	}
	return nil
}

// stillStopped makes sure, at the last moment, that nobody has scaled a workload
// up, and that no other run has begun to lead it elsewhere.
func (a *applier) stillStopped(ctx context.Context) error {
	for _, w := range a.record.Workloads {
		u, err := users.Read(ctx, a.Kubernetes, a.Namespace, w)
		if err != nil {
			return err
		}
		if u == nil {
			continue
		}
		if u.Replicas != 0 {
			return fmt.Errorf("somebody has scaled %s to %d meanwhile; what does that must be paused", users.Named(w), u.Replicas)
		}
		own, err := recordOf(u.Object)
		if err != nil {
			return err
		}
		if own == nil || own.ID != a.record.ID || own.Act != a.record.Act {
			return fmt.Errorf("another run has taken %s over", users.Named(w))
		}
	}
	return nil
}

// start scales the workloads back.
func (a *applier) start(ctx context.Context) error {
	for _, w := range a.record.Workloads {
		if err := a.change(ctx, w, startPatch); err != nil {
			return fmt.Errorf("start %s: %w", users.Named(w), err)
		}
		a.report(w.Kind, a.Namespace, w.Name, "starting", "until its Pods are ready", false)
	}
	return nil
}

// settle waits until the workloads are ready. What claims were given only when
// their Pods started is checked and protected then, also if they do not become
// ready.
func (a *applier) settle(ctx context.Context) error {
	err := a.awaitReady(ctx)
	if len(a.result.Waiting) > 0 && ctx.Err() != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter*20)
		defer cancel()
		ctx = late
	}
	if len(a.result.Waiting) > 0 {
		result, failure := a.restoreClaims(ctx)
		if failure != nil {
			return failure
		}
		a.take(result)
	}
	return err
}

// finish puts back what the act has changed besides, and takes the record off
// last.
func (a *applier) finish(ctx context.Context) error {
	for _, change := range a.record.Claims {
		if change.To == nil {
			continue
		}
		patch, err := backPatch(change.To)
		if err != nil {
			return err
		}
		if _, err := a.Kubernetes.CoreV1().PersistentVolumes().Patch(ctx, change.To.Volume, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("take the label off PersistentVolume %s: %w", change.To.Volume, err)
		}
	}
	a.removeLeftovers(ctx)
	for _, w := range a.record.Workloads {
		if err := a.change(ctx, w, endPatch); err != nil {
			return fmt.Errorf("end the record of %s: %w", users.Named(w), err)
		}
		a.report(w.Kind, a.Namespace, w.Name, "ready", "", true)
	}
	if len(a.record.Workloads) == 0 {
		return a.recordOnVolumes(ctx, nil)
	}
	return nil
}

// removeLeftovers deletes the pointers to snapshots that an act which was turned
// back has made. They are Retain, so no snapshot goes.
func (a *applier) removeLeftovers(ctx context.Context) {
	for _, name := range a.record.Leftovers {
		if err := a.RemovePointers(ctx, a.Namespace, name); err != nil {
			a.result.Notes = append(a.result.Notes, fmt.Sprintf("what points to a snapshot is left and can be deleted: %v", err))
		}
	}
}

// change patches a workload as it is at the moment; one that is gone is passed
// over.
func (a *applier) change(ctx context.Context, w catalog.Workload, patch func(user) ([]byte, error)) error {
	_, err := users.Change(ctx, a.Kubernetes, a.Namespace, w, patch)
	return err
}

// recordOnVolumes writes the record where no workload can bear it, or takes it
// off again with nil.
func (a *applier) recordOnVolumes(ctx context.Context, record any) error {
	for _, change := range a.record.Claims {
		for _, disk := range []*Disk{change.From, change.To} {
			if disk == nil {
				continue
			}
			patch := users.Encode(map[string]any{"metadata": map[string]any{"uid": disk.UID, "annotations": map[string]any{RecordAnnotation: record}}})
			if _, err := a.Kubernetes.CoreV1().PersistentVolumes().Patch(ctx, disk.Volume, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				return fmt.Errorf("record it on PersistentVolume %s: %w", disk.Volume, err)
			}
		}
	}
	return nil
}

// awaitReady waits until the Pods of the workloads are ready.
func (a *applier) awaitReady(ctx context.Context) error {
	for _, w := range a.record.Workloads {
		if err := users.AwaitReady(ctx, a.Kubernetes, a.Namespace, w, func(claim string) bool { return a.record.change(claim) != nil }); err != nil {
			return err
		}
	}
	return nil
}
