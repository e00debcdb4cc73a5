package tools

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A tool is one program.
type tool struct {
	name   string // of the binary
	module string // folder of its module; doubles as the name of a group
	pkg    string // import path of its main package
	rare   bool   // built only when asked for by name, never as part of a group
	flags  string // for the linker
}

// kubernetesVersion is that of module k8s.io/kubernetes. Its release scripts
// write it into the binaries, or the API server would call itself v0.0.0.
const (
	kubernetesVersion = "v1.36.3"
	kubernetesFlags   = "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion
)

// all lists the tools in the order in which they are built. The API server
// comes first, since most of what it compiles the others need too.
var all = []tool{
	{name: "etcd", module: "kubernetes", pkg: "go.etcd.io/etcd/server/v3"},
	{name: "kube-apiserver", module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", flags: kubernetesFlags},
	{name: "kube-controller-manager", module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", flags: kubernetesFlags},
	{name: "kube-scheduler", module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", flags: kubernetesFlags},
	{name: "kwok", module: "kubernetes", pkg: "sigs.k8s.io/kwok/cmd/kwok"},
	{name: "snapshot-controller", module: "kubernetes", pkg: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller"},
	{name: "csi-snapshotter", module: "kubernetes", pkg: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter"},
	{name: "csi-provisioner", module: "kubernetes", pkg: "github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner"},
	{name: "csi-attacher", module: "kubernetes", pkg: "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"},
	{name: "kubectl", module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl", flags: kubernetesFlags, rare: true},
	{name: "kubelet", module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubelet", flags: kubernetesFlags, rare: true},
	{name: "coredns", module: "dns", pkg: "hawser.dev/hawser/e2e/tools/dns", rare: true},
	{name: "versitygw", module: "s3", pkg: "github.com/versity/versitygw/cmd/versitygw"},
	{name: "staticcheck", module: "lint", pkg: "honnef.co/go/tools/cmd/staticcheck"},
	{name: "minio", module: "minio", pkg: "github.com/minio/minio", rare: true},
	{name: "helm", module: "helm", pkg: "helm.sh/helm/v4/cmd/helm", rare: true},
	{name: "promtool", module: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/promtool", rare: true},
	{name: "toxiproxy", module: "toxiproxy", pkg: "github.com/Shopify/toxiproxy/v2/cmd/server", rare: true},
}

// Path returns the absolute path of the named tool's binary, which it builds
// first if need be. The caller's working directory must lie inside Hawser's
// source tree, as it does in a test.
func Path(ctx context.Context, name string) (string, error) {
	paths, err := Paths(ctx, name)
	if err != nil {
		return "", err
	}
	return paths[name], nil
}

// Paths is Path for several tools at once: what has to be built is counted and
// shown as one piece of work.
func Paths(ctx context.Context, names ...string) (map[string]string, error) {
	var wanted []tool
	for _, name := range names {
		i := slices.IndexFunc(all, func(t tool) bool { return t.name == name })
		if i < 0 {
			return nil, unknown(name)
		}
		wanted = append(wanted, all[i])
	}
	root, err := Dir()
	if err != nil {
		return nil, err
	}
	b := builder{root, os.Stderr}
	if err := b.build(ctx, wanted); err != nil {
		return nil, err
	}
	paths := make(map[string]string, len(wanted))
	for _, t := range wanted {
		paths[t.name] = b.binary(t)
	}
	return paths, nil
}

// Build builds what is missing or out of date of the given tools and groups.
// A group is a module (kubernetes, dns, s3, lint, minio, helm, prometheus,
// toxiproxy). Without names it is all groups. A tool that few need (kubectl,
// kubelet, coredns, minio, helm, promtool, toxiproxy) is left out unless it is
// named.
func Build(ctx context.Context, names ...string) error {
	wanted, err := expand(names)
	if err != nil {
		return err
	}
	root, err := Dir()
	if err != nil {
		return err
	}
	return builder{root, os.Stderr}.build(ctx, wanted)
}

// expand turns names of tools and groups into tools, each once, in the order
// of the list.
func expand(names []string) ([]tool, error) {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(t tool) bool { return t.name == name || t.module == name }) {
			return nil, unknown(name)
		}
	}
	var wanted []tool
	for _, t := range all {
		asGroup := !t.rare && (len(names) == 0 || slices.Contains(names, t.module))
		if asGroup || slices.Contains(names, t.name) {
			wanted = append(wanted, t)
		}
	}
	return wanted, nil
}

func unknown(name string) error {
	var known []string
	for _, t := range all {
		known = append(known, t.name)
	}
	return fmt.Errorf("no tool is named %q; there are %s", name, strings.Join(known, ", "))
}
