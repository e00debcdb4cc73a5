package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"

	"hawser.dev/hawser/catalog"
)

// objectSet holds objects once each, by kind, namespace and name.
type objectSet struct {
	objects []unstructured.Unstructured
	seen    sets.Set[string]
}

// add keeps a copy of raw without what no restore needs.
func (o *objectSet) add(raw unstructured.Unstructured) {
	if o.has(raw.GetKind(), raw.GetNamespace(), raw.GetName()) {
		return
	}
	if o.seen == nil {
		o.seen = sets.New[string]()
	}
	o.seen.Insert(objectID(raw.GetKind(), raw.GetNamespace(), raw.GetName()))
	kept := unstructured.Unstructured{Object: maps.Clone(raw.Object)}
	delete(kept.Object, "status")
	if metadata, ok := raw.Object["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		delete(metadata, "managedFields")
		kept.Object["metadata"] = metadata
	}
	o.objects = append(o.objects, kept)
}

func (o *objectSet) has(kind, namespace, name string) bool {
	return o.seen.Has(objectID(kind, namespace, name))
}

func objectID(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// Capture returns what a backup of a selection would take, as a restore point
// without id or snapshots that is in no catalog. It writes nothing. It fails with
// ErrNothing if the selection holds no claim that can be backed up.
func Capture(ctx context.Context, client dynamic.Interface, sel Selection, include Include) (*catalog.RestorePoint, error) {
	inv, err := Observe(ctx, client, sel, include)
	if err != nil {
		return nil, err
	}
	selected, err := Select(inv, sel, include)
	if err != nil {
		return nil, err
	}
	if len(selected.Volumes) == 0 {
		return nil, nothing(selected.Skipped)
	}
	return &catalog.RestorePoint{Bundle: catalog.Bundle{
		Format: catalog.Format, Objects: selected.Objects.objects, Volumes: selected.Volumes, Skipped: selected.Skipped,
	}}, nil
}

// capture gathers the objects of the point in the order in which a restore can
// create them: namespaces, classes, configuration, volumes, claims, Services,
// workloads.
func (s *selector) capture() {
	taken, using := sets.New[catalog.ClaimKey](), sets.New[*workload]()
	volumes, classes, namespaces := sets.New[string](), sets.New[string](), sets.New[string]()
	for _, v := range s.out.Volumes {
		taken.Insert(v.Claim)
		for _, u := range s.usage.users[v.Claim] {
			using.Insert(u.workload)
		}
		volumes.Insert(v.PersistentVolume)
		classes.Insert(v.StorageClass)
		namespaces.Insert(v.Claim.Namespace)
	}
	var workloads []*workload
	for i := range s.usage.workloads {
		if w := &s.usage.workloads[i]; s.wantsWorkload(w, using.Has(w)) {
			workloads = append(workloads, w)
			namespaces.Insert(w.namespace)
		}
	}
	out := &s.out.Objects
	addNamed(out, s.inv.Namespaces, func(o unstructured.Unstructured) bool { return namespaces.Has(o.GetName()) })
	addNamed(out, s.inv.StorageClasses, func(o unstructured.Unstructured) bool { return classes.Has(o.GetName()) })
	configMaps, secrets := byName(s.inv.ConfigMaps), byName(s.inv.Secrets)
	for _, w := range workloads {
		s.captureConfiguration(w, configMaps, secrets)
	}
	addNamed(out, s.inv.Volumes, func(o unstructured.Unstructured) bool { return volumes.Has(o.GetName()) })
	addNamed(out, s.inv.Claims, func(o unstructured.Unstructured) bool {
		return taken.Has(catalog.ClaimKey{Namespace: o.GetNamespace(), Name: o.GetName()})
	})
	services := byName(s.inv.Services)
	for _, w := range workloads {
		s.captureService(w, services)
	}
	for _, w := range workloads {
		out.add(w.raw)
		s.noteUncovered(w)
	}
	s.noteClaimsLeftOut(workloads, taken)
	s.noteOtherUsers(taken)
	s.noteVolumeSecrets()
}

func addNamed[T any](out *objectSet, list []Listed[T], want func(unstructured.Unstructured) bool) {
	for _, item := range list {
		if want(item.Raw) {
			out.add(item.Raw)
		}
	}
}

// byName finds the objects of a list.
func byName[T any](list []Listed[T]) map[types.NamespacedName]unstructured.Unstructured {
	index := make(map[types.NamespacedName]unstructured.Unstructured, len(list))
	for i := range list {
		raw := list[i].Raw
		index[types.NamespacedName{Namespace: raw.GetNamespace(), Name: raw.GetName()}] = raw
	}
	return index
}

// wantsWorkload says whether w itself goes into the point: it uses a claim that
// was taken, and no list of names leaves it out. One that was named need not
// use any, if the labels cover it.
func (s *selector) wantsWorkload(w *workload, uses bool) bool {
	switch {
	case s.optedInUsers.Has(w) || s.sel.OptInOnly:
		return uses
	case !s.inNamespaces(w.namespace):
		return false
	case s.namesOnly():
		return slices.Contains(s.sel.Workloads, w.Workload) && (uses || s.matches(w.labels))
	}
	return uses
}

// namesOnly says whether nothing but what was named is wanted.
func (s *selector) namesOnly() bool {
	return !s.sel.OptInOnly && len(s.sel.Workloads)+len(s.sel.Claims) > 0
}

// captureService takes the governing Service of a StatefulSet.
func (s *selector) captureService(w *workload, services map[types.NamespacedName]unstructured.Unstructured) {
	if w.service == "" {
		return
	}
	if service, found := services[types.NamespacedName{Namespace: w.namespace, Name: w.service}]; found {
		s.out.Objects.add(service)
		return
	}
	s.skip("Service", w.namespace, w.service, catalog.SkipNotFound, "%s %s names it as its governing Service, and it does not exist", w.Kind, w.Name)
}

// captureConfiguration takes the ConfigMaps, and if asked the Secrets, that
// the Pods of w mount or name.
func (s *selector) captureConfiguration(w *workload, configMaps, secrets map[types.NamespacedName]unstructured.Unstructured) {
	refs := referencesOf(w.pod)
	for _, name := range sets.List(refs.configMaps) {
		if s.include.NoConfigMaps {
			s.skip("ConfigMap", w.namespace, name, catalog.SkipNotAsked, "%s %s uses it; the plan leaves ConfigMaps out (include.configMaps)", w.Kind, w.Name)
			continue
		}
		s.captureNamed("ConfigMap", configMaps, w, name)
	}
	for _, name := range sets.List(refs.secrets) {
		if !s.include.Secrets {
			s.skip("Secret", w.namespace, name, catalog.SkipNotAsked, "%s %s uses it; Secrets are kept only when asked for (--include-secrets)", w.Kind, w.Name)
			continue
		}
		s.captureNamed("Secret", secrets, w, name)
	}
	if account := w.pod.ServiceAccountName; account != "" && account != "default" {
		s.skip("ServiceAccount", w.namespace, account, catalog.SkipNotSupported, "%s %s runs as it; it must exist where the workload is restored", w.Kind, w.Name)
	}
}

func (s *selector) captureNamed(kind string, objects map[types.NamespacedName]unstructured.Unstructured, w *workload, name string) {
	if object, found := objects[types.NamespacedName{Namespace: w.namespace, Name: name}]; found {
		s.out.Objects.add(object)
		return
	}
	s.skip(kind, w.namespace, name, catalog.SkipNotFound, "%s %s uses it, and it does not exist", w.Kind, w.Name)
}

type references struct{ configMaps, secrets sets.Set[string] }

// referencesOf gathers the ConfigMaps and Secrets that a Pod mounts or names
// in its environment or as image pull secrets.
func referencesOf(pod corev1.PodSpec) references {
	refs := references{configMaps: sets.New[string](), secrets: sets.New[string]()}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			refs.configMaps.Insert(v.ConfigMap.Name)
		case v.Secret != nil:
			refs.secrets.Insert(v.Secret.SecretName)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.ConfigMap != nil {
					refs.configMaps.Insert(source.ConfigMap.Name)
				}
				if source.Secret != nil {
					refs.secrets.Insert(source.Secret.Name)
				}
			}
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		refs.addEnvironment(c)
	}
	for _, ref := range pod.ImagePullSecrets {
		refs.secrets.Insert(ref.Name)
	}
	// Every namespace makes this one by itself.
	refs.configMaps.Delete("kube-root-ca.crt")
	return refs
}

