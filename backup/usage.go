package backup

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
)

// workload is a StatefulSet, Deployment or bare Pod that may use claims.
type workload struct {
	catalog.Workload
	namespace string
	labels    map[string]string
	service   string // governing Service of a StatefulSet
	templates []corev1.PersistentVolumeClaim
	pod       corev1.PodSpec
	raw       unstructured.Unstructured
}

// use is one use of a claim.
type use struct {
	workload *workload
	template string // name of the volumeClaimTemplate; "" if the Pods name the claim
	ordinal  *int
}

// usage says which workloads use which claims.
type usage struct {
	workloads []workload
	users     map[catalog.ClaimKey][]use
}

// findUsage relates workloads and claims. A StatefulSet's claims are found by
// their deterministic names, template-set-ordinal, so claims of ordinals above
// the present replicas are among them; a claim may have several users, of which
// the first in order StatefulSet, Deployment, Pod is said to own it. It takes
// time in proportion to the cluster.
func findUsage(inv *Inventory) usage {
	u := usage{workloads: findWorkloads(inv), users: map[catalog.ClaimKey][]use{}}
	ordinals := ordinalsOf(inv)
	for i := range u.workloads {
		w := &u.workloads[i]
		for _, volume := range w.pod.Volumes {
			if volume.PersistentVolumeClaim != nil {
				key := catalog.ClaimKey{Namespace: w.namespace, Name: volume.PersistentVolumeClaim.ClaimName}
				u.users[key] = append(u.users[key], use{workload: w})
			}
		}
		for n, template := range w.templates {
			if slices.ContainsFunc(w.templates[:n], func(t corev1.PersistentVolumeClaim) bool { return t.Name == template.Name }) {
				continue // the API server takes it twice, and there is one claim
			}
			prefix := template.Name + "-" + w.Name
			for _, ordinal := range ordinals[catalog.ClaimKey{Namespace: w.namespace, Name: prefix}] {
				key := catalog.ClaimKey{Namespace: w.namespace, Name: prefix + "-" + strconv.Itoa(ordinal)}
				u.users[key] = append(u.users[key], use{workload: w, template: template.Name, ordinal: &ordinal})
			}
		}
	}
	return u
}

// ordinalsOf finds the claims whose names could be a StatefulSet's: by what is
// before the last dash, the numbers that come after it.
func ordinalsOf(inv *Inventory) map[catalog.ClaimKey][]int {
	found := map[catalog.ClaimKey][]int{}
	for i := range inv.Claims {
		claim := &inv.Claims[i].Object
		dash := strings.LastIndexByte(claim.Name, '-')
		if dash < 0 {
			continue
		}
		digits := claim.Name[dash+1:]
		if n, err := strconv.Atoi(digits); err == nil && strconv.Itoa(n) == digits {
			prefix := catalog.ClaimKey{Namespace: claim.Namespace, Name: claim.Name[:dash]}
			found[prefix] = append(found[prefix], n)
		}
	}
	return found
}

// findWorkloads gathers what may use claims and can be captured: Pods of
// controllers are their controllers' matter.
func findWorkloads(inv *Inventory) []workload {
	var all []workload
	for _, set := range inv.StatefulSets {
		o := set.Object
		all = append(all, workload{
			Workload: catalog.Workload{Kind: "StatefulSet", Name: o.Name}, namespace: o.Namespace, labels: o.Labels,
			service: o.Spec.ServiceName, templates: o.Spec.VolumeClaimTemplates, pod: o.Spec.Template.Spec, raw: set.Raw,
		})
	}
	for _, deployment := range inv.Deployments {
		o := deployment.Object
		all = append(all, workload{
			Workload: catalog.Workload{Kind: "Deployment", Name: o.Name}, namespace: o.Namespace, labels: o.Labels,
			pod: o.Spec.Template.Spec, raw: deployment.Raw,
		})
	}
	for _, pod := range inv.Pods {
		o := pod.Object
		ended := o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed // created again, it would run again
		if metav1.GetControllerOf(&o) != nil || o.DeletionTimestamp != nil || ended {
			continue
		}
		all = append(all, workload{
			Workload: catalog.Workload{Kind: "Pod", Name: o.Name}, namespace: o.Namespace, labels: o.Labels,
			pod: o.Spec, raw: pod.Raw,
		})
	}
	rank := map[string]int{"StatefulSet": 0, "Deployment": 1, "Pod": 2}
	slices.SortStableFunc(all, func(a, b workload) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}
