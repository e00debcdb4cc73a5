package rollback

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Check is a condition that the user may know better than a plan.
type Check string

const (
	CheckAutoscaler Check = "autoscaler" // nothing scales the workloads up meanwhile
	CheckOwners     Check = "owners"     // no operator or GitOps tool does
)

// Checks are all that can be left out.
var Checks = []Check{CheckAutoscaler, CheckOwners}

// fail refuses what a check found, or notes it where the check is left out.
func (p *planner) fail(check Check, kind, name, problem, remedy string) {
	if slices.Contains(p.Ignore, check) {
		p.note("ignored (%s): %s %s/%s: %s", check, kind, p.Namespace, name, problem)
		return
	}
	p.refuse(kind, name, problem, remedy+"; or --ignore-checks="+string(check))
}

func named(w catalog.Workload) string { return strings.ToLower(w.Kind) + "/" + w.Name }

// checkAutoscalers looks at HorizontalPodAutoscalers. Their controller leaves a
// workload that is at 0 alone (reconcileAutoscaler in Kubernetes'
// pkg/controller/podautoscaler/horizontal.go), unless minReplicas is 0, which
// says that 0 is a number like others.
func (p *planner) checkAutoscalers(u user) {
	for _, hpa := range p.observed.Autoscalers {
		ref := hpa.Spec.ScaleTargetRef
		if hpa.Namespace != p.Namespace || ref.Kind != u.Kind || ref.Name != u.Name {
			continue
		}
		if ptr.Deref(hpa.Spec.MinReplicas, 1) == 0 {
			p.fail(CheckAutoscaler, "HorizontalPodAutoscaler", hpa.Name, "its minReplicas is 0, so it may scale "+named(u.Workload)+" up from 0 at any moment", "set minReplicas to 1 meanwhile, or delete it")
			continue
		}
		p.note("HorizontalPodAutoscaler %s rests while %s is at 0, and scales it again afterwards", hpa.Name, named(u.Workload))
	}
}

// checkScaledObjects looks at KEDA's ScaledObjects, which scale up from 0 unless
// they are paused at the number of the moment, or at 0.
func (p *planner) checkScaledObjects(u user) {
	for i := range p.observed.ScaledObjects {
		o := &p.observed.ScaledObjects[i]
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "kind")
		name, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name")
		if kind == "" {
			kind = "Deployment"
		}
		if o.GetNamespace() != p.Namespace || kind != u.Kind || name != u.Name {
			continue
		}
		annotations := o.GetAnnotations()
		at, fixed := annotations["autoscaling.keda.sh/paused-replicas"]
		switch {
		case fixed && at != "0":
			p.fail(CheckAutoscaler, "ScaledObject", o.GetName(), "it holds "+named(u.Workload)+" at "+at+" replicas", fmt.Sprintf("`kubectl annotate -n %s scaledobject/%s --overwrite autoscaling.keda.sh/paused-replicas=0` meanwhile", p.Namespace, o.GetName()))
		case fixed || annotations["autoscaling.keda.sh/paused"] == "true":
			p.note("ScaledObject %s is paused; it stays so", o.GetName())
		default:
			p.fail(CheckAutoscaler, "ScaledObject", o.GetName(), "it may scale "+named(u.Workload)+" up from 0 at any moment", fmt.Sprintf("`kubectl annotate -n %s scaledobject/%s autoscaling.keda.sh/paused=true` meanwhile", p.Namespace, o.GetName()))
		}
	}
}

// checkOwners looks for who would set the number of replicas back: between two
// claims of a StatefulSet that made an empty one.
func (p *planner) checkOwners(u user) {
	if owner := metav1.GetControllerOf(u.object); owner != nil {
		p.fail(CheckOwners, u.Kind, u.Name, fmt.Sprintf("%s %s controls it, and may set its replicas back at any moment", owner.Kind, owner.Name), "pause its operator")
	}
	have := u.object.GetLabels()
	annotations := u.object.GetAnnotations()
	if app := annotations["argocd.argoproj.io/tracking-id"] + have["argocd.argoproj.io/instance"]; app != "" {
		p.fail(CheckOwners, u.Kind, u.Name, "Argo CD keeps it as in Git ("+app+"), and may set its replicas back at any moment", "turn automated sync of that Application off meanwhile")
	}
	for _, tool := range []string{"kustomize", "helm"} {
		name := have[tool+".toolkit.fluxcd.io/name"]
		if name == "" || annotations["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled" {
			continue
		}
		what := map[string]string{"kustomize": "kustomization", "helm": "helmrelease"}[tool]
		p.fail(CheckOwners, u.Kind, u.Name, "Flux keeps it as in Git ("+what+" "+name+"), and may set its replicas back at any moment",
			fmt.Sprintf("`flux suspend %s %s -n %s` meanwhile", what, name, have[tool+".toolkit.fluxcd.io/namespace"]))
	}
}

// noteBudgets names the PodDisruptionBudgets: they limit evictions, not scaling.
func (p *planner) noteBudgets(u user) {
	var pods labels.Set
	for i := range p.observed.StatefulSets {
		if set := &p.observed.StatefulSets[i]; set == u.object {
			pods = set.Spec.Template.Labels
		}
	}
	for i := range p.observed.Deployments {
		if d := &p.observed.Deployments[i]; d == u.object {
			pods = d.Spec.Template.Labels
		}
	}
	for _, budget := range p.observed.Budgets {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && budget.Namespace == p.Namespace && selector.Matches(pods) {
			p.note("PodDisruptionBudget %s is about Pods of %s, all of which are stopped: budgets limit evictions, not scaling", budget.Name, named(u.Workload))
		}
	}
}

// checkPods refuses while Pods use the claims that scaling does not stop.
func (p *planner) checkPods() {
	for i := range p.observed.Pods {
		pod := &p.observed.Pods[i]
		if pod.Namespace != p.Namespace || !p.usesClaim(pod) {
			continue
		}
		owner := p.observed.controllerOf(pod)
		switch {
		case slices.ContainsFunc(p.workloads, func(u user) bool { return u.Workload == owner }):
		case owner == (catalog.Workload{}):
			p.refuse("Pod", pod.Name, "it uses the claims, and nothing would make it again if it was stopped", "delete it, and create it again afterwards")
		default:
			p.refuse("Pod", pod.Name, fmt.Sprintf("it uses the claims, and belongs to %s %s, which cannot be scaled to 0", owner.Kind, owner.Name), "stop that first")
		}
	}
}

func (p *planner) usesClaim(pod *corev1.Pod) bool {
	return slices.ContainsFunc(restore.PodClaims(pod), func(name string) bool { return p.plan.record.change(name) != nil })
}

// checkRights refuses what would end half way for want of a right.
func (p *planner) checkRights() {
	for _, right := range p.observed.Denied {
		rule := fmt.Sprintf("grant it with the rule {apiGroups: [%q], resources: [%q], verbs: [%q]}", right.Group, right.Resource, right.Verb)
		p.refusals = append(p.refusals, restore.Refusal{Kind: "Right", Namespace: right.Namespace, Name: right.Verb + " " + right.Resource, Problem: "you do not have it", Remedy: rule})
	}
}