func (r references) addEnvironment(c corev1.Container) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			r.configMaps.Insert(from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			r.secrets.Insert(from.SecretRef.Name)
		}
	}
	for _, env := range c.Env {
		if env.ValueFrom == nil {
			continue
		}
		if ref := env.ValueFrom.ConfigMapKeyRef; ref != nil {
			r.configMaps.Insert(ref.Name)
		}
		if ref := env.ValueFrom.SecretKeyRef; ref != nil {
			r.secrets.Insert(ref.Name)
		}
	}
}

// noteUncovered records the Pod's volumes whose data no point can hold.
func (s *selector) noteUncovered(w *workload) {
	for _, v := range w.pod.Volumes {
		name := fmt.Sprintf("%s/volumes/%s", w.Name, v.Name)
		if v.ConfigMap != nil {
			s.skip(w.Kind, w.namespace, name, catalog.SkipNotCovered, "configMap %s: an object, not a disk", v.ConfigMap.Name)
		} else if what := uncovered(v); what != "" {
			s.skip(w.Kind, w.namespace, name, catalog.SkipNotCovered, "%s: its data is not part of the point", what)
		}
	}
}

// uncovered says what kind of volume v is if a backup does not cover its data.
func uncovered(v corev1.Volume) string {
	source := v.VolumeSource
	switch {
	case source.PersistentVolumeClaim != nil, source.ConfigMap != nil, source.Secret != nil, source.DownwardAPI != nil, source.Projected != nil:
		return ""
	case source.EmptyDir != nil:
		return "emptyDir"
	case source.HostPath != nil:
		return "hostPath " + source.HostPath.Path
	case source.Ephemeral != nil:
		return "generic ephemeral volume"
	case source.CSI != nil:
		return "inline CSI volume of driver " + source.CSI.Driver
	case source.NFS != nil:
		return "inline NFS volume"
	default:
		return "inline volume"
	}
}
