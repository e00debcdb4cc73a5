package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// masked takes the place of a secret value.
const masked = "xxxxx"

// maskSecrets returns the objects with the values of Secrets masked.
func maskSecrets(objects []unstructured.Unstructured) []unstructured.Unstructured {
	all := make([]unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		if o.GetAPIVersion() == "v1" && o.GetKind() == "Secret" {
			o = maskSecret(o)
		}
		all = append(all, o)
	}
	return all
}

func maskSecret(secret unstructured.Unstructured) unstructured.Unstructured {
	secret = *secret.DeepCopy()
	for _, field := range []string{"data", "stringData"} {
		if values, ok := secret.Object[field].(map[string]any); ok {
			for name := range values {
				values[name] = masked
			}
		}
	}
	// kubectl apply keeps a copy of the values here.
	if annotations := secret.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		annotations[corev1.LastAppliedConfigAnnotation] = masked
		secret.SetAnnotations(annotations)
	}
	return secret
}
