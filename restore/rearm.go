package restore

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
)

// Rearm returns a merge patch that makes an existing PersistentVolume Retain
// and reserves it for claim, whichever uid it was bound to before: nothing has
// to be deleted. The patch applies only to the volume exactly as it was read;
// uid is that of an existing claim that was bound to it (status Lost), or "".
func Rearm(volume corev1.PersistentVolume, claim catalog.ClaimKey, uid types.UID) ([]byte, error) {
	annotations := map[string]any{"pv.kubernetes.io/bound-by-controller": nil}
	if policy := volume.Spec.PersistentVolumeReclaimPolicy; policy != corev1.PersistentVolumeReclaimRetain && volume.Annotations[FormerPolicyAnnotation] == "" {
		annotations[FormerPolicyAnnotation] = string(policy)
	}
	ref := map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolumeClaim",
		"namespace": claim.Namespace, "name": claim.Name,
		"uid": nil, "resourceVersion": nil,
	}
	if uid != "" {
		ref["uid"] = uid
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":             volume.UID,
			"resourceVersion": volume.ResourceVersion,
			"annotations":     annotations,
		},
		"spec": map[string]any{
			"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain,
			"claimRef":                      ref,
		},
	})
}

// Protect returns a merge patch that makes an existing PersistentVolume Retain
// and leaves its binding alone.
func Protect(volume corev1.PersistentVolume) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":         volume.UID,
			"annotations": map[string]any{FormerPolicyAnnotation: string(volume.Spec.PersistentVolumeReclaimPolicy)},
		},
		"spec": map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain},
	})
}
