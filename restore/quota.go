package restore

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// checkQuota refuses what the ResourceQuotas of a namespace have no room for, as
// the API server would, but before anything is written. Quotas with scopes
// concern Pods, or claims of some VolumeAttributesClasses; they are left out.
func (p *planner) checkQuota() {
	for i := range p.observed.Quotas {
		quota := &p.observed.Quotas[i]
		if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
			continue
		}
		needs := p.needs(quota.Namespace)
		for _, name := range slices.Sorted(maps.Keys(quota.Status.Hard)) {
			need, hard, used := needs[name], quota.Status.Hard[name], quota.Status.Used[name]
			total := used.DeepCopy()
			total.Add(need)
			if need.IsZero() || total.Cmp(hard) <= 0 {
				continue
			}
			p.fail(CheckQuota, object{"ResourceQuota", quota.Namespace, quota.Name},
				fmt.Sprintf("it limits %s to %s, of which %s is used, and the restore needs %s more", name, hard.String(), used.String(), need.String()),
				"raise it, or remove what is not needed in the namespace")
		}
	}
}

// countedAs is what quotas call the kinds that a restore creates.
var countedAs = map[string][]corev1.ResourceName{
	"PersistentVolumeClaim": {"persistentvolumeclaims", "count/persistentvolumeclaims"},
	"ConfigMap":             {"configmaps", "count/configmaps"},
	"Secret":                {"secrets", "count/secrets"},
	"Service":               {"services", "count/services"},
	"StatefulSet":           {"count/statefulsets.apps"},
	"Deployment":            {"count/deployments.apps"},
	"VolumeSnapshot":        {"count/volumesnapshots.snapshot.storage.k8s.io"},
}

// needs is what the plan creates in a namespace, as quotas count it.
func (p *planner) needs(namespace string) corev1.ResourceList {
	needs := corev1.ResourceList{}
	add := func(name corev1.ResourceName, quantity resource.Quantity) {
		sum := needs[name]
		sum.Add(quantity)
		needs[name] = sum
	}
	one := resource.MustParse("1")
	for _, step := range p.allSteps() {
		if step.Action != Create || step.Namespace != namespace {
			continue
		}
		for _, name := range countedAs[step.Kind] {
			add(name, one)
		}
		claim := &corev1.PersistentVolumeClaim{}
		if step.Kind != "PersistentVolumeClaim" || typed(*step.Object, claim) != nil {
			continue
		}
		size := *claim.Spec.Resources.Requests.Storage()
		add(corev1.ResourceRequestsStorage, size)
		if class := ptr.Deref(claim.Spec.StorageClassName, ""); class != "" {
			add(corev1.ResourceName(class+".storageclass.storage.k8s.io/requests.storage"), size)
			add(corev1.ResourceName(class+".storageclass.storage.k8s.io/persistentvolumeclaims"), one)
		}
	}
	return needs
}
