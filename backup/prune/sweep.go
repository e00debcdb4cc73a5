package prune

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// sweep finds the snapshots that nothing names, and those that are named again.
func (d *decider) sweep() {
	n := d.naming()
	untold := 0
	for _, h := range d.held {
		reason, told := n.orphan(h, d.Elsewhere)
		switch {
		case !told:
			untold++
		case reason != "":
			d.plan.Orphans = append(d.plan.Orphans, d.orphan(h, reason))
		case !h.since.IsZero():
			d.plan.regained = append(d.plan.regained, d.orphan(h, "it is named again"))
		}
	}
	if untold > 0 {
		d.plan.Notes = append(d.plan.Notes, fmt.Sprintf("of %d snapshots it cannot be told whether a point names them; they stay", untold))
	}
	slices.SortFunc(d.plan.Orphans, func(a, b Orphan) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Content, b.Content))
	})
	if o := len(d.plan.Orphans); !d.Confirm && excessive(o, len(d.held)) {
		d.plan.Stops = append(d.plan.Stops, Stop{
			Guard:  GuardOrphans,
			Why:    fmt.Sprintf("nothing names %d of %d snapshots of this catalog, more than one in %d", o, len(d.held), share),
			Remedy: "make sure that the store has lost no points; if nothing is missing, run `hawser prune --confirm` once",
		})
	}
}

// naming is what names snapshots.
type naming struct {
	names  sets.Set[id] // of VolumeSnapshots
	points map[catalog.PointID]*Point
	// dark: something that may name snapshots cannot be read.
	dark bool
}

func (d *decider) naming() naming {
	n := naming{names: sets.New[id](), points: map[catalog.PointID]*Point{}}
	for i := range d.Points {
		p := &d.Points[i]
		n.points[p.Point] = p
		n.dark = n.dark || p.dark()
		n.names.Insert(p.intent...)
		if p.contents != nil {
			for _, s := range p.contents.snapshots {
				n.names.Insert(s.name)
			}
		}
		if p.Buried != nil {
			n.names.Insert(namesOf(p.Buried.Snapshots)...)
		}
	}
	return n
}

// dark says whether the point may name snapshots that are not known.
func (p *Point) dark() bool {
	committed := p.Entry != nil && p.Entry.Commit.Outcome != catalog.Abandoned
	return p.Err != nil || p.JournalErr != nil || committed && p.contents == nil ||
		p.Bundle && !p.Commit && !p.Journal && !p.Tombstone
}

// orphan says why nothing names a snapshot, or "" if something does. It is not
// told if that cannot be known.
func (n naming) orphan(h held, elsewhere sets.Set[catalog.PointID]) (reason string, told bool) {
	if n.names.Has(nameID(h.namespace, h.name)) {
		return "", true
	}
	if h.alone {
		if n.dark {
			return "", false
		}
		return "no point names it, and its VolumeSnapshot is gone", true
	}
	p := n.points[h.point]
	switch {
	case !backup.IsSnapshotName(h.name):
		return "", false // someone has given it our labels
	case p == nil && (elsewhere.Has(h.point) || h.point.Plan() == ""):
		return "", false
	case p == nil:
		return fmt.Sprintf("the catalog has no point %s", h.point), true
	case p.dark():
		return "", false
	case p.open() || p.Removing:
		return "", true
	case p.Entry != nil && p.Entry.Commit.Outcome == catalog.Abandoned:
		return fmt.Sprintf("the run of point %s was abandoned", h.point), true
	}
	return fmt.Sprintf("point %s does not name it", h.point), true
}

// orphan describes h, with the time that it has left.
func (d *decider) orphan(h held, reason string) Orphan {
	o := Orphan{Namespace: h.namespace, Name: h.name, Content: h.content, Alone: h.alone, Point: h.point, Reason: reason}
	// A time that is yet to come was not written by a clock that is right.
	if !h.since.IsZero() && !h.since.After(d.Now.Add(mostSkew)) {
		since, until := h.since.UTC(), h.since.Add(d.Grace).UTC()
		o.Since, o.Until, o.Due = &since, &until, !d.Now.Before(until)
	}
	return o
}
