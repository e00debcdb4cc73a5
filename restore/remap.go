package restore

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"hawser.dev/hawser/catalog"
)

// Remap returns point as if it had been taken where mapping says: under other
// names, of another driver, in another zone, without what ties its objects to
// GitOps tools. Every reference among its objects is mapped with what it names.
// Notes say what the user should know of the change. Classes and patches are
// left to NewPlan. The input is not changed. It fails with *RefusedError if the
// mapping cannot be carried out, or names what the point does not have.
func Remap(point *catalog.RestorePoint, mapping Mapping) (*catalog.RestorePoint, []string, error) {
	r := remapper{
		Mapping: mapping, met: sets.New[string](),
		claims: map[catalog.ClaimKey]catalog.ClaimKey{}, volumes: map[string]string{}, dropped: map[string]int{},
	}
	r.refusals = mapping.check()
	out := &catalog.RestorePoint{Commit: point.Commit, Bundle: catalog.Bundle{Format: point.Bundle.Format, Point: point.Bundle.Point}}
	for _, v := range point.Bundle.Volumes {
		out.Bundle.Volumes = append(out.Bundle.Volumes, r.volume(v))
	}
	for _, object := range point.Bundle.Objects {
		out.Bundle.Objects = append(out.Bundle.Objects, *r.object(object))
	}
	for _, skip := range point.Bundle.Skipped {
		out.Bundle.Skipped = append(out.Bundle.Skipped, r.skip(skip, point.Bundle.Objects))
	}
	r.refuseUnmet()
	r.refuseTwins(out.Bundle.Objects)
	r.noteTracking()
	r.noteMentions(out.Bundle.Objects)
	if len(r.refusals) > 0 {
		return nil, nil, &RefusedError{Refusals: r.refusals}
	}
	return out, r.notes, nil
}

type remapper struct {
	Mapping
	met      sets.Set[string] // what of the mapping was found in the point
	claims   map[catalog.ClaimKey]catalog.ClaimKey
	volumes  map[string]string
	dropped  map[string]int // keys of tracking, and of how many objects
	notes    []string
	refusals []Refusal
}

// to maps one name, and remembers that the mapping was of use.
func (r *remapper) to(what string, m map[string]string, name string) string {
	if to, ok := m[name]; ok {
		r.met.Insert(what + " " + name)
		return to
	}
	return name
}

func (r *remapper) namespace(name string) string { return r.to("namespace", r.Namespaces, name) }

// volume maps the record of one claim.
func (r *remapper) volume(v catalog.Volume) catalog.Volume {
	from := v.Claim
	v.Claim.Namespace = r.namespace(v.Claim.Namespace)
	if v.Workload != nil && v.Workload.Kind == "StatefulSet" {
		set := r.to("set", r.Sets, v.Workload.Name)
		if set != v.Workload.Name && v.Template != "" && v.Ordinal != nil {
			v.Claim.Name = claimName(v.Template, set, *v.Ordinal)
		}
		v.Workload = &catalog.Workload{Kind: v.Workload.Kind, Name: set}
	}
	v.Driver = r.to("driver", r.Drivers, v.Driver)
	former := v.PersistentVolume
	r.to("volume", r.VolumeNames, former)
	v.PersistentVolume = r.volumeName(v)
	if problems := validation.IsDNS1123Subdomain(v.PersistentVolume); len(problems) > 0 {
		r.refuse("PersistentVolume", "", former, fmt.Sprintf("it would be named %q: %s", v.PersistentVolume, strings.Join(problems, "; ")), "correct --pv-name")
	}
	r.claims[from], r.volumes[former] = v.Claim, v.PersistentVolume
	return v
}

// claimName is the name that the StatefulSet controller gives to a claim.
func claimName(template, set string, ordinal int) string {
	return template + "-" + set + "-" + strconv.Itoa(ordinal)
}

func (r *remapper) claim(namespace, name string) catalog.ClaimKey {
	if to, ok := r.claims[catalog.ClaimKey{Namespace: namespace, Name: name}]; ok {
		return to
	}
	return catalog.ClaimKey{Namespace: r.namespace(namespace), Name: name}
}

