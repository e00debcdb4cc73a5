package users

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

// User is a StatefulSet or Deployment, which can be scaled.
type User struct {
	catalog.Workload
	Object    metav1.Object
	Replicas  int32
	Policy    *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy // of a StatefulSet
	Templates []string                                                // of the claims of a StatefulSet
	Named     []string                                                // claims that the Pods name
}

// Users are the StatefulSets and Deployments of the namespace.
func (o *Observed) Users() []User {
	var all []User
	for i := range o.StatefulSets {
		set := &o.StatefulSets[i]
		u := User{
			Workload: catalog.Workload{Kind: "StatefulSet", Name: set.Name}, Object: set, Replicas: ptr.Deref(set.Spec.Replicas, 1),
			Policy: set.Spec.PersistentVolumeClaimRetentionPolicy, Named: restore.PodClaims(&corev1.Pod{Spec: set.Spec.Template.Spec}),
		}
		for _, template := range set.Spec.VolumeClaimTemplates {
			u.Templates = append(u.Templates, template.Name)
		}
		all = append(all, u)
	}
	for i := range o.Deployments {
		d := &o.Deployments[i]
		all = append(all, User{
			Workload: catalog.Workload{Kind: "Deployment", Name: d.Name}, Object: d, Replicas: ptr.Deref(d.Spec.Replicas, 1),
			Named: restore.PodClaims(&corev1.Pod{Spec: d.Spec.Template.Spec}),
		})
	}
	return all
}

// Ordinal is that of the Pod for which a StatefulSet makes a claim of this
// name; claims of ordinals above the present replicas are the set's too.
func (u User) Ordinal(claim string) (int, bool) {
	for _, template := range u.Templates {
		digits, found := strings.CutPrefix(claim, template+"-"+u.Name+"-")
		if n, err := strconv.Atoi(digits); found && err == nil && n >= 0 && strconv.Itoa(n) == digits {
			return n, true
		}
	}
	return 0, false
}

// Uses says whether Pods of the workload use, or would use, the claim.
func (u User) Uses(claim string) bool {
	_, own := u.Ordinal(claim)
	return own || slices.Contains(u.Named, claim)
}

// KeepsClaims says whether a StatefulSet leaves claims alone, whatever is done
// to it.
func KeepsClaims(policy *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) bool {
	return policy == nil || policy.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType && policy.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// ControllerOf is the StatefulSet or Deployment that a Pod belongs to, or what
// else made it; the zero Workload for a Pod that nothing would make again.
func (o *Observed) ControllerOf(pod *corev1.Pod) catalog.Workload {
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

// RetainClaims is the policy by which a StatefulSet leaves claims alone.
var RetainClaims = appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
	WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
}

// Named names a workload as the command line does.
func Named(w catalog.Workload) string { return strings.ToLower(w.Kind) + "/" + w.Name }
