package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Owners are the newest entries of disks. Ask Of whose a disk is: an entry that
// cannot be read does not say of which disk it is, so its key has the digest of
// the handle in the handle's place.
type Owners map[Disk]Ownership

// Of returns the newest entry of a disk, if it has one.
func (o Owners) Of(d Disk) (Ownership, bool) {
	if owner, ok := o[d]; ok {
		return owner, true
	}
	owner, ok := o[d.digested()]
	return owner, ok && owner.Err != nil
}

// Foreign says whether another cluster owns the disk, or may own it, and which.
// Nothing may write to such a disk, change what points to it, or delete it.
func (o Owners) Foreign(d Disk, clusterUID string) (Ownership, bool) {
	owner, ok := o.Of(d)
	return owner, ok && (owner.Err != nil || owner.Cluster.UID != clusterUID)
}

// Held says whether the disk is not to be touched in a cluster: it is Foreign, or
// a migration has it that is under way.
func (o Owners) Held(d Disk, clusterUID string) (Ownership, bool) {
	owner, foreign := o.Foreign(d, clusterUID)
	return owner, foreign || owner.Underway
}

// Next is the number of the entry by which the disk would be taken from the one
// who has it.
func (o Owners) Next(d Disk) int64 {
	owner, _ := o.Of(d)
	return owner.Number + 1
}

// Owners reads who owns each disk that has an entry. It costs one listing, one
// read for each disk that has an entry, and one for each migration that they name.
func (c *Catalog) Owners(ctx context.Context) (Owners, error) {
	newest, err := c.newestEntries(ctx, disksPrefix)
	if err != nil {
		return nil, err
	}
	return c.owners(ctx, newest)
}

// OwnersOf is Owners for some disks. It costs one listing if none of them has an
// entry, and nothing for no disks.
func (c *Catalog) OwnersOf(ctx context.Context, disks []Disk) (Owners, error) {
	if len(disks) == 0 {
		return Owners{}, nil
	}
	newest, err := c.newestEntries(ctx, disksPrefix)
	if err != nil {
		return nil, err
	}
	wanted := map[string]int64{}
	for _, d := range disks {
		if number := newest[diskPrefix(d)]; number > 0 {
			wanted[diskPrefix(d)] = number
		}
	}
	return c.owners(ctx, wanted)
}

// owners reads the entries of the given numbers, and whether the migrations that
// they name are under way.
func (c *Catalog) owners(ctx context.Context, numbers map[string]int64) (Owners, error) {
	prefixes := slices.Sorted(maps.Keys(numbers))
	entries := make([]Ownership, len(prefixes))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, prefix := range prefixes {
		group.Go(func() (err error) {
			entries[i], err = c.ownership(gctx, prefix, numbers[prefix])
			if Unreadable(err) {
				// disks/DRIVER/DIGEST/
				parts := strings.Split(prefix, "/")
				entries[i] = Ownership{Disk: Disk{Driver: parts[1], Handle: VolumeHandle(parts[2])}, Number: numbers[prefix], Err: err}
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	owners := make(Owners, len(entries))
	underway, err := c.underway(ctx, entries)
	for _, entry := range entries {
		entry.Underway = underway[entry.Migration]
		owners[entry.Disk] = entry
	}
	return owners, err
}

// ownership reads one entry.
func (c *Catalog) ownership(ctx context.Context, prefix string, number int64) (Ownership, error) {
	key := fmt.Sprintf("%s%0*d", prefix, ownershipDigits, number)
	var o Ownership
	if err := c.readInto(ctx, key, &o); err != nil {
		return Ownership{}, err
	}
	if ownershipKey(o.Disk, o.Number) != key || o.Cluster.UID == "" {
		return Ownership{}, fmt.Errorf("%s: %w: it is entry %d of disk %s of driver %s, and gives it to cluster %q",
			key, ErrCorrupt, o.Number, o.Disk.Handle, o.Disk.Driver, o.Cluster.UID)
	}
	return o, nil
}

// Unreadable says whether an error is of an object that was read and cannot be
// used: it will be the same tomorrow.
func Unreadable(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrTooLarge)
}

// underway finds out on which of the migrations that entries name there is no
// verdict that can be read.
func (c *Catalog) underway(ctx context.Context, entries []Ownership) (map[MigrationID]bool, error) {
	underway := map[MigrationID]bool{}
	for _, entry := range entries {
		if _, asked := underway[entry.Migration]; asked {
			continue
		}
		verdict, err := c.migrationVerdict(ctx, entry.Migration)
		if err != nil && !Unreadable(err) {
			return nil, err
		}
		underway[entry.Migration] = verdict == nil
	}
	return underway, nil
}
