package backup

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// protect makes volume Retain and returns the policy that the API server then
// gave back, which is the proof. The policy it had is kept in an annotation.
// A volume that is Retain already costs no request.
func protect(ctx context.Context, client kubernetes.Interface, volume corev1.PersistentVolume) (corev1.PersistentVolumeReclaimPolicy, error) {
	policy := volume.Spec.PersistentVolumeReclaimPolicy
	if policy == corev1.PersistentVolumeReclaimRetain {
		return policy, nil
	}
	patch, err := protectPatch(volume)
	if err != nil {
		return policy, err
	}
	got, err := client.CoreV1().PersistentVolumes().Patch(ctx, volume.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return policy, fmt.Errorf("protect PersistentVolume %s: %w", volume.Name, err)
	}
	if got.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		return got.Spec.PersistentVolumeReclaimPolicy, fmt.Errorf("protect PersistentVolume %s: the API server keeps policy %s after a patch to Retain (is an admission webhook changing it?)", volume.Name, got.Spec.PersistentVolumeReclaimPolicy)
	}
	return got.Spec.PersistentVolumeReclaimPolicy, nil
}

// protectPatch is a merge patch to Retain that applies to this very volume
// only: the uid makes the API server refuse another one of the same name.
func protectPatch(volume corev1.PersistentVolume) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":         volume.UID,
			"annotations": map[string]string{FormerPolicyAnnotation: string(volume.Spec.PersistentVolumeReclaimPolicy)},
		},
		"spec": map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain},
	})
}

// fatal says whether err concerns the whole run rather than one claim: what
// the user may not do for one claim will fail for the others too.
func fatal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}
