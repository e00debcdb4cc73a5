package disks

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Snapshot is what the region knows of a snapshot. It is a whole copy: it
// outlives its disk.
type Snapshot struct {
	Handle    string     `json:"handle"`
	Name      string     `json:"name"` // as asked for; Handle follows from it
	Disk      string     `json:"disk"` // handle of the disk that it was taken of
	SizeBytes int64      `json:"sizeBytes"`
	Mode      VolumeMode `json:"mode"`
	Cluster   string     `json:"cluster,omitempty"` // that asked for it
	Created   time.Time  `json:"created"`           // the moment whose bytes it holds
	ReadyAt   time.Time  `json:"readyAt"`

	// Torn says that the disk was written to during every attempt to copy it,
	// so that its files may be of different moments. Quiesce the writer to
	// avoid it.
	Torn bool `json:"torn,omitempty"`
}

// Never is how long after its creation a snapshot becomes ready that never
// does.
const Never time.Duration = math.MaxInt64

// Ready says whether disks can be made of the snapshot.
func (s Snapshot) Ready(now time.Time) bool { return !now.Before(s.ReadyAt) }

const snapshotRecord = "snapshot.json"

// Snapshot returns the snapshot of a handle, or ErrNotFound.
func (r *Region) Snapshot(handle string) (Snapshot, error) {
	if !isHandle(handle, snapshotPrefix) {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", handle, ErrNotFound)
	}
	snapshot, err := readRecord[Snapshot](filepath.Join(r.folderOf(handle), snapshotRecord))
	if err != nil {
		return Snapshot{}, fmt.Errorf("snapshot %s: %w", handle, err)
	}
	return snapshot, nil
}

// Snapshots returns all snapshots, sorted by handle.
func (r *Region) Snapshots() ([]Snapshot, error) {
	handles, err := r.handles(snapshotsFolder, snapshotPrefix)
	if err != nil {
		return nil, err
	}
	return readAll(handles, r.Snapshot)
}

// createSnapshot returns the snapshot of a name, and takes it when there is
// none. One of another disk is refused.
func (r *Region) createSnapshot(name, disk, cluster string, readyAfter time.Duration) (Snapshot, error) {
	handle := snapshotHandle(name)
	existing, err := r.Snapshot(handle)
	if errors.Is(err, ErrNotFound) {
		existing, err = r.cutSnapshot(Snapshot{Handle: handle, Name: name, Disk: disk, Cluster: cluster}, readyAfter)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("create snapshot %q: %w", name, err)
	}
	if existing.Name != name || existing.Disk != disk {
		return Snapshot{}, status.Errorf(codes.AlreadyExists, "create snapshot %q of disk %s: it exists, of disk %s", name, disk, existing.Disk)
	}
	return existing, nil
}

// cutSnapshot takes a snapshot, unless somebody else has just taken it.
func (r *Region) cutSnapshot(want Snapshot, readyAfter time.Duration) (Snapshot, error) {
	if _, err := r.Disk(want.Disk); err != nil {
		return Snapshot{}, err
	}
	unlock, err := r.lock(want.Handle, want.Disk)
	if err != nil {
		return Snapshot{}, err
	}
	defer unlock()
	existing, err := r.Snapshot(want.Handle)
	if !errors.Is(err, ErrNotFound) {
		return existing, err
	}
	disk, err := r.Disk(want.Disk)
	if err != nil {
		return Snapshot{}, err
	}
	want.SizeBytes, want.Mode = disk.CapacityBytes, disk.Mode
	err = r.build(want.Handle, func(dir string) error {
		moment, err := cut(r.folderOf(disk.Handle), dir, disk.Mode)
		if err != nil {
			return err
		}
		want.Created, want.ReadyAt, want.Torn = moment.time, moment.time.Add(readyAfter), moment.torn
		return writeRecord(filepath.Join(dir, snapshotRecord), want)
	})
	if err != nil {
		return Snapshot{}, err
	}
	return want, nil
}
