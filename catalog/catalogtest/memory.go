package catalogtest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
)

// Memory is a bucket in memory, the reference for what a bucket does. The zero
// value is an empty bucket, ready to use.
type Memory struct {
	// Now is the store's clock; nil is the machine's. It must not be changed
	// while calls are under way.
	Now func() time.Time

	mu      sync.Mutex
	objects map[string]stored
}

type stored struct {
	data     []byte
	modified time.Time
}

// Create implements catalog.Bucket.
func (m *Memory) Create(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		return fmt.Errorf("create %s: %w", key, catalog.ErrExist)
	}
	if m.objects == nil {
		m.objects = make(map[string]stored)
	}
	m.objects[key] = stored{data: bytes.Clone(data), modified: m.now()}
	return nil
}

func (m *Memory) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// Get implements catalog.Bucket.
func (m *Memory) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	object, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", key, catalog.ErrNotExist)
	}
	if int64(len(object.data)) > limit {
		return nil, fmt.Errorf("get %s: %w of %d bytes", key, catalog.ErrTooLarge, limit)
	}
	return bytes.Clone(object.data), nil
}

// List implements catalog.Bucket. It yields what was there when the iteration
// began.
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		for _, object := range m.snapshot(prefix) {
			if ctx.Err() != nil {
				break
			}
			if !yield(object, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(catalog.Object{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

func (m *Memory) snapshot(prefix string) []catalog.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	var objects []catalog.Object
	for key, object := range m.objects {
		if strings.HasPrefix(key, prefix) {
			objects = append(objects, catalog.Object{Key: key, Size: int64(len(object.data)), Modified: object.modified})
		}
	}
	slices.SortFunc(objects, func(a, b catalog.Object) int { return strings.Compare(a.Key, b.Key) })
	return objects
}

// Delete implements catalog.Bucket.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; !ok {
		return fmt.Errorf("delete %s: %w", key, catalog.ErrNotExist)
	}
	delete(m.objects, key)
	return nil
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
