package rollback

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Options say what is to be done.
type Options struct {
	Act       Act
	Namespace string
	Workload  catalog.Workload // a StatefulSet or Deployment; or
	Claim     string           // one claim, whose users are found
	Ordinals  []int            // of a StatefulSet, only the claims of these
	Ignore    []Check
	Now       time.Time
}

// target names what is asked for, as the command line does.
func (o Options) target() string {
	if o.Claim != "" {
		return "pvc/" + o.Claim
	}
	return strings.ToLower(o.Workload.Kind) + "/" + o.Workload.Name
}

// Plan is what an act will do: scale Workloads to 0, set the disks of Claims
// aside and give them others, and scale back.
type Plan struct {
	ID        string          `json:"id"`
	Act       Act             `json:"act"`
	Point     catalog.PointID `json:"point"` // that is, or was, rolled back to
	Namespace string          `json:"namespace"`
	// Resumes: an earlier run was interrupted, and this one goes on with it.
	Resumes   bool           `json:"resumes"`
	Workloads []WorkloadPlan `json:"workloads"`
	Claims    []ClaimPlan    `json:"claims"`
	Notes     []string       `json:"notes,omitempty"`

	record   *Record
	written  bool // the record is in the cluster, as it is here
	ignore   []Check
	observed *Observed
	swap     swap
	confirm  *restore.Plan
}

// WorkloadPlan is what becomes of one workload.
type WorkloadPlan struct {
	catalog.Workload
	Replicas int32  `json:"replicas"` // that it has, or had before it was stopped
	Policy   string `json:"policy"`   // what becomes of it
}

// ClaimPlan is what becomes of one claim.
type ClaimPlan struct {
	Claim  string     `json:"claim"`
	State  State      `json:"state"`
	Aside  *Disk      `json:"aside,omitempty"` // the disk that is set aside
	Data   string     `json:"data"`            // a volumeHandle or a snapshotHandle
	AsOf   *time.Time `json:"asOf,omitempty"`  // of the data; nil: as the disk is now
	Bytes  int64      `json:"bytes"`
	Size   string     `json:"size"`
	Reason string     `json:"reason"`
}

// NewPlan decides how the claims that options name get the data of point, or
// of an undo or redo the disks that were set aside; point is nil then. An act
// that was interrupted is gone on with, and undone where options say so. It
// fails with *restore.RefusedError, which holds every reason at once.
func NewPlan(point *catalog.RestorePoint, observed *Observed, options Options) (*Plan, error) {
	p := &planner{Options: options, point: point, observed: observed, plan: &Plan{
		Act: options.Act, Namespace: options.Namespace, observed: observed, ignore: options.Ignore,
	}}
	if point != nil {
		p.plan.Point = point.Commit.Point
	}
	p.find()
	if len(p.refusals) == 0 {
		p.decide()
	}
	rights := users.Judge{Observed: observed}
	rights.Rights()
	p.refusals = append(p.refusals, rights.Refusals...)
	if len(p.refusals) > 0 {
		return nil, &restore.RefusedError{Refusals: p.refusals}
	}
	return p.plan, nil
}

type planner struct {
	Options
	point    *catalog.RestorePoint
	observed *Observed
	plan     *Plan
	refusals []restore.Refusal

	workloads []user
	record    *Record // of what is under way; nil: nothing
}

func (p *planner) refuse(kind, name, problem, remedy string) {
	p.refusals = append(p.refusals, restore.Refusal{Kind: kind, Namespace: p.Namespace, Name: name, Problem: problem, Remedy: remedy})
}

func (p *planner) refuseClaim(name, problem, remedy string) {
	p.refuse("PersistentVolumeClaim", name, problem, remedy)
}

func (p *planner) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(p.plan.Notes, note) {
		p.plan.Notes = append(p.plan.Notes, note)
	}
}

