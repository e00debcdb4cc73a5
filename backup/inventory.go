package backup

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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/pager"
)

// Listed is an object in two forms: typed to decide on, and raw to keep, since
// a newer API server may send fields that our types do not know.
type Listed[T any] struct {
	Object T
	Raw    unstructured.Unstructured
}

// Inventory is what the cluster has, by one consistent list per kind.
type Inventory struct {
	Namespaces     []Listed[corev1.Namespace]
	Claims         []Listed[corev1.PersistentVolumeClaim]
	Volumes        []Listed[corev1.PersistentVolume]
	StatefulSets   []Listed[appsv1.StatefulSet]
	Deployments    []Listed[appsv1.Deployment]
	Pods           []Listed[corev1.Pod]
	Services       []Listed[corev1.Service]
	ConfigMaps     []Listed[corev1.ConfigMap]
	Secrets        []Listed[corev1.Secret] // only if asked for
	StorageClasses []Listed[storagev1.StorageClass]
	// SnapshotAPI says whether the cluster serves VolumeSnapshots at all.
	SnapshotAPI     bool
	SnapshotClasses []Listed[snapshotv1.VolumeSnapshotClass]
}

var (
	claimsResource          = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	volumesResource         = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
	namespacesResource      = corev1.SchemeGroupVersion.WithResource("namespaces")
	podsResource            = corev1.SchemeGroupVersion.WithResource("pods")
	servicesResource        = corev1.SchemeGroupVersion.WithResource("services")
	configMapsResource      = corev1.SchemeGroupVersion.WithResource("configmaps")
	secretsResource         = corev1.SchemeGroupVersion.WithResource("secrets")
	statefulSetsResource    = appsv1.SchemeGroupVersion.WithResource("statefulsets")
	deploymentsResource     = appsv1.SchemeGroupVersion.WithResource("deployments")
	storageClassesResource  = storagev1.SchemeGroupVersion.WithResource("storageclasses")
	snapshotClassesResource = snapshotv1.SchemeGroupVersion.WithResource("volumesnapshotclasses")
)

// Observe lists what a backup of a selection needs to see. Secrets are listed
// only if include asks for them. If the selection is confined to one namespace
// the namespaced kinds are listed in it alone, so rights in that namespace are
// enough for them.
func Observe(ctx context.Context, client dynamic.Interface, sel Selection, include Include) (*Inventory, error) {
	scope := sel.scope()
	inv := &Inventory{SnapshotAPI: true}
	for _, read := range []func() error{
		func() error { return fill(ctx, client, namespacesResource, "", &inv.Namespaces) },
		func() error { return fill(ctx, client, claimsResource, scope, &inv.Claims) },
		func() error { return fill(ctx, client, volumesResource, "", &inv.Volumes) },
		func() error { return fill(ctx, client, statefulSetsResource, scope, &inv.StatefulSets) },
		func() error { return fill(ctx, client, deploymentsResource, scope, &inv.Deployments) },
		func() error { return fill(ctx, client, podsResource, scope, &inv.Pods) },
		func() error { return fill(ctx, client, servicesResource, scope, &inv.Services) },
		func() error { return fill(ctx, client, configMapsResource, scope, &inv.ConfigMaps) },
		func() error { return fill(ctx, client, storageClassesResource, "", &inv.StorageClasses) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if include.Secrets {
		if err := fill(ctx, client, secretsResource, scope, &inv.Secrets); err != nil {
			return nil, err
		}
	}
	err := fill(ctx, client, snapshotClassesResource, "", &inv.SnapshotClasses)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		inv.SnapshotAPI = false
		return inv, nil
	}
	return inv, err
}

// fill lists one kind, page by page, into items.
func fill[T any](ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource, namespace string, items *[]Listed[T]) error {
	pages := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		return client.Resource(resource).Namespace(namespace).List(ctx, opts)
	})
	list, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s: %w", resource.Resource, err)
	}
	return meta.EachListItem(list, func(object runtime.Object) error {
		raw, ok := object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("list %s: unexpected %T", resource.Resource, object)
		}
		var item Listed[T]
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, &item.Object); err != nil {
			return fmt.Errorf("list %s: %s/%s: %w", resource.Resource, raw.GetNamespace(), raw.GetName(), err)
		}
		item.Raw = *raw
		*items = append(*items, item)
		return nil
	})
}
