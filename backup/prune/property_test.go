package prune

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// chance is true once in n times.
func chance(random *rand.Rand, n int) bool { return random.IntN(n) == 0 }

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

// fact is what a test knows of a point beside what Decide is told.
type fact struct {
	good   map[string]bool // claims whose snapshot is there to stay
	claims []string
}

// randomState is what a catalog and a cluster may hold at some moment, with
// what is true of each point.
func randomState(random *rand.Rand) (State, map[catalog.PointID]fact) {
	s := State{
		Cluster: catalog.Cluster{UID: clusterUID}, Now: noon, Grace: DefaultGrace, Sweep: chance(random, 2), Confirm: chance(random, 2),
		Policies: []Policy{
			{Plan: "a", Retain: randomRetention(random)}, {Plan: "b", Retain: randomRetention(random)}, {Plan: catalog.ManualPlan, Retain: catalog.Retention{Last: 1}},
		},
		observed: observed{uses: map[id]use{}},
	}
	if chance(random, 2) {
		skew := time.Duration(random.IntN(12)-6) * time.Minute
		s.Skew = &skew
	}
	facts := map[catalog.PointID]fact{}
	for i := range random.IntN(30) {
		plan := pick(random, "a", "a", "a", "b", "none", catalog.ManualPlan)
		at := noon.Add(-time.Duration(1+i*random.IntN(30)) * time.Hour)
		if _, twice := facts[catalog.NewPointID(clusterUID, plan, at, 0)]; twice {
			continue
		}
		p, f := randomPoint(random, &s, plan, at, i)
		s.Points = append(s.Points, p)
		facts[p.Point] = f
	}
	slices.SortFunc(s.Points, func(a, b Point) int { return cmp.Compare(a.Point, b.Point) })
	for range pick(random, 0, 0, 1, 2, 6) {
		h := held{namespace: "shop", name: snapshotName(lost, fmt.Sprint(random.Int())), point: lost, alone: chance(random, 3)}
		if h.alone {
			h.point = ""
		} else if len(s.Points) > 0 && chance(random, 2) {
			h.point = s.Points[random.IntN(len(s.Points))].Point // which does not name it
		}
		s.held = append(s.held, h)
	}
	if chance(random, 50) { // the cluster seems to have lost everything
		clear(s.uses)
		s.held = nil
	}
	if chance(random, 10) {
		s.Elsewhere = sets.New(lost)
	}
	return s, facts
}

func randomRetention(random *rand.Rand) catalog.Retention {
	return catalog.Retention{Last: random.IntN(4), Hourly: pick(random, 0, 3), Daily: pick(random, 0, 0, 3), Weekly: pick(random, 0, 0, 2), Within: time.Duration(pick(random, 0, 0, 48)) * time.Hour}
}

// randomPoint makes a point at any stage of its life.
func randomPoint(random *rand.Rand, s *State, plan string, at time.Time, serial int) (Point, fact) {
	p := Point{Presence: catalog.Presence{ClusterUID: clusterUID, Point: catalog.NewPointID(clusterUID, plan, at, 0)}}
	f := fact{good: map[string]bool{}}
	stone := &catalog.Tombstone{Point: p.Point, Cluster: s.Cluster, NotBefore: noon.Add(time.Duration(random.IntN(48)-24) * time.Hour), Reasons: []string{"test"}}
	if chance(random, 15) { // a run under way
		p.Journal = true
		return p, f
	}
	if chance(random, 10) { // removed
		p.Tombstone, p.Buried = true, stone
		return p, f
	}
	p.Journal, p.Settled, p.Commit = true, !chance(random, 15), true
	if chance(random, 3) {
		p.Tombstone, p.Buried = true, stone
		if chance(random, 4) {
			p.Removing = true
			return p, f
		}
	}
	commit := catalog.Commit{Point: p.Point, Cluster: s.Cluster, Plan: plan, Scheduled: at, Outcome: pick(random, catalog.Complete, catalog.Complete, catalog.Complete, catalog.Partial, catalog.Abandoned)}
	p.Entry = &catalog.Entry{ClusterUID: clusterUID, Point: p.Point, Commit: commit}
	if chance(random, 40) {
		p.Err = errors.New("damaged")
		return p, f
	}
	if commit.Outcome == catalog.Abandoned {
		return p, f
	}
	p.Bundle, p.contents = true, &contents{}
	for _, claim := range []string{"data", "log", "queue"} {
		if chance(random, 3) {
			continue
		}
		key := catalog.ClaimKey{Namespace: "shop", Name: claim}
		name := snapshotName(p.Point, key.String())
		fact := snapshotFact{claim: key, name: nameID("shop", name), handle: handleID(driver, catalog.SnapshotHandle(fmt.Sprint(serial, claim)))}
		p.contents.snapshots = append(p.contents.snapshots, fact)
		f.claims = append(f.claims, claim)
		if !chance(random, 8) {
			u := use{leads: !chance(random, 10), going: chance(random, 20), contents: 1}
			if chance(random, 20) {
				u.restored = noon.Add(-time.Hour)
			}
			s.uses[fact.handle] = u
			s.held = append(s.held, held{namespace: "shop", name: name, point: p.Point, content: "c", handle: fact.handle})
			f.good[claim] = u.leads && !u.going
		}
	}
	return p, f
}

