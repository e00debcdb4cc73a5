package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// By these labels and annotations tools that apply from Git, or prune, know
// what is theirs. What is restored is not in their sources under its name, or
// not at that version: they would delete it. What forbids them to prune
// (Prune=false, helm.sh/resource-policy, kustomize.toolkit.fluxcd.io/prune)
// is kept.
var (
	trackingLabels = []string{
		"argocd.argoproj.io/instance", "app.kubernetes.io/instance", // Argo CD, by default and until version 3
		"kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace", // Flux
		"helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace",
		"objectset.rio.cattle.io/hash",                 // Fleet
		"kapp.k14s.io/app", "kapp.k14s.io/association", // kapp
		"applyset.kubernetes.io/part-of", // kubectl apply --prune
	}
	trackingAnnotations = []string{
		"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/installation-id",
		"kustomize.toolkit.fluxcd.io/checksum",
		"meta.helm.sh/release-name", "meta.helm.sh/release-namespace",
		"objectset.rio.cattle.io/applied", "objectset.rio.cattle.io/id", "objectset.rio.cattle.io/owner-gvk",
		"objectset.rio.cattle.io/owner-name", "objectset.rio.cattle.io/owner-namespace",
		"kapp.k14s.io/identity", "kapp.k14s.io/original",
		"config.k8s.io/owning-inventory", // cli-utils
	}
)

// dropTracking takes off the object itself, not off the Pods that it
// describes, what a GitOps tool knows it by. Selectors are of Pods, so none
// is changed.
func (r *remapper) dropTracking(o *unstructured.Unstructured) {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for _, key := range trackingLabels {
		r.drop(labels, key)
	}
	if labels["app.kubernetes.io/managed-by"] == "Helm" {
		r.drop(labels, "app.kubernetes.io/managed-by")
	}
	for _, key := range trackingAnnotations {
		r.drop(annotations, key)
	}
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

func (r *remapper) drop(m map[string]string, key string) {
	if _, ok := m[key]; ok {
		delete(m, key)
		r.dropped[key]++
	}
}

func (r *remapper) noteTracking() {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(r.dropped)) {
		keys = append(keys, fmt.Sprintf("%s (%d)", key, r.dropped[key]))
	}
	if len(keys) > 0 {
		r.notes = append(r.notes, "left out of objects, so that no GitOps tool takes them for its own and prunes them: "+strings.Join(keys, ", ")+"; --keep-gitops-labels keeps them")
	}
}
