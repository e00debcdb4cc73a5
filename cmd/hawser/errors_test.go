package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
)

func TestExitCode(t *testing.T) {
	failed := errors.New("failed")
	refused := &restore.RefusedError{}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"done", nil, exitDone},
		{"failed", failed, exitFailed},
		{"interrupted", context.Canceled, exitFailed},
		{"usage", usagef("bad"), exitUsage},
		{"partial", partial(failed), exitPartial},
		{"refused", refused, exitRefused},
		{"a wrapped one counts", fmt.Errorf("restore: %w", refused), exitRefused},
		{"a joined one counts", errors.Join(failed, partial(failed)), exitPartial},
		{"refused outweighs partial", errors.Join(partial(failed), refused), exitRefused},
		{"usage outweighs all", errors.Join(refused, usage(failed)), exitUsage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := exitCode(test.err); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
		})
	}
}

func TestPrintError(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"one", one, "error: one\n"},
		{"joined errors take a line each", errors.Join(one, errors.Join(two)), "error: one\nerror: two\n"},
		{"the same is told once", errors.Join(one, two, errors.New("one")), "error: one\nerror: two\n"},
		{"also when they are marked", partial(errors.Join(one, two)), "error: one\nerror: two\n"},
		{"joined errors with a text of their own stay together", fmt.Errorf("back up: %w", errors.Join(one, two)), "error: back up: one\n  two\n"},
		{"further lines are indented", errors.New("refused:\n  one\n  two\n"), "error: refused:\n  one\n  two\n"},
		{"control characters are left out", errors.New("claim \x1b[31mred\u009b"), "error: claim  [31mred\n"},
		{"cancelled", fmt.Errorf("snapshot claim shop/redis: %w", context.Canceled), "error: interrupted: snapshot claim shop/redis\n"},
		{"cancelled, and nothing else", context.Canceled, "error: interrupted\n"},
		{
			"corrupt", fmt.Errorf("bundle: %w", catalog.ErrCorrupt),
			"error: bundle: corrupt; the store has damaged it: get the object back from the store's versions or copies, or use another point\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stderr strings.Builder
			a := newApp(nil, nil, &stderr)
			a.cancelled = true
			a.printError(test.err)
			if stderr.String() != test.want {
				t.Errorf("got\n%swant\n%s", stderr.String(), test.want)
			}
		})
	}
}

func TestAnInterruptedVerb(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	a := newApp(strings.NewReader(""), &stdout, &stderr)
	a.env = append(s.env(), "HAWSER_CONFIG=/dev/null")
	if exit := a.run(ctx, []string{"points"}); exit != exitFailed || !strings.HasPrefix(stderr.String(), "error: interrupted") || stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", exit, stdout.String(), stderr.String())
	}
}

// apiServer answers every request with a status.
func apiServer(t *testing.T, status *apierrors.StatusError) string {
	t.Helper()
	status.ErrStatus.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.ErrStatus.Code))
		json.NewEncoder(w).Encode(status.ErrStatus)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// ask lists the claims of a namespace of an API server, and returns what a
