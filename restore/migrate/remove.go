package migrate

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// deleteWorkload deletes a workload exactly as it was read.
func deleteWorkload(ctx context.Context, side *Side, u *users.User) error {
	uid, version := u.Object.GetUID(), u.Object.GetResourceVersion()
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
	var err error
	if u.Kind == "StatefulSet" {
		err = side.Kubernetes.AppsV1().StatefulSets(u.Object.GetNamespace()).Delete(ctx, u.Name, options)
	} else {
		err = side.Kubernetes.AppsV1().Deployments(u.Object.GetNamespace()).Delete(ctx, u.Name, options)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", users.Named(u.Workload), err)
	}
	return nil
}

// pair names a claim and its PersistentVolume on one side.
type pair struct {
	claim  catalog.ClaimKey
	volume string
}

func (p *Plan) targetPairs() []pair {
	var pairs []pair
	for _, v := range p.Volumes {
		pairs = append(pairs, pair{v.TargetClaim, v.TargetVolume})
	}
	return pairs
}

// madeBy says whether an object was made by a migration.
func madeBy(id catalog.MigrationID) func(metav1.Object) bool {
	return func(o metav1.Object) bool { return o.GetAnnotations()[MadeByAnnotation] == string(id) }
}

var errDelete = errors.New("it is not Retain: its disk would be deleted with it")

// found is a pair as it is, as far as it may go; nil: it is not there, or stays.
type found struct {
	pair
	pv    *corev1.PersistentVolume
	claim *corev1.PersistentVolumeClaim
}

// removePairs deletes claims, and when they are gone the objects of their
// PersistentVolumes: those that ours says may go. Nothing is deleted before every
// volume is known to be Retain, so that no disk goes. It returns what it deleted.
func removePairs(ctx context.Context, side *Side, pairs []pair, ours func(metav1.Object) bool) ([]RemovedObject, error) {
	all := make([]*found, len(pairs))
	for i := range all {
		all[i] = &found{pair: pairs[i]}
	}
	if err := restore.Each(ctx, all, func(ctx context.Context, f *found) error { return f.look(ctx, side, ours) }); err != nil {
		return nil, err
	}
	var removed []RemovedObject
	var going []catalog.ClaimKey
	for _, f := range all {
		if f.claim != nil {
			going = append(going, f.pair.claim)
		}
	}
	err := restore.Each(ctx, all, func(ctx context.Context, f *found) error {
		if f.claim == nil {
			return nil
		}
		err := side.Kubernetes.CoreV1().PersistentVolumeClaims(f.claim.Namespace).Delete(ctx, f.claim.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &f.claim.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete claim %s: %w", f.pair.claim, err)
		}
		return nil
	})
	if err == nil && len(going) > 0 {
		err = side.ClaimsGone(ctx, going)
	}
	if err != nil {
		return nil, err
	}
	for _, key := range going {
		removed = append(removed, RemovedObject{"PersistentVolumeClaim", key.String()})
	}
	err = restore.Each(ctx, all, func(ctx context.Context, f *found) error {
		if f.pv == nil {
			return nil
		}
		return deleteRetained(ctx, side, f.pv.Name, f.pv.UID)
	})
	for _, f := range all {
		if err == nil && f.pv != nil {
			removed = append(removed, RemovedObject{"PersistentVolume", f.pv.Name})
		}
	}
	return removed, err
}

// look finds what may go of a pair. It fails if its disk could go with it.
func (f *found) look(ctx context.Context, side *Side, ours func(metav1.Object) bool) error {
	core := side.Kubernetes.CoreV1()
	if f.volume != "" {
		pv, err := core.PersistentVolumes().Get(ctx, f.volume, metav1.GetOptions{})
		switch {
		case err == nil && !ours(pv):
		case err == nil && pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain:
			return fmt.Errorf("PersistentVolume %s: %w; make it Retain", pv.Name, errDelete)
		case err == nil:
			f.pv = pv
		case err != nil && !apierrors.IsNotFound(err):
			return err
		}
	}
	claim, err := core.PersistentVolumeClaims(f.pair.claim.Namespace).Get(ctx, f.pair.claim.Name, metav1.GetOptions{})
	if err == nil && ours(claim) {
		f.claim = claim
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// deleteRetained deletes the object of a PersistentVolume that is Retain at the
// very moment. Its disk stays.
func deleteRetained(ctx context.Context, side *Side, name string, uid types.UID) error {
	volumes := side.Kubernetes.CoreV1().PersistentVolumes()
	for {
		pv, err := volumes.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && pv.UID != uid {
			return nil
		}
		if err != nil {
			return err
		}
		if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			return fmt.Errorf("PersistentVolume %s: %w; make it Retain", name, errDelete)
		}
		err = volumes.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pv.UID, ResourceVersion: &pv.ResourceVersion}})
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("delete PersistentVolume %s: %w", name, err)
		}
	}
}
