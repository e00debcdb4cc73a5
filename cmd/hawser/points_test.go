package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/config"
)

var (
	prod    = catalog.Cluster{UID: "11111111-aaaa-4aaa-8aaa-111111111111", Name: "prod-eu"}
	staging = catalog.Cluster{UID: "22222222-bbbb-4bbb-8bbb-222222222222", Name: "staging"}
	unnamed = catalog.Cluster{UID: "33333333-cccc-4ccc-8ccc-333333333333"}
)

// store is a catalog in a folder.
type store struct {
	folder string
	cat    *catalog.Catalog
}

func newStore(t *testing.T) store {
	t.Helper()
	folder := t.TempDir()
	bucket, err := dir.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	cat, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, testNow)
	if err != nil {
		t.Fatal(err)
	}
	return store{folder: folder, cat: cat}
}

// env is the environment in which hawser uses the store.
func (s store) env() []string { return []string{"HAWSER_STORE_URL=file://" + s.folder} }

// file returns the path of an object of a point: commit or bundle.
func (s store) file(c catalog.Commit, object string) string {
	return filepath.Join(s.folder, "clusters", c.Cluster.UID, "points", string(c.Point), object)
}

// commitPoint makes a point as a backup run does.
func (s store) commitPoint(t *testing.T, c catalog.Commit, b catalog.Bundle) catalog.Commit {
	t.Helper()
	survey, err := s.cat.Survey(t.Context(), c.Cluster.UID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cat.Begin(t.Context(), intent(c)); err != nil {
		t.Fatal(err)
	}
	c, err = s.cat.Commit(t.Context(), c, b, survey)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s store) abandonPoint(t *testing.T, c catalog.Commit) {
	t.Helper()
	if err := s.cat.Begin(t.Context(), intent(c)); err != nil {
		t.Fatal(err)
	}
	if err := s.cat.Abandon(t.Context(), intent(c), c, nil); err != nil {
		t.Fatal(err)
	}
}

func intent(c catalog.Commit) catalog.Intent {
	return catalog.Intent{Point: c.Point, Cluster: c.Cluster, Plan: c.Plan, Scheduled: c.Scheduled, Started: c.Started, Writer: c.Writer}
}

// statement is the commit of a run that began at a time and took 42 seconds.
func statement(cluster catalog.Cluster, plan string, at time.Time) catalog.Commit {
	return catalog.Commit{
		Point:     catalog.NewPointID(cluster.UID, plan, at, 0),
		Cluster:   cluster,
		Plan:      plan,
		Scheduled: at,
		Started:   at.Add(2 * time.Second),
		Committed: at.Add(44 * time.Second),
		Outcome:   catalog.Complete,
		Writer:    "hawser/v0.1.0",
	}
}

// redisCommit and redisBundle are a point of the set redis with two claims, one
// of which has no snapshot.
func redisCommit(at time.Time) catalog.Commit {
	c := statement(prod, "databases", at)
	c.Outcome = catalog.Partial
	c.Reasons = []string{"claim shop/redis-pvc-redis-1: snapshot failed: disk is busy"}
	c.Notes = []string{"pre hook of Pod shop/redis-0 failed; the snapshot was taken all the same"}
	c.Counts = catalog.Counts{Claims: 2, Snapshots: 1, Protected: 1, Objects: 9, Skipped: 2}
	return c
}

func redisBundle(at time.Time) catalog.Bundle {
	zero, one := 0, 1
	set := &catalog.Workload{Kind: "StatefulSet", Name: "redis"}
	volume := func(name, handle string, ordinal *int) catalog.Volume {
		return catalog.Volume{
			Claim:            catalog.ClaimKey{Namespace: "shop", Name: name},
			PersistentVolume: "pvc-" + handle,
			Driver:           "disks.example.com",
			VolumeHandle:     catalog.VolumeHandle(handle),
			Capacity:         "10Gi",
			Request:          "10Gi",
			StorageClass:     "fast",
			ReclaimBefore:    "Retain",
			ReclaimAfter:     "Retain",
			Workload:         set,
			Template:         "redis-pvc",
			Ordinal:          ordinal,
		}
	}
	first, second := volume("redis-pvc-redis-0", "disk-a", &zero), volume("redis-pvc-redis-1", "disk-b", &one)
	first.ReclaimBefore = "Delete"
	first.Snapshot = &catalog.Snapshot{
		Handle: "snap-a", Name: "hawser-redis-0", Content: "hawser-content-0", Class: "hawser-disks", Taken: at.Add(5 * time.Second), RestoreSize: 10 << 30,
	}
	second.Problem = "snapshot failed: disk is busy"
	return catalog.Bundle{
		Volumes: []catalog.Volume{first, second},
		Objects: []unstructured.Unstructured{
			object("apps/v1", "StatefulSet", "shop", "redis"),
			object("v1", "Service", "shop", "redis-service"),
			object("v1", "PersistentVolumeClaim", "shop", "redis-pvc-redis-0"),
			object("v1", "PersistentVolumeClaim", "shop", "redis-pvc-redis-1"),
			object("v1", "PersistentVolume", "", "pvc-disk-a"),
			object("v1", "PersistentVolume", "", "pvc-disk-b"),
			object("storage.k8s.io/v1", "StorageClass", "", "fast"),
			object("v1", "ConfigMap", "shop", "redis-config"),
			secret(),
		},
		Skipped: []catalog.Skip{
			{Kind: "Volume", Namespace: "shop", Name: "redis/cache", Reason: catalog.SkipNotCovered, Message: "emptyDir: its data dies with the Pod"},
			{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "old", Reason: catalog.SkipUnbound, Message: "it has no volume\x1b[31m"},
		},
	}
}

func object(apiVersion, kind, namespace, name string) unstructured.Unstructured {
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	return unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}}
}

