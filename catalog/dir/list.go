package dir

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"hawser.dev/hawser/catalog"
)

// List implements catalog.Bucket. It reads one folder at a time, as far as the
// iteration comes.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		l := listing{bucket: b, prefix: prefix, yield: yield}
		if err := l.run(ctx); err != nil && !l.left {
			yield(catalog.Object{}, fmt.Errorf("list folder %s, prefix %q: %w", b.folder, prefix, err))
		}
	}
}

// listing is one iteration over the objects whose keys begin with prefix.
type listing struct {
	bucket *Bucket
	prefix string
	yield  func(catalog.Object, error) bool
	left   bool // the caller has left the loop
}

func (l *listing) run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.bucket.present(); err != nil {
		return err
	}
	start := "."
	if i := strings.LastIndexByte(l.prefix, '/'); i >= 0 {
		start = l.prefix[:i]
	}
	if start != "." && !validKey(start) {
		return nil // no key begins so
	}
	if err := l.folder(ctx, start); err != nil {
		return err
	}
	return ctx.Err()
}

func (l *listing) folder(ctx context.Context, folder string) error {
	entries, err := fs.ReadDir(l.bucket.root.FS(), folder)
	if notExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, entry := range entries {
		if err := l.entry(ctx, path.Join(folder, entry.Name()), entry); err != nil || l.left {
			return err
		}
	}
	return nil
}

// sortName is what an entry sorts by, so that the keys come in order: those in
// the folder a begin with "a/", and so follow a-b and a.b.
func sortName(entry fs.DirEntry) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}

func (l *listing) entry(ctx context.Context, name string, entry fs.DirEntry) error {
	switch {
	case !validKey(name):
		return nil
	case entry.IsDir() && (strings.HasPrefix(name+"/", l.prefix) || strings.HasPrefix(l.prefix, name+"/")):
		return l.folder(ctx, name)
	case !entry.Type().IsRegular() || !strings.HasPrefix(name, l.prefix):
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := l.bucket.root.Lstat(name)
	if notExist(err) {
		return nil // deleted since the folder was read
	}
	if err != nil {
		return err
	}
	l.left = !l.yield(catalog.Object{Key: name, Size: info.Size(), Modified: info.ModTime()}, nil)
	return nil
}
