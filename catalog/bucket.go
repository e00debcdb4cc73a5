package catalog

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Bucket is the part of an object store that the catalog needs. A key is a
// slash-separated path of the characters a-z A-Z 0-9 . _ - with no empty, "."
// or ".." element; no key is a folder of another, as a is of a/b, since many
// stores cannot have both. All methods may be called concurrently, also by
// several processes over the same storage.
//
// Implementations are catalog/dir and catalog/s3; catalogtest.TestBucket is
// the suite that each of them passes.
type Bucket interface {
	// Create stores data under key if the key is free, and fails with
	// ErrExist if it is not. When Create returns nil the object is durable and
	// visible whole; after any error but ErrExist the object may or may not
	// be there. No reader ever sees part of an object.
	Create(ctx context.Context, key string, data []byte) error

	// Get returns the object's bytes. It fails with ErrNotExist if there is
	// none, and with ErrTooLarge, before it allocates, if the object is
	// larger than limit bytes.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)

	// List yields the objects whose key begins with prefix, in ascending
	// order of key. An error is yielded once and ends the sequence: a
	// sequence that ended with an error says nothing about absence.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Delete removes the object. It fails with ErrNotExist if a store that
	// can tell finds none; S3 cannot tell and returns nil.
	Delete(ctx context.Context, key string) error
}

// Object is what a listing tells of one object.
type Object struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // by the store's clock
}

// Errors that callers tell apart with errors.Is. Bucket implementations wrap
// them; every other error is a failure of the store, and proves nothing.
var (
	ErrExist    = errors.New("object already exists")
	ErrNotExist = errors.New("object does not exist")
	ErrTooLarge = errors.New("object is larger than the limit")
)
