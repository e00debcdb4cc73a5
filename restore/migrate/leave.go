package migrate

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// guard makes the PersistentVolumes of the source Retain.
func (r *run) guard(ctx context.Context) error {
	if err := r.step(ctx, stepGuard, ""); err != nil {
		return err
	}
	return restore.Each(ctx, r.Volumes, func(ctx context.Context, v catalog.MigratedVolume) error {
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
	return r.changeSource(ctx, true, patch)
}

// fence waits until nobody in the source can write to the disks.
func (r *run) fence(ctx context.Context) error {
	if err := r.step(ctx, stepFence, ""); err != nil {
		return err
	}
	err := r.whileInCharge(ctx, func(ctx context.Context) error { return r.Source.Fence(ctx, r.sourceClaims(), r.sourceVolumes()) })
	if err != nil {
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
	return restore.Each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
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