// find finds the record of what is under way, or makes a new one.
func (p *planner) find() {
	if p.Claim == "" && !slices.ContainsFunc(p.observed.Users(), func(u user) bool { return u.Workload == p.Workload }) {
		p.refuse(p.Workload.Kind, p.Workload.Name, "it does not exist", "bring it back with hawser restore")
		return
	}
	p.record = p.underWay()
	if len(p.refusals) > 0 {
		return
	}
	switch record := p.record; {
	case record == nil:
		p.begin()
	case record.Act == p.Act && (p.Act != Rollback || record.Point == p.plan.Point):
		p.plan.record, p.plan.written = record, true
	case p.Act == Undo:
		p.turnBack(record)
	default:
		p.refuse(p.kind(), p.name(), fmt.Sprintf("%s (to point %s, begun %s) is under way", record.Act, record.Point, record.Started.UTC().Format(time.RFC3339)),
			fmt.Sprintf("`%s` finishes it, `hawser undo %s -n %s` returns to where it was", p.command(record), p.target(), p.Namespace))
	}
	if len(p.refusals) == 0 && p.record != nil {
		p.checkScope()
	}
}

// command is what finishes the act of a record.
func (p *planner) command(record *Record) string {
	command := map[Act]string{Rollback: "hawser rollback %s -n %s --to " + string(record.Point), Undo: "hawser undo %s -n %s", Redo: "hawser undo %s -n %s --redo"}[record.Act]
	return fmt.Sprintf(command, p.target(), p.Namespace)
}

func (p *planner) kind() string {
	if p.Claim != "" {
		return "PersistentVolumeClaim"
	}
	return p.Workload.Kind
}

func (p *planner) name() string {
	if p.Claim != "" {
		return p.Claim
	}
	return p.Workload.Name
}

// underWay is the newest record that has to do with what was asked for.
func (p *planner) underWay() *Record {
	var newest *Record
	look := func(kind, name string, record *Record, err error) {
		if err != nil {
			p.refuse(kind, name, err.Error(), "was it edited? put it right, or remove it and look at the disks with hawser disks")
		}
		if record != nil && (newest == nil || record.Started.After(newest.Started)) {
			newest = record
		}
	}
	for _, u := range p.observed.Users() {
		record, err := recordOf(u.Object)
		if u.Workload == p.Workload || p.Claim != "" && u.Uses(p.Claim) || record != nil && record.bears(p.Workload) {
			look(u.Kind, u.Name, record, err)
		}
	}
	for i := range p.observed.Volumes {
		pv := &p.observed.Volumes[i]
		if ref := pv.Spec.ClaimRef; p.Claim != "" && ref != nil && ref.Namespace == p.Namespace && ref.Name == p.Claim {
			record, err := recordOf(pv)
			look("PersistentVolume", pv.Name, record, err)
		}
	}
	return newest
}

// checkScope refuses to go on with what is under way for other claims.
func (p *planner) checkScope() {
	for _, name := range p.scope(func(name string) bool {
		return p.record.change(name) != nil || p.observed.Claim(p.Namespace, name) != nil
	}) {
		if p.record.change(name) == nil {
			p.refuseClaim(name, fmt.Sprintf("%s (begun %s) is under way without it", p.record.Act, p.record.Started.UTC().Format(time.RFC3339)), "finish that first, with the same --ordinals")
		}
	}
}

// scope are the claims that were asked for, of those that are known by some
// means, in order.
func (p *planner) scope(known func(string) bool) []string {
	if p.Claim != "" {
		return []string{p.Claim}
	}
	var own user
	for _, u := range p.observed.Users() {
		if u.Workload == p.Workload {
			own = u
		}
	}
	names := map[string]bool{}
	for _, name := range p.knownClaims() {
		ordinal, isOwn := own.Ordinal(name)
		wanted := len(p.Ordinals) == 0 || isOwn && slices.Contains(p.Ordinals, ordinal)
		if own.Uses(name) && wanted && known(name) {
			names[name] = true
		}
	}
	return sortedClaims(names)
}

// knownClaims are the names of claims that are there, were set aside, or are in
// the point.
func (p *planner) knownClaims() []string {
	var names []string
	for _, c := range p.observed.Claims {
		if c.Namespace == p.Namespace {
			names = append(names, c.Name)
		}
	}
	for i := range p.observed.Volumes {
		if ref := p.observed.Volumes[i].Spec.ClaimRef; ref != nil && ref.Namespace == p.Namespace {
			names = append(names, ref.Name)
		}
	}
	if p.point != nil {
		for _, v := range p.point.Bundle.Volumes {
			if v.Claim.Namespace == p.Namespace {
				names = append(names, v.Claim.Name)
			}
		}
	}
	return names
}

