package rollback

import (
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

const (
	driver  = "disks.example.com"
	pointID = "20260903-060000-databases-1a2b3c4d"
)

var testNow = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)

// cluster is a shop whose StatefulSet redis runs with two replicas, each on a
// disk of its own: disk-0 under pv-0, and so on.
func cluster() *Observed {
	o := &Observed{Observed: &restore.Observed{
		SnapshotAPI:    true,
		StorageClasses: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: driver}},
		Drivers:        []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: driver}}},
	}}
	set := appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis", UID: "uid-redis", ResourceVersion: "7"},
		Spec: appsv1.StatefulSetSpec{
			Replicas:             ptr.To[int32](2),
			Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "redis"}}},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
	}
	o.StatefulSets = []appsv1.StatefulSet{set}
	for n := range 2 {
		claim := claimOf(n, types.UID(fmt.Sprint("uid-claim-", n)), fmt.Sprint("pv-", n))
		o.Claims = append(o.Claims, claim)
		o.Volumes = append(o.Volumes, volumeOf(fmt.Sprint("pv-", n), fmt.Sprint("disk-", n), &claim))
		o.Pods = append(o.Pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("redis-", n), OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "redis", UID: "uid-redis", Controller: ptr.To(true)}}},
			Spec:       podUsing(claim.Name),
		})
	}
	return o
}

func podUsing(claim string) corev1.PodSpec {
	return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}}
}

func claimOf(n int, uid types.UID, volume string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("data-redis-", n), UID: uid, Labels: map[string]string{"app": "redis"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("fast"), VolumeName: volume, VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func volumeOf(name, handle string, claim *corev1.PersistentVolumeClaim) corev1.PersistentVolume {
	return corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Annotations: map[string]string{provisionedBy: driver}, CreationTimestamp: metav1.NewTime(testNow.Add(-24 * time.Hour))},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete, StorageClassName: "fast", VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			ClaimRef:    &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
}

// point is what was backed up of the shop at 6: a snapshot of each disk.
func point() *catalog.RestorePoint {
	p := &catalog.RestorePoint{
		Commit: catalog.Commit{Point: pointID, Outcome: catalog.Complete},
		Bundle: catalog.Bundle{Format: catalog.Format, Point: pointID},
	}
	for n := range 2 {
		claim := claimOf(n, types.UID(fmt.Sprint("uid-claim-", n)), fmt.Sprint("pv-", n))
		pv := volumeOf(fmt.Sprint("pv-", n), fmt.Sprint("disk-", n), &claim)
		ordinal := n
		p.Bundle.Volumes = append(p.Bundle.Volumes, catalog.Volume{
			Claim: catalog.ClaimKey{Namespace: "shop", Name: claim.Name}, PersistentVolume: pv.Name, Driver: driver, VolumeHandle: catalog.VolumeHandle(fmt.Sprint("disk-", n)),
			Capacity: "1Gi", Request: "1Gi", StorageClass: "fast", Workload: &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Template: "data", Ordinal: &ordinal,
			Snapshot: &catalog.Snapshot{Handle: catalog.SnapshotHandle(fmt.Sprint("snap-", n)), Taken: testNow.Add(-6 * time.Hour), RestoreSize: 1 << 30},
		})
		for _, object := range []runtime.Object{&pv, &claim} {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				panic(err)
			}
			kind := map[bool]string{true: "PersistentVolume", false: "PersistentVolumeClaim"}[object == runtime.Object(&pv)]
			content["apiVersion"], content["kind"] = "v1", kind
			p.Bundle.Objects = append(p.Bundle.Objects, unstructured.Unstructured{Object: content})
		}
	}
	return p
}

func rollingBack() Options {
	return Options{Act: Rollback, Namespace: "shop", Workload: catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Now: testNow}
}

// content is a retained VolumeSnapshotContent of a snapshot.
func content(handle string) snapshotv1.VolumeSnapshotContent {
	return snapshotv1.VolumeSnapshotContent{Spec: snapshotv1.VolumeSnapshotContentSpec{
		Driver: driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Source: snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &handle},
	}}
}
