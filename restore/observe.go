package restore

import (
	"context"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/pager"

	"hawser.dev/hawser/catalog"
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

	// What may keep Pods from running on the volumes. Each is looked at only if
	// the plan may rest on it.
	Machines          []corev1.Node
	Quotas            []corev1.ResourceQuota
	Autoscalers       []autoscalingv2.HorizontalPodAutoscaler
	AttributesKnown   bool
	AttributesClasses []storagev1.VolumeAttributesClass
	SecretStates      map[types.NamespacedName]SecretState
	Unknown           []string // what could not be looked at, and so was not checked

	SnapshotAPI     bool
	SnapshotClasses []snapshotv1.VolumeSnapshotClass
	Contents        []snapshotv1.VolumeSnapshotContent
	Snapshots       []snapshotv1.VolumeSnapshot

	// Owners says who owns disks, and ClusterUID which cluster this is; nil if no
	// catalog was asked.
	Owners     catalog.Owners
	ClusterUID string

	// Disks is what CheckDisks found out; a disk that is not in it was not checked.
	Disks map[catalog.Disk]DiskState
}

// SecretState is what is known of a Secret that only its name is known of.
type SecretState string

const (
	SecretPresent SecretState = "present"
	SecretAbsent  SecretState = "absent"
	SecretUnknown SecretState = "unknown" // it may not be looked at
)

// observe lists what a plan for t rests on.
func (r *Restorer) observe(ctx context.Context, t *target) (*Observed, error) {
	o, err := r.observeCore(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := r.observeSurroundings(ctx, t, o); err != nil {
		return nil, err
	}
	if t.request.From == FromDisks {
		return o, nil
	}
	return o, r.observeSnapshots(ctx, t.namespace(), o)
}

// observeCore lists what is restored, and what it is restored with.
func (r *Restorer) observeCore(ctx context.Context, t *target) (*Observed, error) {
	namespace := t.namespace()
	core, apps, storage := r.Kubernetes.CoreV1(), r.Kubernetes.AppsV1(), r.Kubernetes.StorageV1()
	o := &Observed{Disks: map[catalog.Disk]DiskState{}}
	reads := []func() error{
		func() error { return Collect(ctx, "namespaces", core.Namespaces().List, &o.Namespaces) },
		// Claims before volumes: the binder writes a volume before its claim.
		func() error {
			return Collect(ctx, "persistentvolumeclaims", core.PersistentVolumeClaims(namespace).List, &o.Claims)
		},
		func() error { return Collect(ctx, "persistentvolumes", core.PersistentVolumes().List, &o.Volumes) },
		func() error { return Collect(ctx, "statefulsets", apps.StatefulSets(namespace).List, &o.StatefulSets) },
		func() error { return Collect(ctx, "deployments", apps.Deployments(namespace).List, &o.Deployments) },
		func() error { return Collect(ctx, "pods", core.Pods(namespace).List, &o.Pods) },
		func() error { return Collect(ctx, "services", core.Services(namespace).List, &o.Services) },
		func() error { return Collect(ctx, "configmaps", core.ConfigMaps(namespace).List, &o.ConfigMaps) },
		func() error { return Collect(ctx, "storageclasses", storage.StorageClasses().List, &o.StorageClasses) },
		func() error { return Collect(ctx, "csidrivers", storage.CSIDrivers().List, &o.Drivers) },
		func() error { return Collect(ctx, "csinodes", storage.CSINodes().List, &o.Nodes) },
		func() error {
			return Collect(ctx, "volumeattachments", storage.VolumeAttachments().List, &o.Attachments)
		},
	}
	if t.holds("Secret") {
		reads = append(reads, func() error { return Collect(ctx, "secrets", core.Secrets(namespace).List, &o.Secrets) })
	}
	reads = append(reads, func() error { return r.observeOwners(ctx, o) })
	for _, read := range reads {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// observeOwners asks who owns disks, if there is somebody to ask.
func (r *Restorer) observeOwners(ctx context.Context, o *Observed) (err error) {
	if r.Owners != nil {
		o.Owners, o.ClusterUID, err = r.Owners(ctx)
	}
	return err
}

// observeSurroundings looks at what may keep Pods from running on the volumes.
// What may not be looked at is not checked, and said.
func (r *Restorer) observeSurroundings(ctx context.Context, t *target, o *Observed) error {
	namespace := t.namespace()
	reads := []func() error{
		func() error {
			return Collect(ctx, "resourcequotas", r.Kubernetes.CoreV1().ResourceQuotas(namespace).List, &o.Quotas)
		},
		func() error {
			return Collect(ctx, "horizontalpodautoscalers", r.Kubernetes.AutoscalingV2().HorizontalPodAutoscalers(namespace).List, &o.Autoscalers)
		},
	}
	if t.hasAffinity() {
		reads = append(reads, func() error { return Collect(ctx, "nodes", r.Kubernetes.CoreV1().Nodes().List, &o.Machines) })
	}
	if t.hasAttributes() {
		reads = append(reads, func() error {
			err := Collect(ctx, "volumeattributesclasses", r.Kubernetes.StorageV1().VolumeAttributesClasses().List, &o.AttributesClasses)
			o.AttributesKnown = err == nil
			return err
		})
	}
	for _, read := range reads {
		if err := read(); apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			o.Unknown = append(o.Unknown, "not checked: "+err.Error())
		} else if err != nil {
			return err
		}
	}
	return r.observeSecrets(ctx, t, o)
}

// observeSecrets looks for the Secrets that the CSI sources name, which may be
// in any namespace.
func (r *Restorer) observeSecrets(ctx context.Context, t *target, o *Observed) error {
	o.SecretStates = map[types.NamespacedName]SecretState{}
	for _, pair := range t.pairs {
		for _, ref := range secretsOf(&pair.Volume) {
			if o.SecretStates[ref] != "" {
				continue
			}
			_, err := r.Kubernetes.CoreV1().Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
			switch {
			case err == nil:
				o.SecretStates[ref] = SecretPresent
			case apierrors.IsNotFound(err):
				o.SecretStates[ref] = SecretAbsent
			case apierrors.IsForbidden(err):
				o.SecretStates[ref] = SecretUnknown
			default:
				return fmt.Errorf("look for Secret %s: %w", ref, err)
			}
		}
	}
	return nil
}

func (r *Restorer) observeSnapshots(ctx context.Context, namespace string, o *Observed) error {
	api := r.Snapshots.SnapshotV1()
	err := Collect(ctx, "volumesnapshotclasses", api.VolumeSnapshotClasses().List, &o.SnapshotClasses)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	o.SnapshotAPI = true
	if err := Collect(ctx, "volumesnapshotcontents", api.VolumeSnapshotContents().List, &o.Contents); err != nil {
		return err
	}
	return Collect(ctx, "volumesnapshots", api.VolumeSnapshots(namespace).List, &o.Snapshots)
}

// Collect lists one kind, page by page, into items.
func Collect[L runtime.Object, T any](ctx context.Context, what string, list func(context.Context, metav1.ListOptions) (L, error), items *[]T) error {
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
