package prune

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// State is what a decision rests on; Run gathers it.
type State struct {
	Cluster  catalog.Cluster
	Now      time.Time
	Skew     *time.Duration // of the store's clock against ours; nil: not measured
	Grace    time.Duration
	Sweep    bool // orphans are looked for
	Confirm  bool // much may be dropped at once
	Policies []Policy
	Points   []Point // of the cluster, of all plans, in order of their ids
	// Elsewhere are the points of other clusters; nil if they do not matter.
	Elsewhere sets.Set[catalog.PointID]

	observed
}

// restoring is for how long a point is not removed after a restore from it has
// begun, unless that has ended: then it has taken its contents away again.
const restoring = 24 * time.Hour

// Decide says what becomes of each point, and which snapshots nothing names. It
// reads and writes nothing. Of the points that have no policy none is touched.
func Decide(s State) Plan {
	d := decider{State: s, plan: Plan{Decisions: []Decision{}, Swept: s.Sweep}}
	d.guardAll()
	byPlan := map[string][]*Point{}
	for i := range d.Points {
		p := &d.Points[i]
		byPlan[p.Point.Plan()] = append(byPlan[p.Point.Plan()], p)
	}
	for _, policy := range d.Policies {
		d.decidePlan(policy, byPlan[policy.Plan])
		delete(byPlan, policy.Plan)
	}
	for _, points := range byPlan {
		for _, p := range points {
			d.add(p, Keep, "nothing says how long points of this plan are to be kept")
		}
	}
	slices.SortFunc(d.plan.Decisions, func(a, b Decision) int { return cmp.Compare(a.Point, b.Point) })
	if d.Sweep {
		d.sweep()
	}
	return d.plan
}

// decider is the state of one decision.
type decider struct {
	State
	plan   Plan
	halted Guard // the guard that stops everything; "" if none does
}

// add decides on one point.
func (d *decider) add(p *Point, verdict Verdict, reasons ...string) {
	decision := Decision{
		Point: p.Point, Plan: p.Point.Plan(), Scheduled: p.Point.Scheduled(),
		Verdict: verdict, Reasons: reasons, presence: p.Presence,
	}
	if p.Entry != nil {
		decision.Outcome = p.Entry.Commit.Outcome
	}
	if p.Buried != nil && !removed(p.Presence) {
		until := p.Buried.NotBefore.UTC()
		decision.Until = &until
	}
	if verdict.writes() {
		decision.Stopped = d.halted
	}
	d.plan.Decisions = append(d.plan.Decisions, decision)
}

// decidePlan decides on the points of one plan.
func (d *decider) decidePlan(policy Policy, points []*Point) {
	if policy.Plan == catalog.ManualPlan {
		for _, p := range points {
			d.add(p, Keep, "points that were asked for by hand are removed by hand")
		}
		return
	}
	if stop := unreadable(policy.Plan, points); stop != nil {
		d.stopPlan(*stop, points)
		return
	}
	retained, useless, err := d.retain(policy, points)
	if err != nil {
		d.stopPlan(Stop{Guard: GuardPolicy, Plan: policy.Plan, Why: err.Error(), Remedy: "correct retain of plan " + policy.Plan}, points)
		return
	}
	first := len(d.plan.Decisions)
	for _, p := range points {
		if decision, ok := retained[p.Point]; ok && !p.open() {
			d.decide(p, decision)
		} else {
			d.decideOther(p, decision, useless)
		}
	}
	if stop := d.tooMany(policy.Plan, d.plan.Decisions[first:]); stop != nil {
		d.plan.Stops = append(d.plan.Stops, *stop)
		stopDestruction(d.plan.Decisions[first:], stop.Guard)
	}
}

// retain applies the policy to the points of its plan, and finds the tombstones
// that explain nothing any more.
func (d *decider) retain(policy Policy, points []*Point) (map[catalog.PointID]catalog.Decision, sets.Set[catalog.PointID], error) {
	decisions, err := policy.Retain.Apply(d.histories(points), policy.Zone)
	if err != nil {
		return nil, nil, err
	}
	retained := map[catalog.PointID]catalog.Decision{}
	for _, decision := range decisions {
		retained[decision.Point] = decision
	}
	useless, err := forgettable(points)
	return retained, useless, err
}

// histories are the closed points that the policy decides on, also those of
// runs that are not cleared up after and so are not to be touched.
func (d *decider) histories(points []*Point) []catalog.History {
	saved := sets.New[catalog.ClaimKey]() // the data of which some point has
	for _, p := range points {
		if p.contents != nil {
			for _, s := range p.contents.snapshots {
				saved.Insert(s.claim)
			}
		}
	}
	var histories []catalog.History
	for _, p := range points {
		if p.Entry != nil {
			histories = append(histories, catalog.History{
				Presence: p.Presence, Commit: p.Entry.Commit, Claims: p.claims(saved), Verified: d.verified(p),
			})
		}
	}
	return histories
}

