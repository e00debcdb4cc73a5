package restore

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Steps returns all steps in the order in which Apply does them.
func (p *Plan) Steps() []Step {
	steps := slices.Clone(p.Prepare)
	for _, kinds := range [][]string{{"VolumeSnapshotContent"}, {"VolumeSnapshot"}, {"PersistentVolume"}, {"PersistentVolumeClaim"}} {
		for _, v := range p.Volumes {
			for _, step := range v.Steps {
				if slices.Contains(kinds, step.Kind) {
					steps = append(steps, step)
				}
			}
		}
	}
	return append(steps, p.Workloads...)
}

// Manifest is one object of a plan, to be applied by hand.
type Manifest struct {
	Object  *unstructured.Unstructured // nil: there is only a command to run
	Comment string
}

// Manifests returns what a person can apply with kubectl, in this order, in
// place of Apply. A volume that must be patched is a comment with the command.
func (p *Plan) Manifests() []Manifest {
	var manifests []Manifest
	for _, step := range p.Steps() {
		switch step.Action {
		case Create:
			manifests = append(manifests, Manifest{Object: step.Object})
		case RearmPV, ProtectPV:
			manifests = append(manifests, Manifest{Comment: "kubectl patch pv " + step.Name + " --type=merge -p '" + step.Patch + "'"})
		}
	}
	return manifests
}
