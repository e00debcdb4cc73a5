package restore

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
)

// workloadKinds are the kinds that use claims.
var workloadKinds = []string{"StatefulSet", "Deployment", "Pod"}

// index finds in the bundle what the request wants: the volumes with their
// pairs, and the workloads. It fails if the bundle contradicts itself.
func (p *planner) index() error {
	volumes := map[string]corev1.PersistentVolume{}
	claims := map[catalog.ClaimKey]corev1.PersistentVolumeClaim{}
	for _, object := range p.point.Bundle.Objects {
		switch object.GetKind() {
		case "PersistentVolume":
			var v corev1.PersistentVolume
			if err := typed(object, &v); err != nil {
				return err
			}
			volumes[v.Name] = v
		case "PersistentVolumeClaim":
			var c corev1.PersistentVolumeClaim
			if err := typed(object, &c); err != nil {
				return err
			}
			claims[catalog.ClaimKey{Namespace: c.Namespace, Name: c.Name}] = c
		}
		if slices.Contains(workloadKinds, object.GetKind()) && p.wantsWorkload(object) {
			p.workloads = append(p.workloads, object)
		}
	}
	p.pairs = map[catalog.ClaimKey]Pair{}
	for _, v := range p.point.Bundle.Volumes {
		if !p.wantsVolume(v) {
			continue
		}
		volume, hasVolume := volumes[v.PersistentVolume]
		claim, hasClaim := claims[v.Claim]
		if !hasVolume || !hasClaim {
			return fmt.Errorf("bundle of point %s: %w: it lacks the objects of claim %s", p.point.Commit.Point, catalog.ErrCorrupt, v.Claim)
		}
		p.volumes = append(p.volumes, v)
		p.pairs[v.Claim] = Pair{Volume: volume, Claim: claim}
	}
	return nil
}

func typed(object unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		return fmt.Errorf("%s %s/%s in the bundle: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
	}
	return nil
}

func (p *planner) wantsAll() bool { return len(p.request.Workloads)+len(p.request.Claims) == 0 }

func (p *planner) wantsWorkload(object unstructured.Unstructured) bool {
	if !p.wantsNamespace(object.GetNamespace()) {
		return false
	}
	return p.wantsAll() || slices.Contains(p.request.Workloads, catalog.Workload{Kind: object.GetKind(), Name: object.GetName()})
}

func (p *planner) wantsVolume(v catalog.Volume) bool {
	if !p.wantsNamespace(v.Claim.Namespace) {
		return false
	}
	if len(p.request.Ordinals) > 0 && v.Ordinal != nil && !slices.Contains(p.request.Ordinals, *v.Ordinal) {
		return false
	}
	return p.wantsAll() || slices.Contains(p.request.Claims, v.Claim.Name) ||
		v.Workload != nil && slices.Contains(p.request.Workloads, *v.Workload)
}

// observedVolumes finds the PersistentVolumes over one disk.
func (o *Observed) volumesOf(driver string, handle catalog.VolumeHandle) []corev1.PersistentVolume {
	var found []corev1.PersistentVolume
	for _, v := range o.Volumes {
		if v.Spec.CSI != nil && v.Spec.CSI.Driver == driver && v.Spec.CSI.VolumeHandle == string(handle) {
			found = append(found, v)
		}
	}
	return found
}

func (o *Observed) volume(name string) *corev1.PersistentVolume {
	for i := range o.Volumes {
		if o.Volumes[i].Name == name {
			return &o.Volumes[i]
		}
	}
	return nil
}

func (o *Observed) claim(key catalog.ClaimKey) *corev1.PersistentVolumeClaim {
	for i := range o.Claims {
		if o.Claims[i].Namespace == key.Namespace && o.Claims[i].Name == key.Name {
			return &o.Claims[i]
		}
	}
	return nil
}

// hasDriver says whether the CSI driver is installed: by its CSIDriver object,
// or, since that is optional, by a node that has registered it.
func (o *Observed) hasDriver(name string) bool {
	for _, d := range o.Drivers {
		if d.Name == name {
			return true
		}
	}
	return len(o.nodesWith(name)) > 0
}

// nodesWith names the nodes that have the driver.
func (o *Observed) nodesWith(driver string) []string {
	var names []string
	for _, node := range o.Nodes {
		for _, d := range node.Spec.Drivers {
			if d.Name == driver {
				names = append(names, node.Name)
			}
		}
	}
	return names
}
