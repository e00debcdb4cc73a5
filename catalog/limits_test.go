package catalog_test

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// frameOf is a zstd frame that decodes to head, n MiB of the letter a, and
// tail: in 32 bytes per MiB, under a window of 8 MiB.
func frameOf(head string, n int, tail string) []byte {
	const raw, rle, last = 0 << 1, 1 << 1, 1
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (23 - 10) << 3}
	block := func(kind, size int, content string) {
		header := size<<3 | kind
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16))
		frame = append(frame, content...)
	}
	block(raw, len(head), head)
	for range 8 * n {
		block(rle, 128<<10, "a")
	}
	block(raw|last, len(tail), tail)
	return frame
}

// allocated returns how many bytes do allocates in all.
func allocated(do func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// wideWindow is a frame of 13 bytes, all told, that asks its reader for a
// window of 512 MiB: magic, no checksum, window descriptor, one raw block "{}".
var wideWindow = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (29 - 10) << 3, 0x11, 0x00, 0x00, '{', '}'}

// longSegment is a frame that claims to hold 512 MiB in one segment.
var longSegment = []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00, 0x00, 0x00, 0x20, 0x11, 0x00, 0x00, '{', '}'}

func TestABombIsRefusedBeforeItGoesOff(t *testing.T) {
	const modest = 24 << 20 // a decoder's own needs: a window of 8 MiB and its tables
	gigabytes := frameOf("", 4<<10, "")
	for _, c := range []struct {
		name    string
		data    []byte
		rawSize int64
		want    error
	}{
		{"gigabytes where a kilobyte was declared", gigabytes, 1 << 10, catalog.ErrCorrupt},
		{"gigabytes where as much was declared as needs no ratio", gigabytes, 1 << 20, catalog.ErrCorrupt},
		{"gigabytes that are declared", gigabytes, 4 << 30, catalog.ErrTooLarge},
		{"more than there can be", gigabytes, 1<<63 - 1, catalog.ErrTooLarge},
		{"a frame that asks for a wide window", wideWindow, 2, catalog.ErrCorrupt},
		{"a frame that claims one long segment", longSegment, 2, catalog.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, ref := refOf(c.data, c.rawSize)
			used := allocated(func() {
				if _, err := catalog.DecodeBundle(data, ref, catalog.Limits{}); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
			})
			if used > modest {
				t.Errorf("it allocated %d MiB to refuse %d bytes", used>>20, len(data))
			}
		})
	}
}

func TestLimits(t *testing.T) {
	mib := int64(1 << 20)
	for _, c := range []struct {
		name          string
		limits        catalog.Limits
		size, rawSize int64
		refused       bool
	}{
		{"64 MiB as stored by default", catalog.Limits{}, 64 * mib, 64 * mib, false},
		{"no more than 64 MiB as stored", catalog.Limits{}, 64*mib + 1, 64 * mib, true},
		{"100 times as much decoded by default", catalog.Limits{}, mib, 100 * mib, false},
		{"no more than 100 times", catalog.Limits{}, mib, 101 * mib, true},
		{"any ratio up to 1 MiB decoded", catalog.Limits{}, 1, mib, false},
		{"the ratio holds above 1 MiB decoded", catalog.Limits{}, 1, mib + 1, true},
		{"a larger store limit", catalog.Limits{Compressed: 65 * mib}, 64*mib + 1, 64 * mib, false},
		{"a smaller store limit", catalog.Limits{Compressed: 10}, 11, 11, true},
		{"a larger ratio", catalog.Limits{Ratio: 101}, mib, 101 * mib, false},
		{"a smaller ratio", catalog.Limits{Ratio: 2}, mib, 3 * mib, true},
		{"limits below 0 are the defaults", catalog.Limits{Compressed: -1, Ratio: -1}, 64 * mib, 64 * mib, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := catalog.BundleRef{Size: c.size, RawSize: c.rawSize, SHA256: "-", Encoding: []string{"zstd"}}
			// What the limits admit is refused for its bytes, which are not there.
			_, err := catalog.DecodeBundle(nil, ref, c.limits)
			if errors.Is(err, catalog.ErrTooLarge) != c.refused || errors.Is(err, catalog.ErrCorrupt) == c.refused {
				t.Errorf("error %v, want it refused: %t", err, c.refused)
			}
		})
	}
}