// person would read of the error.
func ask(t *testing.T, server, timeout string) string {
	t.Helper()
	t.Setenv("KUBECONFIG", "/dev/null")
	a := newApp(nil, nil, &strings.Builder{})
	*a.kube.APIServer = server
	*a.kube.Timeout = timeout
	rc, err := a.restConfig(config.Config{Kubernetes: config.Kubernetes{QPS: -1, Burst: -1}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().PersistentVolumeClaims("shop").List(t.Context(), metav1.ListOptions{})
	if err == nil {
		t.Fatal("no error")
	}
	return a.message(fmt.Errorf("list claims: %w", err))
}

func TestErrorsOfTheAPIServer(t *testing.T) {
	claims := corev1.Resource("persistentvolumeclaims")
	tests := []struct {
		name   string
		status *apierrors.StatusError
		want   string
	}{
		{
			"forbidden in a namespace",
			apierrors.NewForbidden(claims, "", errors.New(`User "bob" cannot list resource "persistentvolumeclaims" in API group "" in the namespace "shop"`)),
			`list claims: user "bob" may not list persistentvolumeclaims in namespace shop; grant it with the rule {apiGroups: [""], resources: ["persistentvolumeclaims"], verbs: ["list"]} in a Role`,
		},
		{
			"forbidden in the cluster, with a reason",
			apierrors.NewForbidden(claims, "", errors.New(`User "system:serviceaccount:hawser:backup" cannot create resource "volumesnapshotclasses" in API group "snapshot.storage.k8s.io" at the cluster scope: RBAC: role "x" not found`)),
			`list claims: user "system:serviceaccount:hawser:backup" may not create volumesnapshotclasses.snapshot.storage.k8s.io in the whole cluster; grant it with the rule {apiGroups: ["snapshot.storage.k8s.io"], resources: ["volumesnapshotclasses"], verbs: ["create"]} in a ClusterRole (RBAC: role "x" not found)`,
		},
		{
			"forbidden by something else than RBAC",
			apierrors.NewForbidden(claims, "redis", errors.New("exceeded quota: storage")),
			`list claims: persistentvolumeclaims "redis" is forbidden: exceeded quota: storage`,
		},
		{
			"unauthorized",
			apierrors.NewUnauthorized("Unauthorized"),
			"list claims: the Kubernetes API server at SERVER does not accept these credentials; check the user of --kubeconfig/--context, or log in again",
		},
		{
			"timeout",
			apierrors.NewTimeoutError("the request took too long", 0),
			"list claims: the Kubernetes API server at SERVER did not answer in time: Timeout: the request took too long; try again",
		},
		{
			"another error is left as it is",
			apierrors.NewInternalError(errors.New("etcd is away")),
			"list claims: Internal error occurred: etcd is away",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := apiServer(t, test.status)
			if got := strings.ReplaceAll(ask(t, server, "1m"), server, "SERVER"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestTheAPIServerIsAway(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	}))
	t.Cleanup(slow.Close)
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	tests := []struct {
		name, server, timeout, cause string
	}{
		{"nobody listens", closed.URL, "1m", "connection refused"},
		{"no answer", slow.URL, "100ms", "no answer in time"},
		{"a certificate of an unknown authority", tls.URL, "1m", "certificate signed by unknown authority"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, test.server, test.timeout)
			for _, want := range []string{"list claims: cannot reach the Kubernetes API server at " + test.server + ": ", test.cause, "; check --kubeconfig/--context"} {
				if !strings.Contains(got, want) {
					t.Errorf("got\n%s\nwant in it\n%s", got, want)
				}
			}
		})
	}
}

// An error of another server, such as the store's, is not the API server's.
func TestErrorsOfOthersAreLeftAlone(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	_, err := http.Get(closed.URL)
	if got := humane(err, "https://127.0.0.1:1"); got != err.Error() {
		t.Errorf("got %q, want %q", got, err)
	}
}

func TestKubeconfigsThatCannotBeUsed(t *testing.T) {
	tests := []struct {
		name, kubeconfig string
		args             []string
		want             string // the beginning of stderr
	}{
		{"an empty one", "/dev/null", nil, "error: no cluster is configured: use --kubeconfig, KUBECONFIG or ~/.kube/config\n"},
		{"an absent one", "testdata/absent", nil, "error: no cluster is configured: use --kubeconfig, KUBECONFIG or ~/.kube/config\n"},
		{"one that is none", "hawser_test.go", nil, "error: kubeconfig: error loading config file \"hawser_test.go\""},
		{"a context that it has not", "/dev/null", []string{"--context", "prod"}, "error: kubeconfig: invalid configuration: context was not found for specified context: prod\n"},
		{"an absent one that is named", "/dev/null", []string{"--kubeconfig", "testdata/absent"}, "error: kubeconfig: stat testdata/absent: no such file or directory\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.kubeconfig)
			args := append([]string{"backup"}, test.args...)
			r := hawser(t, []string{"HAWSER_STORE_URL=file://" + t.TempDir()}, args...)
			if r.exit != exitUsage || !strings.HasPrefix(r.stderr, test.want) {
				t.Errorf("exit code %d, stderr\n%swant\n%s", r.exit, r.stderr, test.want)
			}
		})
	}
}

// With two clusters, nobody is sent to the wrong one.
func TestErrorsOfTwoAPIServersAreToldApart(t *testing.T) {
	refused := func(server string) error {
		return fmt.Errorf("the target: %w", &url.Error{Op: "Get", URL: server + "/api", Err: syscall.ECONNREFUSED})
	}
	const source, target = "https://source.example:6443", "https://target.example:6443"
	if got := humane(refused(target), source, target); !strings.Contains(got, "the target: cannot reach the Kubernetes API server at "+target) {
		t.Errorf("got %s", got)
	}
	unauthorized := fmt.Errorf("the target: %w", apierrors.NewUnauthorized("no"))
	if got := humane(unauthorized, source, target); strings.Contains(got, source) || !strings.Contains(got, "the target: the Kubernetes API server does not accept these credentials") {
		t.Errorf("got %s", got)
	}
	if got := humane(unauthorized, target); !strings.Contains(got, "server at "+target+" does not accept") {
		t.Errorf("got %s", got)
	}
}
