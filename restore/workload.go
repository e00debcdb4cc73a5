package restore

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// bareObject returns a captured namespace, ConfigMap, Secret, Service or
// workload as it can be created: its spec and data, its name, labels and
// annotations, without what one cluster wrote into it. The input is not
// changed.
func bareObject(captured unstructured.Unstructured) *unstructured.Unstructured {
	object := captured.DeepCopy()
	delete(object.Object, "status")
	object.Object["metadata"] = bareMetadata(captured)
	switch object.GetKind() {
	case "Namespace":
		delete(object.Object, "spec") // finalizers only
	case "Service":
		stripService(object)
	case "Pod":
		stripPod(object)
	}
	return object
}

func bareMetadata(captured unstructured.Unstructured) map[string]any {
	metadata := map[string]any{"name": captured.GetName()}
	if ns := captured.GetNamespace(); ns != "" {
		metadata["namespace"] = ns
	}
	if labels := captured.GetLabels(); len(labels) > 0 {
		metadata["labels"] = anyMap(labels)
	}
	annotations := captured.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(annotations, "deployment.kubernetes.io/revision")
	if len(annotations) > 0 {
		metadata["annotations"] = anyMap(annotations)
	}
	return metadata
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// stripService drops the addresses and ports that the old cluster handed out.
func stripService(service *unstructured.Unstructured) {
	if ip, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP"); ip != corev1.ClusterIPNone {
		unstructured.RemoveNestedField(service.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(service.Object, "spec", "clusterIPs")
	}
	unstructured.RemoveNestedField(service.Object, "spec", "healthCheckNodePort")
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, port := range ports {
		if p, ok := port.(map[string]any); ok {
			delete(p, "nodePort")
		}
	}
	if ports != nil {
		// The slice was copied out of this very object: it cannot fail to go back.
		_ = unstructured.SetNestedSlice(service.Object, ports, "spec", "ports")
	}
}

// stripPod drops what scheduler, admission and `kubectl debug` wrote into a bare
// Pod: the API server refuses ephemeral containers on create.
func stripPod(pod *unstructured.Unstructured) {
	for _, field := range []string{"nodeName", "priority", "ephemeralContainers"} {
		unstructured.RemoveNestedField(pod.Object, "spec", field)
	}
	filterNamed(pod.Object, isTokenVolume, "spec", "volumes")
	for _, list := range []string{"containers", "initContainers"} {
		containers, found, _ := unstructured.NestedSlice(pod.Object, "spec", list)
		if !found {
			continue
		}
		for _, c := range containers {
			if container, ok := c.(map[string]any); ok {
				filterNamed(container, isTokenVolume, "volumeMounts")
			}
		}
		_ = unstructured.SetNestedSlice(pod.Object, containers, "spec", list)
	}
}

// filterNamed drops the elements of a list whose name drop matches.
func filterNamed(object map[string]any, drop func(string) bool, fields ...string) {
	list, found, _ := unstructured.NestedSlice(object, fields...)
	if !found {
		return
	}
	kept := []any{}
	for _, element := range list {
		if e, ok := element.(map[string]any); ok {
			if name, _ := e["name"].(string); drop(name) {
				continue
			}
		}
		kept = append(kept, element)
	}
	_ = unstructured.SetNestedSlice(object, kept, fields...)
}

// mentions says whether any string within value is name: whether, say, a Pod's
// spec names a ConfigMap anywhere.
func mentions(value any, name string) bool {
	switch v := value.(type) {
	case string:
		return v == name
	case []any:
		for _, element := range v {
			if mentions(element, name) {
				return true
			}
		}
	case map[string]any:
		for _, element := range v {
			if mentions(element, name) {
				return true
			}
		}
	}
	return false
}
