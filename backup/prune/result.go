package prune

import (
	"fmt"
	"slices"
	"time"

	"hawser.dev/hawser/catalog"
)

// Verdict is what is decided of one point. The words are stable.
type Verdict string

const (
	Keep     Verdict = "keep"     // it stays
	Bury     Verdict = "bury"     // it is dropped: it gets a tombstone
	Expiring Verdict = "expiring" // it has one, and is removed when its grace period is over
	Exhume   Verdict = "exhume"   // it has one, and stays after all
	Remove   Verdict = "remove"   // its grace period is over: it goes now
	Gone     Verdict = "gone"     // it is removed; the tombstone says why it is missing
	Forget   Verdict = "forget"   // it is removed, and nothing asks for its tombstone any more
	Leave    Verdict = "leave"    // it is not to be touched: it is being made, or cannot be read
)

// writes says whether the verdict is carried out by a change of the catalog.
func (v Verdict) writes() bool { return v == Bury || v == Exhume || v == Remove || v == Forget }

// destroys says whether the verdict leads towards a loss of data.
func (v Verdict) destroys() bool { return v == Bury || v == Remove }

// Decision says of one point what becomes of it, and why.
type Decision struct {
	Point     catalog.PointID `json:"point"`
	Plan      string          `json:"plan"`
	Scheduled time.Time       `json:"scheduled"`
	Outcome   catalog.Outcome `json:"outcome,omitempty"` // "" if it is not known
	Verdict   Verdict         `json:"verdict"`
	Reasons   []string        `json:"reasons"`
	Until     *time.Time      `json:"until,omitempty"`   // end of the grace period, if it has a tombstone
	Stopped   Guard           `json:"stopped,omitempty"` // the guard that keeps the verdict from being carried out
	Done      bool            `json:"done,omitempty"`    // the verdict was carried out by this run
	Problem   string          `json:"problem,omitempty"` // why it was not
	presence  catalog.Presence
}

// Guard names a reason to delete nothing. The words are stable.
type Guard string

const (
	GuardSkew         Guard = "clock-skew"    // the store's clock is not ours
	GuardTooMany      Guard = "too-many"      // a policy would drop much at once
	GuardUnreadable   Guard = "unreadable"    // a commit, bundle or tombstone of the plan cannot be read
	GuardPolicy       Guard = "policy"        // the policy cannot be applied
	GuardEmptyStore   Guard = "empty-catalog" // the cluster has snapshots of points, the catalog no points
	GuardEmptyCluster Guard = "no-snapshots"  // the catalog has points with snapshots, the cluster no snapshots
	GuardOrphans      Guard = "too-many-orphans"
)

// Stop is a guard that was met.
type Stop struct {
	Guard  Guard  `json:"guard"`
	Plan   string `json:"plan,omitempty"` // whose points stay; "" if nothing at all is deleted
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

// Orphan is a snapshot of this catalog in the cluster that nothing names.
type Orphan struct {
	Namespace string          `json:"namespace"` // of its VolumeSnapshot
	Name      string          `json:"name"`
	Content   string          `json:"content,omitempty"` // its VolumeSnapshotContent
	Alone     bool            `json:"alone,omitempty"`   // the VolumeSnapshot is gone
	Point     catalog.PointID `json:"point,omitempty"`   // it was made for; "" if that is not known
	Reason    string          `json:"reason"`
	Since     *time.Time      `json:"since,omitempty"` // when it was first seen to be one
	Until     *time.Time      `json:"until,omitempty"` // when it may be removed
	Due       bool            `json:"due,omitempty"`   // that time is over
	Done      bool            `json:"done,omitempty"`  // it was removed by this run
	Problem   string          `json:"problem,omitempty"`
}

// Plan is what Decide decides.
type Plan struct {
	Decisions []Decision `json:"decisions"`         // of each point of the plans, in order of their ids
	Swept     bool       `json:"swept"`             // orphans were looked for
	Orphans   []Orphan   `json:"orphans,omitempty"` // in order of namespace and name
	Stops     []Stop     `json:"stops,omitempty"`
	Notes     []string   `json:"notes,omitempty"` // what else to know

	regained []Orphan // that are annotated, and named again
}

// Writes says whether the plan changes anything.
func (p Plan) Writes() bool {
	return len(p.regained) > 0 && !p.halted() ||
		slices.ContainsFunc(p.Decisions, func(d Decision) bool { return d.Verdict.writes() && d.Stopped == "" }) ||
		p.Sweeps() && slices.ContainsFunc(p.Orphans, func(o Orphan) bool { return o.Since == nil || o.Due })
}

// halted says whether a guard stops everything.
func (p Plan) halted() bool {
	return slices.ContainsFunc(p.Stops, func(s Stop) bool { return s.Plan == "" && s.Guard != GuardOrphans })
}

// Sweeps says whether something is done about orphans.
func (p Plan) Sweeps() bool {
	return !p.halted() && !slices.ContainsFunc(p.Stops, func(s Stop) bool { return s.Guard == GuardOrphans })
}

// Result is what a run decided, and what came of it.
type Result struct {
	Cluster catalog.Cluster `json:"cluster"`
	DryRun  bool            `json:"dryRun,omitempty"`
	Plan
	OrphansRemoved int `json:"orphansRemoved,omitempty"`
	// SweepErr says why something about orphans was not done that should have
	// been; nil if all was, or nothing was to be. It is a part of Run's error.
	SweepErr error `json:"-"`
}

// Decided says whether the run came as far as to decide. If not, the error of
// Run is about every plan; else Counts and SweepErr say what it is about.
func (r Result) Decided() bool { return r.Decisions != nil }

// leaveUndone notes on each decision that is not carried out, though no guard
// stops it, that an error ended the run before.
func (r *Result) leaveUndone(err error) {
	for i := range r.Decisions {
		if d := &r.Decisions[i]; d.Verdict.writes() && d.Stopped == "" && !d.Done && d.Problem == "" {
			d.Problem = "the run ended before: " + err.Error()
		}
	}
}

// Counts are the points of one plan by what was decided, and by what was done.
type Counts struct {
	Points   map[Verdict]int // that are still in the catalog, and tombstones
	Done     map[Verdict]int // of these, what was carried out by this run
	Stopped  *Stop           // the guard that stopped the plan; nil if none did
	Problems []string        // why verdicts were not carried out that should have been
}

// Counts counts the points of a plan.
func (r Result) Counts(plan string) Counts {
	c := Counts{Points: map[Verdict]int{}, Done: map[Verdict]int{}}
	for _, d := range r.Decisions {
		if d.Plan != plan {
			continue
		}
		c.Points[d.Verdict]++
		if d.Done {
			c.Done[d.Verdict]++
		}
		if d.Problem != "" {
			c.Problems = append(c.Problems, fmt.Sprintf("point %s: %s", d.Point, d.Problem))
		}
	}
	for i, s := range r.Stops {
		if c.Stopped == nil && (s.Plan == plan || s.Plan == "" && s.Guard != GuardOrphans) {
			c.Stopped = &r.Stops[i]
		}
	}
	return c
}
