package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// VolumeMode says how Pods see a disk, in the API's words.
type VolumeMode string

// The two modes of a disk.
const (
	Filesystem VolumeMode = "Filesystem"
	Block      VolumeMode = "Block"
)

// Disk is what the region knows of a disk.
type Disk struct {
	Handle            string            `json:"handle"`
	Name              string            `json:"name"` // as asked for; Handle follows from it
	CapacityBytes     int64             `json:"capacityBytes"`
	Mode              VolumeMode        `json:"mode"`
	Zone              string            `json:"zone,omitempty"`    // "" is reachable from everywhere
	Cluster           string            `json:"cluster,omitempty"` // that asked for it
	Source            *Source           `json:"source,omitempty"`
	Parameters        map[string]string `json:"parameters,omitempty"`
	MutableParameters map[string]string `json:"mutableParameters,omitempty"`
	Created           time.Time         `json:"created"`
	Attachments       []Attachment      `json:"attachments,omitempty"`

	// SoleTarget is where a disk in mode SINGLE_NODE_SINGLE_WRITER is published.
	SoleTarget string `json:"soleTarget,omitempty"`
}

// Source is where the first bytes of a disk came from: one of the two is set.
type Source struct {
	Disk     string `json:"disk,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
}

const (
	diskRecord  = "disk.json"
	dataFolder  = "data"
	deviceImage = "device.img"
)

// Disk returns the disk of a handle, or ErrNotFound.
func (r *Region) Disk(handle string) (Disk, error) {
	if !isHandle(handle, diskPrefix) {
		return Disk{}, fmt.Errorf("disk %q: %w", handle, ErrNotFound)
	}
	disk, err := readRecord[Disk](filepath.Join(r.folderOf(handle), diskRecord))
	if err != nil {
		return Disk{}, fmt.Errorf("disk %s: %w", handle, err)
	}
	return disk, nil
}

// Disks returns all disks, sorted by handle.
func (r *Region) Disks() ([]Disk, error) {
	handles, err := r.handles(disksFolder, diskPrefix)
	if err != nil {
		return nil, err
	}
	return readAll(handles, r.Disk)
}

// readAll reads the records of handles, less those that vanished since.
func readAll[T any](handles []string, read func(string) (T, error)) ([]T, error) {
	var records []T
	for _, handle := range handles {
		record, err := read(handle)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// updateDisk changes a disk's record under its lock.
func (r *Region) updateDisk(handle string, change func(*Disk) error) (Disk, error) {
	if _, err := r.Disk(handle); err != nil {
		return Disk{}, err
	}
	unlock, err := r.lock(handle)
	if err != nil {
		return Disk{}, err
	}
	defer unlock()
	disk, err := r.Disk(handle)
	if err != nil {
		return Disk{}, err
	}
	if err := change(&disk); err != nil {
		return Disk{}, err
	}
	if err := r.writeDisk(disk); err != nil {
		return Disk{}, err
	}
	return disk, nil
}

func (r *Region) writeDisk(disk Disk) error {
	if err := writeRecord(filepath.Join(r.folderOf(disk.Handle), diskRecord), disk); err != nil {
		return fmt.Errorf("disk %s: %w", disk.Handle, err)
	}
	return nil
}

// deleteDisk removes a disk unless it is attached. It is no error if there is
// none.
func (r *Region) deleteDisk(handle string) error {
	if _, err := r.Disk(handle); errors.Is(err, ErrNotFound) {
		return nil
	}
	unlock, err := r.lock(handle)
	if err != nil {
		return err
	}
	defer unlock()
	disk, err := r.Disk(handle)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(disk.Attachments) > 0 {
		return status.Errorf(codes.FailedPrecondition, "delete disk %s: it is attached to %s", handle, disk.Attachments[0])
	}
	return r.remove(handle)
}

// expandDisk grows a disk to what the range asks for; it never shrinks one.
func (r *Region) expandDisk(handle string, capacity *csi.CapacityRange) (Disk, error) {
	return r.updateDisk(handle, func(disk *Disk) error {
		size, err := chooseCapacity(capacity, 0)
		if err != nil {
			return fmt.Errorf("expand disk %s: %w", handle, err)
		}
		if limit := capacity.GetLimitBytes(); limit > 0 && disk.CapacityBytes > limit {
			return status.Errorf(codes.OutOfRange, "expand disk %s: it has %d bytes already, the limit is %d", handle, disk.CapacityBytes, limit)
		}
		disk.CapacityBytes = max(disk.CapacityBytes, size)
		if disk.Mode == Block {
			return os.Truncate(filepath.Join(r.folderOf(handle), deviceImage), disk.CapacityBytes)
		}
		return nil
	})
}
