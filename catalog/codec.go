package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Format is the version of the repository, commit, bundle and journal formats
// that this program writes. It reads every released format up to this one.
const Format = 1

// zstdEncoding is the one encoding step of format 1. Encryption will be a
// second step, named after it in BundleRef.Encoding.
const zstdEncoding = "zstd"

// zstdWindow is the largest window of a zstd frame, bytes. The reader holds as
// much in memory whatever the frame decodes to, so it refuses a larger one.
const zstdWindow = 8 << 20

var (
	// ErrCorrupt: an object is not what its writer wrote.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewerFormat: an object was written in a format this program does not know.
	ErrNewerFormat = errors.New("written in a newer format")
)

// Limits guard the reader against objects that would exhaust its memory.
// The zero value means the defaults.
type Limits struct {
	Compressed int64 // largest bundle as stored, bytes; default 64 MiB
	Ratio      int64 // largest decoded size as a multiple of the stored size; default 100
}

const (
	defaultCompressed = 64 << 20
	defaultRatio      = 100
	commitLimit       = 1 << 20 // bytes, of commits, journal entries and hawser.json
	smallBundle       = 1 << 20 // decoded bytes to which the ratio does not apply
)

func (l Limits) withDefaults() Limits {
	if l.Compressed <= 0 {
		l.Compressed = defaultCompressed
	}
	if l.Ratio <= 0 {
		l.Ratio = defaultRatio
	}
	return l
}

// check refuses a bundle that ref declares larger than the limits allow.
func (l Limits) check(ref BundleRef) error {
	if ref.Size < 0 || ref.RawSize < 0 {
		return fmt.Errorf("bundle: %w: the commit says that it has %d bytes and decodes to %d", ErrCorrupt, ref.Size, ref.RawSize)
	}
	if ref.Size > l.Compressed {
		return fmt.Errorf("bundle of %d bytes: %w of %d bytes (catalog.limits.compressed)", ref.Size, ErrTooLarge, l.Compressed)
	}
	if ref.RawSize > smallBundle && ref.RawSize/l.Ratio > ref.Size {
		return fmt.Errorf("bundle of %d bytes that decodes to %d: %w of %d:1 (catalog.limits.ratio)", ref.Size, ref.RawSize, ErrTooLarge, l.Ratio)
	}
	return nil
}

// envelope is the commit's object. The signatures of a later format cover the
// bytes of the statement exactly as they stand in the object.
type envelope struct {
	Format     int               `json:"format"`
	SHA256     string            `json:"sha256"` // of the statement's bytes
	Statement  json.RawMessage   `json:"statement"`
	Signatures []json.RawMessage `json:"signatures"`
}

// EncodeCommit returns the bytes of the commit's object.
func EncodeCommit(c Commit) ([]byte, error) {
	statement, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{
		Format:     Format,
		SHA256:     digest(statement),
		Statement:  statement,
		Signatures: []json.RawMessage{},
	})
}

// DecodeCommit is the inverse of EncodeCommit. It fails with ErrNewerFormat or
// ErrCorrupt.
func DecodeCommit(data []byte) (Commit, error) {
	var e envelope
	if err := decodeJSON(data, &e); err != nil {
		return Commit{}, err
	}
	// The digest does not cover the rest of the envelope, and JSON forgives much:
	// an unknown key, one in another case, one that comes twice.
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, data) {
		return Commit{}, fmt.Errorf("%w: it is not in the form in which a commit is written", ErrCorrupt)
	}
	if got := digest(e.Statement); got != e.SHA256 {
		return Commit{}, fmt.Errorf("%w: the statement's digest is %s, the commit says %s", ErrCorrupt, got, e.SHA256)
	}
	var c Commit
	if err := json.Unmarshal(e.Statement, &c); err != nil {
		return Commit{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return c, nil
}

// EncodeBundle returns the bytes of the bundle's object and what to say of it
// in the commit.
func EncodeBundle(b Bundle) ([]byte, BundleRef, error) {
	b.Format = Format
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, BundleRef{}, err
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, BundleRef{}, err
	}
	defer w.Close()
	data := w.EncodeAll(raw, nil)
	return data, BundleRef{
		Size:     int64(len(data)),
		SHA256:   digest(data),
		RawSize:  int64(len(raw)),
		Encoding: []string{zstdEncoding},
	}, nil
}

// DecodeBundle is the inverse of EncodeBundle. It fails with ErrCorrupt if
// data is not what ref says, with ErrNewerFormat if it cannot know how to
// read it, and with ErrTooLarge, before it allocates, if it exceeds limits.
func DecodeBundle(data []byte, ref BundleRef, limits Limits) (Bundle, error) {
	if err := checkReadable(data, ref, limits); err != nil {
		return Bundle{}, err
	}
	raw, err := decompress(data, ref.RawSize)
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle: %w", err)
	}
	var b Bundle
	if err := decodeJSON(raw, &b); err != nil {
		return Bundle{}, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

// checkReadable says why a bundle's object must not, or cannot, be decoded.
func checkReadable(data []byte, ref BundleRef, limits Limits) error {
	if err := limits.withDefaults().check(ref); err != nil {
		return err
	}
	if err := checkStored(data, ref); err != nil {
		return err
	}
	if !slices.Equal(ref.Encoding, []string{zstdEncoding}) {
		return fmt.Errorf("bundle encoded with %q: %w: this program reads %q; use a newer hawser", ref.Encoding, ErrNewerFormat, zstdEncoding)
	}
	return nil
}

// checkStored compares an object as read with what its commit says of it.
func checkStored(data []byte, ref BundleRef) error {
	if int64(len(data)) != ref.Size {
		return fmt.Errorf("bundle: %w: %d bytes, the commit says %d", ErrCorrupt, len(data), ref.Size)
	}
	if got := digest(data); got != ref.SHA256 {
		return fmt.Errorf("bundle: %w: SHA-256 %s, the commit says %s", ErrCorrupt, got, ref.SHA256)
	}
	return nil
}

// newDecompressor reads what data decodes to, within a bounded window.
func newDecompressor(data []byte) (*zstd.Decoder, error) {
	return zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
}

func decompress(data []byte, rawSize int64) ([]byte, error) {
	r, err := newDecompressor(data)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A buffer with less room than MinRead left would grow to twice its size.
	raw := bytes.NewBuffer(make([]byte, 0, rawSize+1+bytes.MinRead))
	n, err := io.Copy(raw, io.LimitReader(r, rawSize+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if n != rawSize {
		return nil, fmt.Errorf("%w: it decodes to other than the %d bytes that the commit says", ErrCorrupt, rawSize)
	}
	return raw.Bytes(), nil
}

// decodeJSON decodes one whole JSON value that carries its format's version.
func decodeJSON(data []byte, into any) error {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if err := checkFormat(version.Format); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return nil
}

// checkFormat refuses what this program does not know how to read.
func checkFormat(format int) error {
	if format > Format {
		return fmt.Errorf("%w: %d, this program reads up to %d; use a newer hawser", ErrNewerFormat, format, Format)
	}
	if format < 1 {
		return fmt.Errorf("%w: it has no format version", ErrCorrupt)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
