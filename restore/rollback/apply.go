package rollback

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Apply carries a plan out. When it fails or ctx ends after the workloads were
// stopped, what was done stays: planning and applying the same again goes on
// from there, and an undo leads back.
func (r *Roller) Apply(ctx context.Context, plan *Plan) (*Result, error) {
	a := &applier{Roller: r, Plan: plan, result: &Result{
		ID: plan.ID, Act: plan.Act, Point: plan.Point, Namespace: plan.Namespace, Workloads: plan.Workloads, Notes: plan.Notes,
	}}
	if err := a.prepare(ctx); err != nil {
		return a.result, err
	}
	for _, step := range []func(context.Context) error{a.stop, a.fence, a.leave, a.arrive, a.start, a.settle, a.finish} {
		if err := step(ctx); err != nil {
			return a.result, &HalfwayError{Plan: plan, Err: err}
		}
	}
	return a.result, nil
}

// HalfwayError says that an act has begun and not ended.
type HalfwayError struct {
	Plan *Plan
	Err  error
}

func (e *HalfwayError) Error() string {
	what := "run the same command again to finish, or hawser undo to return to where it was"
	if e.Plan.Act != Rollback {
		what = "run the same command again to finish"
	}
	return fmt.Sprintf("the %s is half done, and no disk is lost; %s: %s", e.Plan.Act, what, e.Unwrap())
}

// Unwrap keeps what ended the act from being taken for a refusal, which writes
// nothing.
func (e *HalfwayError) Unwrap() error { return restore.Halfway(e.Err) }

type applier struct {
	*Roller
	*Plan
	result *Result
}

// prepare does what must be done before anything is stopped: it makes the
// volumes Retain, takes the fresh point, and has the driver confirm that the
// snapshots are there.
func (a *applier) prepare(ctx context.Context) error {
	for _, change := range a.record.Claims {
		if change.From == nil || a.swap.states[change.Claim] != Untouched {
			continue
		}
		pv := a.observed.Volume(change.From.Volume)
		if pv == nil || pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
			continue
		}
		patch, err := restore.Protect(*pv)
		if err != nil {
			return err
		}
		if err := a.patchVolume(ctx, pv.Name, patch); err != nil {
			return fmt.Errorf("protect PersistentVolume %s: %w", pv.Name, err)
		}
		a.report("PersistentVolume", "", pv.Name, "protected", "it was "+string(pv.Spec.PersistentVolumeReclaimPolicy), true)
	}
	if a.Fresh != nil && !a.written && a.Act == Rollback {
		point, err := a.Fresh(ctx, a.Plan)
		if err != nil {
			return fmt.Errorf("make a point of what is there now: %w; nothing was rolled back (--no-point does without)", err)
		}
		a.result.Fresh = point
	}
	if a.Act == Rollback && slices.Contains(states(a.swap), Untouched) {
		if err := a.Confirm(ctx, a.confirm); err != nil {
			return fmt.Errorf("nothing was stopped: %w", err)
		}
	}
	return nil
}

func states(s swap) []State {
	var all []State
	for _, state := range s.states {
		all = append(all, state)
	}
	return all
}

// patchVolume patches a PersistentVolume and makes sure that it is Retain then.
func (a *applier) patchVolume(ctx context.Context, name string, patch []byte) error {
	got, err := a.Kubernetes.CoreV1().PersistentVolumes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if policy := got.Spec.PersistentVolumeReclaimPolicy; policy != corev1.PersistentVolumeReclaimRetain {
		return fmt.Errorf("the API server keeps policy %s (is an admission webhook changing it?)", policy)
	}
	return nil
}

// arrived says whether all claims name what they are to get.
func (a *applier) arrived() bool {
	return !slices.ContainsFunc(states(a.swap), func(s State) bool { return s != Arrived })
}

func (a *applier) claims() []catalog.ClaimKey {
	var keys []catalog.ClaimKey
	for _, change := range a.record.Claims {
		keys = append(keys, a.claimKey(change.Claim))
	}
	return keys
}

// fence waits until nobody can write to the disks.
func (a *applier) fence(ctx context.Context) error {
	if a.arrived() {
		return nil
	}
	for _, w := range a.Workloads {
		a.report(w.Kind, a.Namespace, w.Name, "stopping", "until its Pods are gone and its disks detached", false)
	}
	if err := a.Fence(ctx, a.claims(), a.record.volumes()); err != nil {
		return err
	}
	for _, w := range a.Workloads {
		a.report(w.Kind, a.Namespace, w.Name, "stopped", "no Pod uses its disks, and none is attached", false)
	}
	return nil
}

