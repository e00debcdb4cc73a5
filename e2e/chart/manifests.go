package chart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// ManifestsDir is the folder of the plain manifests.
func ManifestsDir() (string, error) {
	deploy, err := deployDir()
	return filepath.Join(deploy, "manifests"), err
}

// parts are the manifests beside hawser.yaml: what the chart has more with
// certain values.
var parts = []struct{ file, values, purpose string }{
	{"monitoring.yaml", "monitoring: {serviceMonitor: {enabled: true}, rules: {enabled: true}, dashboard: {enabled: true}}",
		"What Prometheus and Grafana are to know. It needs the Prometheus Operator."},
	{"hooks.yaml", "hooks: {namespaces: [shop]}",
		"Lets the agent run the hooks of Pods. Name your namespaces in place of shop."},
	{"secrets.yaml", "includeSecrets: true",
		"Lets backups read Secrets, in all namespaces."},
	{"restore.yaml", "restore: {bind: true}",
		"Lets the ServiceAccount hawser-restore restore. Delete it when all is back."},
	{"rollback.yaml", "rollback: {bind: true}",
		"Lets the ServiceAccount hawser-rollback roll back and undo. Delete it when that is done."},
	{"migrate.yaml", "migrate: {enabled: true}",
		"Lets the ServiceAccount hawser-migrate migrate out of this cluster, and into it. Delete it when that is done."},
	{"migrate-job.yaml", "migrate: {enabled: true, args: [statefulset/redis, --namespace=shop], kubeconfigSecret: hawser-other-cluster}",
		"A Job that moves a StatefulSet to the cluster of the kubeconfig in the Secret hawser-other-cluster. Name yours in args."},
	{"migrate-secrets.yaml", "includeSecrets: true\nmigrate: {enabled: true}",
		"Lets it bring along the Secrets that Pods use. Delete it, too."},
	{"drills.yaml", "drill: {enabled: true}",
		"Lets the agent hold drills, for plans with drill.schedule."},
	{"restore-secrets.yaml", "includeSecrets: true\nrestore: {bind: true}",
		"Lets it create Secrets as well, with the role in secrets.yaml. Delete it, too."},
}

// home is where all of it lives.
const home = `apiVersion: v1
kind: Namespace
metadata:
  name: ` + Namespace + `
  labels:
    pod-security.kubernetes.io/enforce: restricted
`

// Home is the namespace of everything, as deploy/manifests has it.
func Home() ([]Document, error) { return split([]byte(home)) }

// Manifests returns the files of ManifestsDir, made from the chart with the
// values of deploy/chart/manifests.yaml.
func Manifests(ctx context.Context) (map[string][]byte, error) {
	deploy, err := deployDir()
	if err != nil {
		return nil, err
	}
	values := Values{Files: []string{filepath.Join(deploy, "chart", "manifests.yaml")}}
	base, err := Render(ctx, values)
	if err != nil {
		return nil, err
	}
	known := ids(base)
	namespace, err := Home()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"hawser.yaml": manifest("Hawser: the agent, pruning, and who may do what. Put your store and your plans into\n# the ConfigMap hawser-config; the Secret hawser-store is yours to make.", append(namespace, base...)),
	}
	for _, part := range parts {
		values.YAML = part.values
		all, err := Render(ctx, values)
		if err != nil {
			return nil, err
		}
		more := slices.DeleteFunc(all, func(d Document) bool { return slices.Contains(known, d.ID()) })
		known = append(known, ids(more)...)
		files[part.file] = manifest(part.purpose, more)
	}
	return files, nil
}

func ids(documents []Document) []string {
	var all []string
	for _, d := range documents {
		all = append(all, d.ID())
	}
	return all
}

func manifest(purpose string, documents []Document) []byte {
	head := "# " + purpose + "\n#\n# Made from deploy/chart by `make manifests`; change it there.\n"
	return append([]byte(head), Join(documents)...)
}

// WriteManifests brings ManifestsDir up to date.
func WriteManifests(ctx context.Context) error {
	files, err := Manifests(ctx)
	if err != nil {
		return err
	}
	dir, err := ManifestsDir()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("write the manifests: %w", err)
		}
	}
	return nil
}

// ReadManifest returns the objects of one file of ManifestsDir.
func ReadManifest(name string) ([]Document, error) {
	dir, err := ManifestsDir()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return split(data)
}
