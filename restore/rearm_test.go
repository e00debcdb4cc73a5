package restore

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"pgregory.net/rapid"
)

// patched returns volume as the API server makes it from a merge patch.
func patched(t rapid.TB, volume corev1.PersistentVolume, patch []byte) corev1.PersistentVolume {
	t.Helper()
	tracker := clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder())
	if err := tracker.Add(volume.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	action := clienttesting.NewRootPatchAction(resources["PersistentVolume"], volume.Name, types.MergePatchType, patch)
	_, object, err := clienttesting.ObjectReaction(tracker)(action)
	if err != nil {
		t.Fatal(err)
	}
	return *object.(*corev1.PersistentVolume)
}

func TestRearm(t *testing.T) {
	reservedRef := &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "redis-pvc-redis-0"}
	tests := []struct {
		name   string
		change func(*corev1.PersistentVolume)
		uid    types.UID
		want   func(*corev1.PersistentVolume) // what is new, beside claimRef and Retain
	}{
		{name: "a Released volume is reserved for the claim by its name", change: foreignUID},
		{name: "a Released volume with policy Delete becomes Retain and remembers it", change: func(v *corev1.PersistentVolume) {
			foreignUID(v)
			policyDelete(v)
		}, want: func(v *corev1.PersistentVolume) { v.Annotations[FormerPolicyAnnotation] = "Delete" }},
		{name: "the policy that was recorded first stays", change: func(v *corev1.PersistentVolume) {
			policyDelete(v)
			v.Annotations[FormerPolicyAnnotation] = "Recycle"
		}},
		{name: "a volume that was Retain records no former policy", change: func(*corev1.PersistentVolume) {}},
		{name: "an unreserved volume is reserved", change: unreserved},
		{name: "a volume without annotations gets none", change: func(v *corev1.PersistentVolume) { v.Annotations = nil }},
		{name: "a volume of a Lost claim names its uid", change: foreignUID, uid: "uid-of-a-lost-claim"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			volume := redisVolume(0)
			test.change(&volume)
			before := *volume.DeepCopy()
			patch, err := Rearm(volume, redisKey(0), test.uid)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, volume); diff != "" {
				t.Errorf("the input changed:\n%s", diff)
			}
			want := *volume.DeepCopy()
			want.Spec.ClaimRef = reservedRef.DeepCopy()
			want.Spec.ClaimRef.UID = test.uid
			want.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
			delete(want.Annotations, "pv.kubernetes.io/bound-by-controller")
			if test.want != nil {
				test.want(&want)
			}
			if diff := cmp.Diff(want, patched(t, volume, patch), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("volume after the patch (-want +got):\n%s", diff)
			}
			expectPrecondition(t, patch, map[string]any{"uid": "uid-of-volume-0", "resourceVersion": "100"})
		})
	}
}

func TestProtect(t *testing.T) {
	volume := redisVolume(0)
	policyDelete(&volume)
	before := *volume.DeepCopy()
	patch, err := Protect(volume)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, volume); diff != "" {
		t.Errorf("the input changed:\n%s", diff)
	}
	want := redisVolume(0)
	want.Annotations[FormerPolicyAnnotation] = "Delete"
	if diff := cmp.Diff(want, patched(t, volume, patch), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("volume after the patch (-want +got):\n%s", diff)
	}
	// The binder may touch the volume at any time; that must not stop it from being kept.
	expectPrecondition(t, patch, map[string]any{"uid": "uid-of-volume-0"})
}

// expectPrecondition checks what the API server compares with the object
// before it applies the patch: these two fields cannot be changed.
func expectPrecondition(t testing.TB, patch []byte, want map[string]any) {
	t.Helper()
	var content struct{ Metadata map[string]any }
	if err := json.Unmarshal(patch, &content); err != nil {
		t.Fatal(err)
	}
	delete(content.Metadata, "annotations")
	if diff := cmp.Diff(want, content.Metadata); diff != "" {
		t.Errorf("the patch applies to (-want +got):\n%s", diff)
	}
}
