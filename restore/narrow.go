package restore

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// workloadKinds are the kinds that use claims.
var workloadKinds = []string{"StatefulSet", "Deployment", "Pod"}

// narrow returns the part of point that request wants, as a point of its own:
// the claims with their volumes, the workloads, and what they may need of
// their namespaces. It refuses a request that names what the point does not
// hold.
func narrow(point *catalog.RestorePoint, request Request) (*catalog.RestorePoint, []Refusal) {
	n := narrower{request}
	wanted := &catalog.RestorePoint{Commit: point.Commit, Bundle: catalog.Bundle{Format: point.Bundle.Format, Point: point.Bundle.Point}}
	volumes, claims := sets.New[string](), sets.New[catalog.ClaimKey]()
	for _, v := range point.Bundle.Volumes {
		if n.wantsVolume(v) {
			wanted.Bundle.Volumes = append(wanted.Bundle.Volumes, v)
			volumes.Insert(v.PersistentVolume)
			claims.Insert(v.Claim)
		}
	}
	for _, object := range point.Bundle.Objects {
		if n.wantsObject(object, volumes, claims) {
			wanted.Bundle.Objects = append(wanted.Bundle.Objects, object)
		}
	}
	for _, skip := range point.Bundle.Skipped {
		if n.wantsSkip(skip, wanted.Bundle.Objects) {
			wanted.Bundle.Skipped = append(wanted.Bundle.Skipped, skip)
		}
	}
	return wanted, n.check(wanted)
}

// Narrow returns the part of point that request wants, as a point of its own. It
// fails with *RefusedError if the request names what the point does not hold.
func Narrow(point *catalog.RestorePoint, request Request) (*catalog.RestorePoint, error) {
	wanted, refusals := narrow(point, request)
	if len(refusals) > 0 {
		return nil, &RefusedError{Refusals: refusals}
	}
	return wanted, nil
}

type narrower struct{ Request }

func (n narrower) wantsNamespace(namespace string) bool {
	return len(n.Namespaces) == 0 || slices.Contains(n.Namespaces, namespace)
}

func (n narrower) wantsAll() bool { return len(n.Workloads)+len(n.Claims) == 0 }

func (n narrower) wantsVolume(v catalog.Volume) bool {
	if !n.wantsNamespace(v.Claim.Namespace) {
		return false
	}
	if len(n.Ordinals) > 0 && v.Ordinal != nil && !slices.Contains(n.Ordinals, *v.Ordinal) {
		return false
	}
	return n.wantsAll() || slices.Contains(n.Claims, v.Claim.Name) || v.Workload != nil && slices.Contains(n.Workloads, *v.Workload)
}

func (n narrower) wantsObject(o unstructured.Unstructured, volumes sets.Set[string], claims sets.Set[catalog.ClaimKey]) bool {
	switch kind := o.GetKind(); {
	case kind == "Namespace":
		return n.wantsNamespace(o.GetName())
	case kind == "PersistentVolume":
		return volumes.Has(o.GetName())
	case o.GetNamespace() == "":
		return true
	case !n.wantsNamespace(o.GetNamespace()):
		return false
	case kind == "PersistentVolumeClaim":
		return claims.Has(catalog.ClaimKey{Namespace: o.GetNamespace(), Name: o.GetName()})
	case slices.Contains(workloadKinds, kind):
		return n.wantsAll() || slices.Contains(n.Workloads, catalog.Workload{Kind: kind, Name: o.GetName()})
	}
	return true
}

// wantsSkip says whether what the point lacks is lacking in wanted, too: what
// Pods of other workloads name is not.
func (n narrower) wantsSkip(skip catalog.Skip, wanted []unstructured.Unstructured) bool {
	if !n.wantsNamespace(skip.Namespace) {
		return false
	}
	if n.wantsAll() || skip.Kind != "Secret" && skip.Kind != "ConfigMap" {
		return true
	}
	return slices.ContainsFunc(wanted, func(o unstructured.Unstructured) bool {
		return isWorkload(o) && o.GetNamespace() == skip.Namespace && mentions(o.Object["spec"], skip.Name)
	})
}

// check refuses a request that names what the point does not hold; wanted is
// what was found of it.
func (n narrower) check(wanted *catalog.RestorePoint) []Refusal {
	var refusals []Refusal
	refuse := func(kind, name, problem, remedy string) {
		refusals = append(refusals, Refusal{Kind: kind, Name: name, Problem: problem, Remedy: remedy})
	}
	point := string(wanted.Commit.Point)
	lists := "`hawser show " + point + "` lists what it holds"
	workloads := sets.New[catalog.Workload]()
	for _, o := range wanted.Bundle.Objects {
		workloads.Insert(catalog.Workload{Kind: o.GetKind(), Name: o.GetName()})
	}
	claims, ordinals := sets.New[string](), sets.New[int]()
	for _, v := range wanted.Bundle.Volumes {
		claims.Insert(v.Claim.Name)
		if v.Ordinal != nil {
			ordinals.Insert(*v.Ordinal)
		}
	}
	for _, w := range n.Workloads {
		if !workloads.Has(w) {
			refuse(w.Kind, w.Name, "the point does not hold it", lists)
		}
	}
	for _, name := range n.Claims {
		if !claims.Has(name) {
			refuse("PersistentVolumeClaim", name, "the point does not hold it", lists)
		}
	}
	for _, o := range n.Ordinals {
		if !ordinals.Has(o) {
			refuse("StatefulSet", "*", fmt.Sprintf("the point holds no claim of ordinal %d", o), "choose among the ordinals that `hawser show "+point+"` lists")
		}
	}
	if len(refusals) == 0 && claims.Len() == 0 && !slices.ContainsFunc(wanted.Bundle.Objects, isWorkload) {
		refuse("RestorePoint", point, "nothing in it matches the request", "check -n and the workloads that were named")
	}
	return refusals
}

func isWorkload(o unstructured.Unstructured) bool { return slices.Contains(workloadKinds, o.GetKind()) }