// leave sets the disks aside and deletes the claims that are on them.
func (a *applier) leave(ctx context.Context) error {
	if a.arrived() {
		return nil
	}
	api := a.Kubernetes.CoreV1().PersistentVolumeClaims(a.Namespace)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list persistentvolumeclaims: %w", err)
	}
	present := map[string]*corev1.PersistentVolumeClaim{}
	for i := range list.Items {
		present[list.Items[i].Name] = &list.Items[i]
	}
	var leaving []*corev1.PersistentVolumeClaim
	for i := range a.record.Claims {
		change := &a.record.Claims[i]
		claim := present[change.Claim]
		if stateOf(change, claim) != Untouched {
			continue
		}
		if err := a.setAside(ctx, change, claim); err != nil {
			return err
		}
		leaving = append(leaving, claim)
	}
	if err := a.stillStopped(ctx); err != nil {
		return err
	}
	for _, claim := range leaving {
		err := api.Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &claim.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete claim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	var keys []catalog.ClaimKey
	for _, claim := range leaving {
		keys = append(keys, a.claimKey(claim.Name))
	}
	return a.ClaimsGone(ctx, keys)
}

// setAside marks the PersistentVolume of a claim that is to be deleted: retained,
// labelled, and with the claim in it.
func (a *applier) setAside(ctx context.Context, change *Change, claim *corev1.PersistentVolumeClaim) error {
	if change.From == nil && claim.Spec.VolumeName != "" && claim.DeletionTimestamp == nil {
		pv, err := a.Kubernetes.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change.From = diskOf(pv) // it was bound since it was looked at
	}
	if change.From == nil {
		return nil // it has no disk yet, or its disk was set aside before
	}
	if claim.Spec.VolumeName != change.From.Volume {
		return fmt.Errorf("claim %s/%s is on PersistentVolume %s, no longer on %s", claim.Namespace, claim.Name, claim.Spec.VolumeName, change.From.Volume)
	}
	patch, err := asidePatch(a.record, change, claim)
	if err != nil {
		return err
	}
	if err := a.patchVolume(ctx, change.From.Volume, patch); err != nil {
		return fmt.Errorf("set PersistentVolume %s aside: %w", change.From.Volume, err)
	}
	a.result.Aside = append(a.result.Aside, *change.From)
	a.report("PersistentVolumeClaim", claim.Namespace, claim.Name, "set aside", "PersistentVolume "+change.From.Volume, false)
	return nil
}

// arrive makes the claims that are missing, on what they are to get.
func (a *applier) arrive(ctx context.Context) error {
	for {
		err := a.arriveOnce(ctx)
		if err == nil || !lostRace(err) {
			return err
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return err
		}
	}
}

func (a *applier) arriveOnce(ctx context.Context) error {
	if err := a.sameVolumes(ctx); err != nil {
		return err
	}
	result, err := a.restoreClaims(ctx)
	if err == nil {
		a.take(result)
	}
	return err
}

// sameVolumes makes sure that the disks which come back have the
// PersistentVolumes that were planned with.
func (a *applier) sameVolumes(ctx context.Context) error {
	for _, change := range a.record.Claims {
		if change.To == nil || a.swap.states[change.Claim] == Arrived {
			continue
		}
		pv, err := a.Kubernetes.CoreV1().PersistentVolumes().Get(ctx, change.To.Volume, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pv.UID != change.To.UID {
			return fmt.Errorf("PersistentVolume %s is another one now", pv.Name)
		}
	}
	return nil
}

// lostRace says whether what failed may succeed when it is planned again: an
// object changed meanwhile, or the quota has not yet seen that a claim is gone.
func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// restoreClaims lets the restore of the claims be planned for what is there, and
// carried out.
func (a *applier) restoreClaims(ctx context.Context) (*restore.Result, error) {
	plan, err := a.Restorer.Plan(ctx, a.swap.point, a.swap.request(a.ignore))
	if err != nil {
		return nil, err
	}
	return a.Restorer.Apply(ctx, plan)
}

// take keeps what the newest restore said of the claims.
func (a *applier) take(result *restore.Result) {
	a.result.Bound, a.result.Waiting = result.Bound, result.Waiting
	a.result.Notes = append(a.result.Notes, result.Notes...)
}
