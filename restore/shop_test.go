package restore

import (
	"fmt"
	"slices"
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
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// The shop is the demo's: StatefulSet redis of three replicas in namespace
// shop, template redis-pvc, each claim over its own disk, with a snapshot.
const (
	shopDriver        = "disks.hawser.dev"
	shopClass         = "disks-delete"
	shopSnapshotClass = "hawser-disks"
)

var (
	shopPoint = catalog.NewPointID("6a1e0f7e-9d0c-4f0e-8d53-0f4c5b1f3c11", catalog.ManualPlan, shopTime, 0)
	shopTime  = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)
)

func redisKey(n int) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: "shop", Name: fmt.Sprintf("redis-pvc-redis-%d", n)}
}

func diskOf(n int) catalog.VolumeHandle { return catalog.VolumeHandle(fmt.Sprintf("disk-%d", n)) }

func claimUID(n int) types.UID { return types.UID(fmt.Sprintf("uid-of-claim-%d", n)) }

// redisVolume is the PersistentVolume of ordinal n, bound to its claim.
func redisVolume(n int) corev1.PersistentVolume {
	return corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("pv-redis-%d", n), UID: types.UID(fmt.Sprintf("uid-of-volume-%d", n)), ResourceVersion: "100",
			Annotations: map[string]string{
				"pv.kubernetes.io/provisioned-by":      shopDriver,
				"pv.kubernetes.io/bound-by-controller": "yes",
			},
		},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: "shop", Name: redisKey(n).Name, UID: claimUID(n), ResourceVersion: "90",
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: shopDriver, VolumeHandle: string(diskOf(n))},
			},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			StorageClassName:              shopClass,
			VolumeMode:                    ptr.To(corev1.PersistentVolumeFilesystem),
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
}

// redisClaim is the claim of ordinal n, bound to its volume.
func redisClaim(n int) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: redisKey(n).Name, UID: claimUID(n), ResourceVersion: "101",
			Labels:      map[string]string{"app": "redis-sts"},
			Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			StorageClassName: ptr.To(shopClass),
			VolumeMode:       ptr.To(corev1.PersistentVolumeFilesystem),
			VolumeName:       fmt.Sprintf("pv-redis-%d", n),
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func redisSet(replicas int32) appsv1.StatefulSet {
	labels := map[string]string{"app": "redis-sts"}
	return appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis", UID: "uid-of-set"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(replicas), ServiceName: "redis-service",
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "redis", Image: "redis:7.2.1"}},
					Volumes: []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{
						ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "redis-config"}},
					}}},
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "redis-pvc"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
					StorageClassName: ptr.To(shopClass),
				},
			}},
		},
		Status: appsv1.StatefulSetStatus{Replicas: replicas},
	}
}

func shopConfigMap() corev1.ConfigMap {
	return corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis-config"},
		Data:       map[string]string{"redis.conf": "port 6379"},
	}
}

func shopService() corev1.Service {
	return corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis-service"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 6379}}},
	}
}

func namespace(name string) corev1.Namespace {
	return corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// shop is a restore point of the whole shop.
func shop() *catalog.RestorePoint {
	point := &catalog.RestorePoint{
		Commit: catalog.Commit{Point: shopPoint, Plan: catalog.ManualPlan, Outcome: catalog.Complete},
		Bundle: catalog.Bundle{Format: catalog.Format, Point: shopPoint},
	}
	addObject(point, ptr.To(namespace("shop")))
	addObject(point, &storagev1.StorageClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"},
		ObjectMeta: metav1.ObjectMeta{Name: shopClass}, Provisioner: shopDriver,
	})
	addObject(point, ptr.To(shopConfigMap()))
	for n := range 3 {
		volume := redisVolume(n)
		volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		addObject(point, &volume)
	}
	for n := range 3 {
		addObject(point, ptr.To(redisClaim(n)))
		point.Bundle.Volumes = append(point.Bundle.Volumes, redisRecord(n))
	}
	addObject(point, ptr.To(shopService()))
	addObject(point, ptr.To(redisSet(3)))
	return point
}

// redisRecord is what the point says of ordinal n.
func redisRecord(n int) catalog.Volume {
	return catalog.Volume{
		Claim: redisKey(n), PersistentVolume: fmt.Sprintf("pv-redis-%d", n), Driver: shopDriver, VolumeHandle: diskOf(n),
		Capacity: "1Gi", Request: "1Gi", StorageClass: shopClass, ReclaimBefore: "Delete", ReclaimAfter: "Retain",
		Workload: &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Template: "redis-pvc", Ordinal: ptr.To(n),
		Snapshot: &catalog.Snapshot{
			Handle: catalog.SnapshotHandle(fmt.Sprintf("snapshot-%d", n)), Class: shopSnapshotClass, Taken: shopTime,
			RestoreSize: 1 << 30, SourceVolumeMode: "Filesystem",
		},
	}
}

