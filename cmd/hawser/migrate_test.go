package main

import (
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
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
