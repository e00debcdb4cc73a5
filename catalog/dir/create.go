package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"hawser.dev/hawser/catalog"
)

const (
	tempFolder = "tmp~" // not a key
	tempAge    = 24 * time.Hour

	folderMode fs.FileMode = 0o700
	fileMode   fs.FileMode = 0o600
)

// Create implements catalog.Bucket.
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	if err := b.create(ctx, key, data); err != nil {
		return b.failed("create", key, err)
	}
	return nil
}

func (b *Bucket) create(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if err := b.present(); err != nil {
		return err
	}
	temp, err := b.stage(data)
	if err != nil {
		return err
	}
	defer b.root.Remove(temp)
	b.sweep.Do(func() { b.removeOld(temp) })
	if err := ctx.Err(); err != nil {
		return err
	}
	taken := b.link(temp, key)
	if taken != nil && !errors.Is(taken, catalog.ErrExist) {
		return taken
	}
	// Whoever created the object may not have come to this yet.
	for folder := path.Dir(key); ; folder = path.Dir(folder) {
		if err := b.sync(folder); err != nil {
			return err
		}
		if folder == "." {
			return taken
		}
	}
}

// stage writes data to a temporary file and makes it durable.
func (b *Bucket) stage(data []byte) (temp string, err error) {
	if err := b.root.Mkdir(tempFolder, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	temp = path.Join(tempFolder, rand.Text())
	file, err := b.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		b.root.Remove(temp)
		return "", err
	}
	return temp, nil
}

// link gives the temporary file its final name, and fails with ErrExist if an
// object has it. It tries again when a Delete takes away the folder, which it
// emptied, before the link is made in it.
func (b *Bucket) link(temp, key string) error {
	var err error
	for range 100 {
		if err = b.root.MkdirAll(path.Dir(key), folderMode); err == nil {
			if err = b.root.Link(temp, key); !errors.Is(err, fs.ErrNotExist) {
				return b.linked(temp, key, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// linked says what the outcome of a link means.
func (b *Bucket) linked(temp, key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return b.occupied(temp, key)
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w; the catalog needs a file system with hard links", err)
	}
	return err
}

// occupied says what has the name key.
func (b *Bucket) occupied(temp, key string) error {
	object, err := b.root.Lstat(key)
	if notExist(err) {
		return catalog.ErrExist // it did, and was deleted since
	}
	if err != nil {
		return err
	}
	ours, err := b.root.Lstat(temp)
	switch {
	case err != nil:
		return err
	case os.SameFile(object, ours):
		return nil // the link was made; a network file system repeated the call, and lost the first answer
	case !object.Mode().IsRegular():
		return fmt.Errorf("a folder or special file (%v) has this name", object.Mode().Type())
	}
	return catalog.ErrExist
}

// sync makes the names in a folder durable.
func (b *Bucket) sync(folder string) error {
	file, err := b.root.Open(folder)
	if err != nil {
		if folder != "." && notExist(err) {
			return nil // a Delete emptied and removed it, and made that durable
		}
		return err
	}
	defer file.Close()
	err = file.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil // file systems that cannot sync a folder keep its names in order themselves
	}
	return err
}

// removeOld removes the temporary files that killed writers left, by the clock
// that gave the file temp its time. What it cannot remove, the next one will.
func (b *Bucket) removeOld(temp string) {
	now, err := b.root.Lstat(temp)
	if err != nil {
		return
	}
	entries, _ := fs.ReadDir(b.root.FS(), tempFolder)
	for _, entry := range entries {
		name := path.Join(tempFolder, entry.Name())
		if info, err := b.root.Lstat(name); err == nil && now.ModTime().Sub(info.ModTime()) > tempAge {
			b.root.Remove(name)
		}
	}
}