// sortedClaims sorts names so that ordinals count as numbers.
func sortedClaims(names map[string]bool) []string {
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.SortFunc(sorted, compareClaims)
	return sorted
}

func compareClaims(a, b string) int {
	pa, pb := a[:strings.LastIndexByte(a, '-')+1], b[:strings.LastIndexByte(b, '-')+1]
	if pa == pb && len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// newID names an act: it sorts by time, and is a label's value.
func (p *planner) newID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", p.Namespace, p.target(), p.Now.UnixNano()))
	return p.Now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(sum[:4])
}

// decide works out what becomes of workloads and claims.
func (p *planner) decide() {
	record := p.plan.record
	p.plan.ID, p.plan.Point, p.plan.Resumes = record.ID, record.Point, p.record != nil
	p.findWorkloads()
	p.checkOwners()
	p.judge()
	p.plan.swap = p.newSwap()
	p.simulate()
	p.plan.Notes = append(p.plan.Notes, p.observed.Unknown...)
	p.plan.Notes = append(p.plan.Notes, p.observed.Unseen...)
}

// findWorkloads finds who uses the claims, all of whom are stopped.
func (p *planner) findWorkloads() {
	record := p.plan.record
	for _, u := range p.observed.Users() {
		uses := slices.ContainsFunc(record.Claims, func(c Change) bool { return u.Uses(c.Claim) })
		if !uses && !record.bears(u.Workload) {
			continue
		}
		if u.Object.GetDeletionTimestamp() != nil {
			p.refuse(u.Kind, u.Name, "it is being deleted", "wait until it is gone, then use hawser restore")
		}
		if !p.plan.written && !record.bears(u.Workload) {
			record.Workloads = append(record.Workloads, u.Workload)
		}
		p.workloads = append(p.workloads, u)
		p.plan.Workloads = append(p.plan.Workloads, p.workloadPlan(u))
	}
	if p.plan.written {
		for _, w := range record.Workloads {
			if !slices.ContainsFunc(p.workloads, func(u user) bool { return u.Workload == w }) {
				p.note("%s %s, which used the claims, is gone", w.Kind, w.Name)
			}
		}
	}
}

func (p *planner) workloadPlan(u user) WorkloadPlan {
	w := WorkloadPlan{Workload: u.Workload, Replicas: u.Replicas, Policy: "it keeps its claims"}
	policy := u.Policy
	if own, err := recordOf(u.Object); err == nil && own != nil {
		w.Replicas, policy = own.Replicas, own.Policy
	}
	if !users.KeepsClaims(policy) {
		w.Policy = fmt.Sprintf("Retain meanwhile (it is whenScaled %s, whenDeleted %s)", policy.WhenScaled, policy.WhenDeleted)
	}
	return w
}

// simulate lets the restore be planned for the world in which the claims that
// are to go have gone: what would keep them from coming back is found before
// anything is stopped.
func (p *planner) simulate() {
	if len(p.refusals) > 0 {
		return
	}
	after := p.plan.swap.without(p.observed.Observed)
	plan, err := restore.NewPlan(p.plan.swap.point, p.plan.swap.request(p.Ignore), after)
	if refused := (*restore.RefusedError)(nil); errors.As(err, &refused) {
		p.refusals = append(p.refusals, refused.Refusals...)
		return
	}
	if err != nil {
		p.refuse("RestorePoint", string(p.plan.Point), err.Error(), "use another point")
		return
	}
	p.plan.confirm = plan
	for _, note := range plan.Notes {
		p.note("%s", note)
	}
	for i := range p.plan.Claims {
		c := &p.plan.Claims[i]
		for _, v := range plan.Volumes {
			if v.Claim.Name == c.Claim {
				c.Data, c.AsOf, c.Bytes, c.Size, c.Reason = v.Data, v.DataTime, v.Bytes, v.Size, reasonOf(c, v.WaitsForPod)
			}
		}
	}
}

func reasonOf(c *ClaimPlan, waits bool) string {
	switch c.State {
	case Arrived:
		return "it is there already"
	case Missing:
		return "an earlier run has set its disk aside"
	}
	if waits {
		return "its class makes the disk when its Pod starts"
	}
	return ""
}
