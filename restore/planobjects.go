package restore

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// create is the step that creates a typed object.
func create(object runtime.Object, reason string) Step {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(fmt.Sprintf("convert %T: %v", object, err)) // our own types always convert
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return createRaw(u, reason)
}

func createRaw(object *unstructured.Unstructured, reason string) Step {
	return Step{Action: Create, Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), Reason: reason, Object: object}
}

func keep(kind, namespace, name, reason string) Step {
	return Step{Action: KeepAsIs, Kind: kind, Namespace: namespace, Name: name, Reason: reason}
}

// planObjects plans namespaces and configuration, Services and workloads.
func (p *planner) planObjects() {
	namespaces := sets.New[string]()
	for _, v := range p.volumes {
		namespaces.Insert(v.Claim.Namespace)
	}
	for _, w := range p.workloads {
		namespaces.Insert(w.GetNamespace())
	}
	for _, object := range p.point.Bundle.Objects {
		switch kind := object.GetKind(); {
		case kind == "Namespace" && namespaces.Has(object.GetName()):
			p.plan.Prepare = append(p.plan.Prepare, p.createOnly(object))
		case (kind == "ConfigMap" || kind == "Secret") && p.used(object):
			p.plan.Prepare = append(p.plan.Prepare, p.createOnly(object))
		case kind == "Service" && p.used(object):
			p.plan.Workloads = append(p.plan.Workloads, p.createOnly(object))
		}
	}
	for _, w := range p.workloads {
		p.planWorkload(w)
	}
	p.checkRunning()
}

// used says whether a wanted workload of the same namespace names object.
func (p *planner) used(object unstructured.Unstructured) bool {
	for _, w := range p.workloads {
		if w.GetNamespace() == object.GetNamespace() && mentions(w.Object["spec"], object.GetName()) {
			return true
		}
	}
	return false
}

// createOnly creates what is absent and keeps what exists as it is.
func (p *planner) createOnly(captured unstructured.Unstructured) Step {
	kind, namespace, name := captured.GetKind(), captured.GetNamespace(), captured.GetName()
	if existing := p.observed.find(kind, namespace, name); existing != nil {
		p.refuseDeleted(kind, existing)
		return keep(kind, namespace, name, "it exists and is left as it is")
	}
	return createRaw(bareObject(captured), "as it was at the time of the backup")
}

// refuseDeleted refuses to keep an object that will soon be gone, and says so.
func (p *planner) refuseDeleted(kind string, existing metav1.Object) bool {
	if existing.GetDeletionTimestamp() == nil {
		return false
	}
	p.refuse(kind, existing.GetNamespace(), existing.GetName(), "it is being deleted", "wait until it is gone, then run the restore again")
	return true
}

// planWorkload creates a workload once every claim it will look for is
// accounted for.
func (p *planner) planWorkload(captured unstructured.Unstructured) {
	kind, namespace, name := captured.GetKind(), captured.GetNamespace(), captured.GetName()
	if kind == "StatefulSet" {
		p.checkOrdinals(captured)
	}
	existing := p.observed.workload(kind, namespace, name)
	if existing != nil {
		if !p.refuseDeleted(kind, p.observed.find(kind, namespace, name)) {
			p.keepWorkload(captured, existing)
		}
		return
	}
	p.checkHeldClaims(captured)
	p.plan.Workloads = append(p.plan.Workloads, createRaw(bareObject(captured), "after its claims are bound"))
}

// keepWorkload leaves an existing workload alone.
func (p *planner) keepWorkload(captured unstructured.Unstructured, existing *running) {
	kind, namespace, name := captured.GetKind(), captured.GetNamespace(), captured.GetName()
	reason := "it exists and is left as it is"
	if existing.wanted == 0 {
		reason = "it exists with 0 replicas; scale it up when the restore is done"
		p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("%s %s/%s has 0 replicas: `kubectl scale -n %s %s/%s --replicas=N` starts it", kind, namespace, name, namespace, kind, name))
	}
	p.plan.Workloads = append(p.plan.Workloads, keep(kind, namespace, name, reason))
}

