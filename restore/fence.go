package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// HeldError says who still held disks when a fence ran out of time.
type HeldError struct {
	Holders []string // Pods, or the VolumeAttachments of PersistentVolumes
	Cause   error
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("the disks are still held: %s (%v); see why the Pods do not end, or why their nodes do not let go; a Pod of a node that is off for certain is removed with `kubectl delete pod --force`",
		strings.Join(e.Holders, "; "), e.Cause)
}

func (e *HeldError) Unwrap() error { return e.Cause }

// Fence proves that nobody in this cluster can write to disks: it waits until
// no Pod uses any of the claims, and no VolumeAttachment names any of the
// PersistentVolumes. It stops nothing; whoever calls it has scaled the workload
// down. When ctx ends before, it fails with *HeldError. Other clusters that know
// the disks are not seen.
func (r *Restorer) Fence(ctx context.Context, claims []catalog.ClaimKey, volumes []string) error {
	f := fence{Restorer: r, claims: sets.New(claims...), volumes: sets.New(volumes...)}
	for {
		if err := f.await(ctx, f.pods(), &corev1.Pod{}, f.podHolds); err != nil {
			return fmt.Errorf("wait for Pods to end: %w", err)
		}
		if err := f.await(ctx, f.attachments(), &storagev1.VolumeAttachment{}, f.attachmentHolds); err != nil {
			return fmt.Errorf("wait for volumes to be detached: %w", err)
		}
		again, err := f.heldAgain(ctx)
		if err != nil || !again {
			return err
		}
	}
}

type fence struct {
	*Restorer
	claims  sets.Set[catalog.ClaimKey]
	volumes sets.Set[string]
}

// namespace is the one that all claims are in, or "".
func (f fence) namespace() string {
	namespaces := map[string]bool{}
	for claim := range f.claims {
		namespaces[claim.Namespace] = true
	}
	return one(namespaces)
}

func (f fence) pods() cache.ListWatch {
	pods := f.Kubernetes.CoreV1().Pods(f.namespace())
	return ListWatch(pods.List, pods.Watch, "")
}

func (f fence) attachments() cache.ListWatch {
	attachments := f.Kubernetes.StorageV1().VolumeAttachments()
	return ListWatch(attachments.List, attachments.Watch, "")
}

// heldAgain looks once more, at the API server's own state: a Pod may have come
// while the last disk went.
func (f fence) heldAgain(ctx context.Context) (bool, error) {
	var pods []corev1.Pod
	if err := Collect(ctx, "pods", f.Kubernetes.CoreV1().Pods(f.namespace()).List, &pods); err != nil {
		return false, err
	}
	var attachments []storagev1.VolumeAttachment
	if err := Collect(ctx, "volumeattachments", f.Kubernetes.StorageV1().VolumeAttachments().List, &attachments); err != nil {
		return false, err
	}
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return f.podHolds(&pod) != "" }) ||
		slices.ContainsFunc(attachments, func(a storagev1.VolumeAttachment) bool { return f.attachmentHolds(&a) != "" }), nil
}

// await waits until holds says "" of every object of a kind.
func (f fence) await(ctx context.Context, source cache.ListWatch, kind runtime.Object, holds func(any) string) error {
	var holders []string
	var seen cache.Store // is ahead of the events
	free := func() (bool, error) {
		holders = nil
		for _, object := range seen.List() {
			if holder := holds(object); holder != "" {
				holders = append(holders, holder)
			}
		}
		return len(holders) == 0, nil
	}
	err := Until(ctx, source, kind, func(store cache.Store) (bool, error) { seen = store; return free() }, func(event watch.Event) (bool, error) {
		if event.Type == watch.Error {
			return false, apierrors.FromObject(event.Object)
		}
		return free()
	})
	if err != nil && ctx.Err() != nil && len(holders) > 0 && !errors.Is(context.Cause(ctx), context.Canceled) {
		slices.Sort(holders)
		return &HeldError{Holders: holders, Cause: context.Cause(ctx)}
	}
	return err
}

// podHolds says who a Pod is that uses one of the claims, whatever its phase:
// also one that has ended keeps a claim from going.
func (f fence) podHolds(object any) string {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return ""
	}
	for _, name := range PodClaims(pod) {
		if !f.claims.Has(catalog.ClaimKey{Namespace: pod.Namespace, Name: name}) {
			continue
		}
		text := fmt.Sprintf("Pod %s/%s (%s", pod.Namespace, pod.Name, pod.Status.Phase)
		if pod.Spec.NodeName != "" {
			text += " on node " + pod.Spec.NodeName
		}
		if pod.DeletionTimestamp != nil {
			text += ", being deleted"
		}
		return text + ") uses claim " + name
	}
	return ""
}

func (f fence) attachmentHolds(object any) string {
	a, ok := object.(*storagev1.VolumeAttachment)
	if !ok {
		return ""
	}
	name := ptr.Deref(a.Spec.Source.PersistentVolumeName, "")
	if !f.volumes.Has(name) {
		return ""
	}
	text := fmt.Sprintf("VolumeAttachment %s has PersistentVolume %s on node %s", a.Name, name, a.Spec.NodeName)
	if failure := a.Status.DetachError; failure != nil {
		text += ": " + failure.Message
	}
	return text
}

