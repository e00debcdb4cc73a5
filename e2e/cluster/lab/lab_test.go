package lab_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/clustertest"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
)

var (
	claims       = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	volumes      = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	attachments  = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"}
	snapshots    = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}
)

// set is a StatefulSet with %d replicas and a claim for each, of class %s.
const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: redis
spec:
  replicas: %d
  serviceName: redis
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      containers:
      - name: redis
        image: redis:7
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: %s
      resources: {requests: {storage: 1Gi}}
`

const snapshot = `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: first}
spec:
  volumeSnapshotClassName: disks-snap
  source: {persistentVolumeClaimName: data-redis-0}
`

// The life of a StatefulSet's disks, as the real controllers live it.
func TestDisksOfAStatefulSet(t *testing.T) {
	region, err := disks.OpenRegion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := clustertest.StartLab(t, lab.Options{
		Region:  region,
		Cluster: cluster.Options{Zones: []string{"zone-a", "zone-b"}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	for _, class := range []string{"disks-delete", "disks-wffc"} {
		must(l.Apply(ctx, fmt.Appendf(nil, set, 3, class)))
		must(l.Await(ctx, statefulSets, "default", "redis", readyReplicas(3)))
		must(l.AwaitAll(ctx, attachments, "", "", all(3, "attached", true)))
		must(l.AwaitAll(ctx, claims, "default", "app=redis", all(3, "phase", "Bound")))
		if got := attached(t, region); got != 3 {
			t.Errorf("class %s: the region knows of %d attached disks, want 3", class, got)
		}

		must(l.Apply(ctx, []byte(snapshot)))
		must(l.AwaitAll(ctx, snapshots, "default", "", all(1, "readyToUse", true)))
		must(l.Delete(ctx, []byte(snapshot)))

		must(l.Apply(ctx, fmt.Appendf(nil, set, 0, class)))
		must(l.AwaitAll(ctx, pods, "default", "", all(0, "phase", "")))
		must(l.AwaitAll(ctx, attachments, "", "", all(0, "attached", true)))
		must(l.AwaitAll(ctx, snapshots, "default", "", all(0, "readyToUse", true)))
		if got := attached(t, region); got != 0 {
			t.Errorf("class %s: the region knows of %d attached disks after the detach, want none", class, got)
		}

		must(l.Delete(ctx, fmt.Appendf(nil, set, 0, class)))
		must(l.Delete(ctx, []byte(claimsOf("redis", 3))))
		must(l.AwaitAll(ctx, claims, "default", "", all(0, "phase", "")))
		must(l.AwaitAll(ctx, volumes, "", "", all(0, "phase", "")))
		left, err := region.Disks()
		must(err)
		if len(left) != 0 {
			t.Errorf("class %s: disks %v are left though their claims of policy Delete are gone", class, left)
		}
	}
}

func claimsOf(set string, replicas int) string {
	var text strings.Builder
	for i := range replicas {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-%s-%d}\n", set, i)
	}
	return text.String()
}

// all is a condition: there are n objects, each with this value in its status.
func all(n int, field string, value any) func([]*unstructured.Unstructured) bool {
	return func(objects []*unstructured.Unstructured) bool {
		for _, object := range objects {
			got, _, _ := unstructured.NestedFieldNoCopy(object.Object, "status", field)
			if got != value {
				return false
			}
		}
		return len(objects) == n
	}
}

func readyReplicas(n int64) func(*unstructured.Unstructured) bool {
	return func(set *unstructured.Unstructured) bool {
		if set == nil {
			return false
		}
		got, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return got == n
	}
}

// attached counts the disks that the region holds attached.
func attached(t *testing.T, region *disks.Region) int {
	t.Helper()
	all, err := region.Disks()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, disk := range all {
		if len(disk.Attachments) > 0 {
			n++
		}
	}
	return n
}