// whole says whether a point is complete and every snapshot of it is there.
func (f fact) whole(p Point) bool {
	if p.Entry == nil || p.Err != nil || p.Entry.Commit.Outcome != catalog.Complete {
		return false
	}
	for _, claim := range f.claims {
		if !f.good[claim] {
			return false
		}
	}
	return true
}

func TestDecisionsKeepThePromises(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	seen := map[string]int{}
	for n := range 10_000 {
		s, facts := randomState(random)
		plan := Decide(s)
		problem := func(format string, args ...any) {
			t.Helper()
			t.Errorf("state %d of seed %d: %s", n, seed, fmt.Sprintf(format, args...))
		}
		checkDecisions(problem, s, plan, facts)
		checkOrphans(problem, s, plan)
		if t.Failed() {
			return
		}
		for _, d := range plan.Decisions {
			seen[string(d.Verdict)]++
		}
		for _, stop := range plan.Stops {
			seen[string(stop.Guard)]++
		}
		seen["orphans"] += len(plan.Orphans)
		if n%10 != 0 {
			continue
		}
		again := Decide(s)
		if diff := gocmp.Diff(plan, again, gocmp.AllowUnexported(Plan{}, Decision{})); diff != "" {
			t.Fatalf("state %d of seed %d: the second decision is another one:\n%s", n, seed, diff)
		}
	}
	for _, what := range []string{
		string(Keep), string(Bury), string(Expiring), string(Exhume), string(Remove), string(Gone), string(Forget), string(Leave),
		string(GuardSkew), string(GuardTooMany), string(GuardUnreadable), string(GuardEmptyStore), string(GuardEmptyCluster), string(GuardOrphans), "orphans",
	} {
		if seen[what] < 20 {
			t.Errorf("%s came about only %d times: the test proves little of it", what, seen[what])
		}
	}
}

func checkDecisions(problem func(string, ...any), s State, plan Plan, facts map[catalog.PointID]fact) {
	if len(plan.Decisions) != len(s.Points) {
		problem("%d decisions on %d points", len(plan.Decisions), len(s.Points))
		return
	}
	damaged := sets.New[string]()
	for _, p := range s.Points {
		if p.Err != nil {
			damaged.Insert(p.Point.Plan())
		}
	}
	type claim struct{ plan, name string }
	had, has := sets.New[claim](), sets.New[claim]()
	for i, d := range plan.Decisions {
		p, f := s.Points[i], facts[d.Point]
		acts := d.Verdict.destroys() && d.Stopped == ""
		switch {
		case d.Point != p.Point || len(d.Reasons) == 0:
			problem("decision %d is on %s for %q, want %s and a reason", i, d.Point, d.Reasons, p.Point)
		case acts && d.Plan != "a" && d.Plan != "b":
			problem("%s of plan %s: %s", d.Point, d.Plan, d.Verdict)
		case acts && (damaged.Has(d.Plan) || p.open()):
			problem("%s, open %t, of a plan with damaged points: %s", d.Point, p.open(), d.Verdict)
		case d.Verdict.writes() && d.Stopped == "" && plan.halted():
			problem("%s: %s, though everything is stopped: %v", d.Point, d.Verdict, plan.Stops)
		case d.Verdict == Bury && (p.Buried != nil || p.Entry == nil):
			problem("%s is buried without being there, or twice", d.Point)
		case d.Verdict == Remove && (p.Buried == nil || !p.Removing && !removed(p.Presence) && s.Now.Before(p.Buried.NotBefore)):
			problem("%s is removed before its time", d.Point)
		case d.Verdict == Forget && !removed(p.Presence):
			problem("%s is forgotten and was not removed", d.Point)
		}
		if f.whole(p) {
			for _, name := range f.claims {
				had.Insert(claim{d.Plan, name})
				if !acts && d.Verdict != Expiring {
					has.Insert(claim{d.Plan, name})
				}
			}
		}
	}
	if lost := had.Difference(has); lost.Len() > 0 && !plan.halted() {
		problem("the last complete and verified points of %v go: %+v", lost, plan.Decisions)
	}
}

