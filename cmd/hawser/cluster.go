package main

import (
	"net/http"
	"net/url"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"hawser.dev/hawser/config"
)

// restConfig returns how to reach the cluster that the kubectl flags name, at
// the configured rate. An error is one of usage.
func (a *app) restConfig(cfg config.Config) (*rest.Config, error) {
	rc, err := a.kube.ToRESTConfig()
	if err == nil && a.isFallback(rc) {
		err = clientcmd.ErrEmptyCluster
	}
	if err != nil {
		return nil, usage(kubeconfigProblem(err))
	}
	rc = rest.CopyConfig(rc)
	rc.QPS = cfg.Kubernetes.QPS
	rc.Burst = cfg.Kubernetes.Burst
	rc.UserAgent = writer()
	if a.transport != nil {
		rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return a.transport("kubernetes", next) })
	}
	rc.WarningHandler = rest.NewWarningWriter(a.stderr, rest.WarningWriterOptions{Deduplicate: true})
	if host, _, err := rest.DefaultServerUrlFor(rc); err == nil {
		a.know((&url.URL{Scheme: host.Scheme, Host: host.Host}).String())
	}
	return rc, nil
}

// know keeps the addresses of API servers, for messages.
func (a *app) know(apiServers ...string) {
	for _, server := range apiServers {
		if !slices.Contains(a.apiServers, server) {
			a.apiServers = append(a.apiServers, server)
		}
	}
}

// isFallback reports whether rc is what kubectl falls back on when no cluster
// is configured: a server on this machine, which is never what is meant.
func (a *app) isFallback(rc *rest.Config) bool {
	raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
	return err == nil && len(raw.Clusters) == 0 && *a.kube.APIServer == "" && rc.Host == "http://localhost:8080"
}

// namespace returns the namespace that -n names, else that of the kubeconfig's
// context.
func (a *app) namespace() (string, error) {
	namespace, _, err := a.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", usage(kubeconfigProblem(err))
	}
	return namespace, nil
}
