package rollback

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"hawser.dev/hawser/catalog"
)

// begin makes the record of an act that is to begin.
func (p *planner) begin() {
	p.plan.record = &Record{ID: p.newID(), Act: p.Act, Point: p.plan.Point, Started: p.Now.UTC().Truncate(time.Millisecond), Step: StepStopped}
	if p.Act == Rollback {
		p.beginRollback()
	} else {
		p.beginReturn()
	}
}

// beginRollback finds the claims that are there, which must be in the point.
func (p *planner) beginRollback() {
	held := p.held()
	names := p.scope(func(name string) bool { return p.observed.Claim(p.Namespace, name) != nil || held[name] })
	for _, o := range p.Ordinals {
		if !slices.ContainsFunc(names, func(name string) bool { n, own := p.asked().Ordinal(name); return own && n == o }) {
			p.refuse(p.Workload.Kind, p.Workload.Name, fmt.Sprintf("it has no claim of ordinal %d", o), "choose among the ordinals of its claims (kubectl get pvc)")
		}
	}
	for _, name := range names {
		claim := p.observed.Claim(p.Namespace, name)
		switch {
		case claim == nil && p.Claim == "":
			p.note("claim %s is in the point and not in the cluster; it is not brought back: `hawser restore %s pvc/%s -n %s` does", name, p.plan.Point, name, p.Namespace)
			continue
		case claim == nil:
			p.refuseClaim(name, "it does not exist", "bring it back with hawser restore")
			continue
		case !held[name]:
			p.refuseClaim(name, "point "+string(p.plan.Point)+" does not hold it, and it would stay as it is", "choose another point, or the other ordinals with --ordinals")
			continue
		}
		if change, ok := p.leave(claim); ok {
			p.plan.record.Claims = append(p.plan.record.Claims, change)
		}
	}
	if len(names) == 0 {
		p.refuse(p.kind(), p.name(), "it has no claims", "there is nothing to roll back")
	} else if len(p.plan.record.Claims) == 0 && len(p.refusals) == 0 {
		p.refuse(p.kind(), p.name(), "none of its claims is in the cluster", "bring them back with hawser restore")
	}
}

// held are the claims of this namespace that the point holds.
func (p *planner) held() map[string]bool {
	held := map[string]bool{}
	for _, v := range p.point.Bundle.Volumes {
		if v.Claim.Namespace == p.Namespace {
			held[v.Claim.Name] = true
		}
	}
	return held
}

// asked is the workload that was asked for, if one was.
func (p *planner) asked() user {
	for _, u := range p.observed.Users() {
		if u.Workload == p.Workload {
			return u
		}
	}
	return user{}
}

// leave is the change of a claim that leaves the disk it is on.
func (p *planner) leave(claim *corev1.PersistentVolumeClaim) (Change, bool) {
	change := Change{Claim: claim.Name, UID: claim.UID}
	pv := p.observed.Volume(claim.Spec.VolumeName)
	const undoable = "so its disk could not be put back by an undo"
	switch {
	case claim.DeletionTimestamp != nil:
		p.refuseClaim(claim.Name, "it is being deleted", "wait until it is gone, then use hawser restore")
	case claim.Status.Phase != corev1.ClaimBound:
		p.refuseClaim(claim.Name, "it is "+string(claim.Status.Phase)+", not Bound", "see `kubectl describe pvc`; delete it if nothing uses it, then use hawser restore")
	case pv == nil || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID:
		p.refuseClaim(claim.Name, "it and PersistentVolume "+claim.Spec.VolumeName+" do not name each other", "put that right first")
	case pv.Spec.CSI == nil:
		p.refuse("PersistentVolume", pv.Name, "it is not a CSI volume, "+undoable, "leave claim "+claim.Name+" out")
	case pv.DeletionTimestamp != nil:
		p.refuse("PersistentVolume", pv.Name, "it is being deleted, "+undoable, "it goes when its claim does: make a new PersistentVolume over its disk first (hawser backup, then hawser restore --from disks)")
	default:
		change.From = diskOf(pv)
		return change, true
	}
	return change, false
}

