package prune

import (
	"fmt"
	"time"

	"hawser.dev/hawser/catalog"
)

const (
	// mostSkew is how far the store's clock may be off.
	mostSkew = 5 * time.Minute
	// few is what may always be dropped at once; above, no more than one in
	// share.
	few, share = 3, 5
)

// excessive says whether to drop n of total at once is more than a policy that
// was not changed does.
func excessive(n, total int) bool { return n > few && n*share > total }

// guardAll looks for what stops everything.
func (d *decider) guardAll() {
	for _, stop := range []*Stop{skewed(d.Skew), emptyStore(d.Points, d.held), d.emptyCluster()} {
		if stop != nil {
			d.plan.Stops = append(d.plan.Stops, *stop)
			d.halted = d.plan.Stops[0].Guard
		}
	}
}

func skewed(skew *time.Duration) *Stop {
	if skew == nil || skew.Abs() <= mostSkew {
		return nil
	}
	way := "ahead of"
	if *skew < 0 {
		way = "behind"
	}
	return &Stop{
		Guard:  GuardSkew,
		Why:    fmt.Sprintf("the store's clock is %s %s ours; by which of them has a grace period passed?", skew.Abs().Round(time.Second), way),
		Remedy: "set the clock of this machine, or of the store, right",
	}
}

// emptyStore: an empty bucket is not a reason to delete.
func emptyStore(points []Point, held []held) *Stop {
	if len(points) > 0 || len(held) == 0 {
		return nil
	}
	return &Stop{
		Guard:  GuardEmptyStore,
		Why:    fmt.Sprintf("the cluster has %d snapshots of this catalog, but the catalog has no points of the cluster", len(held)),
		Remedy: "make sure that the store has lost nothing; if it has, get its objects back from its versions or copies. If the points were deleted on purpose, delete the VolumeSnapshots with label hawser.dev/catalog too",
	}
}

// emptyCluster: nor is a cluster in which every snapshot seems to be gone.
func (d *decider) emptyCluster() *Stop {
	named := 0
	for _, p := range d.Points {
		if p.contents == nil {
			continue
		}
		for _, s := range p.contents.snapshots {
			if _, found := d.uses[s.handle]; found {
				return nil
			}
			named++
		}
	}
	if named == 0 {
		return nil
	}
	return &Stop{
		Guard:  GuardEmptyCluster,
		Why:    fmt.Sprintf("the cluster has none of the %d snapshots that points name", named),
		Remedy: "see `kubectl get volumesnapshotcontents`; if they are gone indeed, a new point lets pruning go on",
	}
}

// unreadable: a point that cannot be read may be the last good one of a claim.
func unreadable(plan string, points []*Point) *Stop {
	n, example := 0, ""
	for _, p := range points {
		if p.Err != nil {
			n++
			example = p.Err.Error()
		}
	}
	if n == 0 {
		return nil
	}
	why := example
	if n > 1 {
		why = fmt.Sprintf("%d points cannot be read; of the last one: %s", n, example)
	}
	return &Stop{
		Guard: GuardUnreadable, Plan: plan, Why: why,
		Remedy: "get the object back from the store's versions or copies, or use the hawser that wrote it; if it is lost for good, delete what the store has below its point",
	}
}

// tooMany: a policy that drops much at once may be a mistake.
func (d *decider) tooMany(plan string, decisions []Decision) *Stop {
	n, total := 0, 0
	for _, decision := range decisions {
		switch {
		case decision.Outcome == "" || decision.Outcome == catalog.Abandoned || decision.Until != nil:
		case decision.Verdict == Bury:
			n++
			total++
		default:
			total++
		}
	}
	if d.Confirm || !excessive(n, total) {
		return nil
	}
	return &Stop{
		Guard: GuardTooMany, Plan: plan,
		Why:    fmt.Sprintf("its policy would drop %d of %d points at once, more than one in %d", n, total, share),
		Remedy: fmt.Sprintf("see `hawser prune --plan %s --dry-run`; if that is what you want, run `hawser prune --plan %s --confirm` once", plan, plan),
	}
}
