package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Repository is the content of hawser.json, written once when the catalog is
// created.
type Repository struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

// Catalog reads and writes restore points. It is safe for concurrent use.
type Catalog struct {
	bucket Bucket
	limits Limits
	repo   Repository
}

var (
	// ErrNoCatalog: the store answers, but holds no catalog.
	ErrNoCatalog = errors.New("no Hawser catalog here")
	// ErrNoPoint: no committed point matches.
	ErrNoPoint = errors.New("no such restore point")
	// ErrAmbiguous: more than one point or cluster matches.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrFenced: the point was committed or abandoned by another run.
	ErrFenced = errors.New("another run has closed this point")
)

// conditionalChecker is what a bucket offers whose storage might ignore the
// condition of Create.
type conditionalChecker interface {
	CheckConditional(ctx context.Context) error
}

// Open opens the catalog in bucket for reading. It fails with ErrNoCatalog if
// there is none and with ErrNewerFormat if it cannot be read by this program.
// It costs one read.
func Open(ctx context.Context, bucket Bucket, limits Limits) (*Catalog, error) {
	data, err := bucket.Get(ctx, repositoryKey, commitLimit)
	if errors.Is(err, ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is absent; check store.url, or make a first backup", ErrNoCatalog, repositoryKey)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	c := &Catalog{bucket: bucket, limits: limits.withDefaults()}
	if err := decodeJSON(data, &c.repo); err != nil {
		return nil, fmt.Errorf("open catalog: %s: %w", repositoryKey, err)
	}
	return c, nil
}

// OpenOrCreate opens the catalog in bucket and creates it if there is none.
// Before it creates one it makes sure that the store honours conditional
// creation, without which nothing here is safe.
func OpenOrCreate(ctx context.Context, bucket Bucket, limits Limits, now time.Time) (*Catalog, error) {
	c, err := Open(ctx, bucket, limits)
	if !errors.Is(err, ErrNoCatalog) {
		return c, err
	}
	if checker, ok := bucket.(conditionalChecker); ok {
		if err := checker.CheckConditional(ctx); err != nil {
			return nil, fmt.Errorf("create catalog: %w", err)
		}
	}
	data, err := json.Marshal(Repository{Format: Format, ID: string(uuid.NewUUID()), Created: now.UTC().Truncate(time.Second)})
	if err != nil {
		return nil, err
	}
	if err := bucket.Create(ctx, repositoryKey, data); err != nil && !errors.Is(err, ErrExist) {
		return nil, fmt.Errorf("create catalog: %w", err)
	}
	return Open(ctx, bucket, limits)
}

// Repository returns what hawser.json says.
func (c *Catalog) Repository() Repository { return c.repo }

// Survey lists which points the catalog has objects of, in order of their ids:
// those of one cluster, or of all if clusterUID is "". It costs one listing.
func (c *Catalog) Survey(ctx context.Context, clusterUID string) ([]Presence, error) {
	prefix := clustersPrefix
	if clusterUID != "" {
		if err := validateClusterUID(clusterUID); err != nil {
			return nil, err
		}
		prefix = clusterPrefix(clusterUID)
	}
	seen := map[string]*Presence{}
	for object, err := range c.bucket.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list catalog: %w", err)
		}
		note(seen, object.Key)
	}
	survey := make([]Presence, 0, len(seen))
	for _, p := range seen {
		if p.Removing = p.Removing && p.Tombstone; *p != (Presence{ClusterUID: p.ClusterUID, Point: p.Point}) {
			survey = append(survey, *p)
		}
	}
	slices.SortFunc(survey, func(a, b Presence) int {
		if n := strings.Compare(string(a.Point), string(b.Point)); n != 0 {
			return n
		}
		return strings.Compare(a.ClusterUID, b.ClusterUID)
	})
	return survey, nil
}

// Entry is one closed point as a listing shows it.
type Entry struct {
	ClusterUID string
	Point      PointID
	SHA256     string // of the commit's object, hex; "" if it could not be read at all
	Commit     Commit // the zero value if Err is not nil
	Err        error  // why the commit cannot be read
}

