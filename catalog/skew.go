package catalog

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// staleProbe is the age at which a probe that another Skew left behind is
// removed: by then no Skew still needs it.
const staleProbe = time.Hour

// Skew measures how far the store's clock is ahead of now, or behind it if the
// result is negative, by an object that it creates, lists and deletes. The
// time that this takes, and the second to which stores round, count as no
// skew. An error means that nothing may be concluded from the age of objects:
// among others, that the store does not list what was just written, or lets
// nothing be deleted. It costs one listing and two writes, and one more for
// each probe that an interrupted Skew has left.
func (c *Catalog) Skew(ctx context.Context, now func() time.Time) (time.Duration, error) {
	key := probesPrefix + string(uuid.NewUUID())
	before := now()
	if err := c.bucket.Create(ctx, key, nil); err != nil {
		return 0, fmt.Errorf("measure the store's clock: %w", err)
	}
	after := now()
	probes := map[string]time.Time{}
	for object, err := range c.bucket.List(ctx, probesPrefix) {
		if err != nil {
			return 0, fmt.Errorf("measure the store's clock: list %s: %w", probesPrefix, err)
		}
		probes[object.Key] = object.Modified
	}
	modified, ok := probes[key]
	if !ok {
		return 0, fmt.Errorf("measure the store's clock: the store does not list object %s, which it has just stored; its listings cannot be trusted", key)
	}
	for other, written := range probes {
		if other != key && modified.Sub(written) < staleProbe {
			continue // another Skew is under way
		}
		if err := c.remove(ctx, other); err != nil {
			return 0, fmt.Errorf("measure the store's clock: %w", err)
		}
	}
	return outside(modified, before, after), nil
}

// outside returns how far t lies after the end or before the begin of an
// interval. t may have been rounded down to its second.
func outside(t, begin, end time.Time) time.Duration {
	begin = begin.Truncate(time.Second)
	switch {
	case t.After(end):
		return t.Sub(end)
	case t.Before(begin):
		return t.Sub(begin)
	}
	return 0
}
