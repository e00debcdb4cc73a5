package users

import (
	"fmt"
	"slices"

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

// Judge looks for what keeps workloads of one namespace from being stopped, and
// from staying so. What it finds is in Refusals and Notes.
type Judge struct {
	*Observed
	Namespace string
	Ignore    []Check

	Refusals []restore.Refusal
	Notes    []string
}

func (j *Judge) refuse(kind, name, problem, remedy string) {
	j.Refusals = append(j.Refusals, restore.Refusal{Kind: kind, Namespace: j.Namespace, Name: name, Problem: problem, Remedy: remedy})
}

func (j *Judge) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(j.Notes, note) {
		j.Notes = append(j.Notes, note)
	}
}

// Stop judges whether a workload can be stopped, and would stay so.
func (j *Judge) Stop(u User) {
	j.checkAutoscalers(u)
	j.checkScaledObjects(u)
	j.checkOwners(u)
	j.noteBudgets(u)
}

// fail refuses what a check found, or notes it where the check is left out.
func (j *Judge) fail(check Check, kind, name, problem, remedy string) {
	if slices.Contains(j.Ignore, check) {
		j.note("ignored (%s): %s %s/%s: %s", check, kind, j.Namespace, name, problem)
		return
	}
	j.refuse(kind, name, problem, remedy+"; or --ignore-checks="+string(check))
}

// checkAutoscalers looks at HorizontalPodAutoscalers. Their controller leaves a
// workload that is at 0 alone (reconcileAutoscaler in Kubernetes'
// pkg/controller/podautoscaler/horizontal.go), unless minReplicas is 0, which
// says that 0 is a number like others.
func (j *Judge) checkAutoscalers(u User) {
	for _, hpa := range j.Autoscalers {
		ref := hpa.Spec.ScaleTargetRef
		if hpa.Namespace != j.Namespace || ref.Kind != u.Kind || ref.Name != u.Name {
			continue
		}
		if ptr.Deref(hpa.Spec.MinReplicas, 1) == 0 {
			j.fail(CheckAutoscaler, "HorizontalPodAutoscaler", hpa.Name, "its minReplicas is 0, so it may scale "+Named(u.Workload)+" up from 0 at any moment", "set minReplicas to 1 meanwhile, or delete it")
			continue
		}
		j.note("HorizontalPodAutoscaler %s rests while %s is at 0, and scales it again afterwards", hpa.Name, Named(u.Workload))
	}
}

// checkScaledObjects looks at KEDA's ScaledObjects, which scale up from 0 unless
// they are paused at the number of the moment, or at 0.
func (j *Judge) checkScaledObjects(u User) {
	for i := range j.ScaledObjects {
		o := &j.ScaledObjects[i]
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "kind")
		name, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name")
		if kind == "" {
			kind = "Deployment"
		}
		if o.GetNamespace() != j.Namespace || kind != u.Kind || name != u.Name {
			continue
		}
		annotations := o.GetAnnotations()
		at, fixed := annotations["autoscaling.keda.sh/paused-replicas"]
		switch {
		case fixed && at != "0":
			j.fail(CheckAutoscaler, "ScaledObject", o.GetName(), "it holds "+Named(u.Workload)+" at "+at+" replicas", fmt.Sprintf("`kubectl annotate -n %s scaledobject/%s --overwrite autoscaling.keda.sh/paused-replicas=0` meanwhile", j.Namespace, o.GetName()))
		case fixed || annotations["autoscaling.keda.sh/paused"] == "true":
			j.note("ScaledObject %s is paused; it stays so", o.GetName())
		default:
			j.fail(CheckAutoscaler, "ScaledObject", o.GetName(), "it may scale "+Named(u.Workload)+" up from 0 at any moment", fmt.Sprintf("`kubectl annotate -n %s scaledobject/%s autoscaling.keda.sh/paused=true` meanwhile", j.Namespace, o.GetName()))
		}
	}
}

// checkOwners looks for who would set the number of replicas back: between two
// claims of a StatefulSet that made an empty one.
func (j *Judge) checkOwners(u User) {
	if owner := metav1.GetControllerOf(u.Object); owner != nil {
		j.fail(CheckOwners, u.Kind, u.Name, fmt.Sprintf("%s %s controls it, and may set its replicas back at any moment", owner.Kind, owner.Name), "pause its operator")
	}
	have := u.Object.GetLabels()
	annotations := u.Object.GetAnnotations()
	if app := annotations["argocd.argoproj.io/tracking-id"] + have["argocd.argoproj.io/instance"]; app != "" {
		j.fail(CheckOwners, u.Kind, u.Name, "Argo CD keeps it as in Git ("+app+"), and may set its replicas back at any moment", "turn automated sync of that Application off meanwhile")
	}
	for _, tool := range []string{"kustomize", "helm"} {
		name := have[tool+".toolkit.fluxcd.io/name"]
		if name == "" || annotations["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled" {
			continue
		}
		what := map[string]string{"kustomize": "kustomization", "helm": "helmrelease"}[tool]
		j.fail(CheckOwners, u.Kind, u.Name, "Flux keeps it as in Git ("+what+" "+name+"), and may set its replicas back at any moment",
			fmt.Sprintf("`flux suspend %s %s -n %s` meanwhile", what, name, have[tool+".toolkit.fluxcd.io/namespace"]))
	}
}

// noteBudgets names the PodDisruptionBudgets: they limit evictions, not scaling.
func (j *Judge) noteBudgets(u User) {
	var pods labels.Set
	for i := range j.StatefulSets {
		if set := &j.StatefulSets[i]; set == u.Object {
			pods = set.Spec.Template.Labels
		}
	}
	for i := range j.Deployments {
		if d := &j.Deployments[i]; d == u.Object {
			pods = d.Spec.Template.Labels
		}
	}
	for _, budget := range j.Budgets {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err == nil && budget.Namespace == j.Namespace && selector.Matches(pods) {
			j.note("PodDisruptionBudget %s is about Pods of %s, all of which are stopped: budgets limit evictions, not scaling", budget.Name, Named(u.Workload))
		}
	}
}

// Pods refuses while Pods use the claims that scaling the stopped workloads does
// not end.
func (j *Judge) Pods(stopped []User, uses func(claim string) bool) {
	for i := range j.Observed.Pods {
		pod := &j.Observed.Pods[i]
		if pod.Namespace != j.Namespace || !slices.ContainsFunc(restore.PodClaims(pod), uses) {
			continue
		}
		owner := j.ControllerOf(pod)
		switch {
		case slices.ContainsFunc(stopped, func(u User) bool { return u.Workload == owner }):
		case owner == (catalog.Workload{}):
			j.refuse("Pod", pod.Name, "it uses the claims, and nothing would make it again if it was stopped", "delete it, and create it again afterwards")
		default:
			j.refuse("Pod", pod.Name, fmt.Sprintf("it uses the claims, and belongs to %s %s, which cannot be scaled to 0", owner.Kind, owner.Name), "stop that first")
		}
	}
}

// Rights refuses what would end half way for want of a right.
func (j *Judge) Rights() {
	for _, right := range j.Denied {
		rule := fmt.Sprintf("grant it with the rule {apiGroups: [%q], resources: [%q], verbs: [%q]}", right.Group, right.Resource, right.Verb)
		j.Refusals = append(j.Refusals, restore.Refusal{Kind: "Right", Namespace: right.Namespace, Name: right.Verb + " " + right.Resource, Problem: "you do not have it", Remedy: rule})
	}
}
