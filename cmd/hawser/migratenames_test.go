package main

import (
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hawser.dev/hawser/config"
)

// Of two clusters, the configured name is that of the one that hawser runs in.
func TestTheNamesOfTheTwoClusters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(api.Config{Contexts: map[string]*api.Context{"other": {}}, CurrentContext: "other"}, file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for name, test := range map[string]struct {
		configured, from, fromFile, to, toFile string
		wantFrom, wantTo                       string
	}{
		"two contexts":                        {from: "a", to: "b", wantFrom: "a", wantTo: "b"},
		"two contexts, and one is configured": {configured: "prod", from: "a", to: "b", wantFrom: "prod", wantTo: "b"},
		"out of the cluster of the Pod":       {configured: "prod", toFile: file, wantFrom: "prod", wantTo: "other"},
		"into the cluster of the Pod":         {configured: "prod", fromFile: file, wantFrom: "other", wantTo: "prod"},
		"a context of a file":                 {fromFile: file, from: "a", wantFrom: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := newKubeFlags(), newKubeFlags()
			*source.Context, *source.KubeConfig, *target.Context, *target.KubeConfig = test.from, test.fromFile, test.to, test.toFile
			var cfg config.Config
			cfg.Cluster.Name = test.configured
			if from, to := clusterNames(cfg, source, target); from != test.wantFrom || to != test.wantTo {
				t.Errorf("they are %q and %q, want %q and %q", from, to, test.wantFrom, test.wantTo)
			}
		})
	}
}
