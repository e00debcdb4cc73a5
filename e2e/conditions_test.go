package e2e_test

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// hasPhase is the condition that an object is there with this status.phase.
func hasPhase(phase string) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool { return object != nil && phaseOf(object) == phase }
}

func phaseOf(object *unstructured.Unstructured) string {
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	return phase
}

func allRunning(n int) func([]*unstructured.Unstructured) bool { return allInPhase(n, "Running") }
func allBound(n int) func([]*unstructured.Unstructured) bool   { return allInPhase(n, "Bound") }

func allInPhase(n int, phase string) func([]*unstructured.Unstructured) bool {
	return func(objects []*unstructured.Unstructured) bool {
		for _, object := range objects {
			if phaseOf(object) != phase {
				return false
			}
		}
		return len(objects) == n
	}
}
