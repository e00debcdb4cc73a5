package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
)

// humane returns the text of err. What came from an API server at one of the
// addresses is told in terms of what the user can do; the text around it stays.
func humane(err error, apiServers ...string) string {
	text := err.Error()
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		at := "" // of several, the text around says which
		if len(apiServers) == 1 {
			at = " at " + apiServers[0]
		}
		return strings.Replace(text, status.Error(), statusText(status, at), 1)
	}
	var request *url.Error
	if !errors.As(err, &request) || errors.Is(err, context.Canceled) {
		return text
	}
	for _, server := range apiServers {
		if strings.HasPrefix(request.URL, server) {
			return strings.Replace(text, request.Error(), unreachable(request, server), 1)
		}
	}
	return text
}

// statusText tells what a status means; at is where its API server is, or "".
func statusText(status *apierrors.StatusError, at string) string {
	switch {
	case apierrors.IsForbidden(status):
		return forbidden(status.Error())
	case apierrors.IsUnauthorized(status):
		return fmt.Sprintf("the Kubernetes API server%s does not accept these credentials; check the user of --kubeconfig/--context, or log in again", at)
	case apierrors.IsTimeout(status), apierrors.IsServerTimeout(status):
		return fmt.Sprintf("the Kubernetes API server%s did not answer in time: %s; try again", at, status.Error())
	case apierrors.IsTooManyRequests(status):
		return fmt.Sprintf("the Kubernetes API server%s is overloaded: %s; try again, or lower kubernetes.qps", at, status.Error())
	}
	return status.Error()
}

// denied matches what RBAC says, see ForbiddenStatusError and
// forbiddenMessage in k8s.io/apiserver, pkg/endpoints/handlers/responsewriters.
var denied = regexp.MustCompile(`User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?(?: at the cluster scope)?(?:: (.+))?$`)

// forbidden names who may not do what, and the rule that would grant it. Other
// messages, such as that of a quota, are left as they are.
func forbidden(message string) string {
	m := denied.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	user, verb, resource, group, namespace, why := m[1], m[2], m[3], m[4], m[5], m[6]
	where, role := "in the whole cluster", "ClusterRole"
	if namespace != "" {
		where, role = "in namespace "+namespace, "Role"
	}
	full := resource
	if group != "" {
		full += "." + group
	}
	text := fmt.Sprintf("user %q may not %s %s %s; grant it with the rule {apiGroups: [%q], resources: [%q], verbs: [%q]} in a %s",
		user, verb, full, where, group, resource, verb, role)
	if why != "" {
		text += " (" + why + ")"
	}
	return text
}

// unreachable says why a request got no answer.
func unreachable(request *url.Error, apiServer string) string {
	var errno syscall.Errno
	var dns *net.DNSError
	cause := request.Err.Error()
	switch {
	case errors.As(request, &errno):
		cause = errno.Error()
	case errors.As(request, &dns):
		cause = dns.Error()
	case request.Timeout():
		cause = "no answer in time"
	}
	return fmt.Sprintf("cannot reach the Kubernetes API server at %s: %s; check --kubeconfig/--context", apiServer, cause)
}

// kubeconfigProblem says what is wrong with the way to the cluster.
func kubeconfigProblem(err error) error {
	if clientcmd.IsEmptyConfig(err) || errors.Is(err, clientcmd.ErrEmptyCluster) {
		return errors.New("no cluster is configured: use --kubeconfig, KUBECONFIG or ~/.kube/config")
	}
	return fmt.Errorf("kubeconfig: %w", err)
}
