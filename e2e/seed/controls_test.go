package seed_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// controls is a StatefulSet, and Pods, that use what a user can ask of a claim.
const controls = `
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: gold}
driverName: disks.hawser.dev
parameters: {tier: gold}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: with-options}
provisioner: disks.hawser.dev
reclaimPolicy: Delete
allowVolumeExpansion: true
mountOptions: [noatime]
---
apiVersion: v1
kind: Service
metadata: {name: set-service}
spec: {clusterIP: None, selector: {app: set}, ports: [{port: 6379}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set}
spec:
  serviceName: set-service
  replicas: 2
  ordinals: {start: 5}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Delete}
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: redis:7.0
        command: [sleep, infinity]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
        volumeMounts:
        - {name: data, mountPath: /data, subPath: inner/folder}
  volumeClaimTemplates:
  - metadata: {name: data, labels: {tier: gold, team: shop}}
    spec:
      accessModes: [ReadWriteOnce]
      storageClassName: with-options
      resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: block}
spec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: disks-delete, resources: {requests: {storage: 16Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: readers}
spec: {accessModes: [ReadOnlyMany], storageClassName: disks-delete, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: attributes}
spec: {accessModes: [ReadWriteOnce], storageClassName: disks-delete, volumeAttributesClassName: gold, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: uses}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: redis:7.0
    command: [sleep, infinity]
    resources: {requests: {cpu: 10m, memory: 16Mi}}
    volumeDevices: [{name: block, devicePath: /dev/disk}]
    volumeMounts:
    - {name: readers, mountPath: /readers, readOnly: true}
    - {name: attributes, mountPath: /attributes}
  volumes:
  - {name: block, persistentVolumeClaim: {claimName: block}}
  - {name: readers, persistentVolumeClaim: {claimName: readers, readOnly: true}}
  - {name: attributes, persistentVolumeClaim: {claimName: attributes}}
`

// control is what must survive of a claim and its volume.
type control struct {
	Labels       map[string]string
	AccessModes  []corev1.PersistentVolumeAccessMode
	Request      string
	VolumeMode   corev1.PersistentVolumeMode
	StorageClass string
	Attributes   string
	MountOptions []string
	Owners       int
}

// controlsOf reads them from the cluster, by claim.
func (w *world) controlsOf() map[string]control {
	w.t.Helper()
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	found := map[string]control{}
	for _, c := range claims.Items {
		volume, err := w.client.CoreV1().PersistentVolumes().Get(w.ctx, c.Spec.VolumeName, metav1.GetOptions{})
		w.must(err)
		k := control{
			Labels: c.Labels, AccessModes: c.Spec.AccessModes, Request: c.Spec.Resources.Requests.Storage().String(),
			VolumeMode: *c.Spec.VolumeMode, StorageClass: *c.Spec.StorageClassName, MountOptions: volume.Spec.MountOptions, Owners: len(c.OwnerReferences),
		}
		if c.Spec.VolumeAttributesClassName != nil {
			k.Attributes = *c.Spec.VolumeAttributesClassName
		}
		found[c.Name] = k
	}
	return found
}

// What a user can ask of a StatefulSet and its claims is there again after both
// kinds of restore.
func TestControlsSurvive(t *testing.T) {
	s := raise(t, "controls", newRegion(t))
	w := s.world(t, "controls")
	w.apply([]byte(controls))
	w.podsReady(3)
	_, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).Patch(w.ctx, "data-set-5", types.MergePatchType,
		[]byte(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`), metav1.PatchOptions{}) // larger than the template
	w.must(err)
	w.writeThrough("first")
	set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "set", metav1.GetOptions{})
	w.must(err)
	before := w.controlsOf()
	if got := before["data-set-5"]; got.Request != "2Gi" || got.Labels["team"] != "shop" || got.MountOptions[0] != "noatime" {
		t.Fatalf("claim data-set-5 is not as it was asked for: %+v", got)
	}
	if before["attributes"].Attributes != "gold" || before["block"].VolumeMode != corev1.PersistentVolumeBlock {
		t.Fatalf("claims are not as they were asked for: %+v", before)
	}
	point := w.point()
	handles := w.disksOf()

	for _, from := range []string{"disks", "snapshots"} {
		w.lose()
		if from == "snapshots" {
			w.destroyDisks(handles)
		}
		w.run(0, "restore", point, "--from", from)
		w.podsReady(3)
		if diff := cmp.Diff(before, w.controlsOf()); diff != "" {
			t.Errorf("from %s: claims differ (-before +after):\n%s", from, diff)
		}
		again, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "set", metav1.GetOptions{})
		w.must(err)
		if diff := cmp.Diff(specOf(set), specOf(again)); diff != "" {
			t.Errorf("from %s: the StatefulSet differs (-before +after):\n%s", from, diff)
		}
		w.readThrough(from, "first")
	}
	w.lose()
}

func specOf(set *appsv1.StatefulSet) appsv1.StatefulSetSpec { return set.Spec }

// writeThrough writes a word on each disk through the containers, and on the
// one that they may only read through the region.
func (w *world) writeThrough(word string) {
	w.t.Helper()
	for _, pod := range []string{"set-5", "set-6"} {
		_, err := w.exec(pod, "main", "sh", "-c", "echo "+word+" > /data/file; sync")
		w.must(err)
	}
	_, err := w.exec("uses", "main", "sh", "-c", "echo "+word+" > /attributes/file; printf %s "+word+" | dd of=/dev/disk bs=512 conv=sync,fsync 2>/dev/null")
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.region.DataDir(w.disksOf()["readers"]), "file"), []byte(word), 0o644))
}

func (w *world) readThrough(from, word string) {
	w.t.Helper()
	for _, read := range []struct{ pod, command string }{
		{"set-5", "cat /data/file"},
		{"set-6", "cat /data/file"},
		{"uses", "cat /attributes/file"},
		{"uses", "cat /readers/file"},
		{"uses", "head -c 5 /dev/disk"},
	} {
		got, err := w.exec(read.pod, "main", "sh", "-c", read.command)
		if err != nil || got != word {
			w.t.Errorf("from %s: %s in Pod %s gives %q (%v), want %q", from, read.command, read.pod, got, err, word)
		}
	}
}