// checkRunning refuses to put claims under a StatefulSet that runs, whether or
// not the set itself is wanted: its controller could make empty ones of the
// same name at any moment. A Deployment makes none.
func (p *planner) checkRunning() {
	refused := map[string]bool{}
	for _, v := range p.volumes {
		if v.Workload == nil || v.Workload.Kind != "StatefulSet" || !p.changes(v.Claim) {
			continue
		}
		set := p.observed.workload(v.Workload.Kind, v.Claim.Namespace, v.Workload.Name)
		key := v.Claim.Namespace + "/" + v.Workload.Name
		if set == nil || set.wanted == 0 && set.pods == 0 || refused[key] {
			continue
		}
		if p.observed.find("StatefulSet", v.Claim.Namespace, v.Workload.Name).GetDeletionTimestamp() != nil && p.wantsNamed(*v.Workload) {
			continue // refused for that
		}
		refused[key] = true
		p.refuse(v.Workload.Kind, v.Claim.Namespace, v.Workload.Name, fmt.Sprintf("it is running (%d replicas wanted, %d Pods), and claims of it are to be restored", set.wanted, set.pods),
			fmt.Sprintf("run `kubectl scale -n %s statefulset/%s --replicas=0`, wait for its Pods to go, delete the claims that are to be replaced, and run the restore again", v.Claim.Namespace, v.Workload.Name))
	}
}

// wantsNamed says whether the workload itself is to be restored.
func (p *planner) wantsNamed(w catalog.Workload) bool {
	return slices.ContainsFunc(p.workloads, func(o unstructured.Unstructured) bool { return o.GetKind() == w.Kind && o.GetName() == w.Name })
}

// changes says whether the plan does more than keep and protect what a claim has.
func (p *planner) changes(claim catalog.ClaimKey) bool {
	return slices.ContainsFunc(p.plan.Volumes, func(plan VolumePlan) bool {
		return plan.Claim == claim && slices.ContainsFunc(plan.Steps, func(step Step) bool { return step.Action == Create || step.Action == RearmPV })
	})
}

// findPods notes which volumes a Pod of a wanted workload will use.
func (p *planner) findPods() {
	records := map[catalog.ClaimKey]catalog.Volume{}
	for _, v := range p.volumes {
		records[v.Claim] = v
	}
	for i := range p.plan.Volumes {
		plan := &p.plan.Volumes[i]
		plan.HasPod = p.hasPod(records[plan.Claim])
	}
}

func (p *planner) hasPod(v catalog.Volume) bool {
	if v.Workload == nil {
		return false
	}
	if existing := p.observed.workload(v.Workload.Kind, v.Claim.Namespace, v.Workload.Name); existing != nil && existing.wanted == 0 {
		return false
	}
	for _, w := range p.workloads {
		if w.GetKind() != v.Workload.Kind || w.GetName() != v.Workload.Name || w.GetNamespace() != v.Claim.Namespace {
			continue
		}
		replicas, found, _ := unstructured.NestedInt64(w.Object, "spec", "replicas")
		if !found {
			replicas = 1
		}
		if v.Ordinal == nil {
			return replicas > 0
		}
		start, _, _ := unstructured.NestedInt64(w.Object, "spec", "ordinals", "start")
		return int64(*v.Ordinal) >= start && int64(*v.Ordinal) < start+replicas
	}
	return false
}

// checkOrdinals refuses to create a StatefulSet that would be given an empty
// disk for an ordinal whose claim had data when the backup was made, but is not
// in the point, unless the user chose the ordinals. A claim that was not there
// then, or was unbound, had none.
func (p *planner) checkOrdinals(captured unstructured.Unstructured) {
	if len(p.request.Ordinals) > 0 {
		return
	}
	var set appsv1.StatefulSet
	if err := typed(captured, &set); err != nil {
		p.refuse("StatefulSet", captured.GetNamespace(), captured.GetName(), err.Error(), "use another point")
		return
	}
	start := int32(0)
	if set.Spec.Ordinals != nil {
		start = set.Spec.Ordinals.Start
	}
	for n := start; n < start+ptr.Deref(set.Spec.Replicas, 1); n++ {
		for _, template := range set.Spec.VolumeClaimTemplates {
			claim := catalog.ClaimKey{Namespace: set.Namespace, Name: claimName(template.Name, set.Name, int(n))}
			why := p.leftOut(claim)
			if why == "" || p.observed.claim(claim) != nil {
				continue
			}
			p.refuseClaim(claim, "the point does not hold it ("+why+"), so StatefulSet "+set.Name+" would be given an empty disk for it",
				"restore from a point that holds it, or name the ordinals to restore with --ordinals; the others then start empty")
		}
	}
}

// leftOut says why the point does not hold a claim that had a disk, or returns "".
func (p *planner) leftOut(claim catalog.ClaimKey) string {
	for _, skip := range p.point.Bundle.Skipped {
		if skip.Kind == "PersistentVolumeClaim" && skip.Namespace == claim.Namespace && skip.Name == claim.Name && skip.Reason != catalog.SkipUnbound {
			return skip.Message
		}
	}
	return ""
}
