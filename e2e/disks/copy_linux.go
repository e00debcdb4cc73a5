package disks

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// moment is when the bytes of a copy were current.
type moment struct {
	time time.Time
	torn bool // something was written while it was copied
}

// cutAttempts is how often a disk is copied that is written to meanwhile.
const cutAttempts = 5

// cut copies the payload of one disk's or snapshot's folder into another. A
// folder can't be frozen, so the copy is taken again until nothing has changed
// from before it to after it; the last attempt stands, as torn.
func cut(from, to string, mode VolumeMode) (moment, error) {
	source, target := payload(from, mode), payload(to, mode)
	for attempt := 1; ; attempt++ {
		before, err := settle(source)
		if err != nil {
			return moment{}, err
		}
		start := time.Now()
		if err := copyTree(source, target); err != nil {
			return moment{}, err
		}
		after, err := printOf(source)
		if err != nil {
			return moment{}, err
		}
		if before.hash == after.hash || attempt == cutAttempts {
			return moment{time: start, torn: before.hash != after.hash}, nil
		}
		if err := os.RemoveAll(target); err != nil {
			return moment{}, err
		}
	}
}

// clockTick is the coarsest clock that file systems stamp changes with.
const clockTick = 10 * time.Millisecond

// settle takes a fingerprint that tells of every later change: after a change
// in the same tick of the clock the times would look the same.
func settle(path string) (fingerprint, error) {
	print, err := printOf(path)
	if err != nil || time.Since(print.newest) > clockTick {
		return print, err
	}
	time.Sleep(clockTick)
	return printOf(path)
}

// fingerprint identifies the state of a file or folder by the names, sizes and
// times of all that is in it.
type fingerprint struct {
	hash   uint64
	newest time.Time // change
}

func printOf(path string) (fingerprint, error) {
	hash := fnv.New64a()
	var newest time.Time
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if name != path && errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(hash, name, "vanished")
			return nil
		}
		if err != nil {
			return err
		}
		inode := inodeOf(info)
		fmt.Fprintln(hash, name, inode.Ino, inode.Mode, inode.Size, inode.Mtim, inode.Ctim)
		if changed := time.Unix(inode.Ctim.Unix()); changed.After(newest) {
			newest = changed
		}
		return nil
	})
	return fingerprint{hash.Sum64(), newest}, err
}

func inodeOf(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// copyTree copies a file or a folder with all below it: modes, owners, times,
// symbolic and hard links, holes, sockets and devices. Extended attributes are
// not copied. What vanishes from the source meanwhile is left out, except the
// source itself.
func copyTree(source, target string) error {
	if _, err := os.Lstat(source); err != nil {
		return err
	}
	copier := copier{links: map[uint64]string{}}
	return copier.copy(source, target)
}

type copier struct {
	links map[uint64]string // inode with several names -> its first copy
}

func (c *copier) copy(source, target string) error {
	info, err := os.Lstat(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	inode := inodeOf(info)
	if first, ok := c.links[inode.Ino]; ok {
		return os.Link(first, target)
	}
	err = c.copyContent(source, target, info)
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Lstat(source); errors.Is(gone, fs.ErrNotExist) {
			return os.RemoveAll(target)
		}
	}
	if err != nil {
		return err
	}
	if inode.Nlink > 1 && !info.IsDir() {
		c.links[inode.Ino] = target
	}
	return copyAttributes(target, inode)
}

func (c *copier) copyContent(source, target string, info fs.FileInfo) error {
	switch info.Mode().Type() {
	case 0:
		return copyFile(source, target)
	case fs.ModeDir:
		return c.copyFolder(source, target)
	case fs.ModeSymlink:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	}
	inode := inodeOf(info)
	if err := unix.Mknod(target, inode.Mode, int(inode.Rdev)); err != nil {
		return fmt.Errorf("make node %s: %w", target, err)
	}
	return nil
}

func (c *copier) copyFolder(source, target string) error {
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.copy(filepath.Join(source, entry.Name()), filepath.Join(target, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyFile shares the blocks where the file system can, and else copies them.
func copyFile(source, target string) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) != nil {
		err = copyExtents(from, to)
	}
	return errors.Join(err, to.Close())
}

// copyExtents copies the parts of a file that are not holes.
func copyExtents(from, to *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(info.Size()); err != nil {
		return err
	}
	for end := int64(0); end < info.Size(); {
		start, err := from.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if end, err = from.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyRange(from, to, start, end-start); err != nil {
			return err
		}
	}
	return nil
}

func copyRange(from, to *os.File, offset, length int64) error {
	if _, err := from.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(to, from, length); err != nil && err != io.EOF { // EOF: it was truncated meanwhile
		return err
	}
	return nil
}

// copyAttributes gives the copy the owner, mode and times of the original.
// Owners take root: without it everything belongs to us, as the original does.
func copyAttributes(target string, inode *syscall.Stat_t) error {
	if os.Geteuid() == 0 {
		if err := os.Lchown(target, int(inode.Uid), int(inode.Gid)); err != nil {
			return err
		}
	}
	if inode.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(target, inode.Mode&0o7777); err != nil {
			return fmt.Errorf("chmod %s: %w", target, err)
		}
	}
	times := []unix.Timespec{unix.Timespec(inode.Atim), unix.Timespec(inode.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times of %s: %w", target, err)
	}
	return nil
}
