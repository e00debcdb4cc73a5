package config

import (
	"os"
	"strings"
)

const (
	// podNamespace is the variable in which a Pod's own manifest tells it its
	// namespace, by custom.
	podNamespace = "POD_NAMESPACE"
	// namespaceFile is where the kubelet tells it.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// surroundings are the defaults that depend on where Hawser runs: in a Pod, the
// agent is at home in the Pod's namespace.
func surroundings(source Source) layer {
	if value := Lookup(source.Env, podNamespace); value != "" {
		return layer{"agent.namespace": {value: value, origin: Origin{Source: Environment, Name: podNamespace}}}
	}
	path := source.NamespaceFile
	if path == "" {
		path = namespaceFile
	}
	if data, err := os.ReadFile(path); err == nil {
		return layer{"agent.namespace": {value: strings.TrimSpace(string(data)), origin: Origin{Source: File, Name: path}}}
	}
	return nil // it is no Pod, or one without a service account
}
