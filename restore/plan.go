package restore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
)

// From says where a claim's data comes from.
type From string

const (
	FromAuto      From = "auto"      // the disk, unless it is gone and there is a snapshot
	FromDisks     From = "disks"     // reattach
	FromSnapshots From = "snapshots" // rehydrate
)

// Request says what of a point is restored, and how.
type Request struct {
	From       From
	Namespaces []string           // empty: all of the point
	Workloads  []catalog.Workload // with Claims, what is wanted; both empty: all of the point
	Claims     []string
	// Ordinals restricts the claims of StatefulSets to these. The sets
	// themselves are restored whole: the other ordinals get fresh disks.
	Ordinals []int
	// StorageClasses maps the recorded class to the one to use; "" as a value
	// means no class.
	StorageClasses map[string]string
}

// Action is what a step does.
type Action string

const (
	Create    Action = "create"
	RearmPV   Action = "re-arm"  // reserve an existing PersistentVolume for its claim
	ProtectPV Action = "protect" // make an existing PersistentVolume Retain
	KeepAsIs  Action = "keep"    // it exists and is right, or is not ours to change
)

// Step is one thing that Apply does, with its reason.
type Step struct {
	Action    Action                     `json:"action"`
	Kind      string                     `json:"kind"`
	Namespace string                     `json:"namespace,omitempty"`
	Name      string                     `json:"name"`
	Reason    string                     `json:"reason"`
	Object    *unstructured.Unstructured `json:"object,omitempty"` // what Create creates
	Patch     string                     `json:"patch,omitempty"`  // the merge patch of the others
}

// Way is how one claim gets its data.
type Way string

const (
	Adopt        Way = "adopt"     // it has it
	Reattach     Way = "reattach"  // its own disk, as it is now
	FromSnapshot Way = "rehydrate" // a new disk from the snapshot
)

// VolumePlan is what becomes of one claim.
type VolumePlan struct {
	Claim  catalog.ClaimKey `json:"claim"`
	Way    Way              `json:"way"`
	Reason string           `json:"reason"`
	// Data says where the data comes from: a volumeHandle or a snapshotHandle.
	Data     string     `json:"data"`
	DataTime *time.Time `json:"dataTime,omitempty"` // nil: the disk as it is now
	Size     string     `json:"size"`
	// VolumeName is the PersistentVolume that the claim must bind to; "" if a
	// new one is made.
	VolumeName string `json:"volumeName,omitempty"`
	// WaitsForPod: the class binds only when a Pod uses the claim. HasPod: the
	// workload of the plan will have one that does.
	WaitsForPod bool   `json:"waitsForPod,omitempty"`
	HasPod      bool   `json:"hasPod,omitempty"`
	Steps       []Step `json:"steps"`

	driver string
	handle catalog.VolumeHandle
}

// Plan is what a restore will do, in order: Prepare, then the volumes, then
// Workloads.
type Plan struct {
	Point     catalog.PointID `json:"point"`
	Prepare   []Step          `json:"prepare"` // namespaces and configuration
	Volumes   []VolumePlan    `json:"volumes"`
	Workloads []Step          `json:"workloads"` // Services and workloads
	// Notes say what the user should know: what the point does not cover, what
	// is left for them to do.
	Notes []string `json:"notes,omitempty"`
}

// Refusal is one reason why a plan cannot be made, and what to do about it.
type Refusal struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Problem   string `json:"problem"`
	Remedy    string `json:"remedy"`
}

func (r Refusal) String() string {
	name := r.Name
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	return fmt.Sprintf("%s %s: %s; %s", r.Kind, name, r.Problem, r.Remedy)
}

// RefusedError says that a restore was refused before anything was written.
type RefusedError struct{ Refusals []Refusal }

func (e *RefusedError) Error() string {
	lines := make([]string, len(e.Refusals))
	for i, r := range e.Refusals {
		lines[i] = r.String()
	}
	return "refused, nothing was changed:\n  " + strings.Join(lines, "\n  ")
}

// NewPlan decides how to bring the wanted part of point back, given what the
// target has. It fails with *RefusedError, which holds every reason at once.
func NewPlan(point *catalog.RestorePoint, request Request, observed *Observed) (*Plan, error) {
	p := planner{point: point, request: request, observed: observed, plan: &Plan{Point: point.Commit.Point}}
	if err := p.index(); err != nil {
		return nil, err
	}
	p.checkRequest()
	for _, v := range p.volumes {
		p.planVolume(v)
	}
	p.checkUsurpers()
	p.planObjects()
	p.findPods()
	p.noteSkipped()
	if len(p.refusals) > 0 {
		return nil, &RefusedError{Refusals: p.refusals}
	}
	return p.plan, nil
}

type planner struct {
	point    *catalog.RestorePoint
	request  Request
	observed *Observed
	plan     *Plan
	refusals []Refusal

	volumes   []catalog.Volume            // wanted
	workloads []unstructured.Unstructured // wanted
	pairs     map[catalog.ClaimKey]Pair
	unnamed   []*corev1.PersistentVolumeClaim // that will name no volume until they are bound
}

func (p *planner) refuse(kind, namespace, name, problem, remedy string) {
	p.refusals = append(p.refusals, Refusal{Kind: kind, Namespace: namespace, Name: name, Problem: problem, Remedy: remedy})
}

func (p *planner) refuseClaim(claim catalog.ClaimKey, problem, remedy string) {
	p.refuse("PersistentVolumeClaim", claim.Namespace, claim.Name, problem, remedy)
}

// checkRequest refuses a request that names what the point does not hold.
func (p *planner) checkRequest() {
	for _, w := range p.request.Workloads {
		if !slices.ContainsFunc(p.workloads, func(o unstructured.Unstructured) bool { return o.GetKind() == w.Kind && o.GetName() == w.Name }) {
			p.refuse(w.Kind, "", w.Name, "the point does not hold it", "`hawser show "+string(p.point.Commit.Point)+"` lists what it holds")
		}
	}
	for _, name := range p.request.Claims {
		if !slices.ContainsFunc(p.volumes, func(v catalog.Volume) bool { return v.Claim.Name == name }) {
			p.refuse("PersistentVolumeClaim", "", name, "the point does not hold it", "`hawser show "+string(p.point.Commit.Point)+"` lists what it holds")
		}
	}
	for _, n := range p.request.Ordinals {
		if !slices.ContainsFunc(p.volumes, func(v catalog.Volume) bool { return v.Ordinal != nil && *v.Ordinal == n }) {
			p.refuse("StatefulSet", "", "*", fmt.Sprintf("the point holds no claim of ordinal %d", n), "choose among the ordinals that `hawser show "+string(p.point.Commit.Point)+"` lists")
		}
	}
	if len(p.volumes) == 0 && len(p.workloads) == 0 && len(p.refusals) == 0 {
		p.refuse("RestorePoint", "", string(p.point.Commit.Point), "nothing in it matches the request", "check -n and the workloads that were named")
	}
}

// noteSkipped tells of what the point says it does not cover, as far as it
// concerns the namespaces of this restore.
func (p *planner) noteSkipped() {
	for _, skip := range p.point.Bundle.Skipped {
		if !p.wantsNamespace(skip.Namespace) || skip.Reason == catalog.SkipNotCovered {
			continue
		}
		p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("not in the point: %s %s/%s: %s", skip.Kind, skip.Namespace, skip.Name, skip.Message))
	}
}

func (p *planner) wantsNamespace(namespace string) bool {
	return len(p.request.Namespaces) == 0 || slices.Contains(p.request.Namespaces, namespace)
}
