package catalog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// The golden files freeze format 1: a difference in them is a change of the
// format, which takes a new version unless a key was only added to a statement
// or a bundle.

func TestFormatOfACommit(t *testing.T) {
	commit := newCommit(clusterA, "databases", 0)
	_, ref := refOf([]byte("the bundle's bytes"), 1234)
	commit.Bundle = &ref
	commit.Previous = &catalog.CommitRef{Point: "20260903-060000-databases-0a1b2c3d", SHA256: digest([]byte("the previous commit's bytes"))}
	commit.Outcome, commit.Reasons = catalog.Partial, []string{"claim shop/data: <its volume> could not be protected & read back"}
	commit.Attempt = 1
	commit.Notes = []string{"hooks of Pod shop/redis-0 ran in 2 s"}
	data, err := catalog.EncodeCommit(commit)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "commit.json", data)
}

func TestFormatOfABundle(t *testing.T) {
	bundle := newBundle()
	bundle.Point = catalog.NewPointID(clusterA, "databases", noon, 0)
	data, _, err := catalog.EncodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := r.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "bundle.json", indent(t, raw))
	if want := compact(t, indent(t, raw)); !bytes.Equal(raw, want) {
		t.Errorf("the bundle is\n%s\nwant it without spaces:\n%s", raw, want)
	}
}

func TestFormatOfTheJournal(t *testing.T) {
	s := newStore(t)
	intent := newIntent(clusterA, "databases", 0)
	intent.Attempt, intent.Agent = 1, "hawser-7d4f9-x2x1q/9d1d2f5e-0000-4000-8000-000000000003"
	if err := s.Begin(t.Context(), intent); err != nil {
		t.Fatal(err)
	}
	golden(t, "journal.json", indent(t, s.object(t, journalKey(clusterA, intent.Point))))
}

func TestFormatOfATombstoneAndItsVerdict(t *testing.T) {
	s := newStore(t)
	s.add(t, clusterA, "databases", 0)
	id := s.add(t, clusterA, "databases", 1).Point
	presence := catalog.Presence{ClusterUID: clusterA, Point: id}
	if err := s.Bury(t.Context(), newTombstone(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginRemoval(t.Context(), presence, graceEnd); err != nil {
		t.Fatal(err)
	}
	golden(t, "tombstone.json", indent(t, s.object(t, tombstoneKey(clusterA, id))))
	golden(t, "verdict.json", indent(t, s.object(t, tombstoneKey(clusterA, id)+".verdict")))
}

func indent(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compact(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// everything is all that a catalog tells.
type everything struct {
	Repository catalog.Repository
	Survey     []presence
	Intents    []catalog.Intent
	Commits    []catalog.Commit
	Bundles    []catalog.Bundle
}

// presence is what the first release said of a point.
type presence struct {
	ClusterUID                       string
	Point                            catalog.PointID
	Journal, Settled, Bundle, Commit bool
}

func readEverything(t *testing.T, s store) everything {
	t.Helper()
	all, survey := everything{Repository: s.Repository()}, s.survey(t, "")
	for _, p := range survey {
		all.Survey = append(all.Survey, presence{p.ClusterUID, p.Point, p.Journal, p.Settled, p.Bundle, p.Commit})
		intent, err := s.Intent(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		all.Intents = append(all.Intents, intent)
	}
	entries, err := s.Entries(t.Context(), survey)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Err != nil {
			t.Fatal(entry.Err)
		}
		all.Commits = append(all.Commits, entry.Commit)
		point, err := s.Load(t.Context(), entry.ClusterUID, entry.Point)
		switch {
		case entry.Commit.Outcome == catalog.Abandoned && errors.Is(err, catalog.ErrNoPoint):
		case err != nil:
			t.Fatal(err)
		default:
			all.Bundles = append(all.Bundles, point.Bundle)
		}
	}
	return all
}

// testdata/v1 is a catalog as the first release wrote it: two points, an
// abandoned run, and a run that was under way. It is never written again, and
// stays readable for ever; so there is no -update for it.
func TestFormat1StaysReadable(t *testing.T) {
	s := store{Faulty: &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}}
	root := os.DirFS("testdata/v1")
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return s.Create(t.Context(), path, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Catalog, err = catalog.Open(t.Context(), s.Faulty, catalog.Limits{}); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(readEverything(t, s), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("what format 1 says (-want +got):\n%s", diff)
	}
	wantDiff(t, "what is broken", []string(nil), broken(t, s))
}
