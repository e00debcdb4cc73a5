package prune

import (
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
)

// Cache keeps what a Pruner has read of the catalog's immutable objects, so
// that an agent reads each of them once, and again only from time to time to
// see that it is still what it was. It takes about 100 bytes for each snapshot
// of a point that exists. Its zero value is empty and ready; it is for one
// catalog and one cluster, and safe for concurrent use.
type Cache struct {
	mu     sync.Mutex
	points map[catalog.PointID]remembered
}

// remembered is what is known of one point.
type remembered struct {
	entry    *catalog.Entry
	contents *contents // nil if the bundle was not read
	checked  time.Time // when the bundle was read and found right
	// tombstone is that of a point which is removed: it says what it says for
	// good, where another one may be taken back.
	tombstone *catalog.Tombstone
}

func (c *Cache) get(point catalog.PointID) remembered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.points[point]
}

func (c *Cache) update(point catalog.PointID, change func(*remembered)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.points == nil {
		c.points = map[catalog.PointID]remembered{}
	}
	r := c.points[point]
	change(&r)
	c.points[point] = r
}

// retain forgets the points that are not in survey.
func (c *Cache) retain(survey []catalog.Presence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make(map[catalog.PointID]remembered, len(survey))
	for _, p := range survey {
		r, ok := c.points[p.Point]
		if !ok {
			continue
		}
		// A point that was removed and made anew is not the one of before.
		if !p.Commit || p.Removing {
			r.entry, r.contents = nil, nil
		}
		if !removed(p) {
			r.tombstone = nil
		}
		kept[p.Point] = r
	}
	c.points = kept
}

// removed says whether nothing but the tombstone is left of a point.
func removed(p catalog.Presence) bool {
	return p == catalog.Presence{ClusterUID: p.ClusterUID, Point: p.Point, Tombstone: true}
}
