package node

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec runs a command in a container of a Pod, as kubectl exec does, and returns
// what it printed. The error of a command that fails says what it complained
// about. container is empty for a Pod that has only one.
func (n *Node) Exec(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	config := n.cluster.RESTConfig("hawser-e2e")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	url := client.CoreV1().RESTClient().Post().
		Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: command, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, url.String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return "", fmt.Errorf("exec %q in Pod %s/%s: %w: %s", command, namespace, pod, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
