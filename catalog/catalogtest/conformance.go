package catalogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// TestBucket runs every case of the contract of catalog.Bucket. Each call of
// open returns a new handle over the same storage, which is empty when
// TestBucket begins.
func TestBucket(t *testing.T, open func(t *testing.T) catalog.Bucket) {
	t.Run("an empty storage lists nothing", func(t *testing.T) { wantKeys(t, open(t), "") })
	for i, c := range []struct {
		name string
		run  func(t *testing.T, s storage)
	}{
		{"what was created is read back", testReadBack},
		{"the caller keeps its buffer", testBuffer},
		{"a second Create fails and changes nothing", testSecondCreate},
		{"of concurrent Creates exactly one wins", testRace},
		{"no reader sees part of an object", testWhole},
		{"a deleted key is free again", testDelete},
		{"handles see each other's objects", testHandles},
		{"an absent object does not exist", testAbsent},
		{"the limit is exact", testLimit},
		{"every allowed character may be in a key", testOddKeys},
		{"what is not a key is refused", testBadKeys},
		{"a cancelled context is an error", testCancelled},
		{"a listing is in order of key", testOrder},
		{"a listing keeps to its prefix", testPrefix},
		{"a listing has every page", testPages},
		{"a listing tells size and time", testFacts},
		{"a listing may be left early", testLeave},
		{"a listing cancelled midway ends with an error", testCancelledList},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, storage{Bucket: open(t), open: open, folder: fmt.Sprintf("case-%d/", i)})
		})
	}
}

// storage is what one case works on: a handle, and a folder of its own.
type storage struct {
	catalog.Bucket
	open   func(t *testing.T) catalog.Bucket
	folder string // ends with a slash
}

func (s storage) key(name string) string { return s.folder + name }

func mustCreate(t *testing.T, b catalog.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Create(t.Context(), key, data); err != nil {
		t.Fatalf("Create(%s): %v", key, err)
	}
}

// want fails the test unless key holds exactly data.
func want(t *testing.T, b catalog.Bucket, key string, data []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), key, int64(len(data)))
	if err != nil {
		t.Fatalf("Get(%s): %v", key, err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("Get(%s) = %d bytes beginning %.32q, want %d bytes beginning %.32q", key, len(got), got, len(data), data)
	}
}

// wantError fails the test unless err is target, whole and of no other kind.
func wantError(t *testing.T, what string, err, target error) {
	t.Helper()
	for _, kind := range []error{catalog.ErrExist, catalog.ErrNotExist, catalog.ErrTooLarge, context.Canceled} {
		if errors.Is(err, kind) != (kind == target) {
			t.Errorf("%s: error %v, want %v", what, err, target)
			return
		}
	}
}

func testReadBack(t *testing.T, s storage) {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	for name, data := range map[string][]byte{
		"empty":  {},
		"text":   []byte("a hawser ties a ship to its berth\n"),
		"binary": binary,
		"large":  bytes.Repeat(binary, 17<<20/len(binary)+1)[:17<<20+1], // above the usual size of a part
	} {
		mustCreate(t, s, s.key(name), data)
		want(t, s, s.key(name), data)
	}
}

func testBuffer(t *testing.T, s storage) {
	data := []byte("before")
	mustCreate(t, s, s.key("object"), data)
	copy(data, "after.")
	want(t, s, s.key("object"), []byte("before"))
	got, err := s.Get(t.Context(), s.key("object"), 100)
	if err != nil {
		t.Fatal(err)
	}
	copy(got, "after.")
	want(t, s, s.key("object"), []byte("before"))
}

func testSecondCreate(t *testing.T, s storage) {
	mustCreate(t, s, s.key("object"), []byte("first"))
	for _, data := range []string{"second", "first", ""} {
		wantError(t, "second Create", s.Create(t.Context(), s.key("object"), []byte(data)), catalog.ErrExist)
		want(t, s, s.key("object"), []byte("first"))
	}
}

func testDelete(t *testing.T, s storage) {
	mustCreate(t, s, s.key("object"), []byte("first"))
	if err := s.Delete(t.Context(), s.key("object")); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err := s.Get(t.Context(), s.key("object"), 100)
	wantError(t, "Get after Delete", err, catalog.ErrNotExist)
	wantKeys(t, s, s.folder)
	if err := s.Delete(t.Context(), s.key("object")); err != nil && !errors.Is(err, catalog.ErrNotExist) {
		t.Errorf("Delete of an absent object: %v, want nil or ErrNotExist", err)
	}
	mustCreate(t, s, s.key("object"), []byte("second"))
	want(t, s, s.key("object"), []byte("second"))
}

