package prune

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

const (
	// trusted is how long a bundle that was read and found right counts as such.
	trusted = 7 * 24 * time.Hour
	// trustedNow is the same when points are removed on the strength of it.
	trustedNow = 24 * time.Hour
	// reads and loads are how many commits and how many bundles are read at
	// once; a bundle can be large.
	reads, loads = 8, 2
)

// Point is what is known of one point of the cluster.
type Point struct {
	catalog.Presence
	Entry  *catalog.Entry     // nil if it has no commit, or is being removed
	Buried *catalog.Tombstone // nil if it has none, or one that cannot be read
	// Err says why its commit, bundle or tombstone cannot be read, and
	// JournalErr why its journal cannot, for good: damaged, or of a later format.
	Err, JournalErr error

	contents *contents // of its bundle; nil if that was not needed, or cannot be read
	intent   []id      // names of VolumeSnapshots, if its journal is open
}

// gather reads what a decision rests on: the cluster first, so that whatever
// snapshot is seen there the catalog must know of by the time it is read.
func (p *Pruner) gather(ctx context.Context, options Options) (State, error) {
	uid, err := catalog.ClusterUID(ctx, p.Kubernetes.CoreV1().Namespaces())
	if err != nil {
		return State{}, err
	}
	s := State{Grace: p.grace(), Sweep: options.Sweep, Confirm: options.Confirm, Policies: options.Policies}
	s.Cluster.UID = uid
	if s.observed, err = observe(ctx, p.Snapshots, p.Catalog.Repository().ID); err != nil {
		return State{}, err
	}
	survey, err := p.Catalog.Survey(ctx, s.Cluster.UID)
	if err != nil {
		return State{}, err
	}
	s.Now = p.Now().UTC()
	r := reader{Pruner: p, cache: p.Cache, now: s.Now}
	if r.cache == nil {
		r.cache = &Cache{}
	}
	r.cache.retain(survey)
	if s.Points, err = r.read(ctx, survey, options); err != nil {
		return State{}, err
	}
	for _, point := range s.Points {
		if point.Entry != nil && point.Entry.Commit.Cluster.Name != "" {
			s.Cluster.Name = point.Entry.Commit.Cluster.Name // the newest says how it is called
		}
	}
	s.Elsewhere, err = p.elsewhere(ctx, s)
	return s, err
}

// elsewhere finds the points of other clusters if the cluster holds a snapshot
// of a point that is not its own: it may have been copied from there.
func (p *Pruner) elsewhere(ctx context.Context, s State) (sets.Set[catalog.PointID], error) {
	known := sets.New[catalog.PointID]()
	for _, point := range s.Points {
		known.Insert(point.Point)
	}
	strange := slices.ContainsFunc(s.held, func(h held) bool { return h.point != "" && !known.Has(h.point) })
	if !s.Sweep || !strange {
		return nil, nil
	}
	survey, err := p.Catalog.Survey(ctx, "")
	if err != nil {
		return nil, err
	}
	found := sets.New[catalog.PointID]()
	for _, presence := range survey {
		if presence.ClusterUID != s.Cluster.UID {
			found.Insert(presence.Point)
		}
	}
	return found, nil
}

// reader reads points, through the cache.
type reader struct {
	*Pruner
	cache *Cache
	now   time.Time
}

// read reads what is needed of the points in survey. What cannot be read for
// good is noted with its point; any other error is returned.
func (r reader) read(ctx context.Context, survey []catalog.Presence, options Options) ([]Point, error) {
	points := make([]Point, len(survey))
	for i, p := range survey {
		points[i].Presence = p
	}
	if err := r.readEntries(ctx, points); err != nil {
		return nil, err
	}
	if err := each(ctx, reads, points, r.readTombstone); err != nil {
		return nil, err
	}
	due := slices.ContainsFunc(points, func(p Point) bool { return p.due(r.now) })
	trust := trusted
	if due {
		trust = trustedNow
	}
	wanted := sets.New[string]()
	for _, policy := range options.Policies {
		wanted.Insert(policy.Plan)
	}
	return points, each(ctx, loads, points, func(ctx context.Context, p *Point) error {
		if options.Sweep && p.open() {
			if err := r.readIntent(ctx, p); err != nil {
				return err
			}
		}
		if options.Sweep || due || wanted.Has(p.Point.Plan()) {
			return r.readContents(ctx, p, trust)
		}
		return nil
	})
}