func secret() unstructured.Unstructured {
	s := object("v1", "Secret", "shop", "redis-auth")
	s.Object["data"] = map[string]any{"password": "aHVzaA=="}
	s.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"password":"aHVzaA=="}}`})
	return s
}

// fill makes points of two clusters: two of prod-eu and an abandoned run, one
// of staging. It returns the commit of the newest of prod-eu.
func (s store) fill(t *testing.T) catalog.Commit {
	t.Helper()
	day := 24 * time.Hour
	first := statement(prod, "databases", testNow.Add(-2*day))
	first.Counts = catalog.Counts{Claims: 2, Snapshots: 2, Objects: 1}
	s.commitPoint(t, first, catalog.Bundle{Objects: []unstructured.Unstructured{object("v1", "Service", "shop", "redis-service")}})
	s.commitPoint(t, statement(staging, "all", testNow.Add(-day-time.Hour)), catalog.Bundle{})
	lost := statement(prod, "databases", testNow.Add(-day))
	lost.Reasons = []string{"interrupted"}
	s.abandonPoint(t, lost)
	at := testNow.Add(-3 * time.Hour)
	return s.commitPoint(t, redisCommit(at), redisBundle(at))
}

func TestPoints(t *testing.T) {
	s := newStore(t)
	s.fill(t)
	tests := []struct {
		name string
		args []string
	}{
		{"points", nil},
		{"points-wide", []string{"-o", "wide"}},
		{"points-all", []string{"--all"}},
		{"points-name", []string{"-o", "name"}},
		{"points-json", []string{"-o", "json", "--from-cluster", "staging"}},
		{"points-yaml", []string{"-o", "yaml", "--from-cluster", "staging"}},
		{"points-from-cluster-name", []string{"--from-cluster", "prod-eu"}},
		{"points-from-cluster-uid", []string{"--from-cluster", staging.UID}},
		{"points-from-cluster-unknown", []string{"--from-cluster", "prod"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"points"}, test.args...)
			golden(t, test.name, args, hawser(t, s.env(), args...))
		})
	}
}

func TestPointsOfAnEmptyCatalog(t *testing.T) {
	s := newStore(t)
	for name, args := range map[string][]string{
		"points-none":      {"points"},
		"points-none-json": {"points", "-o", "json"},
	} {
		golden(t, name, args, hawser(t, s.env(), args...))
	}
}

func TestPointsOfClustersWithOneName(t *testing.T) {
	s := newStore(t)
	twin := catalog.Cluster{UID: unnamed.UID, Name: prod.Name}
	s.commitPoint(t, statement(prod, "all", testNow.Add(-time.Hour)), catalog.Bundle{})
	s.commitPoint(t, statement(twin, "all", testNow.Add(-time.Minute)), catalog.Bundle{})
	for name, args := range map[string][]string{
		"points-twins":           {"points"},
		"points-twins-ambiguous": {"points", "--from-cluster", "prod-eu"},
	} {
		golden(t, name, args, hawser(t, s.env(), args...))
	}
}

func TestPointsThatCannotBeRead(t *testing.T) {
	s := newStore(t)
	damaged := s.fill(t)
	overwrite(t, s.file(damaged, "commit"), func(data []byte) []byte { return data[:len(data)/2] })
	for name, args := range map[string][]string{
		"points-unreadable":              {"points"},
		"points-unreadable-wide":         {"points", "-o", "wide"},
		"points-unreadable-json":         {"points", "-o", "json", "--from-cluster", prod.UID},
		"points-unreadable-cluster-name": {"points", "--from-cluster", "prod-eu"},
	} {
		golden(t, name, args, hawser(t, s.env(), args...))
	}
}

// overwrite changes a file of a store as only damage does.
func overwrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoresThatCannotBeUsed(t *testing.T) {
	empty, newer := t.TempDir(), newStore(t)
	overwrite(t, filepath.Join(newer.folder, "hawser.json"), func(data []byte) []byte {
		return []byte(strings.Replace(string(data), `"format":1`, `"format":7`, 1))
	})
	tests := []struct {
		name, folder string
	}{
		{"store-absent", filepath.Join(empty, "absent")},
		{"store-empty", empty},
		{"store-newer", newer.folder},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"points"}
			golden(t, test.name, args, hawser(t, []string{"HAWSER_STORE_URL=file://" + test.folder}, args...), test.folder, "FOLDER")
		})
	}
}

// A listing that fails says nothing: not even that there are no points.
func TestPointsWhenTheStoreFailsHalfway(t *testing.T) {
	memory := &catalogtest.Memory{}
	if _, err := catalog.OpenOrCreate(t.Context(), memory, catalog.Limits{}, testNow); err != nil {
		t.Fatal(err)
	}
	faulty := &catalogtest.Faulty{Bucket: memory, Before: catalogtest.Fail(catalogtest.Nth(catalogtest.List, 1), errors.New("the store has gone away"))}
	var stdout, stderr strings.Builder
	a := newApp(strings.NewReader(""), &stdout, &stderr)
	a.env = []string{"HAWSER_CONFIG=/dev/null", "HAWSER_STORE_URL=s3://backups"}
	a.openBucket = func(context.Context, config.StoreURL) (catalog.Bucket, error) { return faulty, nil }
	exit := a.run(t.Context(), []string{"points"})
	if exit != exitFailed || stdout.String() != "" || stderr.String() != "error: list catalog: the store has gone away\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", exit, stdout.String(), stderr.String())
	}
}

func TestCompletionOfPointsAndClusters(t *testing.T) {
	s := newStore(t)
	newest := s.fill(t)
	r := hawser(t, s.env(), "__complete", "show", "")
	if words := strings.Fields(r.stdout); len(words) < 5 || words[0] != "latest" || words[1] != string(newest.Point) {
		t.Errorf("show completes %q", r.stdout)
	}
	r = hawser(t, s.env(), "__complete", "points", "--from-cluster", "")
	if !strings.HasPrefix(r.stdout, prod.UID+"\n"+staging.UID+"\n") {
		t.Errorf("--from-cluster completes %q", r.stdout)
	}
	r = hawser(t, nil, "__complete", "show", "")
	if !strings.HasPrefix(r.stdout, ":4\n") {
		t.Errorf("without a store, show completes %q", r.stdout)
	}
}
