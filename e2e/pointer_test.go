package e2e_test

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// orphan makes a content as one is that was bound to its VolumeSnapshot at the
// moment at which that was deleted: csi-snapshotter waits for a mark on it that
// nobody sets.
func (w *world) orphan(name, namespace string, of catalog.Volume, labels map[string]string) {
	w.t.Helper()
	_, err := w.snapshots.SnapshotV1().VolumeSnapshotContents().Create(w.ctx, &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: of.Driver,
			Source:            snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: ptr.To(string(of.Snapshot.Handle))},
			VolumeSnapshotRef: corev1.ObjectReference{Kind: "VolumeSnapshot", Namespace: namespace, Name: name, UID: "5c1cf3b1-0000-4000-8000-000000000000"},
		},
	}, metav1.CreateOptions{})
	w.must(err)
	w.await(contentsResource, name, func(o *unstructured.Unstructured) bool { return o != nil && len(o.GetFinalizers()) > 0 })
}

// What points to snapshots goes, whatever state the binding is in, and the
// snapshots stay.
func TestPointersThatNobodyMarksGo(t *testing.T) {
	d := newDrilling(t, "disks-delete", passes)
	point := d.point()
	loaded, err := d.catalogLoad(point)
	d.must(err)
	before := len(d.storedSnapshots(d.handles))

	d.loseEverything()
	d.run(0, "restore", point, "--from", "snapshots")
	claim, err := d.client.CoreV1().PersistentVolumeClaims(d.namespace).Get(d.ctx, redisClaim(0), metav1.GetOptions{})
	d.must(err)
	name := claim.Spec.DataSource.Name
	d.orphan(name, d.namespace, loaded.Bundle.Volumes[0], map[string]string{"hawser.dev/restored-from": point})
	d.run(0, "restore", point, "--from", "snapshots") // there is nothing left to do but that
	d.await(contentsResource, name, func(o *unstructured.Unstructured) bool { return o == nil })

	id := catalog.NewDrillID(d.plan, time.Now())
	d.orphan("drill-"+d.namespace, d.prefix+"-"+id.Mark()+"-0", loaded.Bundle.Volumes[0], map[string]string{
		catalog.DrillLabel: string(id), "app.kubernetes.io/managed-by": "hawser",
	})
	d.run(0, "drill", "--cleanup", "--plan", d.plan)
	d.await(contentsResource, "drill-"+d.namespace, func(o *unstructured.Unstructured) bool { return o == nil })

	if after := len(d.storedSnapshots(d.handles)); after != before {
		t.Errorf("the storage has %d snapshots of the disks, it had %d", after, before)
	}
}