// addObject puts object into the point as the API server gave it, less status.
func addObject(point *catalog.RestorePoint, object runtime.Object) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(err)
	}
	delete(content, "status")
	point.Bundle.Objects = append(point.Bundle.Objects, unstructured.Unstructured{Object: content})
}

// dropObjects takes out of the point what matches.
func dropObjects(point *catalog.RestorePoint, kind, name string) {
	point.Bundle.Objects = slices.DeleteFunc(point.Bundle.Objects, func(o unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetName() == name
	})
}

// emptyCluster has the driver, its classes and the snapshot API, and no shop.
func emptyCluster() *Observed {
	return &Observed{
		Namespaces: []corev1.Namespace{namespace("default"), namespace("kube-system")},
		StorageClasses: []storagev1.StorageClass{
			{ObjectMeta: metav1.ObjectMeta{Name: shopClass}, Provisioner: shopDriver, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete)},
			{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: shopDriver, VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)},
			{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, Provisioner: "other.example.com"},
		},
		Drivers: []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: shopDriver}}},
		Nodes: []storagev1.CSINode{{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: shopDriver, NodeID: "node-1"}}},
		}},
		SnapshotAPI:     true,
		SnapshotClasses: []snapshotv1.VolumeSnapshotClass{{ObjectMeta: metav1.ObjectMeta{Name: shopSnapshotClass}, Driver: shopDriver}},
		Disks:           map[catalog.Disk]DiskState{},
	}
}

// runningShop is the cluster that the point was made of, with the shop running.
func runningShop() *Observed {
	o := emptyCluster()
	o.Namespaces = append(o.Namespaces, namespace("shop"))
	o.ConfigMaps = append(o.ConfigMaps, shopConfigMap())
	o.Services = append(o.Services, shopService())
	o.StatefulSets = append(o.StatefulSets, redisSet(3))
	for n := range 3 {
		o.Volumes = append(o.Volumes, redisVolume(n))
		o.Claims = append(o.Claims, redisClaim(n))
	}
	return o
}

// haveVolume puts the volume of ordinal n into the cluster as it is after
// change, in that phase.
func (o *Observed) haveVolume(n int, phase corev1.PersistentVolumePhase, change ...func(*corev1.PersistentVolume)) {
	volume := redisVolume(n)
	volume.Status.Phase = phase
	for _, c := range change {
		c(&volume)
	}
	o.Volumes = append(o.Volumes, volume)
}

// haveClaim puts the claim of ordinal n into the cluster as it is after
// change, in that phase.
func (o *Observed) haveClaim(n int, phase corev1.PersistentVolumeClaimPhase, change ...func(*corev1.PersistentVolumeClaim)) {
	claim := redisClaim(n)
	claim.Status.Phase = phase
	if phase == corev1.ClaimPending {
		claim.Annotations = nil // it has not been bound yet
	}
	for _, c := range change {
		c(&claim)
	}
	o.Claims = append(o.Claims, claim)
}

// What happens to volumes and claims.
func reserved(v *corev1.PersistentVolume) {
	v.Spec.ClaimRef.UID, v.Spec.ClaimRef.ResourceVersion = "", ""
	delete(v.Annotations, "pv.kubernetes.io/bound-by-controller")
}
func boundByController(v *corev1.PersistentVolume) {
	v.Annotations["pv.kubernetes.io/bound-by-controller"] = "yes"
}
func unreserved(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }
func policyDelete(v *corev1.PersistentVolume) {
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
}
func foreignUID(v *corev1.PersistentVolume)         { v.Spec.ClaimRef.UID = "uid-of-a-former-claim" }
func namesNoVolume(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "" }
func elsewhere(c *corev1.PersistentVolumeClaim)     { c.Spec.VolumeName = "pv-elsewhere" }
func terminatingClaim(c *corev1.PersistentVolumeClaim) {
	c.DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
}
func terminatingVolume(v *corev1.PersistentVolume) {
	v.DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
}
func renamed(name string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Name = name }
}
func overDisk(handle string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeHandle = handle }
}

// haveDisks says what the driver answered about the disks of all ordinals.
func (o *Observed) haveDisks(presence Presence, message string) {
	for n := range 3 {
		o.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(n)}] = DiskState{Presence: presence, Message: message}
	}
}

// staticOf is what a rehydrate of ordinal n makes.
func staticOf(t rapid.TB, n int) Static {
	t.Helper()
	static, err := Rehydrate(shopPoint, redisRecord(n), redisClaim(n), shopClass, shopSnapshotClass)
	if err != nil {
		t.Fatal(err)
	}
	return static
}
