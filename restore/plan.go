package restore

import (
	"errors"
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
	// Mapping says under which names, and with what changes, it comes back. The
	// fields above are in the point's own words.
	Mapping Mapping
	Ignore  []Check // what not to check
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

// Decision is what a plan does for one claim.
type Decision string

const (
	DecideAdopt  Decision = "adopt"  // it is bound to its disk, which is kept
	DecideRearm  Decision = "re-arm" // its PersistentVolume exists, and is reserved for it
	DecideCreate Decision = "create" // what is missing of the pair is made
	DecideWait   Decision = "wait"   // all is there; the binder, or a Pod, does the rest
)

// VolumePlan is what becomes of one claim.
type VolumePlan struct {
	Claim    catalog.ClaimKey `json:"claim"`
	Decision Decision         `json:"decision"`
	Way      Way              `json:"way"`
	Reason   string           `json:"reason"`
	// Data says where the data comes from: a volumeHandle or a snapshotHandle.
	Data     string     `json:"data"`
	DataTime *time.Time `json:"dataTime,omitempty"` // nil: the disk as it is now
	Bytes    int64      `json:"bytes"`              // of the disk, or what the snapshot needs of one
	Size     string     `json:"size"`               // what the claim asks for
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
	static string // the pointers to its snapshot, if there are or will be some
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

	target   *target   // what was planned for
	observed *Observed // what was seen
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

func (e *RefusedError) Error() string { return "refused, nothing was changed:\n  " + e.reasons() }

func (e *RefusedError) reasons() string {
	lines := make([]string, len(e.Refusals))
	for i, r := range e.Refusals {
		lines[i] = r.String()
	}
	return strings.Join(lines, "\n  ")
}

// Halfway is an error as one has it who has written something already: of a
// refusal, which says that nothing was changed, only the reasons are left.
func Halfway(err error) error {
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return errors.New(refused.reasons())
	}
	return err
}

// NewPlan decides how to bring the wanted part of point back, given what the
// target has. It lets the volume binder act on the outcome, in a model, before
// it agrees. It fails with *RefusedError, which holds every reason at once.
func NewPlan(point *catalog.RestorePoint, request Request, observed *Observed) (*Plan, error) {
	t, err := aim(point, request)
	if err != nil {
		return nil, err
	}
	return t.plan(observed)
}

// target is the part of a point that is to be restored, as the mapping has it.
type target struct {
	point    *catalog.RestorePoint
	request  Request
	refusals []Refusal
	notes    []string

	volumes   []catalog.Volume
	workloads []unstructured.Unstructured
	pairs     map[catalog.ClaimKey]Pair
}

// aim finds what request wants of point. What the request gets wrong is in
// refusals; the error is for a mapping that cannot be, or a point that
// contradicts itself.
func aim(point *catalog.RestorePoint, request Request) (*target, error) {
	wanted, refusals := narrow(point, request)
	mapped, notes, err := Remap(wanted, request.Mapping)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return nil, &RefusedError{Refusals: append(refusals, refused.Refusals...)}
	}
	if err != nil {
		return nil, err
	}
	t := &target{point: mapped, request: request, refusals: refusals, notes: notes}
	return t, t.index()
}

// plan decides for what observed has.
func (t *target) plan(observed *Observed) (*Plan, error) {
	p := planner{
		target: t, mapping: t.request.Mapping, observed: newLookup(observed), refusals: slices.Clone(t.refusals),
		plan: &Plan{Point: t.point.Commit.Point, Notes: slices.Clone(t.notes), target: t, observed: observed},
	}
	p.checkDriverMapping()
	p.checkSharedDisks()
	for _, v := range p.volumes {
		p.planVolume(v)
	}
	p.planObjects()
	p.patchObjects()
	p.foresee()
	p.checkNodes()
	p.checkSecrets()
	p.checkAttributes()
	p.checkQuota()
	p.checkPodSecurity()
	p.checkAutoscalers()
	p.findPods()
	p.noteSkipped()
	p.plan.Notes = append(p.plan.Notes, observed.Unknown...)
	if len(p.refusals) > 0 {
		return nil, &RefusedError{Refusals: p.refusals}
	}
	return p.plan, nil
}

type planner struct {
	*target
	mapping  Mapping
	observed *lookup
	plan     *Plan
	refusals []Refusal
	unnamed  []*corev1.PersistentVolumeClaim // that will name no volume until they are bound
	settled  map[catalog.ClaimKey]Binding    // what the binder does if left alone; nil: not asked yet
}

func (p *planner) refuse(kind, namespace, name, problem, remedy string) {
	p.refusals = append(p.refusals, Refusal{Kind: kind, Namespace: namespace, Name: name, Problem: problem, Remedy: remedy})
}

func (p *planner) refuseClaim(claim catalog.ClaimKey, problem, remedy string) {
	p.refuse("PersistentVolumeClaim", claim.Namespace, claim.Name, problem, remedy)
}

// checkDriverMapping refuses to guess whether a handle means the same to
// another driver.
func (p *planner) checkDriverMapping() {
	for from, to := range p.mapping.Drivers {
		if p.request.From == FromAuto || p.request.From == "" {
			p.refuse("CSIDriver", "", from, "it is mapped to "+to+", and whether that driver knows its disks, or its snapshots, by the same handles cannot be found out",
				"say --from disks or --from snapshots if it does")
		}
	}
}

// checkSharedDisks refuses two claims over one disk: each would need a
// PersistentVolume of its own, and the reclaim of one would delete the disk
// under the other.
func (p *planner) checkSharedDisks() {
	if p.request.From == FromSnapshots {
		return
	}
	first := map[catalog.Disk]catalog.ClaimKey{}
	for _, v := range p.volumes {
		key := v.Disk()
		if other, shared := first[key]; shared {
			p.refuseClaim(v.Claim, fmt.Sprintf("the point has it over the same disk %s as claim %s, through two PersistentVolumes: the reclaim of one would delete the disk under the other", v.VolumeHandle, other),
				"restore one of the two by its name, or both as copies with --from snapshots")
			continue
		}
		first[key] = v.Claim
	}
}

// noteSkipped tells of what the point says it does not cover, as far as it
// concerns the namespaces of this restore.
func (p *planner) noteSkipped() {
	for _, skip := range p.point.Bundle.Skipped {
		if skip.Reason == catalog.SkipNotCovered {
			continue
		}
		p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("not in the point: %s %s/%s: %s", skip.Kind, skip.Namespace, skip.Name, skip.Message))
	}
}
