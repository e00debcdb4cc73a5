package main

import (
	"path/filepath"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hawser.dev/hawser/config"
)

func TestMigrateRefusesFlagsThatDoNotGoTogether(t *testing.T) {
	for name, test := range map[string]struct {
		options migrateOptions
		args    []string
		usage   bool
	}{
		"a workload":                       {args: []string{"sts/redis"}},
		"all":                              {options: migrateOptions{all: true}},
		"a selector":                       {options: migrateOptions{selector: "app=redis"}},
		"nothing":                          {usage: true},
		"a workload and all":               {options: migrateOptions{all: true}, args: []string{"sts/redis"}, usage: true},
		"status of all":                    {options: migrateOptions{status: allMigrations}},
		"status of one, as an argument":    {options: migrateOptions{status: allMigrations}, args: []string{"20260903-110000-1a2b3c4d"}},
		"status of one, with a workload":   {options: migrateOptions{status: "20260903-110000-1a2b3c4d"}, args: []string{"sts/redis"}, usage: true},
		"a rollback":                       {options: migrateOptions{rollback: "20260903-110000-1a2b3c4d"}},
		"a rollback without its target":    {options: migrateOptions{rollback: "20260903-110000-1a2b3c4d", targetGone: true}},
		"a rollback with its lost target":  {options: migrateOptions{rollback: "20260903-110000-1a2b3c4d", targetGone: true, target: &genericclioptions.ConfigFlags{Context: new("new"), KubeConfig: new("")}}, usage: true},
		"a move without its target":        {options: migrateOptions{all: true, targetGone: true}, usage: true},
		"a rollback and a clean-up":        {options: migrateOptions{rollback: "20260903-110000-1a2b3c4d", cleanup: "20260903-110000-1a2b3c4d"}, usage: true},
		"a rollback of a workload":         {options: migrateOptions{rollback: "20260903-110000-1a2b3c4d"}, args: []string{"sts/redis"}, usage: true},
		"a move of a cluster that is gone": {options: migrateOptions{all: true, lost: "old"}, usage: true},
		"an adoption":                      {options: migrateOptions{all: true, way: "adopt", lost: "old", sourceGone: true}},
		"an adoption by labels":            {options: migrateOptions{selector: "app=redis", way: "adopt"}, usage: true},
	} {
		t.Run(name, func(t *testing.T) {
			if test.options.way == "" {
				test.options.way = "move"
			}
			test.options.point = "latest"
			if test.options.target == nil {
				test.options.target = newKubeFlags()
			}
			err := test.options.check(test.args)
			if code := exitCode(err); code == exitUsage != test.usage {
				t.Errorf("got %v", err)
			}
		})
	}
}

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
