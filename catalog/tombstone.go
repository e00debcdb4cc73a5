package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Tombstone is the first phase of a deletion: it says that a point is to be
// removed, and from when on it may be. Until then the point can be restored
// as ever. After the removal the tombstone stays, for as long as the next
// point of the plan does, to say that the gap in the chain is meant.
type Tombstone struct {
	Format  int       `json:"format"`
	Point   PointID   `json:"point"`
	Cluster Cluster   `json:"cluster"`
	Plan    string    `json:"plan"`
	Buried  time.Time `json:"buried"`
	// NotBefore is the end of the grace period: the first moment at which the
	// point may be removed.
	NotBefore time.Time `json:"notBefore"`
	Reasons   []string  `json:"reasons"` // why it is to go
	// Commit is the digest of the point's commit, and Previous what that
	// commit names: with both, the chain can be followed past the gap.
	Commit   string     `json:"commit"`
	Previous *CommitRef `json:"previous,omitempty"`
	// Snapshots are what the point relies on, so that a removal that was
	// interrupted after the point's own objects went can be finished.
	Snapshots []IntentSnapshot `json:"snapshots,omitempty"`
	Writer    string           `json:"writer"`
}

// Bury writes the tombstone of a closed point. Format and Commit and Previous
// are filled in. It fails with ErrExist if the point has one already. It costs
// one read and one write.
func (c *Catalog) Bury(ctx context.Context, t Tombstone) error {
	if err := validateClusterUID(t.Cluster.UID); err != nil {
		return err
	}
	data, err := c.bucket.Get(ctx, commitKey(t.Cluster.UID, t.Point), commitLimit)
	if err != nil {
		return fmt.Errorf("bury point %s: read its commit: %w", t.Point, err)
	}
	commit, err := DecodeCommit(data)
	if err != nil {
		return fmt.Errorf("bury point %s: its commit: %w", t.Point, err)
	}
	t.Format, t.Commit, t.Previous = Format, digest(data), commit.Previous
	object, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := c.bucket.Create(ctx, tombstoneKey(t.Cluster.UID, t.Point), object); err != nil {
		return fmt.Errorf("write tombstone of point %s: %w", t.Point, err)
	}
	return nil
}

// Tombstone reads the tombstone of a point. It costs one read.
func (c *Catalog) Tombstone(ctx context.Context, p Presence) (Tombstone, error) {
	data, err := c.bucket.Get(ctx, tombstoneKey(p.ClusterUID, p.Point), commitLimit)
	if err != nil {
		return Tombstone{}, fmt.Errorf("read tombstone of point %s: %w", p.Point, err)
	}
	var t Tombstone
	if err := decodeJSON(data, &t); err != nil {
		return Tombstone{}, fmt.Errorf("tombstone of point %s: %w", p.Point, err)
	}
	if t.Point != p.Point || t.Cluster.UID != p.ClusterUID {
		return Tombstone{}, fmt.Errorf("tombstone of point %s: %w: it is that of point %s", p.Point, ErrCorrupt, t.Point)
	}
	return t, nil
}

// Exhume takes a tombstone back: the point stays. The caller must have made
// sure that its removal has not begun. It costs one write.
func (c *Catalog) Exhume(ctx context.Context, p Presence) error {
	return c.remove(ctx, tombstoneKey(p.ClusterUID, p.Point))
}

// Remove deletes the objects of a buried point: its commit first, so that no
// reader finds a point without its bundle, and its journal last. The tombstone
// stays. It refuses a point that has none. It may be run again.
func (c *Catalog) Remove(ctx context.Context, p Presence) error {
	if _, err := c.Tombstone(ctx, p); err != nil {
		return fmt.Errorf("remove point %s: it is not known to be buried: %w", p.Point, err)
	}
	for _, key := range []string{
		commitKey(p.ClusterUID, p.Point), bundleKey(p.ClusterUID, p.Point),
		journalKey(p.ClusterUID, p.Point), settledKey(p.ClusterUID, p.Point),
	} {
		if err := c.remove(ctx, key); err != nil {
			return fmt.Errorf("remove point %s: %w", p.Point, err)
		}
	}
	return nil
}

// Forget deletes the tombstone of a point that was removed.
func (c *Catalog) Forget(ctx context.Context, p Presence) error {
	return c.remove(ctx, tombstoneKey(p.ClusterUID, p.Point))
}

func (c *Catalog) remove(ctx context.Context, key string) error {
	if err := c.bucket.Delete(ctx, key); err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	return nil
}