// Entries reads the commits of the points in survey that have one, in order,
// abandoned runs included. A commit that cannot be read is an entry with an
// error, so that one bad object does not hide the others. Points whose removal
// has begun, or was done since the survey, are left out.
func (c *Catalog) Entries(ctx context.Context, survey []Presence) ([]Entry, error) {
	entries := make([]Entry, 0, len(survey))
	for _, p := range survey {
		if p.Commit && !p.Removing {
			entries = append(entries, Entry{ClusterUID: p.ClusterUID, Point: p.Point})
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range entries {
		group.Go(func() error {
			e := &entries[i]
			e.Commit, e.SHA256, e.Err = c.commit(gctx, e.ClusterUID, e.Point)
			return gctx.Err()
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(entries, func(e Entry) bool { return errors.Is(e.Err, ErrPruned) }), err
}

// ReadCommit reads and checks the commit of one point, which may be an abandoned
// run's. It fails with ErrNoPoint if there is none, and with ErrPruned too if it
// was removed. It costs one read.
func (c *Catalog) ReadCommit(ctx context.Context, p Presence) (Commit, error) {
	commit, _, err := c.commit(ctx, p.ClusterUID, p.Point)
	return commit, err
}

// commit reads and checks one commit, and digests its object.
func (c *Catalog) commit(ctx context.Context, clusterUID string, id PointID) (Commit, string, error) {
	data, err := c.bucket.Get(ctx, commitKey(clusterUID, id), commitLimit)
	if errors.Is(err, ErrNotExist) {
		return Commit{}, "", c.gone(ctx, clusterUID, id)
	}
	if err != nil {
		return Commit{}, "", fmt.Errorf("read commit of point %s: %w", id, err)
	}
	sum := digest(data)
	commit, err := DecodeCommit(data)
	if err != nil {
		return Commit{}, sum, fmt.Errorf("commit of point %s: %w", id, err)
	}
	if commit.Point != id || commit.Cluster.UID != clusterUID {
		return Commit{}, sum, fmt.Errorf("commit of point %s: %w: it is the commit of point %s of cluster %s", id, ErrCorrupt, commit.Point, commit.Cluster.UID)
	}
	return commit, sum, nil
}

// LastRuns reads the newest closed run of a plan among the points in survey,
// which are of one cluster, and its newest complete point; nil for none. It reads
// at most so many commits, 0 for any number, to find a complete one.
func (c *Catalog) LastRuns(ctx context.Context, survey []Presence, plan string, most int) (last, complete *Commit, err error) {
	read := 0
	for _, p := range slices.Backward(survey) {
		if !p.Commit || p.Point.Plan() != plan {
			continue
		}
		commit, err := c.ReadCommit(ctx, p)
		if errors.Is(err, ErrNoPoint) {
			continue // it was pruned since
		}
		if err != nil {
			return nil, nil, err
		}
		if last == nil {
			last = &commit
		}
		if commit.Outcome == Complete {
			return last, &commit, nil
		}
		if read++; read == most {
			break
		}
	}
	return last, nil, nil
}

// Load reads a committed point whole and checks it against its commit. It does
// not look whether the point's removal has begun; Find does.
func (c *Catalog) Load(ctx context.Context, clusterUID string, id PointID) (*RestorePoint, error) {
	commit, data, err := c.read(ctx, clusterUID, id)
	if err != nil {
		return nil, err
	}
	bundle, err := DecodeBundle(data, *commit.Bundle, c.limits)
	if err == nil && bundle.Point != id {
		err = fmt.Errorf("bundle: %w: it is the bundle of point %s", ErrCorrupt, bundle.Point)
	}
	if err != nil {
		return nil, fmt.Errorf("point %s: %w", id, err)
	}
	return &RestorePoint{Commit: commit, Bundle: bundle}, nil
}

// read reads a committed point's two objects. The commit names its bundle.
func (c *Catalog) read(ctx context.Context, clusterUID string, id PointID) (Commit, []byte, error) {
	commit, _, err := c.commit(ctx, clusterUID, id)
	if err != nil {
		return Commit{}, nil, err
	}
	if commit.Outcome == Abandoned || commit.Bundle == nil {
		return Commit{}, nil, fmt.Errorf("point %s: %w: its run was abandoned: %s", id, ErrNoPoint, strings.Join(commit.Reasons, "; "))
	}
	data, err := c.bundle(ctx, clusterUID, id, *commit.Bundle)
	if errors.Is(err, ErrNotExist) {
		// A removal takes the commit first.
		if _, _, err := c.commit(ctx, clusterUID, id); err != nil {
			return Commit{}, nil, err
		}
		err = fmt.Errorf("bundle: %w: the commit is there, the bundle is gone", ErrCorrupt)
	}
	if err != nil {
		return Commit{}, nil, fmt.Errorf("point %s: %w", id, err)
	}
	return commit, data, nil
}

// bundle reads the bytes of a bundle, unless they are too many.
func (c *Catalog) bundle(ctx context.Context, clusterUID string, id PointID, ref BundleRef) ([]byte, error) {
	if err := c.limits.check(ref); err != nil {
		return nil, err
	}
	data, err := c.bucket.Get(ctx, bundleKey(clusterUID, id), ref.Size)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("bundle: %w: larger than the %d bytes that the commit says", ErrCorrupt, ref.Size)
	case err != nil:
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return data, nil
}

// Latest is the reference that Find resolves to the newest point.
const Latest = "latest"

// Find resolves what a person calls a point — its id, a unique prefix of it,
// or "latest" — among the points of one cluster, or of all if clusterUID is
// "". It fails with ErrNoPoint, and ErrPruned too if what was meant was removed or
// is being removed, or with ErrAmbiguous. Abandoned runs are not points. A point
// that is only buried is found as any other.
func (c *Catalog) Find(ctx context.Context, clusterUID, reference string) (Commit, error) {
	if reference == "" {
		return Commit{}, fmt.Errorf("%w: name a point by id, unique prefix or %q", ErrNoPoint, Latest)
	}
	survey, err := c.Survey(ctx, clusterUID)
	if err != nil {
		return Commit{}, err
	}
	if reference == Latest {
		return c.latest(ctx, survey)
	}
	return c.match(ctx, slices.DeleteFunc(survey, func(p Presence) bool { return !strings.HasPrefix(string(p.Point), reference) }), reference)
}

// match finds the one point whose id begins with reference, as the ids of all
// matches do.
func (c *Catalog) match(ctx context.Context, matches []Presence, reference string) (Commit, error) {
	var points, pruned []Presence
	for _, p := range matches {
		switch {
		case p.Commit && !p.Removing:
			points = append(points, p)
		case p.Tombstone:
			pruned = append(pruned, p)
		}
	}
	is := func(p Presence) bool { return string(p.Point) == reference }
	if exact := slices.IndexFunc(points, is); exact >= 0 {
		return c.open(ctx, points[exact])
	}
	if exact := slices.IndexFunc(pruned, is); exact >= 0 {
		return Commit{}, c.gone(ctx, pruned[exact].ClusterUID, pruned[exact].Point)
	}
	entries, err := c.Entries(ctx, points)
	if err != nil {
		return Commit{}, err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Commit.Outcome == Abandoned })
	switch len(entries) {
	case 0:
		if len(pruned) == 1 {
			return Commit{}, c.gone(ctx, pruned[0].ClusterUID, pruned[0].Point)
		}
		return Commit{}, fmt.Errorf("%q: %w; `hawser points` lists what there is", reference, ErrNoPoint)
	case 1:
		return entries[0].Commit, entries[0].Err
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = string(e.Point)
	}
	return Commit{}, fmt.Errorf("%q is %w: it is the beginning of %s", reference, ErrAmbiguous, enumerate(ids, 5))
}

func (c *Catalog) open(ctx context.Context, p Presence) (Commit, error) {
	commit, _, err := c.commit(ctx, p.ClusterUID, p.Point)
	if err == nil && commit.Outcome == Abandoned {
		return Commit{}, fmt.Errorf("point %s: %w: its run was abandoned: %s", p.Point, ErrNoPoint, strings.Join(commit.Reasons, "; "))
	}
	return commit, err
}

// latest finds the newest point. Points of several clusters have no common
// order that a restore could rest on, so more than one cluster is ambiguous.
func (c *Catalog) latest(ctx context.Context, survey []Presence) (Commit, error) {
	newest := map[string]Commit{}
	for _, p := range slices.Backward(survey) {
		if _, found := newest[p.ClusterUID]; found || !p.Commit || p.Removing {
			continue
		}
		commit, err := c.open(ctx, p)
		if errors.Is(err, ErrNoPoint) {
			continue
		}
		if err != nil {
			return Commit{}, err
		}
		newest[p.ClusterUID] = commit
	}
	switch len(newest) {
	case 0:
		return Commit{}, fmt.Errorf("%q: %w: the catalog has none", Latest, ErrNoPoint)
	case 1:
		for _, commit := range newest {
			return commit, nil
		}
	}
	var clusters []string
	for _, uid := range slices.Sorted(maps.Keys(newest)) {
		clusters = append(clusters, strings.TrimSpace(newest[uid].Cluster.Name+" "+uid))
	}
	return Commit{}, fmt.Errorf("%q is %w: the catalog has points of %s; name the cluster with --from-cluster", Latest, ErrAmbiguous, enumerate(clusters, 5))
}

// enumerate joins at most n of the names.
func enumerate(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