// object maps one object.
func (r *remapper) object(captured unstructured.Unstructured) *unstructured.Unstructured {
	o := captured.DeepCopy()
	from, name := o.GetNamespace(), o.GetName()
	if from != "" {
		o.SetNamespace(r.namespace(from))
	}
	if !r.KeepTracking {
		r.dropTracking(o)
	}
	switch kind := o.GetKind(); kind {
	case "Namespace":
		o.SetName(r.namespace(name))
		setLabel(o, "kubernetes.io/metadata.name", "") // the API server sets it
	case "PersistentVolume":
		r.persistentVolume(o)
	case "PersistentVolumeClaim":
		o.SetName(r.claim(from, name).Name)
		mapString(o.Object, func(volume string) string { return Mapped(r.volumes, volume) }, "spec", "volumeName")
	case "StatefulSet":
		o.SetName(r.to("set", r.Sets, name))
		r.scale(o, name)
		r.pods(o, from, "spec", "template", "spec")
	case "Deployment":
		r.scale(o, name)
		r.pods(o, from, "spec", "template", "spec")
	case "Pod":
		r.pods(o, from, "spec")
	}
	return o
}

func (r *remapper) persistentVolume(o *unstructured.Unstructured) {
	o.SetName(Mapped(r.volumes, o.GetName()))
	namespace, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "namespace")
	name, _, _ := unstructured.NestedString(o.Object, "spec", "claimRef", "name")
	claim := r.claim(namespace, name)
	mapString(o.Object, func(string) string { return claim.Namespace }, "spec", "claimRef", "namespace")
	mapString(o.Object, func(string) string { return claim.Name }, "spec", "claimRef", "name")
	driver := func(name string) string { return r.to("driver", r.Drivers, name) }
	mapString(o.Object, driver, "spec", "csi", "driver")
	mapString(o.Object, driver, "metadata", "annotations", "pv.kubernetes.io/provisioned-by")
	for _, secret := range secretRefs {
		mapString(o.Object, r.namespace, "spec", "csi", secret, "namespace")
	}
	mapString(o.Object, r.namespace, "metadata", "annotations", "volume.kubernetes.io/provisioner-deletion-secret-namespace")
	r.topology(o.Object, "metadata", "labels")
	r.affinity(o.Object, "spec", "nodeAffinity", "required", "nodeSelectorTerms")
}

// secretRefs are the fields of a CSI source that name a Secret.
var secretRefs = []string{"controllerPublishSecretRef", "nodeStageSecretRef", "nodePublishSecretRef", "controllerExpandSecretRef", "nodeExpandSecretRef"}

// scale sets the replicas of a workload that is called name in the point.
func (r *remapper) scale(o *unstructured.Unstructured, name string) {
	for _, key := range []catalog.Workload{{Kind: o.GetKind(), Name: name}, {}} {
		if replicas, ok := r.Replicas[key]; ok {
			r.met.Insert("replicas " + key.Kind + "/" + key.Name)
			setNested(o.Object, int64(replicas), "spec", "replicas")
			return
		}
	}
}