// due says whether the point is to be removed, unless it is kept after all.
func (p Point) due(now time.Time) bool {
	return p.Buried != nil && !removed(p.Presence) && (p.Removing || !now.Before(p.Buried.NotBefore))
}

// open says whether a run of the point is, or may be, under way.
func (p Point) open() bool { return p.Journal && !p.Settled }

// each calls do for every point, several at once.
func each(ctx context.Context, limit int, points []Point, do func(context.Context, *Point) error) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range points {
		group.Go(func() error { return do(gctx, &points[i]) })
	}
	return group.Wait()
}

// readEntries reads the commits that the cache does not know.
func (r reader) readEntries(ctx context.Context, points []Point) error {
	var missing []catalog.Presence
	at := map[catalog.PointID]*Point{}
	for i := range points {
		p := &points[i]
		if !p.Commit || p.Removing {
			continue
		}
		if p.Entry = r.cache.get(p.Point).entry; p.Entry == nil {
			missing = append(missing, p.Presence)
			at[p.Point] = p
		}
	}
	entries, err := r.Catalog.Entries(ctx, missing)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := at[e.Point]
		switch {
		case catalog.Unreadable(e.Err):
			p.Err = e.Err
		case e.Err != nil:
			return e.Err
		default:
			// Only the outcome counts here; reasons can be long.
			e.Commit.Reasons, e.Commit.Notes = nil, nil
			r.cache.update(e.Point, func(known *remembered) { known.entry = &e })
		}
		p.Entry = &e
	}
	return nil
}

func (r reader) readTombstone(ctx context.Context, p *Point) error {
	if !p.Tombstone {
		return nil
	}
	if p.Buried = r.cache.get(p.Point).tombstone; p.Buried != nil {
		return nil
	}
	t, err := r.Catalog.Tombstone(ctx, p.Presence)
	switch {
	case catalog.Unreadable(err):
		p.Err = errors.Join(p.Err, err)
		return nil
	case err != nil:
		return err
	}
	if p.Buried = &t; removed(p.Presence) {
		r.cache.update(p.Point, func(known *remembered) { known.tombstone = &t })
	}
	return nil
}

// readContents reads the bundle of a point, unless it was found right within
// trust. That it is still there the survey says.
func (r reader) readContents(ctx context.Context, p *Point, trust time.Duration) error {
	if p.Entry == nil || p.Entry.Err != nil || p.Entry.Commit.Outcome == catalog.Abandoned {
		return nil
	}
	known := r.cache.get(p.Point)
	if p.Bundle && known.contents != nil && r.now.Sub(known.checked) < trust {
		p.contents = known.contents
		return nil
	}
	point, err := r.Catalog.Load(ctx, p.ClusterUID, p.Point)
	switch {
	case catalog.Unreadable(err):
		p.Err = errors.Join(p.Err, err)
		return nil
	case err != nil:
		return err
	}
	p.contents = contentsOf(point.Bundle)
	r.cache.update(p.Point, func(known *remembered) { known.contents, known.checked = p.contents, r.now })
	return nil
}

func (r reader) readIntent(ctx context.Context, p *Point) error {
	intent, err := r.Catalog.Intent(ctx, p.Presence)
	switch {
	case catalog.Unreadable(err):
		p.JournalErr = err
		return nil
	case err != nil:
		return err
	}
	p.intent = namesOf(intent.Snapshots)
	return nil
}

func namesOf(snapshots []catalog.IntentSnapshot) []id {
	names := make([]id, len(snapshots))
	for i, s := range snapshots {
		names[i] = nameID(s.Claim.Namespace, s.Name)
	}
	return names
}
