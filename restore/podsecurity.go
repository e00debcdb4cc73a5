package restore

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// checkPodSecurity refuses a workload whose Pods the namespace does not admit,
// by its pod-security labels: the workload would be made and never run. The
// cluster's own defaults and exemptions cannot be seen.
func (p *planner) checkPodSecurity() {
	privileged := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	var evaluator policy.Evaluator
	for _, step := range p.plan.Workloads {
		if step.Action != Create || step.Kind == "Service" {
			continue
		}
		labels := p.namespaceLabels(step.Namespace)
		if labels[api.EnforceLevelLabel] == "" {
			continue
		}
		enforced, errs := api.PolicyToEvaluate(labels, api.Policy{Enforce: privileged, Audit: privileged, Warn: privileged})
		if len(errs) > 0 {
			p.note("the pod-security labels of namespace %s cannot be read: %v", step.Namespace, errs.ToAggregate())
			continue
		}
		meta, spec, err := podOf(step.Object)
		if err != nil {
			p.refuse(step.Kind, step.Namespace, step.Name, err.Error(), "use another point")
			continue
		}
		if evaluator == nil {
			if evaluator, err = policy.NewEvaluator(policy.DefaultChecks(), nil); err != nil {
				p.note("pod security could not be checked: %v", err)
				return
			}
		}
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(enforced.Enforce, meta, spec))
		if !result.Allowed {
			p.fail(CheckPodSecurity, object{step.Kind, step.Namespace, step.Name},
				fmt.Sprintf("its Pods would not be admitted: namespace %s enforces pod security %s: %s", step.Namespace, enforced.Enforce.Level, result.ForbiddenDetail()),
				"change the namespace's label "+api.EnforceLevelLabel+", or the Pods with --patch-file")
		}
	}
}

// namespaceLabels are those of a namespace as it is, or as the plan creates it.
func (p *planner) namespaceLabels(name string) map[string]string {
	if existing := p.observed.find("Namespace", "", name); existing != nil {
		return existing.GetLabels()
	}
	for _, step := range p.plan.Prepare {
		if step.Kind == "Namespace" && step.Name == name && step.Object != nil {
			return step.Object.GetLabels()
		}
	}
	return nil
}

// podOf is the Pod, or its template, in a workload.
func podOf(object *unstructured.Unstructured) (*metav1.ObjectMeta, *corev1.PodSpec, error) {
	if object.GetKind() == "Pod" {
		var pod corev1.Pod
		err := typed(*object, &pod)
		return &pod.ObjectMeta, &pod.Spec, err
	}
	template, _, err := unstructured.NestedMap(object.Object, "spec", "template")
	if err != nil {
		return nil, nil, err
	}
	var pod corev1.PodTemplateSpec
	err = typed(unstructured.Unstructured{Object: template}, &pod)
	return &pod.ObjectMeta, &pod.Spec, err
}
