package rollback

import (
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// user is a StatefulSet or Deployment, which can be scaled.
type user struct {
	catalog.Workload
	object    metav1.Object
	replicas  int32
	policy    *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy
	templates []string // of the claims of a StatefulSet
	named     []string // claims that the Pods name
}

// users are the StatefulSets and Deployments of the namespace.
func (o *Observed) users() []user {
	var all []user
	for i := range o.StatefulSets {
		set := &o.StatefulSets[i]
		u := user{
			Workload: catalog.Workload{Kind: "StatefulSet", Name: set.Name}, object: set, replicas: ptr.Deref(set.Spec.Replicas, 1),
			policy: set.Spec.PersistentVolumeClaimRetentionPolicy, named: restore.PodClaims(&corev1.Pod{Spec: set.Spec.Template.Spec}),
		}
		for _, template := range set.Spec.VolumeClaimTemplates {
			u.templates = append(u.templates, template.Name)
		}
		all = append(all, u)
	}
	for i := range o.Deployments {
		d := &o.Deployments[i]
		all = append(all, user{
			Workload: catalog.Workload{Kind: "Deployment", Name: d.Name}, object: d, replicas: ptr.Deref(d.Spec.Replicas, 1),
			named: restore.PodClaims(&corev1.Pod{Spec: d.Spec.Template.Spec}),
		})
	}
	return all
}

// ordinal is that of the Pod for which a StatefulSet makes a claim of this
// name; claims of ordinals above the present replicas are the set's too.
func (u user) ordinal(claim string) (int, bool) {
	for _, template := range u.templates {
		digits, found := strings.CutPrefix(claim, template+"-"+u.Name+"-")
		if n, err := strconv.Atoi(digits); found && err == nil && n >= 0 && strconv.Itoa(n) == digits {
			return n, true
		}
	}
	return 0, false
}

func (u user) uses(claim string) bool {
	_, own := u.ordinal(claim)
	return own || slices.Contains(u.named, claim)
}

// keepsClaims says whether a StatefulSet leaves claims alone, whatever is done
// to it.
func keepsClaims(policy *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) bool {
	return policy == nil || policy.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType && policy.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// controllerOf is the StatefulSet or Deployment that a Pod belongs to, or what
// else made it; the zero Workload for a Pod that nothing would make again.
func (o *Observed) controllerOf(pod *corev1.Pod) catalog.Workload {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return catalog.Workload{}
	}
	if owner.Kind == "ReplicaSet" {
		for i := range o.ReplicaSets {
			if above := metav1.GetControllerOf(&o.ReplicaSets[i]); above != nil && o.ReplicaSets[i].UID == owner.UID {
				owner = above
				break
			}
		}
	}
	return catalog.Workload{Kind: owner.Kind, Name: owner.Name}
}