func TestABundleAboveTheLimitsIsNotWritten(t *testing.T) {
	s := newStore(t)
	cat, err := catalog.Open(t.Context(), s.Faulty, catalog.Limits{Compressed: 100})
	if err != nil {
		t.Fatal(err)
	}
	writes := s.Writes()
	if _, err := cat.Commit(t.Context(), newCommit(clusterA, "databases", 0), newBundle(), nil); !errors.Is(err, catalog.ErrTooLarge) || !strings.Contains(err.Error(), "catalog.limits.compressed") {
		t.Errorf("Commit: %v, want %v and the setting that raises it", err, catalog.ErrTooLarge)
	}
	if s.Writes() != writes {
		t.Errorf("it wrote %v", s.Calls())
	}
}

func TestABundleAboveTheLimitsIsNotRead(t *testing.T) {
	s := newStore(t)
	commit := s.add(t, clusterA, "databases", 0)
	cat, err := catalog.Open(t.Context(), s.Faulty, catalog.Limits{Compressed: commit.Bundle.Size - 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Load(t.Context(), clusterA, commit.Point); !errors.Is(err, catalog.ErrTooLarge) {
		t.Errorf("Load: %v, want %v", err, catalog.ErrTooLarge)
	}
	if slices.ContainsFunc(s.Calls(), func(c catalogtest.Call) bool {
		return c.Method == catalogtest.Get && c.N > 3 && strings.HasSuffix(c.Key, "/bundle")
	}) {
		t.Errorf("it asked for the bundle: %v", s.Calls())
	}
}

func TestALargeBundleNeedsLittleMoreThanItself(t *testing.T) {
	const mib, head, tail = 16, `{"format":1,"point":"`, `"}`
	data, ref := refOf(frameOf(head, mib, tail), int64(len(head)+mib<<20+len(tail)))
	used := allocated(func() {
		bundle, err := catalog.DecodeBundle(data, ref, catalog.Limits{Ratio: 1 << 20})
		if err != nil || len(bundle.Point) != mib<<20 {
			t.Fatalf("a point of %d bytes, error %v", len(bundle.Point), err)
		}
	})
	// The decoded bytes, and the string in them once more.
	if used > 3*mib<<20 {
		t.Errorf("it allocated %d MiB for %d MiB", used>>20, mib)
	}
}

func TestACommitCanAlwaysBeReadBack(t *testing.T) {
	s := newStore(t)
	commit := newCommit(clusterA, "databases", 0)
	commit.Outcome = catalog.Partial
	for range 20_000 {
		commit.Reasons = append(commit.Reasons, strings.Repeat("claim shop/data: no snapshot; ", 10))
	}
	commit.Reasons = append(commit.Reasons, strings.Repeat("long ", 1<<20))
	commit.Notes = commit.Reasons
	written, err := s.Commit(t.Context(), commit, newBundle(), nil)
	if err != nil {
		t.Fatal(err)
	}
	point, err := s.Load(t.Context(), clusterA, commit.Point)
	if err != nil {
		t.Fatalf("a commit with many reasons was written and cannot be read: %v", err)
	}
	wantDiff(t, "commit as returned and as read", written, point.Commit)
	if last := written.Reasons[len(written.Reasons)-1]; !strings.Contains(last, "more") {
		t.Errorf("the last of %d reasons is %.80q, want it to say that there were more", len(written.Reasons), last)
	}
	s.add(t, clusterA, "databases", 1) // and does not stand in the way of the next
}
