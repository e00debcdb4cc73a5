package catalog_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

const (
	clusterA = "6f1c2d3e-0000-4000-8000-00000000000a"
	clusterB = "6f1c2d3e-0000-4000-8000-00000000000b"
)

// noon is the scheduled time of the first point in tests.
var noon = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)

// store is a catalog over a bucket in memory, every call of which is seen.
type store struct {
	*catalog.Catalog
	*catalogtest.Faulty
}

// newStore returns a catalog that was just created.
func newStore(t *testing.T) store {
	t.Helper()
	bucket := &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}
	cat, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return store{Catalog: cat, Faulty: bucket}
}

// hour returns the scheduled time of the n-th point.
func hour(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }

// newIntent is the journal entry of the n-th run of plan.
func newIntent(cluster, plan string, n int) catalog.Intent {
	claim := catalog.ClaimKey{Namespace: "shop", Name: "redis-pvc-redis-0"}
	return catalog.Intent{
		Format: catalog.Format, Point: catalog.NewPointID(cluster, plan, hour(n), 0), Cluster: catalog.Cluster{UID: cluster, Name: "prod-eu"},
		Plan: plan, Scheduled: hour(n), Started: hour(n).Add(time.Second), Deadline: hour(n).Add(15 * time.Minute),
		Writer: "hawser v0.1.0", Snapshots: []catalog.IntentSnapshot{{Claim: claim, Name: "hawser-0a1b2c3d4e5f60718293"}},
	}
}

// newCommit is the commit of the n-th run of plan, before the catalog fills it in.
func newCommit(cluster, plan string, n int) catalog.Commit {
	return catalog.Commit{
		Point: catalog.NewPointID(cluster, plan, hour(n), 0), Cluster: catalog.Cluster{UID: cluster, Name: "prod-eu"},
		Plan: plan, Scheduled: hour(n), Started: hour(n).Add(time.Second), Committed: hour(n).Add(time.Minute),
		Outcome: catalog.Complete, Counts: catalog.Counts{Claims: 1, Snapshots: 1, Protected: 1, Objects: 2, Skipped: 1},
		Writer: "hawser v0.1.0",
	}
}

// newBundle is a small bundle that uses every field.
func newBundle() catalog.Bundle {
	claim := catalog.ClaimKey{Namespace: "shop", Name: "redis-pvc-redis-0"}
	return catalog.Bundle{
		Objects: []unstructured.Unstructured{{Object: map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolume",
			"metadata": map[string]any{
				"name": "pvc-1", "uid": "9d1d2f5e-0000-4000-8000-000000000001", "resourceVersion": "1001",
				"annotations": map[string]any{"pv.kubernetes.io/provisioned-by": "hostpath.csi.k8s.io"},
				"finalizers":  []any{"kubernetes.io/pv-protection"},
			},
			"spec": map[string]any{
				"accessModes": []any{"ReadWriteOnce"}, "capacity": map[string]any{"storage": "1Gi"}, "storageClassName": "fast",
				"claimRef": map[string]any{
					"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.Namespace, "name": claim.Name,
					"uid": "9d1d2f5e-0000-4000-8000-000000000002", "resourceVersion": "1002",
				},
				"csi": map[string]any{"driver": "hostpath.csi.k8s.io", "volumeHandle": "disk-1"}, "persistentVolumeReclaimPolicy": "Delete",
			},
		}}, {Object: map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolumeClaim",
			"metadata": map[string]any{
				"namespace": claim.Namespace, "name": claim.Name, "uid": "9d1d2f5e-0000-4000-8000-000000000002", "resourceVersion": "1003",
				"labels":      map[string]any{"app": "redis"},
				"annotations": map[string]any{"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"},
			},
			"spec": map[string]any{
				"accessModes": []any{"ReadWriteOnce"}, "resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}},
				"storageClassName": "fast", "volumeName": "pvc-1",
			},
		}}},
		Volumes: []catalog.Volume{{
			Claim: claim, PersistentVolume: "pvc-1", Driver: "hostpath.csi.k8s.io", VolumeHandle: "disk-1", Capacity: "1Gi", Request: "1Gi",
			StorageClass: "fast", ReclaimBefore: "Delete", ReclaimAfter: "Retain",
			Workload: &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Template: "redis-pvc", Ordinal: ptr.To(0),
			Snapshot: &catalog.Snapshot{
				Handle: "snap-1", Name: "hawser-0a1b2c3d4e5f60718293", Content: "snapcontent-1", Class: "hawser-0123456789ab",
				Taken: noon.Add(2 * time.Second), RestoreSize: 1 << 30, SourceVolumeMode: "Filesystem",
				ContentAnnotations: map[string]string{"snapshot.storage.kubernetes.io/deletion-secret-name": "csi"},
			},
			Problem: "none: every field is set here",
		}},
		Skipped: []catalog.Skip{{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "scratch", Reason: catalog.SkipUnbound, Message: "it is Pending and has no volume"}},
	}
}

