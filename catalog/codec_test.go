package catalog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestCommitSurvivesItsCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := commits.Draw(t, "commit")
		data, err := catalog.EncodeCommit(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := catalog.DecodeCommit(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decode(encode(x)) (-want +got):\n%s", diff)
		}
	})
}

func TestBundleSurvivesItsCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := bundles.Draw(t, "bundle")
		data, ref, err := catalog.EncodeBundle(want)
		if err != nil {
			t.Fatal(err)
		}
		if ref.Size != int64(len(data)) || ref.SHA256 != digest(data) || !slices.Equal(ref.Encoding, []string{"zstd"}) {
			t.Fatalf("reference %+v does not describe the %d bytes", ref, len(data))
		}
		got, err := catalog.DecodeBundle(data, ref, catalog.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want.Format = catalog.Format
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decode(encode(x)) (-want +got):\n%s", diff)
		}
	})
}

func TestEncodingIsAFunctionOfTheContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commit, bundle := commits.Draw(t, "commit"), bundles.Draw(t, "bundle")
		first, err1 := catalog.EncodeCommit(commit)
		second, err2 := catalog.EncodeCommit(commit)
		if err1 != nil || err2 != nil || !bytes.Equal(first, second) {
			t.Fatalf("two encodings of one commit differ: %v, %v", err1, err2)
		}
		first, _, err1 = catalog.EncodeBundle(bundle)
		second, _, err2 = catalog.EncodeBundle(bundle)
		if err1 != nil || err2 != nil || !bytes.Equal(first, second) {
			t.Fatalf("two encodings of one bundle differ: %v, %v", err1, err2)
		}
	})
}

// damaged fails the test unless err says that an object is corrupt. A digit of
// the format's version may have become that of a later one.
func damaged(t rapid.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, catalog.ErrCorrupt) && !errors.Is(err, catalog.ErrNewerFormat) {
		t.Fatalf("%s: error %v, want %v", what, err, catalog.ErrCorrupt)
	}
}

func TestEveryFlippedBitOfACommitShows(t *testing.T) {
	commit := newCommit(clusterA, "databases", 0)
	_, ref := refOf([]byte("bundle"), 6)
	commit.Bundle, commit.Previous = &ref, &catalog.CommitRef{Point: "p", SHA256: "s"}
	data, err := catalog.EncodeCommit(commit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			changed := bytes.Clone(data)
			changed[i] ^= 1 << bit
			_, err := catalog.DecodeCommit(changed)
			damaged(t, "bit flipped in ..."+string(changed[max(0, i-10):min(len(data), i+10)])+"...", err)
		}
	}
}

func TestEveryCutOfACommitShows(t *testing.T) {
	data, err := catalog.EncodeCommit(newCommit(clusterA, "databases", 0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		_, err := catalog.DecodeCommit(data[:i])
		damaged(t, "cut short", err)
		_, err = catalog.DecodeCommit(slices.Delete(bytes.Clone(data), i, i+1))
		damaged(t, "a byte taken out", err)
	}
	_, err = catalog.DecodeCommit(append(bytes.Clone(data), "{}"...))
	damaged(t, "something appended", err)
}

func TestEveryFlippedBitAndCutOfABundleShows(t *testing.T) {
	data, ref, err := catalog.EncodeBundle(newBundle())
	if err != nil {
		t.Fatal(err)
	}
	want, err := catalog.DecodeBundle(data, ref, catalog.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			changed := bytes.Clone(data)
			changed[i] ^= 1 << bit
			_, err := catalog.DecodeBundle(changed, ref, catalog.Limits{})
			damaged(t, "bit flipped", err)
			// With a digest that fits, the bytes must still not become another bundle.
			_, ref := refOf(changed, ref.RawSize)
			if got, err := catalog.DecodeBundle(changed, ref, catalog.Limits{}); err != nil {
				damaged(t, "bit flipped under its own digest", err)
			} else {
				wantDiff(t, "bundle with a bit flipped under its own digest", want, got)
			}
		}
		_, err := catalog.DecodeBundle(data[:i], ref, catalog.Limits{})
		damaged(t, "cut short", err)
	}
}

func TestDamageShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		commit, err := catalog.EncodeCommit(commits.Draw(t, "commit"))
		if err != nil {
			t.Fatal(err)
		}
		bundle, ref, err := catalog.EncodeBundle(bundles.Draw(t, "bundle"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = catalog.DecodeCommit(damage(t, commit))
		damaged(t, "commit", err)
		_, err = catalog.DecodeBundle(damage(t, bundle), ref, catalog.Limits{})
		damaged(t, "bundle", err)
	})
}

// damage returns data with one byte changed, or cut somewhere.
func damage(t *rapid.T, data []byte) []byte {
	at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
	if rapid.Bool().Draw(t, "cut") {
		return data[:at]
	}
	changed := bytes.Clone(data)
	changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
	return changed
}

