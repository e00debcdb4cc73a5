package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Disk names a disk: the CSI driver, and what that calls it.
type Disk struct {
	Driver string       `json:"driver"`
	Handle VolumeHandle `json:"handle"`
}

// Disk is the disk of the volume.
func (v Volume) Disk() Disk { return Disk{Driver: v.Driver, Handle: v.VolumeHandle} }

// DisksOf are the disks of volumes, in their order.
func DisksOf(volumes []Volume) []Disk {
	disks := make([]Disk, len(volumes))
	for i, v := range volumes {
		disks[i] = v.Disk()
	}
	return disks
}

// Ownership is one entry of the chain that says who owns a disk. The entry with
// the highest number rules; a disk without entries is owned by whoever has it.
// Entries are created, never changed and never removed.
type Ownership struct {
	Format    int         `json:"format"`
	Disk      Disk        `json:"disk"`
	Number    int64       `json:"number"`           // 1 is the first: the fencing number
	Cluster   Cluster     `json:"cluster"`          // who owns it from here on
	Migration MigrationID `json:"migration"`        // by which it was taken
	Volume    string      `json:"volume,omitempty"` // PersistentVolume in that cluster, for people
	Taken     time.Time   `json:"taken"`
	Writer    string      `json:"writer,omitempty"` // program and version
	// Underway: no verdict on the migration is known. It is not written; Owners
	// and OwnersOf find it out.
	Underway bool `json:"-"`
	// Err is why the entry cannot be read. Then all that is known is its number,
	// and that nobody can say whose the disk is.
	Err error `json:"-"`
}

// String says who owns the disk, since when, and by which migration.
func (o Ownership) String() string {
	if o.Err != nil {
		return fmt.Sprintf("a cluster that cannot be told: %v", o.Err)
	}
	state := ""
	if o.Underway {
		state = ", which is under way"
	}
	name := "cluster " + o.Cluster.UID
	if o.Cluster.Name != "" {
		name = fmt.Sprintf("cluster %s (%s)", o.Cluster.Name, o.Cluster.UID)
	}
	return fmt.Sprintf("%s, which took it on %s by migration %s%s", name, o.Taken.UTC().Format(time.RFC3339), o.Migration, state)
}

// TakenError: a disk could not be taken, since another entry than the caller's
// is the newest.
type TakenError struct {
	Disk  Disk
	Owner Ownership // the newest entry
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("disk %s of driver %s was taken: it is owned by %s", e.Disk.Handle, e.Disk.Driver, e.Owner)
}

const (
	disksPrefix     = "disks/"
	ownershipDigits = 8
)

var driverPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)

// diskPrefix begins the keys of the entries of one disk. A handle may hold any
// character and be longer than a key, so its digest stands for it.
func diskPrefix(d Disk) string {
	return disksPrefix + d.Driver + "/" + string(d.digested().Handle) + "/"
}

func (d Disk) digested() Disk {
	return Disk{Driver: d.Driver, Handle: VolumeHandle(digest([]byte(d.Handle)))}
}

func ownershipKey(d Disk, number int64) string {
	return fmt.Sprintf("%s%0*d", diskPrefix(d), ownershipDigits, number)
}

// Take makes next the newest entry of its disk. The caller sets Number to one
// more than that of the entry which it has seen to be the newest, so of several
// who have seen the same one takes the disk. It fails with *TakenError if
// another entry is the newest by now. An entry that exists and is of the same
// cluster and migration is the caller's own: Take may be run again, as long as
// it is the newest. It costs one listing and one write.
func (c *Catalog) Take(ctx context.Context, next Ownership) error {
	if err := next.validate(); err != nil {
		return err
	}
	next.Format = Format
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	newest, err := c.newestEntry(ctx, next.Disk)
	if err != nil {
		return err
	}
	if newest == next.Number-1 {
		err := c.bucket.Create(ctx, ownershipKey(next.Disk, next.Number), data)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrExist) {
			return fmt.Errorf("take disk %s of driver %s: %w", next.Disk.Handle, next.Disk.Driver, err)
		}
		if newest, err = c.newestEntry(ctx, next.Disk); err != nil {
			return err
		}
	}
	if newest < next.Number {
		return fmt.Errorf("take disk %s of driver %s as number %d: its newest entry is number %d", next.Disk.Handle, next.Disk.Driver, next.Number, newest)
	}
	owner, err := c.ownership(ctx, diskPrefix(next.Disk), newest)
	if err != nil {
		return err
	}
	if newest == next.Number && owner.Migration == next.Migration && owner.Cluster.UID == next.Cluster.UID {
		return nil
	}
	return &TakenError{Disk: next.Disk, Owner: owner}
}

func (o Ownership) validate() error {
	switch {
	case !driverPattern.MatchString(o.Disk.Driver):
		return fmt.Errorf("take disk %s: %q is not the name of a CSI driver", o.Disk.Handle, o.Disk.Driver)
	case o.Disk.Handle == "":
		return fmt.Errorf("take a disk of driver %s: it has no handle", o.Disk.Driver)
	case o.Number < 1 || o.Number > 99_999_999:
		return fmt.Errorf("take disk %s: %d cannot be the number of an entry", o.Disk.Handle, o.Number)
	case !o.Migration.valid():
		return fmt.Errorf("take disk %s: %q is not the id of a migration", o.Disk.Handle, o.Migration)
	case o.Taken.IsZero():
		return fmt.Errorf("take disk %s: it is not said when", o.Disk.Handle)
	}
	return validateClusterUID(o.Cluster.UID)
}

// newestEntry is the number of a disk's newest entry, or 0. It costs one listing.
func (c *Catalog) newestEntry(ctx context.Context, d Disk) (int64, error) {
	newest, err := c.newestEntries(ctx, diskPrefix(d))
	return newest[diskPrefix(d)], err
}

// newestEntries lists the numbers of the newest entries of the disks whose keys
// begin with prefix, by what the keys of a disk begin with. It costs one listing.
func (c *Catalog) newestEntries(ctx context.Context, prefix string) (map[string]int64, error) {
	newest := map[string]int64{}
	for object, err := range c.bucket.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list the owners of disks: %w", err)
		}
		at := strings.LastIndexByte(object.Key, '/') + 1
		number, ok := numberOf(object.Key[at:], ownershipDigits)
		if ok && strings.Count(object.Key, "/") == 3 {
			newest[object.Key[:at]] = max(newest[object.Key[:at]], number)
		}
	}
	return newest, nil
}

// numberOf reads the last part of a key that is a number of so many digits, from
// 1. What is none may be a later format's, and is left alone.
func numberOf(part string, digits int) (int64, bool) {
	number, err := strconv.ParseInt(part, 10, 64)
	return number, err == nil && number > 0 && part == fmt.Sprintf("%0*d", digits, number)
}
