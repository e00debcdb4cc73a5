package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"hawser.dev/hawser/catalog"
)

// Bucket is a catalog.Bucket in a folder.
type Bucket struct {
	folder string // absolute
	root   *os.Root
	sweep  sync.Once
}

var _ catalog.Bucket = (*Bucket)(nil)

// Open returns the bucket in an existing folder. While it is open the disk
// that holds the folder cannot be unmounted.
func Open(folder string) (*Bucket, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("folder %s does not exist: mount the disk that holds it, or create it for a new catalog: %w", folder, err)
	case err != nil:
		return nil, fmt.Errorf("open folder %s: %w", folder, err)
	}
	return &Bucket{folder: folder, root: root}, nil
}

// Close releases the folder. The bucket cannot be used any more.
func (b *Bucket) Close() error { return b.root.Close() }

// Get implements catalog.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	data, err := b.get(ctx, key, limit)
	if err != nil {
		return nil, b.failed("read", key, err)
	}
	return data, nil
}

func (b *Bucket) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := b.find(ctx, key); err != nil {
		return nil, err
	}
	file, err := b.root.Open(key)
	if err != nil {
		return nil, b.absent(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w of %d bytes: it has %d", catalog.ErrTooLarge, limit, info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, err
	}
	return data, nil
}

// Delete implements catalog.Bucket. It removes the folders that it empties.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.delete(ctx, key); err != nil {
		return b.failed("delete", key, err)
	}
	return nil
}

func (b *Bucket) delete(ctx context.Context, key string) error {
	if err := b.find(ctx, key); err != nil {
		return err
	}
	if err := b.root.Remove(key); err != nil {
		return b.absent(err)
	}
	folder := path.Dir(key)
	for b.removeEmpty(folder) {
		folder = path.Dir(folder)
	}
	return b.sync(folder)
}

// removeEmpty removes a folder below the root and reports whether it did. It
// fails if anything is in the folder, or has just been put there.
func (b *Bucket) removeEmpty(folder string) bool {
	if folder == "." {
		return false
	}
	info, err := b.root.Lstat(folder)
	return err == nil && info.IsDir() && b.root.Remove(folder) == nil
}

// find fails unless key names an object.
func (b *Bucket) find(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	info, err := b.root.Lstat(key)
	switch {
	case err != nil:
		return b.absent(err)
	case info.IsDir():
		return catalog.ErrNotExist
	case !info.Mode().IsRegular():
		return fmt.Errorf("it is no object but a special file (%v)", info.Mode().Type())
	}
	return nil
}

// absent turns the error of a system call into ErrNotExist if it says that
// the file is not there, and the folder of the bucket is.
func (b *Bucket) absent(err error) error {
	if !notExist(err) {
		return err
	}
	if err := b.present(); err != nil {
		return err
	}
	return catalog.ErrNotExist
}

// present fails if the folder that was opened is not any more what its path
// leads to.
func (b *Bucket) present() error {
	opened, err := b.root.Stat(".")
	if err != nil {
		return err
	}
	now, err := os.Stat(b.folder)
	if err != nil {
		return fmt.Errorf("the folder was removed while it was in use; is its disk still mounted? %w", err)
	}
	if !os.SameFile(opened, now) {
		return errors.New("the folder was replaced while it was in use; is its disk still mounted?")
	}
	return nil
}

func (b *Bucket) failed(verb, key string, err error) error {
	return fmt.Errorf("%s %s in folder %s: %w", verb, key, b.folder, err)
}

func notExist(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func check(ctx context.Context, key string) error {
	if !validKey(key) {
		return fmt.Errorf("%q is not a key", key)
	}
	return ctx.Err()
}

// validKey reports whether key is one by the contract of catalog.Bucket.
func validKey(key string) bool {
	return fs.ValidPath(key) && key != "." && !strings.ContainsFunc(key, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-/", r))
	})
}
