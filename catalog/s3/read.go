package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"

	"hawser.dev/hawser/catalog"
)

// Get implements catalog.Bucket. It costs one request.
func (b *Bucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	data, err := b.get(ctx, key, limit)
	if err != nil {
		return nil, b.failed("read "+key, err)
	}
	return data, nil
}

func (b *Bucket) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	body, info, _, err := b.core.GetObject(ctx, b.name, b.prefix+key, minio.GetObjectOptions{})
	if saysAbsent(err) {
		return nil, catalog.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	switch {
	case info.Size > limit:
		return nil, fmt.Errorf("%w of %d bytes: it has %d", catalog.ErrTooLarge, limit, info.Size)
	case info.Size < 0:
		return readUnsized(body, limit)
	}
	data := make([]byte, info.Size)
	if n, err := io.ReadFull(body, data); err != nil {
		return nil, fmt.Errorf("the store sent %d of %d bytes: %w", n, info.Size, err)
	}
	return data, nil
}

// readUnsized reads a body whose size the store did not tell.
func readUnsized(body io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%w of %d bytes", catalog.ErrTooLarge, limit)
	}
	return data, err
}

// List implements catalog.Bucket. It costs one request for each 1000 objects,
// as the iteration comes to them.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		left, err := b.list(ctx, prefix, yield)
		if err != nil && !left {
			yield(catalog.Object{}, b.failed(fmt.Sprintf("list %q", prefix), err))
		}
	}
}

// list yields the objects. It reports whether the caller has left the loop.
func (b *Bucket) list(ctx context.Context, prefix string, yield func(catalog.Object, error) bool) (left bool, err error) {
	last := ""
	options := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true, FetchOwner: new(bool)}
	for info := range b.core.ListObjectsIter(ctx, b.name, options) {
		if info.Err != nil {
			return false, info.Err
		}
		if ctx.Err() != nil {
			break
		}
		if !strings.HasPrefix(info.Key, options.Prefix) || info.Key <= last {
			return false, fmt.Errorf("the store lists %q after %q, which is out of order or outside of the prefix", info.Key, last)
		}
		last = info.Key
		key := strings.TrimPrefix(info.Key, b.prefix)
		if !validKey(key) {
			continue // no object of a catalog: a folder that a console made, for instance
		}
		if !yield(catalog.Object{Key: key, Size: info.Size, Modified: info.LastModified}, nil) {
			return true, nil
		}
	}
	return false, ctx.Err() // minio-go ends a listing silently when it is cancelled
}

// Delete implements catalog.Bucket. It costs one request. In a bucket with
// versions the object's version stays.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	err := check(ctx, key)
	if err == nil {
		err = b.core.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{})
	}
	if saysAbsent(err) {
		err = catalog.ErrNotExist
	}
	if err != nil {
		return b.failed("delete "+key, err)
	}
	return nil
}

// saysAbsent reports whether err is an S3 server's word that there is no such
// object. minio-go says the same of any server's 404, but then without the
// document that S3 servers answer with.
func saysAbsent(err error) bool {
	var response minio.ErrorResponse
	return errors.As(err, &response) && response.Code == minio.NoSuchKey && response.XMLName.Local == "Error"
}