// beginReturn finds the newest disks that were set aside by the act that this
// one takes back.
func (p *planner) beginReturn() {
	asides := p.setAside()
	var newest *SetAside
	for _, aside := range asides {
		if newest == nil || aside.Time.After(newest.Time) || aside.Time.Equal(newest.Time) && aside.ID > newest.ID {
			newest = aside
		}
	}
	if newest == nil {
		what := map[Act]string{Undo: "no rollback of it has set a disk aside", Redo: "no undo of it has set a disk aside"}[p.Act]
		p.refuse(p.kind(), p.name(), what, "`hawser disks -n "+p.Namespace+"` lists the disks that no claim uses")
		return
	}
	record := p.plan.record
	record.ID, record.Point = newest.ID, newest.Point
	for name, aside := range asides {
		if aside.ID == newest.ID {
			p.comeBack(name, aside.Claim.Name)
		}
	}
	slices.SortFunc(record.Claims, func(a, b Change) int { return compareClaims(a.Claim, b.Claim) })
}

// setAside are the volumes from which the claims in scope can be given back
// what they had, by their names.
func (p *planner) setAside() map[string]*SetAside {
	found := map[string]*SetAside{}
	claims := map[string][]string{}
	for i := range p.observed.Volumes {
		pv := &p.observed.Volumes[i]
		aside := asideOf(pv)
		if aside == nil || pv.Labels[p.Act.source()] != aside.ID || aside.Claim.Namespace != p.Namespace {
			continue
		}
		found[pv.Name] = aside
		claims[aside.Claim.Name] = append(claims[aside.Claim.Name], pv.Name)
	}
	wanted := map[string]bool{}
	for _, name := range p.scope(func(name string) bool { return len(claims[name]) > 0 }) {
		wanted[name] = true
	}
	for volume, aside := range found {
		if !wanted[aside.Claim.Name] {
			delete(found, volume)
		}
	}
	return found
}

// comeBack adds the change of a claim that gets a disk back.
func (p *planner) comeBack(volume, name string) {
	pv := p.observed.Volume(volume)
	if !p.canComeBack(pv) {
		return
	}
	change := Change{Claim: name}
	if claim := p.observed.Claim(p.Namespace, name); claim != nil {
		left, ok := p.leave(claim)
		if !ok {
			return
		}
		change = left
	}
	change.To = diskOf(pv)
	p.plan.record.Claims = append(p.plan.record.Claims, change)
}

func (p *planner) canComeBack(pv *corev1.PersistentVolume) bool {
	switch {
	case pv.Spec.CSI == nil:
		p.refuse("PersistentVolume", pv.Name, "it is not a CSI volume", "put it back by hand")
	case pv.DeletionTimestamp != nil:
		p.refuse("PersistentVolume", pv.Name, "it is being deleted", "it was released; use hawser rollback to a point that has its data")
	default:
		return true
	}
	return false
}

// turnBack makes an undo of an act that was interrupted: each claim goes back to
// the disk that it was on, if it has left it.
func (p *planner) turnBack(interrupted *Record) {
	record := &Record{
		ID: interrupted.ID, Act: Undo, Point: interrupted.Point, Started: p.Now.UTC().Truncate(time.Millisecond), Step: StepStopped,
		Workloads: slices.Clone(interrupted.Workloads),
	}
	p.plan.record = record
	for _, c := range interrupted.Claims {
		if c.Snapshot != "" {
			record.Leftovers = append(record.Leftovers, c.Snapshot)
		}
		if c.From == nil {
			p.refuseClaim(c.Claim, "it had no disk before", "finish what is under way by running the same command again")
			continue
		}
		pv := p.observed.Volume(c.From.Volume)
		if pv == nil || pv.UID != c.From.UID {
			p.refuse("PersistentVolume", c.From.Volume, "it is gone, and claim "+c.Claim+" was on it", "finish what is under way by running the same command again, or use hawser restore")
			continue
		}
		change := Change{Claim: c.Claim, To: c.From}
		claim := p.observed.Claim(p.Namespace, c.Claim)
		switch {
		case claim == nil:
		case claim.Spec.VolumeName == c.From.Volume && claim.DeletionTimestamp != nil:
			change.UID = claim.UID // its disk was set aside, and stays so until it is gone
		case claim.Spec.VolumeName != c.From.Volume:
			change.UID = claim.UID
			if made := p.observed.Volume(claim.Spec.VolumeName); made != nil && made.Spec.ClaimRef != nil && made.Spec.ClaimRef.UID == claim.UID {
				change.From = diskOf(made)
			}
		}
		record.Claims = append(record.Claims, change)
	}
}

// claimKey names a claim of the plan's namespace.
func (p *Plan) claimKey(name string) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: p.Namespace, Name: name}
}
