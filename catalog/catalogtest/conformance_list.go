package catalogtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"hawser.dev/hawser/catalog"
)

// collect returns what a listing yields, and its error. A listing that yields
// anything after an error panics.
func collect(listing iter.Seq2[catalog.Object, error]) ([]catalog.Object, error) {
	var objects []catalog.Object
	var failed error
	for object, err := range listing {
		if failed != nil {
			panic(fmt.Sprintf("listing went on after error %v: %v %v", failed, object, err))
		}
		if err != nil {
			failed = err
			continue
		}
		objects = append(objects, object)
	}
	return objects, failed
}

// wantKeys fails the test unless listing prefix yields exactly keys.
func wantKeys(t *testing.T, b catalog.Bucket, prefix string, keys ...string) {
	t.Helper()
	objects, err := collect(b.List(t.Context(), prefix))
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	var got []string
	for _, object := range objects {
		got = append(got, object.Key)
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Fatalf("List(%q) (-want +got):\n%s", prefix, diff)
	}
}

// createAll creates an object under each key, some at a time.
func createAll(t *testing.T, b catalog.Bucket, keys []string) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(16)
	for _, key := range keys {
		group.Go(func() error { return b.Create(t.Context(), key, []byte(key)) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testOrder(t *testing.T, s storage) {
	// The order is that of the whole key's bytes, in which "-" and "." come
	// before "/": not the order in which a folder is walked.
	keys := []string{"a-/x", "a-b", "a./x", "a.b", "a/-", "a/0", "a/b/c", "a/b0", "a0", "aB", "a_", "ab/a", "b"}
	for i, name := range keys {
		keys[i] = s.key(name)
	}
	reversed := slices.Clone(keys)
	slices.Reverse(reversed)
	createAll(t, s, reversed)
	wantKeys(t, s, s.folder, keys...)
}

func testPrefix(t *testing.T, s storage) {
	key := s.key
	createAll(t, s, []string{key("point/b"), key("point/a"), key("points"), key("po.int"), key("other/point")})
	wantKeys(t, s, s.folder, key("other/point"), key("po.int"), key("point/a"), key("point/b"), key("points"))
	wantKeys(t, s, key("point/"), key("point/a"), key("point/b"))
	wantKeys(t, s, key("point"), key("point/a"), key("point/b"), key("points"))
	wantKeys(t, s, key("po"), key("po.int"), key("point/a"), key("point/b"), key("points"))
	wantKeys(t, s, key("points"), key("points"))
	wantKeys(t, s, key("point/a"), key("point/a"))
	wantKeys(t, s, key("point/c"))
	wantKeys(t, s, key("points/"))
	wantKeys(t, s, key("absent/"))
	wantKeys(t, s, key("absent/deeper/still"))
}

func testPages(t *testing.T, s storage) {
	const n = 1100 // S3 pages hold 1000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = s.key(fmt.Sprintf("points/%04d/commit", i))
	}
	createAll(t, s, keys)
	mustCreate(t, s, s.key("pointz"), nil)
	wantKeys(t, s, s.key("points/"), keys...)
	wantKeys(t, s, s.key("points/10"), keys[1000:1100]...)
}

func testLeave(t *testing.T, s storage) {
	createAll(t, s, []string{s.key("a"), s.key("b"), s.key("c")})
	for object, err := range s.List(t.Context(), s.folder) {
		if err != nil || object.Key != s.key("a") {
			t.Fatalf("first of the listing: %v, %v", object, err)
		}
		break
	}
	wantKeys(t, s, s.folder, s.key("a"), s.key("b"), s.key("c"))
}

func testCancelledList(t *testing.T, s storage) {
	createAll(t, s, []string{s.key("a"), s.key("b"), s.key("c")})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen int
	var failed error
	for _, err := range s.List(ctx, s.folder) {
		cancel()
		failed = err
		if err == nil {
			seen++
		}
	}
	if wantError(t, "List", failed, context.Canceled); seen != 1 {
		t.Errorf("the listing yielded %d objects, want the one before it was cancelled", seen)
	}
}
