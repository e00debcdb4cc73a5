package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrTooEarly: the grace period of a tombstone is not over.
var ErrTooEarly = errors.New("the grace period is not over")

// verdict is the object that settles what becomes of a buried point. The one
// who creates it decides: either the removal has begun, or the tombstone is
// being taken back, never both.
type verdict struct {
	Format  int     `json:"format"`
	Point   PointID `json:"point"`
	Verdict string  `json:"verdict"` // verdictRemove or verdictKeep
}

const (
	verdictRemove = "remove"
	verdictKeep   = "keep"
)

// BeginRemoval makes it certain that a buried point goes, and returns its
// tombstone. It must come before the first snapshot of the point is deleted:
// from here on the point cannot be found, and Exhume refuses it. It fails with
// ErrTooEarly before the tombstone's NotBefore, with ErrNotExist if the point
// has no tombstone, and with ErrCorrupt if the commit is not the one that was
// buried. If an Exhume has begun it finishes that, and fails with ErrExist. It may
// be run again. It costs four reads and one write.
func (c *Catalog) BeginRemoval(ctx context.Context, p Presence, now time.Time) (Tombstone, error) {
	t, err := c.buried(ctx, p)
	if err != nil {
		return Tombstone{}, fmt.Errorf("remove point %s: %w", p.Point, err)
	}
	if now.Before(t.NotBefore) {
		return Tombstone{}, fmt.Errorf("remove point %s: %w: it ends at %s", p.Point, ErrTooEarly, t.NotBefore.UTC().Format(time.RFC3339))
	}
	if err := c.judge(ctx, p, verdictRemove); errors.Is(err, ErrExist) {
		return Tombstone{}, errors.Join(fmt.Errorf("remove point %s: its tombstone is being taken back; the point stays: %w", p.Point, err), c.Exhume(ctx, p))
	} else if err != nil {
		return Tombstone{}, fmt.Errorf("remove point %s: %w", p.Point, err)
	}
	// The tombstone may have been taken back between the two steps above.
	if t, err = c.buried(ctx, p); err != nil {
		if errors.Is(err, ErrNotExist) {
			err = errors.Join(err, c.remove(ctx, verdictKey(p.ClusterUID, p.Point)))
		}
		return Tombstone{}, fmt.Errorf("remove point %s: %w", p.Point, err)
	}
	return t, nil
}

// buried reads the tombstone of a point and makes sure that the commit, if it
// is still there, is the one that was buried.
func (c *Catalog) buried(ctx context.Context, p Presence) (Tombstone, error) {
	t, err := c.Tombstone(ctx, p)
	if err != nil {
		return Tombstone{}, fmt.Errorf("it is not known to be buried: %w", err)
	}
	data, err := c.bucket.Get(ctx, commitKey(p.ClusterUID, p.Point), commitLimit)
	switch {
	case errors.Is(err, ErrNotExist):
	case err != nil:
		return Tombstone{}, fmt.Errorf("read its commit: %w", err)
	case digest(data) != t.Commit:
		return Tombstone{}, fmt.Errorf("its commit: %w: it is not the one that was buried", ErrCorrupt)
	}
	return t, nil
}

// judge writes the verdict on a buried point, or finds that it was written. It
// fails with ErrExist if the verdict is another.
func (c *Catalog) judge(ctx context.Context, p Presence, word string) error {
	key := verdictKey(p.ClusterUID, p.Point)
	data, err := json.Marshal(verdict{Format: Format, Point: p.Point, Verdict: word})
	if err != nil {
		return err
	}
	created := c.bucket.Create(ctx, key, data)
	if created == nil || !errors.Is(created, ErrExist) {
		return created
	}
	if data, err = c.bucket.Get(ctx, key, commitLimit); err != nil {
		return err
	}
	var v verdict
	if err := decodeJSON(data, &v); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if v.Point != p.Point || v.Verdict != word {
		return fmt.Errorf("%w: the verdict is to %s point %s", created, v.Verdict, v.Point)
	}
	return nil
}

// Remove deletes the objects of a buried point, the snapshots of which are
// gone. It begins the removal if that was not done, with BeginRemoval's errors.
// The commit goes first, so that no reader finds a point without its bundle, and
// the journal last, settled, so that no run takes the point for one that is
// under way. The tombstone stays. It may be run again, at any step.
func (c *Catalog) Remove(ctx context.Context, p Presence, now time.Time) error {
	if _, err := c.BeginRemoval(ctx, p, now); err != nil {
		return err
	}
	if err := c.Settle(ctx, p.ClusterUID, p.Point); err != nil {
		return fmt.Errorf("remove point %s: %w", p.Point, err)
	}
	for _, key := range []string{
		commitKey(p.ClusterUID, p.Point), bundleKey(p.ClusterUID, p.Point),
		journalKey(p.ClusterUID, p.Point), settledKey(p.ClusterUID, p.Point), verdictKey(p.ClusterUID, p.Point),
	} {
		if err := c.remove(ctx, key); err != nil {
			return fmt.Errorf("remove point %s: %w", p.Point, err)
		}
	}
	return nil
}

// Exhume takes a tombstone back: the point stays. It fails with ErrExist if the
// removal has begun, and with ErrNoPoint if it is over. It may be run again, and
// does nothing if the point is not buried. It costs three reads and three writes.
func (c *Catalog) Exhume(ctx context.Context, p Presence) error {
	if _, _, err := c.commit(ctx, p.ClusterUID, p.Point); err != nil {
		return fmt.Errorf("take the tombstone back: %w", err)
	}
	if _, err := c.Tombstone(ctx, p); errors.Is(err, ErrNotExist) {
		return nil // a verdict that is left has no meaning, and Bury clears it
	} else if err != nil {
		return err
	}
	if err := c.judge(ctx, p, verdictKeep); errors.Is(err, ErrExist) {
		return fmt.Errorf("take the tombstone of point %s back: its removal has begun: %w", p.Point, err)
	} else if err != nil {
		return fmt.Errorf("take the tombstone of point %s back: %w", p.Point, err)
	}
	// A whole removal may have gone by between the steps above.
	if _, _, err := c.commit(ctx, p.ClusterUID, p.Point); err != nil {
		if errors.Is(err, ErrNoPoint) {
			err = errors.Join(err, c.remove(ctx, verdictKey(p.ClusterUID, p.Point)))
		}
		return fmt.Errorf("take the tombstone back: %w", err)
	}
	for _, key := range []string{tombstoneKey(p.ClusterUID, p.Point), verdictKey(p.ClusterUID, p.Point)} {
		if err := c.remove(ctx, key); err != nil {
			return fmt.Errorf("take the tombstone of point %s back: %w", p.Point, err)
		}
	}
	return nil
}

// Forget deletes the tombstone of a point that was removed and that Forgettable
// names. It refuses one whose commit is still there. It costs one read and one
// write.
func (c *Catalog) Forget(ctx context.Context, p Presence) error {
	_, err := c.bucket.Get(ctx, commitKey(p.ClusterUID, p.Point), commitLimit)
	if err == nil || errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("forget the tombstone of point %s: the point was not removed yet", p.Point)
	}
	if !errors.Is(err, ErrNotExist) {
		return fmt.Errorf("forget the tombstone of point %s: %w", p.Point, err)
	}
	return c.remove(ctx, tombstoneKey(p.ClusterUID, p.Point))
}

// remove deletes an object that may be gone.
func (c *Catalog) remove(ctx context.Context, key string) error {
	if err := c.bucket.Delete(ctx, key); err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	return nil
}