// pods maps what a Pod's spec says of nodes and claims; namespace is that of
// the point.
func (r *remapper) pods(o *unstructured.Unstructured, namespace string, spec ...string) {
	at := func(path ...string) []string { return append(slices.Clone(spec), path...) }
	r.topology(o.Object, at("nodeSelector")...)
	r.affinity(o.Object, at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")...)
	each(o.Object, func(term map[string]any) { r.terms(term, "preference") }, at("affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution")...)
	each(o.Object, func(volume map[string]any) {
		mapString(volume, func(name string) string { return r.claim(namespace, name).Name }, "persistentVolumeClaim", "claimName")
	}, at("volumes")...)
}

// skip maps what the point says it does not hold; objects are those of the
// point, before mapping.
func (r *remapper) skip(skip catalog.Skip, objects []unstructured.Unstructured) catalog.Skip {
	if skip.Kind == "PersistentVolumeClaim" {
		for _, o := range objects {
			to, renamed := r.Sets[o.GetName()]
			if !renamed || o.GetKind() != "StatefulSet" || o.GetNamespace() != skip.Namespace {
				continue
			}
			each(o.Object, func(template map[string]any) {
				name, _, _ := unstructured.NestedString(template, "metadata", "name")
				if ordinal, ok := strings.CutPrefix(skip.Name, name+"-"+o.GetName()+"-"); ok {
					skip.Name = name + "-" + to + "-" + ordinal
				}
			}, "spec", "volumeClaimTemplates")
		}
	}
	skip.Namespace = Mapped(r.Namespaces, skip.Namespace)
	return skip
}

func (r *remapper) refuse(kind, namespace, name, problem, remedy string) {
	r.refusals = append(r.refusals, Refusal{Kind: kind, Namespace: namespace, Name: name, Problem: problem, Remedy: remedy})
}

// refuseUnmet refuses a mapping of what is not there: most likely it is misspelt.
func (r *remapper) refuseUnmet() {
	for _, m := range []struct {
		what, kind, flag string
		names            map[string]string
	}{
		{"namespace", "Namespace", "--map-namespace", r.Namespaces},
		{"driver", "CSIDriver", "--driver", r.Drivers},
		{"zone", "Zone", "--zone", r.Zones},
		{"key", "Topology key", "--topology-key", r.TopologyKeys},
		{"volume", "PersistentVolume", "--pv-name", r.VolumeNames},
		{"set", "StatefulSet", "--set-name", r.Sets},
	} {
		for _, from := range slices.Sorted(maps.Keys(m.names)) {
			if !r.met.Has(m.what + " " + from) {
				r.refuse(m.kind, "", from, "nothing that is to be restored has it", "correct "+m.flag+" "+from+"="+m.names[from])
			}
		}
	}
	for w := range r.Replicas {
		if name := w.Kind + "/" + w.Name; !r.met.Has("replicas "+name) && w.Name != "" {
			r.refuse(w.Kind, "", w.Name, "it is not among what is to be restored", "correct --replicas")
		}
	}
}

// refuseTwins refuses a mapping that gives two objects one name.
func (r *remapper) refuseTwins(objects []unstructured.Unstructured) {
	seen := sets.New[objectKey]()
	for _, o := range objects {
		key := objectKey{o.GetKind(), o.GetNamespace(), o.GetName()}
		if seen.Has(key) && key.kind != "Namespace" { // two may become one
			r.refuse(key.kind, key.namespace, key.name, "two objects of the point would get this name", "map them to different names, or restore them one after the other")
		}
		seen.Insert(key)
	}
}

// noteMentions tells which objects name a former namespace or Pod in their
// text, where no rule can know what is meant.
func (r *remapper) noteMentions(objects []unstructured.Unstructured) {
	former := map[string]*regexp.Regexp{}
	for from := range r.Namespaces {
		former["namespace "+from] = regexp.MustCompile(`\.` + regexp.QuoteMeta(from) + `(\.svc\b|$|[:/])`)
	}
	for from := range r.Sets {
		former["the Pods of StatefulSet "+from] = regexp.MustCompile(`(^|[^a-z0-9-])` + regexp.QuoteMeta(from) + `-[0-9]+\b`)
	}
	for _, what := range slices.Sorted(maps.Keys(former)) {
		var in []string
		for _, o := range objects {
			text := o.Object["spec"]
			if o.GetKind() == "ConfigMap" {
				text = o.Object["data"]
			}
			if o.GetNamespace() != "" && says(text, former[what]) {
				in = append(in, o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName())
			}
		}
		if len(in) > 0 {
			r.notes = append(r.notes, fmt.Sprintf("%s still say %s by the former name; look at them (--patch-file changes them)", strings.Join(in, ", "), what))
		}
	}
}

// says tells whether any string within value matches.
func says(value any, pattern *regexp.Regexp) bool {
	switch v := value.(type) {
	case string:
		return pattern.MatchString(v)
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return says(element, pattern) })
	case map[string]any:
		for _, element := range v {
			if says(element, pattern) {
				return true
			}
		}
	}
	return false
}
