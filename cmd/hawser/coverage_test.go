package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
)

// listServer is an API server that has these objects, as YAML documents, and
// answers nothing but lists.
func listServer(t *testing.T, documents ...string) string {
	t.Helper()
	kinds := map[string]string{
		"namespaces": "Namespace", "persistentvolumeclaims": "PersistentVolumeClaim", "persistentvolumes": "PersistentVolume",
		"statefulsets": "StatefulSet", "deployments": "Deployment", "pods": "Pod",
	}
	objects := map[string][]any{}
	for _, document := range strings.Split(strings.Join(documents, "\n---\n"), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		kind := object["kind"].(string)
		objects[kind] = append(objects[kind], object)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, known := kinds[path.Base(r.URL.Path)]
		if !known || r.Method != http.MethodGet || r.URL.Query().Get("watch") != "" {
			t.Errorf("unexpected request: %s %s", r.Method, r.URL)
			http.NotFound(w, r)
			return
		}
		apiVersion := path.Dir(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/api/"))
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "metadata": map[string]any{"resourceVersion": "7"}, "items": append([]any{}, objects[kind]...)})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// coveredPair is a claim of an age and its volume.
func coveredPair(key, handle, policy string, age time.Duration) string {
	namespace, name, _ := strings.Cut(key, "/")
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {namespace: %[1]s, name: %[2]s, uid: u-%[2]s, creationTimestamp: "%[5]s"}
spec: {volumeName: pv-%[3]s}
status: {phase: Bound}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-%[3]s, creationTimestamp: "%[5]s"}
spec:
  claimRef: {namespace: %[1]s, name: %[2]s, uid: u-%[2]s}
  csi: {driver: disks.example.com, volumeHandle: %[3]s}
  persistentVolumeReclaimPolicy: %[4]s`, namespace, name, handle, policy, testNow.Add(-age).Format(time.RFC3339))
}

// shopCluster has a set of two claims, of which the newest point has one, a
// claim of no plan, and claims that cannot be covered.
var shopCluster = []string{
	`{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, uid: ` + prod.UID + `}}`,
	`{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`,
	`{apiVersion: v1, kind: Namespace, metadata: {name: billing}}`,
	`{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: shop, name: redis}, spec: {volumeClaimTemplates: [{metadata: {name: redis-pvc}}]}}`,
	coveredPair("shop/redis-pvc-redis-0", "disk-a", "Retain", 90*24*time.Hour),
	coveredPair("shop/redis-pvc-redis-1", "disk-b", "Delete", 90*24*time.Hour),
	coveredPair("shop/redis-pvc-redis-2", "disk-c", "Retain", 20*time.Minute),
	coveredPair("shop/files", "disk-f", "Delete", 90*24*time.Hour),
	coveredPair("billing/ledger", "disk-l", "Delete", 90*24*time.Hour),
	`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: billing, name: waiting}, status: {phase: Pending}}`,
}

const coveragePlans = `
plans:
- name: databases
  rpo: 8h
  select: {workloads: [statefulset/redis]}
- name: shop
  select: {namespaces: [shop]}
  paused: true
- name: typo
  select: {workloads: [statefulset/reddis]}
`

// clusterEnv is that of a machine from which both the cluster and the store are seen.
func clusterEnv(t *testing.T, s store, plans string, documents ...string) []string {
	t.Helper()
	url := listServer(t, documents...)
	t.Setenv("KUBECONFIG", configFile(t, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %s}}]
contexts: [{name: c, context: {cluster: c, namespace: billing}}]
current-context: c
`, url)))
	return append(s.env(), "HAWSER_CONFIG="+configFile(t, plans))
}

func TestCoverage(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
	}{
		{"coverage", nil},
		{"coverage-namespace", []string{"-n", "billing"}},
		{"coverage-all", []string{"-A", "-q"}},
		{"coverage-plan", []string{"--plan", "shop"}},
		{"coverage-wide", []string{"-n", "shop", "-o", "wide"}},
		{"coverage-json", []string{"-n", "shop", "-o", "json"}},
		{"coverage-yaml", []string{"-n", "billing", "-o", "yaml"}},
		{"coverage-depth", []string{"--depth", "1"}},
		{"coverage-no-such-plan", []string{"--plan", "nightly"}},
		{"coverage-n-and-A", []string{"-n", "shop", "-A"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			env := clusterEnv(t, s, coveragePlans, shopCluster...)
			// The newest point of the plan, with a snapshot of redis-0 alone; one of a day ago with both.
			s.commitPoint(t, redisCommit(testNow.Add(-24*time.Hour)), whole(redisBundle(testNow.Add(-24*time.Hour))))
			s.commitPoint(t, redisCommit(testNow.Add(-time.Hour)), redisBundle(testNow.Add(-time.Hour)))
			byHand := statement(prod, catalog.ManualPlan, testNow.Add(-50*time.Hour))
			s.commitPoint(t, byHand, catalog.Bundle{Volumes: []catalog.Volume{{
				Claim: catalog.ClaimKey{Namespace: "billing", Name: "ledger"}, Driver: "disks.example.com", VolumeHandle: "disk-l",
			}}})
			s.commitPoint(t, statement(staging, "databases", testNow), catalog.Bundle{}) // of another cluster

			args := append([]string{"coverage"}, test.args...)
			golden(t, test.name, args, hawser(t, env, args...))
		})
	}
}

// whole is the bundle with a snapshot of each volume.
func whole(b catalog.Bundle) catalog.Bundle {
	b.Volumes[1].Snapshot, b.Volumes[1].Problem = b.Volumes[0].Snapshot, ""
	return b
}

func TestCoverageWithoutACatalog(t *testing.T) {
	env := clusterEnv(t, store{folder: t.TempDir()}, coveragePlans, shopCluster...)
	r := hawser(t, env, "coverage")
	if r.exit != exitPartial || !strings.Contains(r.stderr, "no Hawser catalog here") || !strings.Contains(r.stdout, "Opened 0 of 0 points.") {
		t.Errorf("result: %+v", r)
	}
}

func TestCoverageOfAClusterWithoutClaims(t *testing.T) {
	env := clusterEnv(t, newStore(t), "plans: []", shopCluster[:3]...)
	want := "0 claims: 0 covered, 0 not.\nRPO: 0 met, 0 broken, 0 unknown, 0 without one.\nOpened 0 of 0 points.\n"
	if r := hawser(t, env, "coverage"); r.exit != exitDone || r.stdout != want || r.stderr != "note: the configuration has no plans\n" {
		t.Errorf("result: %+v", r)
	}
}

// What keeps its RPO is no reason for another exit code, nor is what nobody
// promised.
func TestCoverageIsDoneIfEveryPromiseIsKept(t *testing.T) {
	s := newStore(t)
	env := clusterEnv(t, s, "plans: [{name: databases, rpo: 48h, select: {workloads: [statefulset/redis]}}]", shopCluster...)
	s.commitPoint(t, redisCommit(testNow.Add(-24*time.Hour)), whole(redisBundle(testNow.Add(-24*time.Hour))))
	if r := hawser(t, env, "coverage"); r.exit != exitDone || r.stderr != "" || !strings.Contains(r.stdout, "RPO: 3 met, 0 broken") {
		t.Errorf("result: %+v", r)
	}
}