// PodClaims are the names of the claims that a Pod's volumes name.
func PodClaims(pod *corev1.Pod) []string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return names
}

// ClaimsGone waits until none of the claims, which were deleted, is there.
func (r *Restorer) ClaimsGone(ctx context.Context, claims []catalog.ClaimKey) error {
	f := fence{Restorer: r, claims: sets.New(claims...)}
	api := r.Kubernetes.CoreV1().PersistentVolumeClaims(f.namespace())
	err := f.await(ctx, ListWatch(api.List, api.Watch, ""), &corev1.PersistentVolumeClaim{}, func(object any) string {
		claim, ok := object.(*corev1.PersistentVolumeClaim)
		if !ok || !f.claims.Has(keyOf(claim)) {
			return ""
		}
		return fmt.Sprintf("claim %s (finalizers %v)", keyOf(claim), claim.Finalizers)
	})
	if err != nil {
		return fmt.Errorf("wait for claims to be gone: %w", err)
	}
	return nil
}

// Look lists what plans for any claims of one namespace rest on. It writes
// nothing.
func (r *Restorer) Look(ctx context.Context, namespace string) (*Observed, error) {
	t := &target{point: &catalog.RestorePoint{}, request: Request{From: FromAuto}, pairs: map[catalog.ClaimKey]Pair{}}
	var anything unstructured.Unstructured // that says which namespace it is about
	anything.Object = map[string]any{"metadata": map[string]any{"namespace": namespace}}
	t.point.Bundle.Objects = []unstructured.Unstructured{anything}
	o, err := r.observeCore(ctx, t)
	if err != nil {
		return nil, err
	}
	for i := range o.Claims {
		key := keyOf(&o.Claims[i])
		t.pairs[key] = Pair{Claim: o.Claims[i]}
	}
	for _, v := range o.Volumes { // by their own names: a claim may have had several
		if ref := v.Spec.ClaimRef; ref != nil && ref.Namespace == namespace && v.Spec.CSI != nil {
			t.pairs[catalog.ClaimKey{Name: v.Name}] = Pair{Volume: v}
		}
	}
	if err := r.observeSurroundings(ctx, t, o); err != nil {
		return nil, err
	}
	return o, r.observeSnapshots(ctx, namespace, o)
}

// CheckDisks asks the driver about the disks of point's volumes, as a plan with
// FromAuto does, and returns what it says. It writes nothing but
// VolumeAttachments, which it takes away again.
func (r *Restorer) CheckDisks(ctx context.Context, point *catalog.RestorePoint, observed *Observed) (map[catalog.Disk]DiskState, error) {
	t, err := aim(point, Request{From: FromAuto, Mapping: Mapping{KeepTracking: true}})
	if err != nil {
		return nil, err
	}
	o := *observed
	o.Disks = map[catalog.Disk]DiskState{}
	return o.Disks, r.checkDisks(ctx, newLookup(&o), t.volumes, t.pairs)
}

// Usable asks the driver, as CheckDisks does, whether the disks of point's volumes
// are there and not attached where this cluster cannot see it, and refuses those
// that are not; remedies say what can be done with one that is DiskGone or
// DiskInUse. What could not be checked is told in notes.
func (r *Restorer) Usable(ctx context.Context, point *catalog.RestorePoint, observed *Observed, remedies map[Presence]string) (notes []string, err error) {
	disks, err := r.CheckDisks(ctx, point, observed)
	if err != nil {
		return nil, fmt.Errorf("ask the driver about the disks: %w", err)
	}
	var refusals []Refusal
	for _, v := range point.Bundle.Volumes {
		problem := ""
		state := disks[v.Disk()]
		switch state.Presence {
		case DiskGone:
			problem = fmt.Sprintf("its disk %s is gone: %s", v.VolumeHandle, state.Message)
		case DiskInUse:
			problem = fmt.Sprintf("its disk %s is in use elsewhere: %s", v.VolumeHandle, state.Message)
		case DiskUnknown:
			notes = append(notes, fmt.Sprintf("whether disk %s is there could not be checked: %s", v.VolumeHandle, state.Message))
		}
		if problem != "" {
			refusals = append(refusals, Refusal{Kind: "PersistentVolumeClaim", Namespace: v.Claim.Namespace, Name: v.Claim.Name, Problem: problem, Remedy: remedies[state.Presence]})
		}
	}
	if len(refusals) > 0 {
		return notes, &RefusedError{Refusals: refusals}
	}
	return notes, nil
}

// Confirm makes plan's pointers to snapshots, and waits until the driver has
// confirmed that each snapshot is there. If one is not, it takes them back. No
// claim is touched; Apply of the same restore goes on from here.
func (r *Restorer) Confirm(ctx context.Context, plan *Plan) error {
	a := &applier{Restorer: r, plan: plan, result: &Result{Point: plan.Point}}
	if err := a.run(ctx, a.stepsOf("VolumeSnapshotContent", "VolumeSnapshot")); err != nil {
		return err
	}
	return a.awaitStatic(ctx)
}
