package restore

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

// Observed is what the target cluster has now, by one list per kind.
type Observed struct {
	Namespaces     []corev1.Namespace
	Volumes        []corev1.PersistentVolume
	Claims         []corev1.PersistentVolumeClaim
	StatefulSets   []appsv1.StatefulSet
	Deployments    []appsv1.Deployment
	Pods           []corev1.Pod
	Services       []corev1.Service
	ConfigMaps     []corev1.ConfigMap
	Secrets        []corev1.Secret // only if the point holds some
	StorageClasses []storagev1.StorageClass
	Drivers        []storagev1.CSIDriver
	Nodes          []storagev1.CSINode // which nodes have which driver
	Attachments    []storagev1.VolumeAttachment

	SnapshotAPI     bool
	SnapshotClasses []snapshotv1.VolumeSnapshotClass
	Contents        []snapshotv1.VolumeSnapshotContent
	Snapshots       []snapshotv1.VolumeSnapshot

	// Disks is what CheckDisks found out; a disk that is not in it was not checked.
	Disks map[DiskKey]DiskState
}

// observe lists what a plan rests on. Snapshots are looked at only if snapshots
// says so; the namespaced kinds in one namespace, or with "" in all.
func (r *Restorer) observe(ctx context.Context, namespace string, snapshots, secrets bool) (*Observed, error) {
	core, apps, storage := r.Kubernetes.CoreV1(), r.Kubernetes.AppsV1(), r.Kubernetes.StorageV1()
	o := &Observed{Disks: map[DiskKey]DiskState{}}
	reads := []func() error{
		func() error { return collect(ctx, "namespaces", core.Namespaces().List, &o.Namespaces) },
		func() error { return collect(ctx, "persistentvolumes", core.PersistentVolumes().List, &o.Volumes) },
		func() error {
			return collect(ctx, "persistentvolumeclaims", core.PersistentVolumeClaims(namespace).List, &o.Claims)
		},
		func() error { return collect(ctx, "statefulsets", apps.StatefulSets(namespace).List, &o.StatefulSets) },
		func() error { return collect(ctx, "deployments", apps.Deployments(namespace).List, &o.Deployments) },
		func() error { return collect(ctx, "pods", core.Pods(namespace).List, &o.Pods) },
		func() error { return collect(ctx, "services", core.Services(namespace).List, &o.Services) },
		func() error { return collect(ctx, "configmaps", core.ConfigMaps(namespace).List, &o.ConfigMaps) },
		func() error { return collect(ctx, "storageclasses", storage.StorageClasses().List, &o.StorageClasses) },
		func() error { return collect(ctx, "csidrivers", storage.CSIDrivers().List, &o.Drivers) },
		func() error { return collect(ctx, "csinodes", storage.CSINodes().List, &o.Nodes) },
		func() error {
			return collect(ctx, "volumeattachments", storage.VolumeAttachments().List, &o.Attachments)
		},
	}
	if secrets {
		reads = append(reads, func() error { return collect(ctx, "secrets", core.Secrets(namespace).List, &o.Secrets) })
	}
	for _, read := range reads {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if !snapshots {
		return o, nil
	}
	return o, r.observeSnapshots(ctx, namespace, o)
}

func (r *Restorer) observeSnapshots(ctx context.Context, namespace string, o *Observed) error {
	api := r.Snapshots.SnapshotV1()
	err := collect(ctx, "volumesnapshotclasses", api.VolumeSnapshotClasses().List, &o.SnapshotClasses)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	o.SnapshotAPI = true
	if err := collect(ctx, "volumesnapshotcontents", api.VolumeSnapshotContents().List, &o.Contents); err != nil {
		return err
	}
	return collect(ctx, "volumesnapshots", api.VolumeSnapshots(namespace).List, &o.Snapshots)
}

// collect lists one kind, page by page, into items.
func collect[L runtime.Object, T any](ctx context.Context, what string, list func(context.Context, metav1.ListOptions) (L, error), items *[]T) error {
	pages := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) { return list(ctx, opts) })
	all, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", what, err)
	}
	return meta.EachListItem(all, func(object runtime.Object) error {
		item, ok := any(object).(*T)
		if !ok {
			return fmt.Errorf("list %s: unexpected %T", what, object)
		}
		*items = append(*items, *item)
		return nil
	})
}
