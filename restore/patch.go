package restore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Patch changes what a restore creates.
type Patch struct {
	Kind       string
	Name       string // as it is restored; "": all of the kind
	Operations []byte // RFC 6902, JSON
}

// guarded are the fields of each kind that a patch may not touch: what binds a
// claim to its disk, what keeps the disk, and what the plan was checked with.
var guarded = map[string][][]string{
	"": {
		{"apiVersion"}, {"kind"}, {"status"}, {"metadata", "name"}, {"metadata", "namespace"}, {"metadata", "generateName"}, {"metadata", "uid"},
		{"metadata", "resourceVersion"}, {"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}, {"metadata", "finalizers"},
	},
	"PersistentVolume": {
		{"spec", "claimRef"}, {"spec", "csi", "driver"}, {"spec", "csi", "volumeHandle"}, {"spec", "persistentVolumeReclaimPolicy"},
		{"metadata", "annotations", "pv.kubernetes.io/provisioned-by"}, {"metadata", "annotations", FormerPolicyAnnotation},
	},
	"PersistentVolumeClaim": {{"spec", "volumeName"}, {"spec", "dataSource"}, {"spec", "dataSourceRef"}},
	"VolumeSnapshotContent": {{"spec", "deletionPolicy"}, {"spec", "driver"}, {"spec", "source"}, {"spec", "volumeSnapshotRef"}},
	"VolumeSnapshot":        {{"spec", "source"}},
	"StatefulSet":           {{"spec", "replicas"}, {"spec", "ordinals"}},
}

// guards are the paths that no patch of the kind may change.
func guards(kind string) [][]string {
	paths := slices.Concat(guarded[""], guarded[kind])
	for k, strip := range map[string][]string{"PersistentVolume": volumeStrip, "PersistentVolumeClaim": claimStrip} {
		for _, annotation := range strip {
			if k == kind {
				paths = append(paths, []string{"metadata", "annotations", annotation})
			}
		}
	}
	return paths
}

func (p Patch) concerns(step Step) bool {
	return p.Kind == step.Kind && (p.Name == "" || p.Name == step.Name)
}

// apply returns the object as the patch makes it. The input is not changed.
func (p Patch) apply(object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	operations, err := jsonpatch.DecodePatch(p.Operations)
	if err != nil {
		return nil, fmt.Errorf("it is not a JSON patch (RFC 6902): %w", err)
	}
	before, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	after, err := operations.Apply(before)
	if err != nil {
		return nil, fmt.Errorf("it does not apply: %w", err)
	}
	changed := &unstructured.Unstructured{}
	if err := json.Unmarshal(after, &changed.Object); err != nil {
		return nil, err
	}
	var same map[string]any // the object as it is after the same round through JSON
	if err := json.Unmarshal(before, &same); err != nil {
		return nil, err
	}
	for _, path := range guards(object.GetKind()) {
		was, _, _ := unstructured.NestedFieldNoCopy(same, path...)
		is, _, _ := unstructured.NestedFieldNoCopy(changed.Object, path...)
		if !reflect.DeepEqual(was, is) {
			return nil, fmt.Errorf("it changes %s, on which the safety of the restore rests", pathText(path))
		}
	}
	if templateNames(same) != templateNames(changed.Object) {
		return nil, fmt.Errorf("it changes the names of volumeClaimTemplates, on which the safety of the restore rests")
	}
	return unstructuredOf(changed.Object)
}

// unstructuredOf decodes numbers as the API machinery has them: int64, not float64.
func unstructuredOf(object map[string]any) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	return u, u.UnmarshalJSON(data)
}

func pathText(path []string) string {
	text := ""
	for _, field := range path {
		text += "/" + field
	}
	return text
}

// templateNames are those of a StatefulSet's claim templates.
func templateNames(object map[string]any) string {
	var names []string
	each(object, func(template map[string]any) {
		name, _, _ := unstructured.NestedString(template, "metadata", "name")
		names = append(names, name)
	}, "spec", "volumeClaimTemplates")
	return fmt.Sprint(names)
}

// patchObjects applies the patches to what the plan creates.
func (p *planner) patchObjects() {
	for i, patch := range p.mapping.Patches {
		met := false
		for _, step := range p.allSteps() {
			if !patch.concerns(*step) {
				continue
			}
			met = true
			if step.Action != Create {
				continue // it exists and is left as it is
			}
			changed, err := patch.apply(step.Object)
			if err != nil {
				p.refuse(step.Kind, step.Namespace, step.Name, fmt.Sprintf("patch %d: %v", i+1, err), "correct the patch file; names, replicas, drivers and classes have flags of their own")
				continue
			}
			step.Object = changed
		}
		if !met {
			p.refuse(patch.Kind, "", cmp.Or(patch.Name, "*"), fmt.Sprintf("patch %d: the restore has no such object", i+1), "correct --patch-file")
		}
	}
}

// allSteps are the steps of the plan, to be changed in place.
func (p *planner) allSteps() []*Step {
	var steps []*Step
	for i := range p.plan.Prepare {
		steps = append(steps, &p.plan.Prepare[i])
	}
	for v := range p.plan.Volumes {
		for i := range p.plan.Volumes[v].Steps {
			steps = append(steps, &p.plan.Volumes[v].Steps[i])
		}
	}
	for i := range p.plan.Workloads {
		steps = append(steps, &p.plan.Workloads[i])
	}
	return steps
}
