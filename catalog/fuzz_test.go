package catalog_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hawser.dev/hawser/catalog"
)

// FuzzDecodeCommit feeds the decoder objects, and statements sealed as by one
// who knows the format.
func FuzzDecodeCommit(f *testing.F) {
	good, err := catalog.EncodeCommit(newCommit(clusterA, "databases", 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, false)
	f.Add(good[:len(good)/2], false)
	f.Add(bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1), false)
	f.Add([]byte(`{"format":1,"sha256":"","statement":"\u003c","signatures":[{}]}`), false)
	f.Add([]byte(`{"point":"p","cluster":{"uid":"u"},"scheduled":"2026-09-03T12:00:00Z","bundle":{"size":-1,"encoding":["zstd"]}}`), true)
	f.Add([]byte(`{}`), true)
	f.Add([]byte(`null`), true)
	f.Fuzz(func(t *testing.T, data []byte, statement bool) {
		if statement {
			data = seal(data)
		}
		commit, err := catalog.DecodeCommit(data)
		if err != nil {
			if !errors.Is(err, catalog.ErrCorrupt) && !errors.Is(err, catalog.ErrNewerFormat) {
				t.Fatalf("error of no known kind: %v", err)
			}
			return
		}
		again, err := catalog.EncodeCommit(commit)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		got, err := catalog.DecodeCommit(again)
		if err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v", err)
		}
		if diff := cmp.Diff(commit, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decoded, encoded and decoded (-first +second):\n%s", diff)
		}
	})
}

// FuzzDecodeBundle feeds the decoder objects that are what their commits say:
// the work of one who writes both.
func FuzzDecodeBundle(f *testing.F) {
	good, ref, err := catalog.EncodeBundle(newBundle())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, ref.RawSize, false)
	f.Add(good, ref.RawSize+1, false)
	f.Add(good, int64(-1), false)
	f.Add(good[:len(good)/2], ref.RawSize, false)
	f.Add(wideWindow, int64(2), false)
	f.Add(longSegment, int64(2), false)
	f.Add(frameOf("", 8, ""), int64(8<<20), false)
	f.Add(frameOf(`{"format":1,"point":"`, 1, `"}`), int64(1<<20+23), false)
	f.Add([]byte(`{"format":1,"point":"p","objects":[{"kind":"Pod","apiVersion":"v1","spec":{"a":[1,2.5,null]}}],"volumes":[{"ordinal":0}]}`), int64(0), true)
	f.Add([]byte(strings.Repeat("[", 1000)), int64(0), true)
	f.Fuzz(func(t *testing.T, data []byte, rawSize int64, plain bool) {
		data, ref := refOf(data, rawSize)
		if plain {
			data, ref = compress(t, string(data))
		}
		bundle, err := catalog.DecodeBundle(data, ref, catalog.Limits{Compressed: 1 << 20})
		if err != nil {
			if !errors.Is(err, catalog.ErrCorrupt) && !errors.Is(err, catalog.ErrNewerFormat) && !errors.Is(err, catalog.ErrTooLarge) {
				t.Fatalf("error of no known kind: %v", err)
			}
			return
		}
		if _, _, err := catalog.EncodeBundle(bundle); err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
	})
}