// survey fails the test if the catalog cannot be listed.
func (s store) survey(t *testing.T, cluster string) []catalog.Presence {
	t.Helper()
	survey, err := s.Survey(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return survey
}

// add makes the n-th point of plan, as a run does from beginning to end.
func (s store) add(t *testing.T, cluster, plan string, n int) catalog.Commit {
	t.Helper()
	if _, err := s.OwnersOf(t.Context(), []catalog.Disk{{Driver: "hostpath.csi.k8s.io", Handle: "disk-1"}}); err != nil {
		t.Fatal(err)
	}
	survey := s.survey(t, cluster)
	if err := s.Begin(t.Context(), newIntent(cluster, plan, n)); err != nil {
		t.Fatal(err)
	}
	commit, err := s.Commit(t.Context(), newCommit(cluster, plan, n), newBundle(), survey)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), cluster, commit.Point); err != nil {
		t.Fatal(err)
	}
	return commit
}

// abandon makes the n-th run of plan one that came to nothing.
func (s store) abandon(t *testing.T, cluster, plan string, n int) catalog.PointID {
	t.Helper()
	intent, survey := newIntent(cluster, plan, n), s.survey(t, cluster)
	if err := s.Begin(t.Context(), intent); err != nil {
		t.Fatal(err)
	}
	closing := catalog.Commit{Committed: hour(n).Add(time.Minute), Reasons: []string{"interrupted"}, Writer: "hawser v0.1.0"}
	if err := s.Abandon(t.Context(), intent, closing, survey); err != nil {
		t.Fatal(err)
	}
	return intent.Point
}

// object returns the stored bytes of key.
func (s store) object(t *testing.T, key string) []byte {
	t.Helper()
	data, err := s.Get(t.Context(), key, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// keys returns the keys that begin with prefix.
func (s store) keys(t *testing.T, prefix string) []string {
	t.Helper()
	var keys []string
	for object, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}

// replace puts other bytes under key, as no writer of ours would.
func (s store) replace(t *testing.T, key string, data []byte) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	s.put(t, key, data)
}

func (s store) put(t *testing.T, key string, data []byte) {
	t.Helper()
	if err := s.Create(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

// pointKey is the key of one of a point's two objects, as docs/format.md has it.
func pointKey(cluster string, id catalog.PointID, object string) string {
	return fmt.Sprintf("clusters/%s/points/%s/%s", cluster, id, object)
}

func journalKey(cluster string, id catalog.PointID) string {
	return fmt.Sprintf("clusters/%s/journal/%s", cluster, id)
}

func tombstoneKey(cluster string, id catalog.PointID) string {
	return fmt.Sprintf("clusters/%s/tombstones/%s", cluster, id)
}

// graceEnd is when the grace period of tombstones in tests is over.
var graceEnd = noon.Add(48 * time.Hour)

// newTombstone is that of a point of clusterA, before the catalog fills it in.
func newTombstone(id catalog.PointID) catalog.Tombstone {
	return catalog.Tombstone{
		Point: id, Cluster: catalog.Cluster{UID: clusterA}, Buried: graceEnd.Add(-24 * time.Hour), NotBefore: graceEnd,
		Reasons: []string{"no rule of the policy keeps it"}, Writer: "hawser v0.1.0", Snapshots: newIntent(clusterA, "databases", 0).Snapshots,
	}
}

// reseal changes the statement of a commit's object and seals it again: the
// work of one who knows the format.
func reseal(t *testing.T, data []byte, change func(statement map[string]any)) []byte {
	t.Helper()
	commit, err := catalog.DecodeCommit(data)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(commit)
	if err != nil {
		t.Fatal(err)
	}
	var statement map[string]any
	if err := json.Unmarshal(raw, &statement); err != nil {
		t.Fatal(err)
	}
	change(statement)
	if raw, err = json.Marshal(statement); err != nil {
		t.Fatal(err)
	}
	return seal(raw)
}

// seal returns a commit's object around the bytes of a statement.
func seal(statement []byte) []byte {
	return fmt.Appendf(nil, `{"format":1,"sha256":%q,"statement":%s,"signatures":[]}`, digest(statement), statement)
}

// compress returns raw as a bundle's object and what a true commit says of it.
func compress(t *testing.T, raw string) ([]byte, catalog.BundleRef) {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return refOf(w.EncodeAll([]byte(raw), nil), int64(len(raw)))
}

// refOf is what a true commit says of a bundle's object.
func refOf(data []byte, rawSize int64) ([]byte, catalog.BundleRef) {
	return data, catalog.BundleRef{Size: int64(len(data)), SHA256: digest(data), RawSize: rawSize, Encoding: []string{"zstd"}}
}

func wantDiff(t *testing.T, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
