package catalog

import "fmt"

// Gap is a place where the chain of a plan's commits is broken, and no
// tombstone says that this is meant.
type Gap struct {
	ClusterUID string
	Point      PointID // whose commit or tombstone names what is not as it should be
	Missing    PointID // what it names; "" if Point's own commit cannot be read
	Problem    string
}

func (g Gap) String() string {
	if g.Missing == "" {
		return fmt.Sprintf("point %s: %s", g.Point, g.Problem)
	}
	return fmt.Sprintf("point %s comes after point %s: %s", g.Point, g.Missing, g.Problem)
}

// CheckChain follows the commits of entries from each to the one that it names,
// past those that tombstones explain, and reports every silent gap, in order
// of entries: a commit that was removed without a tombstone, one that was changed
// after another had named it, and one that cannot be read, behind which nothing
// can be seen. entries and tombstones are all that the catalog has of some plans;
// of points that are being removed the tombstone is enough. What no chain shows is
// the removal of a plan's newest points, and of runs that overlapped others.
func CheckChain(entries []Entry, tombstones []Tombstone) []Gap {
	c := newChain(entries, tombstones)
	passed := map[link]bool{}
	var gaps []Gap
	for _, e := range entries {
		at := link{e.ClusterUID, e.Point}
		if e.Err != nil {
			gaps = append(gaps, Gap{ClusterUID: at.cluster, Point: at.point, Problem: e.Err.Error()})
			continue
		}
		if t, buried := c.tombstones[at]; buried && t.Commit != e.SHA256 {
			gaps = append(gaps, Gap{ClusterUID: at.cluster, Point: at.point, Problem: "its commit was changed after it was buried"})
		}
		gaps = append(gaps, c.follow(at, e.Commit.Previous, passed)...)
	}
	return gaps
}

// Forgettable returns the tombstones that explain nothing any more: their
// points are removed, and no commit that is left leads to them, directly or past
// other tombstones. It fails if an entry could not be read, since what that one
// names is not known. survey, entries and tombstones are of the same clusters
// and moment; a tombstone whose removal is not over is never named.
func Forgettable(survey []Presence, entries []Entry, tombstones []Tombstone) ([]Presence, error) {
	c := newChain(entries, tombstones)
	needed := map[link]bool{}
	for _, e := range entries {
		if e.Err != nil {
			return nil, fmt.Errorf("no tombstone can be forgotten while commits cannot be read: %w", e.Err)
		}
		c.follow(link{e.ClusterUID, e.Point}, e.Commit.Previous, needed)
	}
	var forgettable []Presence
	for _, p := range survey {
		at := link{p.ClusterUID, p.Point}
		removed := p == Presence{ClusterUID: p.ClusterUID, Point: p.Point, Tombstone: true}
		if _, known := c.tombstones[at]; removed && known && !needed[at] {
			forgettable = append(forgettable, p)
		}
	}
	return forgettable, nil
}

// link names one place of a chain.
type link struct {
	cluster string
	point   PointID
}

type chain struct {
	entries    map[link]Entry
	tombstones map[link]Tombstone
}

func newChain(entries []Entry, tombstones []Tombstone) chain {
	c := chain{entries: make(map[link]Entry, len(entries)), tombstones: make(map[link]Tombstone, len(tombstones))}
	for _, e := range entries {
		c.entries[link{e.ClusterUID, e.Point}] = e
	}
	for _, t := range tombstones {
		c.tombstones[link{t.Cluster.UID, t.Point}] = t
	}
	return c
}

// follow goes from the place at, which names ref, past tombstones to the next
// commit that is there, and returns the gap that it falls into, if any. It notes
// the tombstones on its way in passed, and goes past none of them twice.
func (c chain) follow(at link, ref *CommitRef, passed map[link]bool) []Gap {
	for ref != nil {
		to := link{at.cluster, ref.Point}
		gap := Gap{ClusterUID: at.cluster, Point: at.point, Missing: to.point}
		if e, ok := c.entries[to]; ok {
			if e.SHA256 != "" && e.SHA256 != ref.SHA256 {
				gap.Problem = "its commit was changed since"
				return []Gap{gap}
			}
			return nil
		}
		t, ok := c.tombstones[to]
		switch {
		case !ok:
			gap.Problem = "its commit is gone, and no tombstone says why"
			return []Gap{gap}
		case t.Commit != ref.SHA256:
			gap.Problem = "its commit is gone, and the tombstone is of another one"
			return []Gap{gap}
		case passed[to]:
			return nil
		}
		passed[to] = true
		at, ref = to, t.Previous
	}
	return nil
}
