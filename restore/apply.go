package restore

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
)

// resources are the kinds that a restore writes.
var resources = map[string]schema.GroupVersionResource{
	"Namespace":             {Version: "v1", Resource: "namespaces"},
	"ConfigMap":             {Version: "v1", Resource: "configmaps"},
	"Secret":                {Version: "v1", Resource: "secrets"},
	"Service":               {Version: "v1", Resource: "services"},
	"Pod":                   {Version: "v1", Resource: "pods"},
	"PersistentVolume":      {Version: "v1", Resource: "persistentvolumes"},
	"PersistentVolumeClaim": {Version: "v1", Resource: "persistentvolumeclaims"},
	"StatefulSet":           {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"Deployment":            {Group: "apps", Version: "v1", Resource: "deployments"},
	"VolumeSnapshot":        {Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"},
	"VolumeSnapshotContent": {Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"},
}

var pastTense = map[Action]string{Create: "created", RearmPV: "re-armed", ProtectPV: "protected"}

// Result says what a restore did.
type Result struct {
	Point catalog.PointID `json:"point"`
	// Bound are the claims that are bound to their volumes, by uid on both sides.
	Bound []BoundClaim `json:"bound"`
	// Waiting are the claims that bind only when a Pod uses them.
	Waiting []catalog.ClaimKey `json:"waiting,omitempty"`
	Created int                `json:"created"`
	Patched int                `json:"patched"`
	Kept    int                `json:"kept"`
	// Notes say what was left undone that does no harm.
	Notes []string `json:"notes,omitempty"`
}

// BoundClaim is a claim and the disk under it.
type BoundClaim struct {
	Claim            catalog.ClaimKey     `json:"claim"`
	PersistentVolume string               `json:"persistentVolume"`
	VolumeHandle     catalog.VolumeHandle `json:"volumeHandle"`
	Way              Way                  `json:"way"`
}

// Apply carries out a plan. It looks at the cluster once more, and refuses with
// *RefusedError, which shows the difference, if the plan would be another one
// now. Volumes come before claims, and workloads after their claims are bound
// to their volumes by uid. When it fails or ctx ends, what was done stays;
// planning and applying again completes it.
func (r *Restorer) Apply(ctx context.Context, plan *Plan) (*Result, error) {
	plan, err := r.again(ctx, plan)
	if err != nil {
		return nil, err
	}
	a := &applier{Restorer: r, plan: plan, result: &Result{Point: plan.Point}}
	for _, stage := range []func(context.Context) error{
		func(ctx context.Context) error { return a.run(ctx, a.plan.Prepare) },
		func(ctx context.Context) error {
			return a.run(ctx, a.stepsOf("VolumeSnapshotContent", "VolumeSnapshot"))
		},
		a.awaitStatic,
		func(ctx context.Context) error { return a.run(ctx, a.stepsOf("PersistentVolume")) },
		a.awaitAvailable,
		func(ctx context.Context) error { return a.run(ctx, a.stepsOf("PersistentVolumeClaim")) },
		a.awaitBound,
		a.runWorkloads,
		a.awaitFirstUse,
		a.clearStatic,
	} {
		if err := stage(ctx); err != nil {
			return a.result, err
		}
	}
	return a.result, nil
}

type applier struct {
	*Restorer
	plan   *Plan
	result *Result
}

// stepsOf gathers the volumes' steps of the given kinds, in plan order.
func (a *applier) stepsOf(kinds ...string) []Step {
	var steps []Step
	for _, kind := range kinds {
		for _, v := range a.plan.Volumes {
			for _, step := range v.Steps {
				if step.Kind == kind {
					steps = append(steps, step)
				}
			}
		}
	}
	return steps
}

// run does the steps in parallel; namespaces first, since others live in them.
func (a *applier) run(ctx context.Context, steps []Step) error {
	var rest []Step
	for _, step := range steps {
		if step.Kind != "Namespace" {
			rest = append(rest, step)
			continue
		}
		if err := a.do(ctx, step); err != nil {
			return err
		}
		a.count(step)
	}
	for _, step := range rest {
		a.count(step)
	}
	return Each(ctx, rest, a.do)
}

func (a *applier) count(step Step) {
	switch step.Action {
	case Create:
		a.result.Created++
	case RearmPV, ProtectPV:
		a.result.Patched++
	default:
		a.result.Kept++
	}
}

// runWorkloads creates Services, then workloads.
func (a *applier) runWorkloads(ctx context.Context) error {
	var services, workloads []Step
	for _, step := range a.plan.Workloads {
		if step.Kind == "Service" {
			services = append(services, step)
		} else {
			workloads = append(workloads, step)
		}
	}
	if err := a.run(ctx, services); err != nil {
		return err
	}
	return a.run(ctx, workloads)
}

// do carries out one step.
func (a *applier) do(ctx context.Context, step Step) error {
	resource := a.Dynamic.Resource(resources[step.Kind]).Namespace(step.Namespace)
	name := step.Name
	if step.Namespace != "" {
		name = step.Namespace + "/" + name
	}
	var err error
	switch step.Action {
	case Create:
		_, err = resource.Create(ctx, step.Object, metav1.CreateOptions{})
	case RearmPV, ProtectPV:
		_, err = resource.Patch(ctx, step.Name, types.MergePatchType, []byte(step.Patch), metav1.PatchOptions{})
	default:
		a.report(Event{Kind: step.Kind, Namespace: step.Namespace, Name: step.Name, Stage: "kept", Message: step.Reason, Done: true})
		return nil
	}
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		return fmt.Errorf("%s %s changed since the plan was made; run the restore again: %w", step.Kind, name, err)
	case err != nil:
		return fmt.Errorf("%s %s %s: %w", step.Action, step.Kind, name, err)
	}
	a.report(Event{
		Kind: step.Kind, Namespace: step.Namespace, Name: step.Name,
		Stage: pastTense[step.Action], Done: step.Kind != "PersistentVolumeClaim",
	})
	return nil
}
