package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Volumes reads the commit and the volume records of a point, checked as Load
// checks them, and passes over the objects: it needs memory for what it returns
// and for the bundle as stored, where Load needs a multiple of it. It costs
// two reads.
func (c *Catalog) Volumes(ctx context.Context, clusterUID string, id PointID) (Commit, []Volume, error) {
	commit, data, err := c.read(ctx, clusterUID, id)
	if err != nil {
		return Commit{}, nil, err
	}
	bundle, err := decodeVolumes(data, *commit.Bundle, c.limits)
	if err == nil && bundle.Point != id {
		err = fmt.Errorf("bundle: %w: it is the bundle of point %s", ErrCorrupt, bundle.Point)
	}
	if err != nil {
		return Commit{}, nil, fmt.Errorf("point %s: %w", id, err)
	}
	return commit, bundle.Volumes, nil
}

// decodeVolumes is DecodeBundle without Objects and Skipped.
func decodeVolumes(data []byte, ref BundleRef, limits Limits) (Bundle, error) {
	if err := checkReadable(data, ref, limits); err != nil {
		return Bundle{}, err
	}
	r, err := newDecompressor(data)
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle: %w: %v", ErrCorrupt, err)
	}
	defer r.Close()
	counted := &io.LimitedReader{R: r, N: ref.RawSize + 1}
	bundle, err := scanVolumes(json.NewDecoder(counted))
	if newer := checkFormat(bundle.Format); errors.Is(newer, ErrNewerFormat) {
		return Bundle{}, fmt.Errorf("bundle: %w", newer) // which may be why it cannot be understood
	} else if err == nil {
		err = newer
	}
	if err == nil && counted.N != 1 {
		err = fmt.Errorf("it decodes to other than the %d bytes that the commit says", ref.RawSize)
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle: %w", err)
	}
	return bundle, nil
}

// scanVolumes reads one JSON value to its end, a piece at a time.
func scanVolumes(d *json.Decoder) (Bundle, error) {
	var b Bundle
	err := eachIn(d, '{', func(key string) error {
		switch key {
		case "format":
			return d.Decode(&b.Format)
		case "point":
			return d.Decode(&b.Point)
		case "volumes":
			return eachIn(d, '[', func(string) error {
				var v Volume
				err := d.Decode(&v)
				b.Volumes = append(b.Volumes, v)
				return err
			})
		case "objects":
			var passed json.RawMessage // its room is used again and again
			return eachIn(d, '[', func(string) error { return d.Decode(&passed) })
		}
		var passed json.RawMessage
		return d.Decode(&passed)
	})
	if err != nil {
		return b, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return b, errors.New("something follows its end")
	}
	return b, nil
}

// eachIn reads an object or a list, which opens so, or null. read is called
// before each value with its key, "" in a list, and reads the value.
func eachIn(d *json.Decoder, opens json.Delim, read func(key string) error) error {
	token, err := d.Token()
	if err != nil || token == nil {
		return err
	}
	if token != opens {
		return fmt.Errorf("%v where %v was to open", token, opens)
	}
	for d.More() {
		key := ""
		if opens == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			key, _ = token.(string) // Token has checked that it is one
		}
		if err := read(key); err != nil {
			return err
		}
	}
	_, err = d.Token() // what closes it
	return err
}
