package restore

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
)

// index finds the volumes of the target with their pairs, and its workloads. It
// fails if the point contradicts itself.
func (t *target) index() error {
	volumes := map[string]corev1.PersistentVolume{}
	claims := map[catalog.ClaimKey]corev1.PersistentVolumeClaim{}
	for _, object := range t.point.Bundle.Objects {
		switch object.GetKind() {
		case "PersistentVolume":
			var v corev1.PersistentVolume
			if err := typed(object, &v); err != nil {
				return err
			}
			volumes[v.Name] = v
		case "PersistentVolumeClaim":
			var c corev1.PersistentVolumeClaim
			if err := typed(object, &c); err != nil {
				return err
			}
			claims[keyOf(&c)] = c
		}
		if isWorkload(object) {
			t.workloads = append(t.workloads, object)
		}
	}
	t.pairs = map[catalog.ClaimKey]Pair{}
	for _, v := range t.point.Bundle.Volumes {
		volume, hasVolume := volumes[v.PersistentVolume]
		claim, hasClaim := claims[v.Claim]
		if !hasVolume || !hasClaim {
			return fmt.Errorf("bundle of point %s: %w: it lacks the objects of claim %s", t.point.Commit.Point, catalog.ErrCorrupt, v.Claim)
		}
		t.volumes = append(t.volumes, v)
		t.pairs[v.Claim] = Pair{Volume: volume, Claim: claim}
	}
	return nil
}

func typed(object unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		return fmt.Errorf("%s %s/%s in the bundle: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
	}
	return nil
}
