package rollback

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

var resources = map[string]schema.GroupVersionResource{
	"StatefulSet":      {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"Deployment":       {Group: "apps", Version: "v1", Resource: "deployments"},
	"PersistentVolume": {Version: "v1", Resource: "persistentvolumes"},
}

// stop scales the workloads to 0. Claims that no workload uses bear the record
// on their PersistentVolumes.
func (a *applier) stop(ctx context.Context) error {
	if a.written && a.arrived() {
		return nil
	}
	for _, w := range a.record.Workloads {
		if err := a.change(ctx, w, func(u user) ([]byte, error) { return stopPatch(a.record, u) }); err != nil {
			return fmt.Errorf("stop %s: %w", named(w), err)
		}
	}
	if len(a.record.Workloads) == 0 {
		return a.recordOnVolumes(ctx, encode(a.record))
	}
	return nil
}

// stillStopped makes sure, at the last moment, that nobody has scaled a workload
// up, and that no other run has begun to lead it elsewhere.
func (a *applier) stillStopped(ctx context.Context) error {
	for _, w := range a.record.Workloads {
		u, err := a.read(ctx, w)
		if err != nil {
			return err
		}
		if u == nil {
			continue
		}
		if u.replicas != 0 {
			return fmt.Errorf("somebody has scaled %s to %d meanwhile; what does that must be paused", named(w), u.replicas)
		}
		own, err := recordOf(u.object)
		if err != nil {
			return err
		}
		if own == nil || own.ID != a.record.ID || own.Act != a.record.Act {
			return fmt.Errorf("another run has taken %s over", named(w))
		}
	}
	return nil
}

// start scales the workloads back.
func (a *applier) start(ctx context.Context) error {
	for _, w := range a.record.Workloads {
		if err := a.change(ctx, w, startPatch); err != nil {
			return fmt.Errorf("start %s: %w", named(w), err)
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
			return fmt.Errorf("end the record of %s: %w", named(w), err)
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
	api := a.Snapshots.SnapshotV1()
	for _, name := range a.record.Leftovers {
		for _, err := range []error{
			api.VolumeSnapshots(a.Namespace).Delete(ctx, name, metav1.DeleteOptions{}),
			api.VolumeSnapshotContents().Delete(ctx, name, metav1.DeleteOptions{}),
		} {
			if err != nil && !apierrors.IsNotFound(err) {
				a.result.Notes = append(a.result.Notes, fmt.Sprintf("a pointer to a snapshot, %s, is left and can be deleted: %v", name, err))
			}
		}
	}
}

// change patches a workload as it is at the moment; one that is gone is passed
// over.
func (a *applier) change(ctx context.Context, w catalog.Workload, patch func(user) ([]byte, error)) error {
	for {
		u, err := a.read(ctx, w)
		if err != nil || u == nil {
			return err
		}
		content, err := patch(*u)
		if err != nil || content == nil {
			return err
		}
		_, err = a.Dynamic.Resource(resources[w.Kind]).Namespace(a.Namespace).Patch(ctx, w.Name, types.MergePatchType, content, metav1.PatchOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// read gets a workload as it is; nil if there is none.
func (a *applier) read(ctx context.Context, w catalog.Workload) (*user, error) {
	o := &Observed{Observed: &restore.Observed{}}
	apps := a.Kubernetes.AppsV1()
	var err error
	switch w.Kind {
	case "StatefulSet":
		var set *appsv1.StatefulSet
		if set, err = apps.StatefulSets(a.Namespace).Get(ctx, w.Name, metav1.GetOptions{}); err == nil {
			o.StatefulSets = []appsv1.StatefulSet{*set}
		}
	case "Deployment":
		var d *appsv1.Deployment
		if d, err = apps.Deployments(a.Namespace).Get(ctx, w.Name, metav1.GetOptions{}); err == nil {
			o.Deployments = []appsv1.Deployment{*d}
		}
	}
	users := o.users()
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case len(users) == 0:
		return nil, fmt.Errorf("a %s cannot be scaled", w.Kind)
	}
	return &users[0], nil
}

// recordOnVolumes writes the record where no workload can bear it, or takes it
// off again with nil.
func (a *applier) recordOnVolumes(ctx context.Context, record any) error {
	for _, change := range a.record.Claims {
		for _, disk := range []*Disk{change.From, change.To} {
			if disk == nil {
				continue
			}
			patch := encode(map[string]any{"metadata": map[string]any{"uid": disk.UID, "annotations": map[string]any{RecordAnnotation: record}}})
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
		if err := a.awaitWorkload(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) awaitWorkload(ctx context.Context, w catalog.Workload) error {
	only := fields.OneTermEqualSelector("metadata.name", w.Name).String()
	apps := a.Kubernetes.AppsV1()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if o.FieldSelector = only; w.Kind == "StatefulSet" {
				return apps.StatefulSets(a.Namespace).List(ctx, o)
			}
			return apps.Deployments(a.Namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if o.FieldSelector = only; w.Kind == "StatefulSet" {
				return apps.StatefulSets(a.Namespace).Watch(ctx, o)
			}
			return apps.Deployments(a.Namespace).Watch(ctx, o)
		},
	}
	var kind runtime.Object = &appsv1.Deployment{}
	if w.Kind == "StatefulSet" {
		kind = &appsv1.StatefulSet{}
	}
	last := "it was not seen"
	_, err := watchtools.UntilWithSync(ctx, source, kind, func(store cache.Store) (bool, error) {
		return len(store.List()) == 0, nil // it is gone: there is nothing to wait for
	}, func(event watch.Event) (bool, error) {
		var ready bool
		ready, last = readiness(event.Object)
		return ready || event.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("%s does not become ready (%s): %w; its claims are done: see why its Pods do not start%s", named(w), last, err, a.podTroubles(ctx))
	}
	return nil
}

// readiness says whether all Pods that a workload wants are ready.
func readiness(object runtime.Object) (bool, string) {
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		want := ptr.Deref(o.Spec.Replicas, 1)
		return o.Status.ObservedGeneration >= o.Generation && o.Status.ReadyReplicas >= want, fmt.Sprintf("%d of %d Pods are ready", o.Status.ReadyReplicas, want)
	case *appsv1.Deployment:
		want := ptr.Deref(o.Spec.Replicas, 1)
		return o.Status.ObservedGeneration >= o.Generation && o.Status.ReadyReplicas >= want, fmt.Sprintf("%d of %d Pods are ready", o.Status.ReadyReplicas, want)
	}
	return false, fmt.Sprintf("%T", object)
}

// podTroubles says what the Pods say of themselves.
func (a *applier) podTroubles(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), retryAfter*10)
	defer cancel()
	pods, err := a.Kubernetes.CoreV1().Pods(a.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	var troubles []string
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !slices.ContainsFunc(restore.PodClaims(pod), func(name string) bool { return a.record.change(name) != nil }) {
			continue
		}
		for _, c := range pod.Status.Conditions {
			if c.Status == corev1.ConditionFalse && c.Message != "" {
				troubles = append(troubles, fmt.Sprintf("Pod %s: %s", pod.Name, c.Message))
				break
			}
		}
	}
	if len(troubles) == 0 {
		return ""
	}
	return ": " + strings.Join(troubles[:min(3, len(troubles))], "; ")
}