// claims are those whose data the point brings back; and those of which it has
// only the record of their disk, if no point has more.
func (p *Point) claims(saved sets.Set[catalog.ClaimKey]) []catalog.ClaimKey {
	if p.contents == nil {
		return nil
	}
	var claims []catalog.ClaimKey
	for _, s := range p.contents.snapshots {
		claims = append(claims, s.claim)
	}
	for _, claim := range p.contents.records {
		if !saved.Has(claim) {
			claims = append(claims, claim)
		}
	}
	return claims
}

// verified says whether the point's bundle was read and found right, and each
// snapshot that it names is in the cluster to stay.
func (d *decider) verified(p *Point) bool {
	return p.contents != nil && !slices.ContainsFunc(p.contents.snapshots, func(s snapshotFact) bool {
		use := d.uses[s.handle]
		return !use.leads || use.going
	})
}

// decide decides on a point by what the policy says of it.
func (d *decider) decide(p *Point, retained catalog.Decision) {
	switch {
	case retained.Keep && p.Buried == nil:
		d.add(p, Keep, retained.Reasons...)
	case retained.Keep:
		d.add(p, Exhume, retained.Reasons...)
	case p.Buried == nil:
		d.add(p, Bury, retained.Reasons...)
	case d.Now.Before(p.Buried.NotBefore):
		d.add(p, Expiring, retained.Reasons...)
	case d.restoredFrom(p):
		d.add(p, Expiring, append(slices.Clone(retained.Reasons), "a restore from it may be under way")...)
	default:
		d.add(p, Remove, retained.Reasons...)
	}
}

// restoredFrom says whether a restore from the point may be under way.
func (d *decider) restoredFrom(p *Point) bool {
	return p.contents != nil && slices.ContainsFunc(p.contents.snapshots, func(s snapshotFact) bool {
		return d.uses[s.handle].restored.After(d.Now.Add(-restoring))
	})
}

// decideOther decides on what the policy says nothing of, or may not touch.
// useless are the tombstones that explain nothing any more.
func (d *decider) decideOther(p *Point, retained catalog.Decision, useless sets.Set[catalog.PointID]) {
	switch {
	case p.open() && p.Entry == nil:
		d.add(p, Leave, "a run of it is under way, or was cut off and will be cleared up after")
	case p.open() && retained.Keep:
		d.add(p, Keep, retained.Reasons...)
	case p.open():
		d.add(p, Leave, "the next backup clears up after its run first")
	case p.Removing:
		d.add(p, Remove, "its removal has begun")
	case p.Buried != nil && d.holds(p):
		d.add(p, Remove, "it is removed, but a snapshot of it is still there")
	case removed(p.Presence) && useless.Has(p.Point):
		d.add(p, Forget, "it is removed, and no point that is left leads to it")
	case removed(p.Presence):
		d.add(p, Gone, p.Buried.Reasons...)
	default:
		d.add(p, Leave, "the catalog has parts of it only")
	}
}

// holds says whether the cluster has a snapshot that the point's tombstone names.
func (d *decider) holds(p *Point) bool {
	names := sets.New(namesOf(p.Buried.Snapshots)...)
	return slices.ContainsFunc(d.held, func(h held) bool {
		return names.Has(nameID(h.namespace, h.name)) && (h.alone || h.point == p.Point)
	})
}

// forgettable finds the tombstones of a plan that explain nothing any more. All
// of its points could be read.
func forgettable(points []*Point) (sets.Set[catalog.PointID], error) {
	var survey []catalog.Presence
	var entries []catalog.Entry
	var tombstones []catalog.Tombstone
	for _, p := range points {
		survey = append(survey, p.Presence)
		if p.Entry != nil {
			entries = append(entries, *p.Entry)
		}
		if p.Buried != nil {
			tombstones = append(tombstones, *p.Buried)
		}
	}
	useless, err := catalog.Forgettable(survey, entries, tombstones)
	found := sets.New[catalog.PointID]()
	for _, p := range useless {
		found.Insert(p.Point)
	}
	return found, err
}

// stopPlan leaves all points of a plan as they are.
func (d *decider) stopPlan(stop Stop, points []*Point) {
	d.plan.Stops = append(d.plan.Stops, stop)
	for _, p := range points {
		switch {
		case p.Err != nil:
			d.add(p, Leave, p.Err.Error())
		case p.Removing || p.open():
			d.add(p, Leave, "the plan is stopped: "+stop.Why)
		case removed(p.Presence):
			d.add(p, Gone, p.Buried.Reasons...)
		default:
			d.add(p, Keep, "the plan is stopped: "+stop.Why)
		}
	}
}

// stopDestruction keeps points from being dropped or removed.
func stopDestruction(decisions []Decision, guard Guard) {
	for i := range decisions {
		if d := &decisions[i]; d.Verdict.destroys() && d.Stopped == "" {
			d.Stopped = guard
		}
	}
}
