package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Tombstone is the first phase of a deletion: it says that a point is to be
// removed, and from when on it may be. Until its removal begins the point can
// be restored as ever. After the removal the tombstone stays, for as long as
// Forgettable does not name it, to say that the gap in the chain is meant.
type Tombstone struct {
	Format  int       `json:"format"`
	Point   PointID   `json:"point"`
	Cluster Cluster   `json:"cluster"`
	Plan    string    `json:"plan"`
	Buried  time.Time `json:"buried"`
	// NotBefore is the end of the grace period: the first moment at which the
	// removal may begin.
	NotBefore time.Time `json:"notBefore"`
	Reasons   []string  `json:"reasons"` // why it is to go
	// Commit is the digest of the point's commit. Previous is the commit that
	// this one names, or if that was buried too, the next older one of the plan
	// that was not: with both, the chain can be followed past any number of gaps.
	Commit   string     `json:"commit"`
	Previous *CommitRef `json:"previous,omitempty"`
	// Snapshots are what the point relies on, so that a removal that was
	// interrupted after the point's own objects went can be finished.
	Snapshots []IntentSnapshot `json:"snapshots,omitempty"`
	Writer    string           `json:"writer"`
}

// ErrPruned comes with ErrNoPoint: the point was removed, or is being removed,
// because its tombstone said so.
var ErrPruned = errors.New("pruned")

// Bury writes the tombstone of a closed point: a committed one, or an abandoned
// run. Point, Cluster.UID, Buried, NotBefore, Reasons, Snapshots and Writer are
// the caller's; the rest is filled in. It fails with ErrExist if the point has a
// tombstone already, and with ErrNoPoint if it has no commit. Of several points,
// bury the oldest first: that keeps the chain short. It costs three reads and
// two writes, and one read for each buried point in a row before this one.
func (c *Catalog) Bury(ctx context.Context, t Tombstone) error {
	p := Presence{ClusterUID: t.Cluster.UID, Point: t.Point}
	if err := validateClusterUID(p.ClusterUID); err != nil {
		return err
	}
	if t.NotBefore.IsZero() || t.NotBefore.Before(t.Buried) || len(t.Reasons) == 0 {
		return fmt.Errorf("bury point %s: a tombstone needs a grace period and a reason; it has %s to %s and %q", t.Point, t.Buried, t.NotBefore, t.Reasons)
	}
	commit, sum, err := c.commit(ctx, p.ClusterUID, p.Point)
	if err != nil {
		return fmt.Errorf("bury: %w", err)
	}
	t.Format, t.Cluster, t.Plan, t.Commit = Format, commit.Cluster, commit.Plan, sum
	t.Reasons = firstReasons(t.Reasons)
	if t.Previous, err = c.unburied(ctx, p.ClusterUID, commit.Previous); err != nil {
		return fmt.Errorf("bury point %s: %w", t.Point, err)
	}
	if err := c.clearVerdict(ctx, p); err != nil {
		return fmt.Errorf("bury point %s: %w", t.Point, err)
	}
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := c.bucket.Create(ctx, tombstoneKey(p.ClusterUID, p.Point), data); err != nil {
		return fmt.Errorf("write tombstone of point %s: %w", t.Point, err)
	}
	return nil
}

// unburied follows ref past buried points to the first that is not buried.
func (c *Catalog) unburied(ctx context.Context, clusterUID string, ref *CommitRef) (*CommitRef, error) {
	passed := map[PointID]bool{}
	for ref != nil && !passed[ref.Point] {
		passed[ref.Point] = true
		t, err := c.Tombstone(ctx, Presence{ClusterUID: clusterUID, Point: ref.Point})
		switch {
		case errors.Is(err, ErrNotExist):
			return ref, nil
		case err != nil:
			return nil, err
		case t.Commit != ref.SHA256:
			return ref, nil // a broken link, which CheckChain must still find
		}
		ref = t.Previous
	}
	return ref, nil
}

// clearVerdict removes the verdict that an Exhume has left which was interrupted
// after it had removed the tombstone. It fails with ErrExist if the point is buried.
func (c *Catalog) clearVerdict(ctx context.Context, p Presence) error {
	_, err := c.Tombstone(ctx, p)
	if err == nil {
		return fmt.Errorf("it has a tombstone: %w", ErrExist)
	}
	if !errors.Is(err, ErrNotExist) {
		return err
	}
	return c.remove(ctx, verdictKey(p.ClusterUID, p.Point))
}

// Tombstone reads the tombstone of a point. It fails with ErrNotExist if there
// is none. It costs one read.
func (c *Catalog) Tombstone(ctx context.Context, p Presence) (Tombstone, error) {
	data, err := c.bucket.Get(ctx, tombstoneKey(p.ClusterUID, p.Point), c.limits.Compressed)
	if err != nil {
		return Tombstone{}, fmt.Errorf("read tombstone of point %s: %w", p.Point, err)
	}
	var t Tombstone
	if err := decodeJSON(data, &t); err != nil {
		return Tombstone{}, fmt.Errorf("tombstone of point %s: %w", p.Point, err)
	}
	if t.Point != p.Point || t.Cluster.UID != p.ClusterUID {
		return Tombstone{}, fmt.Errorf("tombstone of point %s: %w: it is that of point %s of cluster %s", p.Point, ErrCorrupt, t.Point, t.Cluster.UID)
	}
	return t, nil
}

// Tombstones reads all tombstones of survey, in its order. It fails if one
// cannot be read: what it says is then unknown, and so is what may be removed
// or forgotten.
func (c *Catalog) Tombstones(ctx context.Context, survey []Presence) ([]Tombstone, error) {
	var buried []Presence
	for _, p := range survey {
		if p.Tombstone {
			buried = append(buried, p)
		}
	}
	tombstones := make([]Tombstone, len(buried))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, p := range buried {
		group.Go(func() (err error) {
			tombstones[i], err = c.Tombstone(gctx, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return tombstones, nil
}

// gone is the error for a point that has no commit, or none that counts: it
// tells what was pruned from what never was.
func (c *Catalog) gone(ctx context.Context, clusterUID string, id PointID) error {
	t, err := c.Tombstone(ctx, Presence{ClusterUID: clusterUID, Point: id})
	switch {
	case errors.Is(err, ErrNotExist):
		return fmt.Errorf("point %s: %w", id, ErrNoPoint)
	case err != nil:
		return fmt.Errorf("point %s: its commit is not there, and whether it was pruned is not known: %w", id, err)
	}
	return fmt.Errorf("point %s: %w: it was %w, as was decided on %s: %s",
		id, ErrNoPoint, ErrPruned, t.Buried.UTC().Format(time.RFC3339), strings.Join(t.Reasons, "; "))
}
