package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// diskRequest is a disk as asked for: all but its size is decided.
type diskRequest struct {
	Disk
	capacity *csi.CapacityRange
	zones    []string // any of them will do; empty is any zone at all
}

// createDisk returns the disk of the request's name, and creates it when there
// is none. One that is there but is not what the request asks for is refused.
func (r *Region) createDisk(want diskRequest) (Disk, error) {
	want.Handle = diskHandle(want.Name)
	unlock, err := r.lock(append(want.Source.handles(), want.Handle)...)
	if err != nil {
		return Disk{}, err
	}
	defer unlock()

	existing, err := r.Disk(want.Handle)
	if err == nil {
		return existing, want.satisfiedBy(existing)
	}
	if !errors.Is(err, ErrNotFound) {
		return Disk{}, err
	}
	from, err := r.contentOf(want.Source)
	if err != nil {
		return Disk{}, fmt.Errorf("create disk %q: %w", want.Name, err)
	}
	if want.Source != nil && from.mode != want.Mode {
		return Disk{}, status.Errorf(codes.InvalidArgument, "create disk %q: its source is of mode %s, not %s", want.Name, from.mode, want.Mode)
	}
	disk := want.Disk
	if disk.CapacityBytes, err = chooseCapacity(want.capacity, from.size); err != nil {
		return Disk{}, fmt.Errorf("create disk %q: %w", want.Name, err)
	}
	err = r.build(disk.Handle, func(dir string) error { return fillDisk(dir, disk, from.folder) })
	if err != nil {
		return Disk{}, fmt.Errorf("create disk %q: %w", want.Name, err)
	}
	return disk, nil
}

// satisfiedBy says in what an existing disk differs from the request.
func (want diskRequest) satisfiedBy(have Disk) error {
	refuse := func(what string, have, want any) error {
		return status.Errorf(codes.AlreadyExists, "disk %q exists with another %s: %v instead of %v", have, what, have, want)
	}
	required, limit := want.capacity.GetRequiredBytes(), want.capacity.GetLimitBytes()
	switch {
	case have.Name != want.Name:
		return refuse("name", have.Name, want.Name)
	case have.CapacityBytes < required, limit > 0 && have.CapacityBytes > limit:
		return refuse("capacity", have.CapacityBytes, want.capacity)
	case have.Mode != want.Mode:
		return refuse("mode", have.Mode, want.Mode)
	case !have.Source.equal(want.Source):
		return refuse("source", have.Source, want.Source)
	case len(want.zones) > 0 && !slices.Contains(want.zones, have.Zone):
		return refuse("zone", have.Zone, want.zones)
	}
	return nil
}

func (s *Source) handles() []string {
	switch {
	case s == nil:
		return nil
	case s.Snapshot != "":
		return []string{s.Snapshot}
	}
	return []string{s.Disk}
}

func (s *Source) equal(other *Source) bool {
	if s == nil || other == nil {
		return s == other
	}
	return *s == *other
}

func (s *Source) String() string {
	if s == nil {
		return "none"
	}
	return s.handles()[0]
}

// content is what a new disk is filled from; the zero value is nothing.
type content struct {
	folder string // of the disk or snapshot
	size   int64
	mode   VolumeMode
}

func (r *Region) contentOf(source *Source) (content, error) {
	switch {
	case source == nil:
		return content{}, nil
	case source.Snapshot != "":
		snapshot, err := r.Snapshot(source.Snapshot)
		if err != nil {
			return content{}, err
		}
		if !snapshot.Ready(time.Now()) {
			return content{}, status.Errorf(codes.Unavailable, "snapshot %s is not ready to use before %s", snapshot.Handle, snapshot.ReadyAt.Format(time.RFC3339))
		}
		return content{r.folderOf(snapshot.Handle), snapshot.SizeBytes, snapshot.Mode}, nil
	}
	disk, err := r.Disk(source.Disk)
	if err != nil {
		return content{}, err
	}
	return content{r.folderOf(disk.Handle), disk.CapacityBytes, disk.Mode}, nil
}

// fillDisk writes a disk's files into dir, from the folder of its source if
// it has one.
func fillDisk(dir string, disk Disk, from string) error {
	if from != "" {
		if _, err := cut(from, dir, disk.Mode); err != nil {
			return err
		}
	} else if err := makeEmpty(dir, disk.Mode); err != nil {
		return err
	}
	if disk.Mode == Block {
		if err := os.Truncate(filepath.Join(dir, deviceImage), disk.CapacityBytes); err != nil {
			return err
		}
	}
	return writeRecord(filepath.Join(dir, diskRecord), disk)
}

func makeEmpty(dir string, mode VolumeMode) error {
	path := payload(dir, mode)
	if mode == Block {
		return os.WriteFile(path, nil, 0o600)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o777) // past the umask: containers run as any user
}

// payload is the path of the bytes themselves in a disk's or snapshot's folder.
func payload(dir string, mode VolumeMode) string {
	if mode == Block {
		return filepath.Join(dir, deviceImage)
	}
	return filepath.Join(dir, dataFolder)
}
