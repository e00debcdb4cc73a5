package migrate

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// mark writes on what is left in the source where it went, and takes the record
// off what is in the target.
func (r *run) mark(ctx context.Context) error {
	if err := r.step(ctx, stepMark, ""); err != nil {
		return err
	}
	moved := Moved{ID: r.ID, To: r.To, Time: r.Now().UTC()}
	if v := r.state.Verdict; v != nil {
		moved.Time = v.At
	}
	if r.Source != nil {
		if err := r.changeSource(ctx, false, movedPatch(moved)); err != nil {
			return err
		}
	}
	if err := r.changeTarget(ctx, false, func(catalog.MigratedWorkload) patchOf { return endPatch(r.ID) }); err != nil {
		return err
	}
	return restore.Each(ctx, r.Volumes, func(ctx context.Context, v catalog.MigratedVolume) error {
		if r.Source != nil {
			if err := annotate(ctx, r.Source, v.Claim, v.Volume, MovedAnnotation, users.Encode(moved)); err != nil {
				return fmt.Errorf("in the source: %w", err)
			}
		}
		if err := annotate(ctx, r.Target, v.TargetClaim, v.TargetVolume, MovedAnnotation, nil); err != nil {
			return fmt.Errorf("in the target: %w", err)
		}
		return nil
	})
}

// annotate writes an annotation on a claim and its PersistentVolume, or takes it
// off with nil. What is gone is passed over.
func annotate(ctx context.Context, side *Side, claim catalog.ClaimKey, volume, annotation string, value any) error {
	patch := []byte(users.Encode(map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotation: value}}}))
	core := side.Kubernetes.CoreV1()
	if _, err := core.PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("annotate claim %s: %w", claim, err)
	}
	if _, err := core.PersistentVolumes().Patch(ctx, volume, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("annotate PersistentVolume %s: %w", volume, err)
	}
	return nil
}
