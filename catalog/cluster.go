package catalog

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// namespaceGetter is the part of a client's Namespaces() that tells clusters apart.
type namespaceGetter interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Namespace, error)
}

// ClusterUID asks a cluster for its identity: the uid of its namespace
// kube-system. It costs one request.
func ClusterUID(ctx context.Context, namespaces namespaceGetter) (string, error) {
	system, err := namespaces.Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("identify the cluster: %w", err)
	}
	return string(system.UID), nil
}
