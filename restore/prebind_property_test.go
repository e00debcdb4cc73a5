package restore

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

// volumeAnnotations and claimAnnotations say of each annotation that Kubernetes
// writes whether a prebound object keeps it.
var (
	volumeAnnotations = map[string]bool{
		"pv.kubernetes.io/bound-by-controller":                       false,
		"pv.kubernetes.io/migrated-to":                               false,
		"kubectl.kubernetes.io/last-applied-configuration":           false,
		"pv.kubernetes.io/provisioned-by":                            true,
		"volume.kubernetes.io/provisioner-deletion-secret-name":      true,
		"volume.kubernetes.io/provisioner-deletion-secret-namespace": true,
		"example.com/owner":                                          true,
	}
	claimAnnotations = map[string]bool{
		"pv.kubernetes.io/bind-completed":                  false,
		"pv.kubernetes.io/bound-by-controller":             false,
		"pv.kubernetes.io/migrated-to":                     false,
		"volume.kubernetes.io/storage-provisioner":         false,
		"volume.beta.kubernetes.io/storage-provisioner":    false,
		"volume.kubernetes.io/selected-node":               false,
		"volume.kubernetes.io/storage-resizer":             false,
		"kubectl.kubernetes.io/last-applied-configuration": false,
		"example.com/owner":                                true,
	}
)

// subset draws some keys of m, each with a value.
func subset(t *rapid.T, label string, m map[string]bool) map[string]string {
	drawn := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if rapid.Bool().Draw(t, label+" "+key) {
			drawn[key] = rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "value")
		}
	}
	return drawn
}

// drawMeta draws what a live object may have beside its name.
func drawMeta(t *rapid.T, label string, annotations map[string]bool) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		UID:             types.UID(rapid.StringMatching(`[0-9a-f]{0,8}`).Draw(t, label+" uid")),
		ResourceVersion: rapid.StringMatching(`[0-9]{0,4}`).Draw(t, label+" resourceVersion"),
		Generation:      rapid.Int64Range(0, 3).Draw(t, label+" generation"),
		Labels:          subset(t, label, map[string]bool{"app": true, "team": true}),
		Annotations:     subset(t, label, annotations),
	}
	if rapid.Bool().Draw(t, label+" has a past") {
		now := metav1.NewTime(shopTime)
		meta.CreationTimestamp, meta.DeletionTimestamp = now, &now
		meta.Finalizers = []string{"kubernetes.io/protection"}
		meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "redis", UID: "old"}}
		meta.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	}
	return meta
}

// drawPair draws a bound pair as some cluster could show it.
func drawPair(t *rapid.T) Pair {
	volume, claim := redisVolume(0), redisClaim(0)
	name, key := volume.Name, claim.Name
	volume.ObjectMeta = drawMeta(t, "volume", volumeAnnotations)
	claim.ObjectMeta = drawMeta(t, "claim", claimAnnotations)
	volume.Name, claim.Name, claim.Namespace = name, key, "shop"
	if rapid.Bool().Draw(t, "recorded before") {
		if volume.Annotations == nil {
			volume.Annotations = map[string]string{}
		}
		volume.Annotations[FormerPolicyAnnotation] = "Recycle"
	}
	volume.Spec.PersistentVolumeReclaimPolicy = rapid.SampledFrom([]corev1.PersistentVolumeReclaimPolicy{
		corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle,
	}).Draw(t, "policy")
	volume.Spec.ClaimRef.UID = claim.UID
	claim.Spec.Resources.Requests[corev1.ResourceStorage] = *resource.NewQuantity(rapid.Int64Range(1, 1<<40).Draw(t, "request"), resource.BinarySI)
	if rapid.Bool().Draw(t, "attributes class") {
		volume.Spec.VolumeAttributesClassName, claim.Spec.VolumeAttributesClassName = ptr.To("gold"), ptr.To("gold")
	}
	if rapid.Bool().Draw(t, "data source") {
		claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "other"}
		claim.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "other"}
	}
	return Pair{Volume: volume, Claim: claim}
}

func copyOf(pair Pair) Pair {
	return Pair{Volume: *pair.Volume.DeepCopy(), Claim: *pair.Claim.DeepCopy()}
}

func TestPrebindProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pair := drawPair(t)
		class := rapid.SampledFrom([]string{"", shopClass, "fast"}).Draw(t, "class")
		before := copyOf(pair)
		volume, claim, err := Prebind(pair, class)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, pair); diff != "" {
			t.Errorf("the input changed (-before +after):\n%s", diff)
		}
		if policy := volume.Spec.PersistentVolumeReclaimPolicy; policy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("the volume is %s, want Retain", policy)
		}
		if ref := volume.Spec.ClaimRef; ref.Namespace != claim.Namespace || ref.Name != claim.Name || claim.Spec.VolumeName != volume.Name {
			t.Errorf("the pair does not name each other: claimRef %v, volumeName %q", ref, claim.Spec.VolumeName)
		}
		if volume.Spec.StorageClassName != class || claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != class {
			t.Errorf("want class %q on both", class)
		}
		expectNoTrace(t, volume, claim)
		expectAnnotations(t, before.Volume.Annotations, volume.Annotations, volumeAnnotations)
		expectAnnotations(t, before.Claim.Annotations, claim.Annotations, claimAnnotations)
		expectFormerPolicy(t, before.Volume, volume)
	})
}

// expectNoTrace checks that nothing in objects belongs to the cluster they came from.
func expectNoTrace(t rapid.TB, objects ...any) {
	t.Helper()
	for _, object := range objects {
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := json.Unmarshal(data, &content); err != nil {
			t.Fatal(err)
		}
		foreign := []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "ownerReferences", "finalizers", "phase", "dataSource", "dataSourceRef"}
		for _, key := range foreign {
			if hasKey(content, key) {
				t.Errorf("%s is left in %s", key, data)
			}
		}
	}
}

func hasKey(value any, key string) bool {
	switch v := value.(type) {
	case map[string]any:
		for k, element := range v {
			if k == key && element != nil || hasKey(element, key) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return hasKey(element, key) })
	}
	return false
}

// expectAnnotations checks that kept and dropped annotations are all, and that
// nothing but the former policy came to them.
func expectAnnotations(t rapid.TB, before, after map[string]string, kept map[string]bool) {
	t.Helper()
	want := map[string]string{}
	for key, value := range before {
		if kept[key] {
			want[key] = value
		}
	}
	got := maps.Clone(after)
	delete(got, FormerPolicyAnnotation)
	if !maps.Equal(want, got) {
		t.Errorf("annotations (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func expectFormerPolicy(t rapid.TB, before corev1.PersistentVolume, after *corev1.PersistentVolume) {
	t.Helper()
	want := before.Annotations[FormerPolicyAnnotation]
	if policy := before.Spec.PersistentVolumeReclaimPolicy; want == "" && policy != corev1.PersistentVolumeReclaimRetain {
		want = string(policy)
	}
	if got := after.Annotations[FormerPolicyAnnotation]; got != want {
		t.Errorf("former policy %q, want %q", got, want)
	}
}

// A prebound pair that was stored and read again is prebound already.
func TestPrebindIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		volume, claim, err := Prebind(drawPair(t), shopClass)
		if err != nil {
			t.Fatal(err)
		}
		var again Pair
		recode(t, volume, &again.Volume)
		recode(t, claim, &again.Claim)
		volume2, claim2, err := Prebind(again, shopClass)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{volume, claim}, []any{volume2, claim2}, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("prebound twice (-once +twice):\n%s", diff)
		}
	})
}

// recode encodes from and decodes it into into.
func recode(t rapid.TB, from, into any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
