package backup

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func persistentVolume(policy corev1.PersistentVolumeReclaimPolicy) corev1.PersistentVolume {
	return corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv", UID: "uid", Annotations: map[string]string{"example.com/note": "kept"}},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeReclaimPolicy: policy},
	}
}

func TestProtectPatchIsForThisVolumeAlone(t *testing.T) {
	for _, policy := range []corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle} {
		patch, err := protectPatch(persistentVolume(policy))
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(patch, &got); err != nil {
			t.Fatal(err)
		}
		wantDiff(t, "patch", any(map[string]any{
			"metadata": map[string]any{"uid": "uid", "annotations": map[string]any{"hawser.dev/former-reclaim-policy": string(policy)}},
			"spec":     map[string]any{"persistentVolumeReclaimPolicy": "Retain"},
		}), got)
	}
}

func TestProtectMakesAVolumeRetain(t *testing.T) {
	volume := persistentVolume(corev1.PersistentVolumeReclaimDelete)
	client := fake.NewClientset(&volume)
	policy, err := protect(t.Context(), client, volume)
	if err != nil || policy != corev1.PersistentVolumeReclaimRetain {
		t.Fatalf("policy %s, error %v", policy, err)
	}
	got, err := client.CoreV1().PersistentVolumes().Get(t.Context(), "pv", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "policy", corev1.PersistentVolumeReclaimRetain, got.Spec.PersistentVolumeReclaimPolicy)
	wantDiff(t, "annotations", map[string]string{"example.com/note": "kept", FormerPolicyAnnotation: "Delete"}, got.Annotations)
}

func TestProtectOfARetainedVolumeAsksNothing(t *testing.T) {
	client := fake.NewClientset()
	policy, err := protect(t.Context(), client, persistentVolume(corev1.PersistentVolumeReclaimRetain))
	if err != nil || policy != corev1.PersistentVolumeReclaimRetain || len(client.Actions()) > 0 {
		t.Errorf("policy %s, error %v, requests %v", policy, err, client.Actions())
	}
}

func TestProtectBelievesWhatIsReadBack(t *testing.T) {
	volume := persistentVolume(corev1.PersistentVolumeReclaimDelete)
	client := fake.NewClientset(&volume)
	client.PrependReactor("patch", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, &volume, nil })
	if policy, err := protect(t.Context(), client, volume); err == nil || policy != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("policy %s, error %v: the API server said yes and kept Delete", policy, err)
	}
}
