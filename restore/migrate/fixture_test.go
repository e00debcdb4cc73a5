package migrate

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
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
	"hawser.dev/hawser/restore/users"
)

const driver = "disks.example.com"

var (
	testNow = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)
	oldOne  = catalog.Cluster{UID: "uid-old", Name: "old"}
	newOne  = catalog.Cluster{UID: "uid-new", Name: "new"}
	redis   = catalog.Workload{Kind: "StatefulSet", Name: "redis"}
)

// seen is a shop in cluster old whose StatefulSet redis runs with two replicas,
// each on a disk of its own, and a cluster new that has the driver and no more.
func seen() *Seen {
	s := &Seen{
		Now: testNow, Source: oldOne, Target: newOne, Owners: catalog.Owners{},
		InSource: &users.Observed{Observed: &restore.Observed{}},
		InTarget: &restore.Observed{
			StorageClasses: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: driver}},
			Drivers:        []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: driver}}},
		},
	}
	set := redisSet()
	s.InSource.StatefulSets = []appsv1.StatefulSet{*set}
	objects := []runtime.Object{}
	s.Point = &catalog.RestorePoint{Commit: catalog.Commit{Cluster: oldOne}, Bundle: catalog.Bundle{Format: catalog.Format}}
	for n := range 2 {
		claim := claimOf(n)
		pv := volumeOf(n, claim)
		s.InSource.Claims = append(s.InSource.Claims, *claim)
		s.InSource.Volumes = append(s.InSource.Volumes, *pv)
		s.InSource.Pods = append(s.InSource.Pods, podOf(n))
		objects = append(objects, pv, claim)
		s.Point.Bundle.Volumes = append(s.Point.Bundle.Volumes, catalog.Volume{
			Claim: catalog.ClaimKey{Namespace: "shop", Name: claim.Name}, PersistentVolume: pv.Name, Driver: driver, VolumeHandle: catalog.VolumeHandle(fmt.Sprint("disk-", n)),
			Capacity: "1Gi", Request: "1Gi", StorageClass: "fast", Workload: &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Template: "data", Ordinal: ptr.To(n),
		})
	}
	for _, o := range append(objects, set) {
		s.Point.Bundle.Objects = append(s.Point.Bundle.Objects, raw(o))
	}
	return s
}

func raw(o runtime.Object) unstructured.Unstructured {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		panic(err)
	}
	return unstructured.Unstructured{Object: content}
}

func redisSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis", UID: "uid-redis", ResourceVersion: "7"},
		Spec: appsv1.StatefulSetSpec{
			Replicas:             ptr.To[int32](2),
			Selector:             &metav1.LabelSelector{MatchLabels: map[string]string{"app": "redis"}},
			Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "redis"}}},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
	}
}

func podOf(n int) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("redis-", n), OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "redis", UID: "uid-redis", Controller: ptr.To(true)}}},
		Spec:       podUsing(claimOf(n).Name),
	}
}

func podUsing(claim string) corev1.PodSpec {
	return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}}
}

func claimOf(n int) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("data-redis-", n), UID: types.UID(fmt.Sprint("uid-claim-", n))},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("fast"), VolumeName: fmt.Sprint("pv-", n), VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func volumeOf(n int, claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pv-", n), UID: types.UID(fmt.Sprint("uid-pv-", n))},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: fmt.Sprint("disk-", n)}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete, StorageClassName: "fast", VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			ClaimRef:    &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
}

func moving() Options {
	return Options{Way: catalog.WayMove, Namespace: "shop", Workloads: []catalog.Workload{redis}}
}

func disk(n int) catalog.Disk {
	return catalog.Disk{Driver: driver, Handle: catalog.VolumeHandle(fmt.Sprint("disk-", n))}
}

// user is a set as package users sees it.
func user(set *appsv1.StatefulSet) users.User {
	o := users.Observed{Observed: &restore.Observed{StatefulSets: []appsv1.StatefulSet{*set}}}
	return o.Users()[0]
}

// patched is a set as a merge patch makes it.
func patched(t *testing.T, set *appsv1.StatefulSet, patch string) *appsv1.StatefulSet {
	t.Helper()
	before, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	after, err := jsonpatch.MergePatch(before, []byte(patch))
	if err != nil {
		t.Fatal(err)
	}
	out := &appsv1.StatefulSet{}
	if err := json.Unmarshal(after, out); err != nil {
		t.Fatal(err)
	}
	return out
}