func checkOrphans(problem func(string, ...any), s State, plan Plan) {
	named, dark := sets.New[id](), false
	points := map[catalog.PointID]Point{}
	for _, p := range s.Points {
		points[p.Point] = p
		dark = dark || p.Err != nil
		if p.contents != nil {
			for _, f := range p.contents.snapshots {
				named.Insert(f.name)
			}
		}
	}
	if !s.Sweep && len(plan.Orphans) > 0 {
		problem("orphans were found that were not looked for: %+v", plan.Orphans)
	}
	for _, o := range plan.Orphans {
		p, known := points[o.Point]
		switch {
		case named.Has(nameID(o.Namespace, o.Name)):
			problem("%+v is an orphan and is named", o)
		case o.Alone && dark:
			problem("%+v is an orphan while points cannot be read", o)
		case known && (p.open() || p.Err != nil):
			problem("%+v is an orphan, but its point is open or damaged", o)
		case s.Elsewhere.Has(o.Point):
			problem("%+v is an orphan, but another cluster has its point", o)
		case o.Due:
			problem("%+v is due at once", o)
		}
	}
}

// A year of two clusters' life in one catalog, in which anything happens:
// agents are killed, namespaces are deleted, snapshots leak, policies change.
func TestAYearOfPruning(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { aYear(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func aYear(t *testing.T, random *rand.Rand) {
	l := newLab(t)
	var foreign []string
	for i := range 3 {
		l.make(run{cluster: otherUID, at: noon.Add(time.Duration(i-10) * time.Hour)})
	}
	foreign = append(foreign, l.keys()...)
	retain := catalog.Retention{Last: 2}
	options := func() Options {
		return Options{Sweep: chance(random, 3), Confirm: true, Policies: []Policy{{Plan: "databases", Retain: retain}}}
	}
	newest := map[string]catalog.PointID{} // the newest complete point of each claim
	kills, leaks := 0, 0
	for range 60 {
		l.pass(time.Duration(1+random.IntN(12)) * time.Hour)
		switch random.IntN(10) {
		case 0, 1, 2, 3:
			r := run{at: l.now.Add(-time.Minute), outcome: pick(random, catalog.Complete, catalog.Complete, catalog.Complete, catalog.Partial, catalog.Abandoned)}
			r.claims = slices.DeleteFunc([]string{"shop/data", "shop/log", "bills/data"}, func(string) bool { return chance(random, 4) })
			if point := l.make(r); r.outcome == catalog.Complete {
				for _, claim := range r.claims {
					newest[claim] = point
				}
			}
		case 4: // a namespace goes
			for _, s := range l.snapshots() {
				if s.Namespace == "bills" {
					l.must(l.delete(deletion(s.Namespace, s.Name)))
				}
			}
		case 5:
			l.snapshot(lost, fmt.Sprint("shop/leak-", leaks))
			leaks++
		case 6:
			retain = randomRetention(random)
			retain.Last++
		case 7:
			ctx, revive := l.killAt(1+random.IntN(12), chance(random, 2))
			_, _ = l.Run(ctx, options()) // it may end before it is killed
			if revive() {
				kills++
				l.Cache = &Cache{}
			}
		default:
			l.prune(options())
		}
		l.checkPoints()
		for claim, point := range newest {
			if _, err := l.Catalog.Find(t.Context(), clusterUID, string(point)); err != nil {
				t.Fatalf("the newest complete point of claim %s: %v", claim, err)
			}
		}
	}
	retain = catalog.Retention{Last: 2}
	all := options()
	all.Sweep = true
	for range 4 {
		l.pass(DefaultGrace)
		l.prune(all)
	}
	l.checkPoints()
	l.want("snapshots on the storage that no point names", []string{}, l.unnamed())
	for _, key := range foreign {
		if !slices.Contains(l.keys(), key) {
			t.Errorf("object %s of another cluster is gone", key)
		}
	}
	if kills == 0 && leaks == 0 {
		t.Skip("nothing went wrong")
	}
}

// unnamed are the snapshots on the storage that no point relies on.
func (l *lab) unnamed() []string {
	l.t.Helper()
	survey, err := l.Catalog.Survey(l.t.Context(), clusterUID)
	l.must(err)
	entries, err := l.Catalog.Entries(l.t.Context(), survey)
	l.must(err)
	left := l.storage.Clone()
	for _, e := range entries {
		if e.Commit.Outcome == catalog.Abandoned {
			continue
		}
		point, err := l.Catalog.Load(l.t.Context(), clusterUID, e.Point)
		l.must(err)
		for _, v := range point.Bundle.Volumes {
			left.Delete(string(v.Snapshot.Handle))
		}
	}
	return sets.List(left)
}
