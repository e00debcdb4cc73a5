package disks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotFound says that a handle names nothing in the region.
var ErrNotFound = errors.New("not found in the region")

// Region is a folder of disks. Any number of Regions, in any number of
// processes, may be open on one folder. All methods may be called
// concurrently.
type Region struct {
	dir string
}

// The folders of a region.
const (
	disksFolder     = "disks"
	snapshotsFolder = "snapshots"
	nodesFolder     = "nodes"
	locksFolder     = "locks"
	tmpFolder       = "tmp"
)

// OpenRegion opens the region in dir, and creates what is absent of it.
func OpenRegion(dir string) (*Region, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open region: %w", err)
	}
	for _, folder := range []string{disksFolder, snapshotsFolder, nodesFolder, locksFolder, tmpFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, fmt.Errorf("open region: %w", err)
		}
	}
	return &Region{dir: dir}, nil
}

// Dir is the absolute path of the region's folder.
func (r *Region) Dir() string { return r.dir }

// DataDir is the folder with the files of a disk or a snapshot. It exists as
// long as the handle does; a raw block disk has device.img beside it instead.
func (r *Region) DataDir(handle string) string {
	return filepath.Join(r.folderOf(handle), dataFolder)
}

// DestroyDisk makes a disk vanish, as a storage failure would: attached or
// not, nobody is asked. Its snapshots stay. It is no error if there is none.
func (r *Region) DestroyDisk(handle string) error { return r.destroy(handle, diskPrefix) }

// DestroySnapshot makes a snapshot vanish. It is no error if there is none.
func (r *Region) DestroySnapshot(handle string) error { return r.destroy(handle, snapshotPrefix) }

func (r *Region) destroy(handle, prefix string) error {
	if !isHandle(handle, prefix) {
		return fmt.Errorf("destroy %q: not a handle that begins with %s", handle, prefix)
	}
	unlock, err := r.lock(handle)
	if err != nil {
		return err
	}
	defer unlock()
	return r.remove(handle)
}

// Handles say what they name, so that a disk's can't be taken for a snapshot's.
const (
	diskPrefix     = "vol-"
	snapshotPrefix = "snap-"
)

// diskHandle and snapshotHandle derive the handle from the name that the
// caller chose: a repeated create finds what the first one made by its path.
func diskHandle(name string) string     { return diskPrefix + shortHash(name) }
func snapshotHandle(name string) string { return snapshotPrefix + shortHash(name) }

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

var handlePattern = regexp.MustCompile(`^(vol|snap)-[0-9a-f]{16}$`)

// isHandle guards every use of a handle as a path: handles come from callers.
func isHandle(s, prefix string) bool {
	return strings.HasPrefix(s, prefix) && handlePattern.MatchString(s)
}

// folderOf returns the folder that exists if and only if the handle does.
func (r *Region) folderOf(handle string) string {
	if strings.HasPrefix(handle, snapshotPrefix) {
		return filepath.Join(r.dir, snapshotsFolder, handle)
	}
	return filepath.Join(r.dir, disksFolder, handle)
}

// build makes a handle's folder appear whole: fill writes into a folder of
// which nobody knows, which is then renamed. What a killed build left behind
// is swept by the next one. The caller holds the handle's lock.
func (r *Region) build(handle string, fill func(dir string) error) error {
	tmp := filepath.Join(r.dir, tmpFolder, handle)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, r.folderOf(handle))
}

// remove makes a handle's folder vanish in one step and then frees its space.
// The caller holds the handle's lock.
func (r *Region) remove(handle string) error {
	tmp := filepath.Join(r.dir, tmpFolder, handle)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	err := os.Rename(r.folderOf(handle), tmp)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(tmp))
}

// handles lists a folder of the region, sorted.
func (r *Region) handles(folder, prefix string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, folder))
	if err != nil {
		return nil, err
	}
	var handles []string
	for _, entry := range entries {
		if isHandle(entry.Name(), prefix) {
			handles = append(handles, entry.Name())
		}
	}
	return handles, nil
}