func TestDecodeCommitRefuses(t *testing.T) {
	good, err := catalog.EncodeCommit(newCommit(clusterA, "databases", 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, data string
		want       error
	}{
		{"nothing", "", catalog.ErrCorrupt},
		{"something else", "<html>404</html>", catalog.ErrCorrupt},
		{"null", "null", catalog.ErrCorrupt},
		{"an array", "[]", catalog.ErrCorrupt},
		{"no format", strings.Replace(string(good), `"format":1,`, "", 1), catalog.ErrCorrupt},
		{"format 0", strings.Replace(string(good), `"format":1`, `"format":0`, 1), catalog.ErrCorrupt},
		{"a format below 0", strings.Replace(string(good), `"format":1`, `"format":-1`, 1), catalog.ErrCorrupt},
		{"a format in words", strings.Replace(string(good), `"format":1`, `"format":"one"`, 1), catalog.ErrCorrupt},
		{"the next format", strings.Replace(string(good), `"format":1`, `"format":2`, 1), catalog.ErrNewerFormat},
		{"a later format of another shape", `{"format":7,"statement":"c29tZXRoaW5nIGVsc2U="}`, catalog.ErrNewerFormat},
		{"no statement", `{"format":1,"sha256":"` + digest(nil) + `","signatures":[]}`, catalog.ErrCorrupt},
		{"a statement that is no commit", `{"format":1,"sha256":"` + digest([]byte("[]")) + `","statement":[],"signatures":[]}`, catalog.ErrCorrupt},
		{"another statement", strings.Replace(string(good), "databases", "databased", 1), catalog.ErrCorrupt},
		{"another digest", strings.Replace(string(good), `"sha256":"`, `"sha256":"0`, 1), catalog.ErrCorrupt},
		{"a second statement", strings.Replace(string(good), `"signatures"`, `"statement":{},"signatures"`, 1), catalog.ErrCorrupt},
		{"a key in another case", strings.Replace(string(good), `"statement"`, `"Statement"`, 1), catalog.ErrCorrupt},
		{"a key that format 1 does not have", strings.Replace(string(good), `"signatures"`, `"x":1,"signatures"`, 1), catalog.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			commit, err := catalog.DecodeCommit([]byte(c.data))
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			wantDiff(t, "what it returns with the error", catalog.Commit{}, commit)
		})
	}
}

func TestDecodeBundleRefuses(t *testing.T) {
	data, ref, err := catalog.EncodeBundle(newBundle())
	if err != nil {
		t.Fatal(err)
	}
	compressed := func(raw string) ([]byte, catalog.BundleRef) { return compress(t, raw) }
	with := func(change func(*catalog.BundleRef)) ([]byte, catalog.BundleRef) {
		changed := ref
		change(&changed)
		return data, changed
	}
	for _, c := range []struct {
		name string
		make func() ([]byte, catalog.BundleRef)
		want error
	}{
		{"a bundle of the next format", func() ([]byte, catalog.BundleRef) { return compressed(`{"format":2,"objects":"elsewhere"}`) }, catalog.ErrNewerFormat},
		{"a bundle without format", func() ([]byte, catalog.BundleRef) { return compressed(`{"objects":[]}`) }, catalog.ErrCorrupt},
		{"what is not JSON", func() ([]byte, catalog.BundleRef) { return compressed("hello") }, catalog.ErrCorrupt},
		{"an object without kind", func() ([]byte, catalog.BundleRef) { return compressed(`{"format":1,"objects":[{"apiVersion":"v1"}]}`) }, catalog.ErrCorrupt},
		{"what is not zstd", func() ([]byte, catalog.BundleRef) { return refOf([]byte("plain"), 5) }, catalog.ErrCorrupt},
		{"nothing", func() ([]byte, catalog.BundleRef) { return refOf(nil, 0) }, catalog.ErrCorrupt},
		{"an encoding that is to come", func() ([]byte, catalog.BundleRef) {
			return with(func(r *catalog.BundleRef) { r.Encoding = []string{"zstd", "age"} })
		}, catalog.ErrNewerFormat},
		{"no encoding", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.Encoding = nil }) }, catalog.ErrNewerFormat},
		{"another size", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.Size++ }) }, catalog.ErrCorrupt},
		{"another digest", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.SHA256 = digest(nil) }) }, catalog.ErrCorrupt},
		{"a decoded size too small", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.RawSize-- }) }, catalog.ErrCorrupt},
		{"a decoded size too large", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.RawSize++ }) }, catalog.ErrCorrupt},
		{"a decoded size below 0", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.RawSize = -1 }) }, catalog.ErrCorrupt},
		{"a size below 0", func() ([]byte, catalog.BundleRef) { return with(func(r *catalog.BundleRef) { r.Size = -1 }) }, catalog.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, ref := c.make()
			bundle, err := catalog.DecodeBundle(data, ref, catalog.Limits{})
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			wantDiff(t, "what it returns with the error", catalog.Bundle{}, bundle)
		})
	}
}