func testHandles(t *testing.T, s storage) {
	other := s.open(t)
	mustCreate(t, s, s.key("object"), []byte("data"))
	want(t, other, s.key("object"), []byte("data"))
	wantKeys(t, other, s.folder, s.key("object"))
	wantError(t, "Create by the other handle", other.Create(t.Context(), s.key("object"), nil), catalog.ErrExist)
	if err := other.Delete(t.Context(), s.key("object")); err != nil {
		t.Fatalf("Delete by the other handle: %v", err)
	}
	_, err := s.Get(t.Context(), s.key("object"), 100)
	wantError(t, "Get after the other handle's Delete", err, catalog.ErrNotExist)
}

func testAbsent(t *testing.T, s storage) {
	mustCreate(t, s, s.key("folder/object"), []byte("data"))
	for _, name := range []string{"object", "folder", "folder/other", "other/object", "folder/obj", "folder/object2"} {
		_, err := s.Get(t.Context(), s.key(name), 100)
		wantError(t, "Get("+name+")", err, catalog.ErrNotExist)
	}
}

func testLimit(t *testing.T, s storage) {
	mustCreate(t, s, s.key("object"), []byte("12345678"))
	mustCreate(t, s, s.key("empty"), nil)
	want(t, s, s.key("object"), []byte("12345678"))
	want(t, s, s.key("empty"), nil)
	for _, limit := range []int64{7, 1, 0} {
		data, err := s.Get(t.Context(), s.key("object"), limit)
		wantError(t, "Get below the size", err, catalog.ErrTooLarge)
		if data != nil {
			t.Errorf("Get below the size returned %d bytes and an error", len(data))
		}
	}
}

func testOddKeys(t *testing.T, s storage) {
	for _, name := range []string{
		"-", "_", "-_.", "...", "..a", "a..", ".hidden", "trailing.", "0", "UPPER", "upper", "x.tmp", "a.b/c-d/e_f",
		"0123456789-abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ.",
		string(bytes.Repeat([]byte("l"), 200)),
	} {
		mustCreate(t, s, s.key(name), []byte(name))
		want(t, s, s.key(name), []byte(name))
		wantKeys(t, s, s.key(name), s.key(name))
		if err := s.Delete(t.Context(), s.key(name)); err != nil {
			t.Errorf("Delete(%s): %v", name, err)
		}
	}
}

func testBadKeys(t *testing.T, s storage) {
	for _, key := range []string{
		"", ".", "..", "/", "/object", "object/", "a//b", "a/./b", "a/../b", "../object", "./object", "a/..",
		"a b", "a\x00b", "a\nb", `a\b`, "a~", "a+b", "a%2fb", "ä", "a:b", "*",
	} {
		if err := s.Create(t.Context(), key, nil); err == nil || errors.Is(err, catalog.ErrExist) {
			t.Errorf("Create(%q): %v, want an error that says it is no key", key, err)
		}
		if _, err := s.Get(t.Context(), key, 100); err == nil || errors.Is(err, catalog.ErrNotExist) {
			t.Errorf("Get(%q): %v, want an error that says it is no key", key, err)
		}
		if err := s.Delete(t.Context(), key); err == nil || errors.Is(err, catalog.ErrNotExist) {
			t.Errorf("Delete(%q): %v, want an error that says it is no key", key, err)
		}
	}
}

func testCancelled(t *testing.T, s storage) {
	mustCreate(t, s, s.key("object"), []byte("data"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "Create", s.Create(ctx, s.key("other"), nil), context.Canceled)
	wantError(t, "Delete", s.Delete(ctx, s.key("object")), context.Canceled)
	_, err := s.Get(ctx, s.key("object"), 100)
	wantError(t, "Get", err, context.Canceled)
	objects, err := collect(s.List(ctx, s.folder))
	wantError(t, "List", err, context.Canceled)
	if len(objects) > 0 {
		t.Errorf("List yielded %d objects under a cancelled context", len(objects))
	}
	wantKeys(t, s, s.folder, s.key("object"))
}

func testFacts(t *testing.T, s storage) {
	before := time.Now()
	mustCreate(t, s, s.key("empty"), nil)
	mustCreate(t, s, s.key("some"), make([]byte, 12345))
	objects, err := collect(s.List(t.Context(), s.folder))
	if err != nil || len(objects) != 2 {
		t.Fatalf("List: %d objects, error %v", len(objects), err)
	}
	for i, size := range []int64{0, 12345} {
		if objects[i].Size != size {
			t.Errorf("%s has size %d, want %d", objects[i].Key, objects[i].Size, size)
		}
		// Stores round to seconds, and have a clock of their own.
		if age := objects[i].Modified.Sub(before); age < -time.Minute || age > time.Minute {
			t.Errorf("%s was modified %v, want about %v", objects[i].Key, objects[i].Modified, before)
		}
	}
}
