package disks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// readRecord reads a small JSON file. It needs no lock: records are replaced
// whole. It fails with ErrNotFound if there is no such file.
func readRecord[T any](path string) (T, error) {
	var record T
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return record, ErrNotFound
	}
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, fmt.Errorf("%s: %w", path, err)
	}
	return record, nil
}

// writeRecord replaces a record by rename. The folder must exist: a record is
// never written into a disk that somebody has just removed.
func writeRecord(path string, record any) error {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".record-*")
	if errors.Is(err, os.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// lock takes the exclusive locks of handles, against goroutines and processes
// alike, and waits for as long as others hold them. All locks that a call needs
// are taken at once and in order, so that no two calls wait for each other.
func (r *Region) lock(handles ...string) (unlock func(), err error) {
	slices.Sort(handles)
	handles = slices.Compact(handles)
	var held []*os.File
	unlock = func() {
		for i, file := range held {
			r.unlock(handles[i], file)
		}
	}
	for _, handle := range handles {
		file, err := lockFile(r.lockPath(handle))
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock %s: %w", handle, err)
		}
		held = append(held, file)
	}
	return unlock, nil
}

func (r *Region) lockPath(handle string) string {
	return filepath.Join(r.dir, locksFolder, handle)
}

// unlock also removes the lock file when its handle is gone, so that the
// folder of locks holds no more files than there are disks and snapshots.
func (r *Region) unlock(handle string, file *os.File) {
	if _, err := os.Lstat(r.folderOf(handle)); errors.Is(err, os.ErrNotExist) {
		os.Remove(r.lockPath(handle))
	}
	file.Close()
}

// lockFile returns the locked file at path. A lock is worth something only on
// the file that is there now: the former holder may have removed the one that
// we waited for.
func lockFile(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(file); err != nil {
			file.Close()
			return nil, err
		}
		mine, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, err
		}
		if current, err := os.Stat(path); err == nil && os.SameFile(mine, current) {
			return file, nil
		}
		file.Close()
	}
}

func flock(file *os.File) error {
	for {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}
