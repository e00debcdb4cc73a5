package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"hawser.dev/hawser/catalog"
)

var errStalled = errors.New("no progress")

// stall ends a wait that has seen no progress for a while.
type stall struct {
	timer    *time.Timer
	patience time.Duration
}

// withStall returns a context that ends with errStalled unless progress is
// called within each patience.
func withStall(ctx context.Context, patience time.Duration) (context.Context, *stall, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stall{patience: patience, timer: time.AfterFunc(patience, func() { cancel(errStalled) })}
	return ctx, s, func() { s.timer.Stop(); cancel(nil) }
}

func (s *stall) progress() { s.timer.Reset(s.patience) }

func examples[V any](waiting map[string]V, last map[string]string) string {
	var out []string
	for key := range waiting {
		if message := last[key]; message != "" {
			key += ": " + message
		}
		out = append(out, key)
	}
	slices.Sort(out)
	if len(out) > 3 {
		out = append(out[:3], "…")
	}
	return strings.Join(out, "; ")
}

// one is the one key of set, or "" if there are several.
func one(set map[string]bool) string {
	if len(set) != 1 {
		return metav1.NamespaceAll
	}
	for key := range set {
		return key
	}
	return metav1.NamespaceAll
}

// awaitAvailable waits until the binder has taken note of the volumes for which
// claims are to be created. A claim that comes before loses a race now and then:
// the binder takes the volume for another's, or its write for a stale one, and
// comes back to the claim only at its resync, up to 15 s later (syncVolume of
// the pv_controller wakes no claim of a volume that is reserved).
func (a *applier) awaitAvailable(ctx context.Context) error {
	waiting := map[string]bool{}
	for _, v := range a.plan.Volumes {
		if v.VolumeName != "" && slices.ContainsFunc(v.Steps, func(s Step) bool { return s.Kind == "PersistentVolumeClaim" && s.Action == Create }) {
			waiting[v.VolumeName] = true
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	wctx, stall, stop := withStall(ctx, a.patience())
	defer stop()
	last := map[string]string{}
	volumes := a.Kubernetes.CoreV1().PersistentVolumes()
	err := Until(wctx, ListWatch(volumes.List, volumes.Watch, ""), &corev1.PersistentVolume{}, nil, func(event watch.Event) (bool, error) {
		volume, ok := event.Object.(*corev1.PersistentVolume)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		if !waiting[volume.Name] {
			return false, nil
		}
		if event.Type == watch.Deleted {
			return false, fmt.Errorf("PersistentVolume %s was deleted while its claim was being restored; run the restore again", volume.Name)
		}
		last[volume.Name] = string(volume.Status.Phase)
		if phase := volume.Status.Phase; phase == corev1.VolumeAvailable || phase == corev1.VolumeBound { // if a claim of that name came from elsewhere
			delete(waiting, volume.Name)
			stall.progress()
		}
		return len(waiting) == 0, nil
	})
	if errors.Is(context.Cause(wctx), errStalled) {
		return fmt.Errorf("%d PersistentVolumes are not Available, and none became so for %s (%s); no claim was created: see whether kube-controller-manager runs; running the restore again goes on from here", len(waiting), a.patience(), examples(waiting, last))
	}
	return err
}

// awaitBound waits until each claim of the plan that can bind without a Pod is
// bound to its volume, and checks each pair.
func (a *applier) awaitBound(ctx context.Context) error {
	waiting := a.claimsWhere(func(v VolumePlan) bool { return !v.WaitsForPod })
	bound, err := a.watchClaims(ctx, waiting)
	if errors.Is(err, errStalled) {
		return fmt.Errorf("%w; see `kubectl describe pvc`, and whether kube-controller-manager and csi-provisioner run; running the restore again goes on from here", err)
	}
	if err != nil {
		return err
	}
	return a.verifyBound(ctx, bound)
}

// awaitFirstUse waits for the claims that bind when a Pod uses them, as far as
// the workloads have such Pods. Those whose Pods do not come are left waiting:
// they have their data source, so they cannot get anything else.
func (a *applier) awaitFirstUse(ctx context.Context) error {
	waiting := a.claimsWhere(func(v VolumePlan) bool { return v.WaitsForPod && v.HasPod })
	bound, err := a.watchClaims(ctx, waiting)
	if err != nil && !errors.Is(err, errStalled) {
		return err
	}
	for _, v := range a.plan.Volumes {
		if v.WaitsForPod && bound[v.Claim.String()] == nil {
			a.result.Waiting = append(a.result.Waiting, v.Claim)
			a.report(Event{Kind: "PersistentVolumeClaim", Namespace: v.Claim.Namespace, Name: v.Claim.Name, Stage: "waiting", Message: "for a Pod: its class binds at the first use", Done: true})
		}
	}
	return a.verifyBound(ctx, bound)
}

func (a *applier) claimsWhere(want func(VolumePlan) bool) map[string]VolumePlan {
	claims := map[string]VolumePlan{}
	for _, v := range a.plan.Volumes {
		if want(v) {
			claims[v.Claim.String()] = v
		}
	}
	return claims
}

// watchClaims waits until the claims in waiting are Bound, and returns those
// that are. Its error wraps errStalled if the others made no progress.
func (a *applier) watchClaims(ctx context.Context, waiting map[string]VolumePlan) (map[string]*corev1.PersistentVolumeClaim, error) {
	bound := map[string]*corev1.PersistentVolumeClaim{}
	if len(waiting) == 0 {
		return bound, nil
	}
	wctx, stall, stop := withStall(ctx, a.patience())
	defer stop()
	namespaces := map[string]bool{}
	for _, v := range waiting {
		namespaces[v.Claim.Namespace] = true
	}
	last := map[string]string{}
	claims := a.Kubernetes.CoreV1().PersistentVolumeClaims(one(namespaces))
	err := Until(wctx, ListWatch(claims.List, claims.Watch, ""), &corev1.PersistentVolumeClaim{}, nil, func(event watch.Event) (bool, error) {
		claim, ok := event.Object.(*corev1.PersistentVolumeClaim)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		key := claim.Namespace + "/" + claim.Name
		if _, awaited := waiting[key]; !awaited {
			return false, nil
		}
		if event.Type == watch.Deleted {
			return false, fmt.Errorf("claim %s was deleted while it was being restored; run the restore again", key)
		}
		last[key] = string(claim.Status.Phase)
		if claim.Status.Phase == corev1.ClaimBound {
			bound[key] = claim
			delete(waiting, key)
			stall.progress()
			a.report(Event{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, Stage: "bound", Message: "to PersistentVolume " + claim.Spec.VolumeName, Done: true})
		}
		return len(waiting) == 0, nil
	})
	if errors.Is(context.Cause(wctx), errStalled) {
		return bound, fmt.Errorf("%w: %d claims are not bound, and none became so for %s (%s)", errStalled, len(waiting), a.patience(), examples(waiting, last))
	}
	return bound, err
}

// verifyBound reads all volumes once and checks each pair from both sides.
// The binder writes the volume before the claim, so a list after the claim was
// seen Bound shows the volume as it was bound.
func (a *applier) verifyBound(ctx context.Context, bound map[string]*corev1.PersistentVolumeClaim) error {
	if len(bound) == 0 {
		return nil
	}
	var list []corev1.PersistentVolume
	if err := Collect(ctx, "persistentvolumes", a.Kubernetes.CoreV1().PersistentVolumes().List, &list); err != nil {
		return err
	}
	volumes := map[string]*corev1.PersistentVolume{}
	for i := range list {
		volumes[list[i].Name] = &list[i]
	}
	var problems []error
	for _, v := range a.plan.Volumes {
		claim := bound[v.Claim.String()]
		if claim == nil {
			continue
		}
		volume := volumes[claim.Spec.VolumeName]
		if err := verifyPair(v, claim, volume); err != nil {
			problems = append(problems, err)
			continue
		}
		if err := a.protectNew(ctx, v, volume); err != nil {
			problems = append(problems, err)
			continue
		}
		a.result.Bound = append(a.result.Bound, BoundClaim{
			Claim: v.Claim, PersistentVolume: volume.Name, VolumeHandle: catalog.VolumeHandle(volume.Spec.CSI.VolumeHandle), Way: v.Way,
		})
	}
	return errors.Join(problems...)
}

// verifyPair checks that claim and volume name each other by uid, and that the
// disk is the one that the plan meant.
func verifyPair(v VolumePlan, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	switch {
	case volume == nil:
		return fmt.Errorf("claim %s is Bound to PersistentVolume %s, which does not exist", v.Claim, claim.Spec.VolumeName)
	case volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID:
		return fmt.Errorf("claim %s and PersistentVolume %s do not name each other", v.Claim, volume.Name)
	case volume.Spec.CSI == nil || volume.Spec.CSI.Driver != v.driver:
		return fmt.Errorf("claim %s was bound to PersistentVolume %s, which is not of driver %s; scale its workload to 0 and look at it", v.Claim, volume.Name, v.driver)
	case v.Way != FromSnapshot && volume.Spec.CSI.VolumeHandle != string(v.handle):
		return fmt.Errorf("claim %s was bound to disk %s instead of %s; scale its workload to 0 and look at it", v.Claim, volume.Spec.CSI.VolumeHandle, v.handle)
	case v.Way == FromSnapshot && volume.Name != "pvc-"+string(claim.UID) && volume.CreationTimestamp.Time.Before(claim.CreationTimestamp.Time):
		return fmt.Errorf("claim %s was bound to PersistentVolume %s, which is older than the claim, instead of a new disk from the snapshot; scale its workload to 0 and look at it", v.Claim, volume.Name)
	}
	return nil
}

// protectNew makes the volume of a rehydrated claim Retain, as all of a
// restore are.
func (a *applier) protectNew(ctx context.Context, v VolumePlan, volume *corev1.PersistentVolume) error {
	if v.Way != FromSnapshot || volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
		return nil
	}
	patch, err := Protect(*volume)
	if err != nil {
		return err
	}
	step := Step{Action: ProtectPV, Kind: "PersistentVolume", Name: volume.Name, Patch: string(patch)}
	a.count(step)
	return a.do(ctx, step)
}
