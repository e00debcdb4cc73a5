package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"

	"hawser.dev/hawser/catalog"
)

// writerHeader is the metadata that says which call of Create made an object.
const writerHeader = "Hawser-Writer"

// A store that finds two PUTs of one key at the same moment may refuse both of
// them with a conflict, and ask for a repetition.
const (
	conflictTries = 8
	conflictPause = 100 * time.Millisecond // at first; doubled each time
)

// Create implements catalog.Bucket. It costs one request, and one more if the
// key is taken.
func (b *Bucket) Create(ctx context.Context, key string, data []byte) error {
	if err := b.create(ctx, key, data); err != nil {
		return b.failed("create "+key, err)
	}
	return nil
}

func (b *Bucket) create(ctx context.Context, key string, data []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	writer := rand.Text()
	pause := conflictPause
	for range conflictTries {
		err := b.put(ctx, key, data, writer)
		switch {
		case isCode(err, minio.PreconditionFailed):
			err = b.settle(ctx, key, writer)
		case isConflict(err):
			err = errUndecided
		}
		if !errors.Is(err, errUndecided) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause *= 2
		}
	}
	return fmt.Errorf("other writers of the same key got in the way %d times", conflictTries)
}

// errUndecided says that neither this writer nor another is known to have
// created the object.
var errUndecided = errors.New("undecided")

// put is the conditional PUT.
func (b *Bucket) put(ctx context.Context, key string, data []byte, writer string) error {
	md5Sum, sha256Sum := md5.Sum(data), sha256.Sum256(data)
	options := minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		UserMetadata:         map[string]string{writerHeader: writer},
		DisableContentSha256: true, // in pieces, by signing each; the whole one is given below
	}
	options.SetMatchETagExcept("*")
	_, err := b.core.PutObject(ctx, b.name, b.prefix+key, bytes.NewReader(data), int64(len(data)),
		base64.StdEncoding.EncodeToString(md5Sum[:]), hex.EncodeToString(sha256Sum[:]), options)
	return err
}

// settle finds out who created the object that is in the way: this writer,
// when the answer to an earlier PUT got lost, or another one.
func (b *Bucket) settle(ctx context.Context, key, writer string) error {
	info, err := b.core.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
	switch {
	case isCode(err, minio.NoSuchKey):
		return errUndecided // deleted since
	case err != nil:
		return fmt.Errorf("the key is taken, and by whom cannot be found out: %w", err)
	case info.UserMetadata[writerHeader] == writer:
		return nil
	}
	return catalog.ErrExist
}

// CheckConditional fails if the store ignores the condition of Create, in
// which case no catalog is safe there. It creates an object twice and deletes
// it: three requests. If the credentials do not allow deletion an empty object
// stays behind.
func (b *Bucket) CheckConditional(ctx context.Context) error {
	key := "check-" + rand.Text()
	err := b.put(ctx, key, nil, "check")
	if err == nil {
		err = b.put(ctx, key, nil, "check")
	}
	honoured := isCode(err, minio.PreconditionFailed) || isConflict(err)
	if err != nil && !honoured {
		return b.failed("create "+key, err)
	}
	if err := b.Delete(ctx, key); err != nil && !isCode(err, minio.AccessDenied) {
		return err
	}
	if !honoured {
		return fmt.Errorf("%v overwrites objects that it is told not to (it ignores If-None-Match: *): two writers would destroy each other's restore points; use a store, or a version of it, that honours conditional writes", b)
	}
	return nil
}
