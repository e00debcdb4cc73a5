package restore

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// lookup finds what was observed by its name, and PersistentVolumes by their
// disk, however much there is of it. It does not notice changes of what it was
// made of.
type lookup struct {
	*Observed
	objects  map[objectKey]metav1.Object
	byDisk   map[catalog.Disk][]*corev1.PersistentVolume
	attached map[string]string   // PersistentVolume to a node that has it
	having   map[string][]string // driver to the nodes that have it
	drivers  map[string]*storagev1.CSIDriver
}

type objectKey struct{ kind, namespace, name string }

func newLookup(o *Observed) *lookup {
	l := &lookup{
		Observed: o, objects: map[objectKey]metav1.Object{}, byDisk: map[catalog.Disk][]*corev1.PersistentVolume{},
		attached: map[string]string{}, having: map[string][]string{}, drivers: map[string]*storagev1.CSIDriver{},
	}
	index(l, "Namespace", o.Namespaces)
	index(l, "PersistentVolume", o.Volumes)
	index(l, "PersistentVolumeClaim", o.Claims)
	index(l, "ConfigMap", o.ConfigMaps)
	index(l, "Secret", o.Secrets)
	index(l, "Service", o.Services)
	index(l, "StatefulSet", o.StatefulSets)
	index(l, "Deployment", o.Deployments)
	index(l, "Pod", o.Pods)
	index(l, "StorageClass", o.StorageClasses)
	index(l, "VolumeSnapshotClass", o.SnapshotClasses)
	index(l, "VolumeSnapshotContent", o.Contents)
	index(l, "VolumeSnapshot", o.Snapshots)
	for i := range o.Volumes {
		if csi := o.Volumes[i].Spec.CSI; csi != nil {
			key := catalog.Disk{Driver: csi.Driver, Handle: catalog.VolumeHandle(csi.VolumeHandle)}
			l.byDisk[key] = append(l.byDisk[key], &o.Volumes[i])
		}
	}
	for _, a := range o.Attachments {
		if name := ptr.Deref(a.Spec.Source.PersistentVolumeName, ""); name != "" && a.Status.Attached {
			l.attached[name] = a.Spec.NodeName
		}
	}
	for _, node := range o.Nodes {
		for _, d := range node.Spec.Drivers {
			l.having[d.Name] = append(l.having[d.Name], node.Name)
		}
	}
	for i := range o.Drivers {
		l.drivers[o.Drivers[i].Name] = &o.Drivers[i]
	}
	return l
}

func index[T any, P interface {
	*T
	metav1.Object
}](l *lookup, kind string, items []T) {
	for i := range items {
		object := P(&items[i])
		l.objects[objectKey{kind, object.GetNamespace(), object.GetName()}] = object
	}
}

// find returns the existing object of that kind and name, or nil.
func (l *lookup) find(kind, namespace, name string) metav1.Object {
	return l.objects[objectKey{kind, namespace, name}]
}

// found returns the existing object of that kind and name, of Go type *T, or nil.
func found[T any](l *lookup, kind, namespace, name string) *T {
	object, _ := l.objects[objectKey{kind, namespace, name}].(any)
	typed, _ := object.(*T)
	return typed
}

func (l *lookup) volume(name string) *corev1.PersistentVolume {
	return found[corev1.PersistentVolume](l, "PersistentVolume", "", name)
}

func (l *lookup) claim(key catalog.ClaimKey) *corev1.PersistentVolumeClaim {
	return found[corev1.PersistentVolumeClaim](l, "PersistentVolumeClaim", key.Namespace, key.Name)
}

func (l *lookup) class(name string) *storagev1.StorageClass {
	return found[storagev1.StorageClass](l, "StorageClass", "", name)
}

// volumesOf finds the PersistentVolumes over one disk.
func (l *lookup) volumesOf(driver string, handle catalog.VolumeHandle) []*corev1.PersistentVolume {
	return l.byDisk[catalog.Disk{Driver: driver, Handle: handle}]
}

// hasDriver says whether the CSI driver is installed: by its CSIDriver object,
// or, since that is optional, by a node that has registered it.
func (l *lookup) hasDriver(name string) bool {
	return l.drivers[name] != nil || len(l.having[name]) > 0
}

// attachable says whether the driver attaches at all. A driver without a
// CSIDriver object does (that is the field's default).
func (l *lookup) attachable(driver string) bool {
	d := l.drivers[driver]
	return d == nil || ptr.Deref(d.Spec.AttachRequired, true)
}

// running is how an existing workload stands.
type running struct {
	wanted, pods int32 // replicas
}

// workload says how the workload of that name stands; nil: there is none.
func (l *lookup) workload(kind, namespace, name string) *running {
	switch x := l.find(kind, namespace, name).(type) {
	case *appsv1.StatefulSet:
		return &running{wanted: ptr.Deref(x.Spec.Replicas, 1), pods: x.Status.Replicas}
	case *appsv1.Deployment:
		return &running{wanted: ptr.Deref(x.Spec.Replicas, 1), pods: x.Status.Replicas}
	case *corev1.Pod:
		return &running{wanted: 1, pods: 1}
	}
	return nil
}
