package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/e2e/disks"
)

// What the tests of migrations rest on: a disk that is moved carelessly by hand
// is attached in both clusters, since nothing but care prevents it, and the
// judge says so.
func TestTheJudgeSeesACarelessMove(t *testing.T) {
	w := newTwin(t)
	w.deploy(1, "disks-delete")
	if err := w.judge(); err != nil {
		t.Fatal(err)
	}
	handle := w.handles[redisClaim(0)]
	w.must(w.in[there].lab.Apply(w.ctx, fmt.Appendf(nil, `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: %[1]s, name: careless}
  csi: {driver: %[2]s, volumeHandle: %[3]s}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: careless, namespace: %[1]s}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: %[1]s
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: careless, namespace: %[1]s}
spec:
  containers: [{name: redis, image: "redis:7.2.1", volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: careless}}]
`, w.namespace, disks.DefaultDriver, handle)))
	w.in[there].awaitAll(attachmentsResource, func(all []*unstructured.Unstructured) bool {
		for _, a := range all {
			name, _, _ := unstructured.NestedString(a.Object, "spec", "source", "persistentVolumeName")
			attached, _, _ := unstructured.NestedBool(a.Object, "status", "attached")
			if name == w.namespace && attached {
				return true
			}
		}
		return false
	})
	err := w.judge()
	if err == nil || !strings.Contains(err.Error(), handle) {
		t.Errorf("the judge says %v", err)
	}
	w.handles = nil // the case is closed
}
