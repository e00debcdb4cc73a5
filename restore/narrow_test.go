package restore

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
)

// What the Pods of other workloads name is not missing from a part of a point.
func TestNarrowLeavesOutWhatOthersLack(t *testing.T) {
	front := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "front"}}
	front.Spec.Template.Spec.Containers = []corev1.Container{{Name: "front", EnvFrom: []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}}},
	}}}
	lacking := func(request Request) []string {
		point := shop()
		addObject(point, front)
		point.Bundle.Skipped = []catalog.Skip{
			{Kind: "Secret", Namespace: "shop", Name: "password", Reason: catalog.SkipNotAsked},
			{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "local", Reason: catalog.SkipNotCSI},
		}
		wanted, err := Narrow(point, request)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, skip := range wanted.Bundle.Skipped {
			names = append(names, skip.Name)
		}
		return names
	}
	for name, test := range map[string]struct {
		request Request
		want    []string
	}{
		"all":               {Request{}, []string{"password", "local"}},
		"the one that does": {Request{Workloads: []catalog.Workload{{Kind: "Deployment", Name: "front"}}}, []string{"password", "local"}},
		"another":           {Request{Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}}}, []string{"local"}},
	} {
		if got := lacking(test.request); !slices.Equal(got, test.want) {
			t.Errorf("%s: it lacks %q, want %q", name, got, test.want)
		}
	}
}
