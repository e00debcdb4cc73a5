package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          error
		says          string
	}{
		{"a catalog of this format", `{"format":1,"id":"x","created":"2026-09-03T12:00:00Z"}`, nil, ""},
		{"a key that is to come does no harm", `{"format":1,"id":"x","created":"2026-09-03T12:00:00Z","motto":"tie up well"}`, nil, ""},
		{"the next format", `{"format":2}`, catalog.ErrNewerFormat, "use a newer hawser"},
		{"a file that is cut", `{"format":1,`, catalog.ErrCorrupt, "hawser.json"},
		{"an empty file", ``, catalog.ErrCorrupt, "hawser.json"},
		{"another file of this name", `{"name":"hawser"}`, catalog.ErrCorrupt, "no format version"},
		{"a huge file", strings.Repeat(" ", 1<<20+1), catalog.ErrTooLarge, "hawser.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bucket := &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}
			store{Faulty: bucket}.put(t, "hawser.json", []byte(c.content))
			for name, open := range map[string]func() (*catalog.Catalog, error){
				"Open": func() (*catalog.Catalog, error) { return catalog.Open(t.Context(), bucket, catalog.Limits{}) },
				"OpenOrCreate": func() (*catalog.Catalog, error) {
					return catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, noon)
				},
			} {
				_, err := open()
				if !errors.Is(err, c.want) || c.want != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v, want %v that says %q", name, err, c.want, c.says)
				}
			}
			if bucket.Writes() != 1 {
				t.Errorf("%d writes to a catalog that was there", bucket.Writes()-1)
			}
		})
	}
}

func TestOpenOfAnEmptyStoreWritesNothing(t *testing.T) {
	bucket := &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}
	if _, err := catalog.Open(t.Context(), bucket, catalog.Limits{}); !errors.Is(err, catalog.ErrNoCatalog) {
		t.Errorf("Open: %v, want %v", err, catalog.ErrNoCatalog)
	}
	if bucket.Writes() > 0 {
		t.Error("it wrote")
	}
}

func TestAStoreThatDoesNotAnswerIsNotAnEmptyOne(t *testing.T) {
	bucket := &catalogtest.Faulty{Bucket: new(catalogtest.Memory), Before: catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, ""), errBroken)}
	if _, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, noon); !errors.Is(err, errBroken) || errors.Is(err, catalog.ErrNoCatalog) {
		t.Errorf("OpenOrCreate: %v, want %v", err, errBroken)
	}
	if bucket.Writes() > 0 {
		t.Error("it created a catalog")
	}
}

func TestOfManyCreatorsOfACatalogOneWins(t *testing.T) {
	var bucket catalogtest.Memory
	const creators = 50
	ids := make([]string, creators)
	open := make([]func() error, creators)
	for i := range open {
		open[i] = func() error {
			cat, err := catalog.OpenOrCreate(t.Context(), &bucket, catalog.Limits{}, noon.Local())
			if err == nil {
				ids[i] = cat.Repository().ID
			}
			return err
		}
	}
	if err := errors.Join(together(open...)...); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(t.Context(), &bucket, catalog.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "hawser.json", catalog.Repository{Format: 1, ID: ids[0], Created: noon}, cat.Repository())
	for i, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("creator %d has catalog %q, creator 0 has %q", i, id, ids[0])
		}
	}
}

// careless is a store that may ignore the condition of Create.
type careless struct {
	catalogtest.Memory
	asked int
}

func (c *careless) CheckConditional(context.Context) error { c.asked++; return errBroken }

func TestNoCatalogIsCreatedInAStoreThatIgnoresConditions(t *testing.T) {
	var bucket careless
	for range 2 {
		if _, err := catalog.OpenOrCreate(t.Context(), &bucket, catalog.Limits{}, noon); !errors.Is(err, errBroken) {
			t.Fatalf("OpenOrCreate: %v, want %v", err, errBroken)
		}
	}
	if err := bucket.Create(t.Context(), "hawser.json", []byte(`{"format":1}`)); err != nil {
		t.Fatalf("something was written: %v", err)
	}
	if _, err := catalog.OpenOrCreate(t.Context(), &bucket, catalog.Limits{}, noon); err != nil || bucket.asked != 2 {
		t.Errorf("OpenOrCreate of one that is there: %v; the store was checked %d times, want 2", err, bucket.asked)
	}
}

// place puts an object where it does not belong, or of a kind that is to come.
type place func(t *testing.T, s store, point catalog.Commit)

func TestWhatIsNotThePointsIsRefused(t *testing.T) {
	other := catalog.NewPointID(clusterA, "databases", hour(7), 0)
	copyTo := func(cluster string, id catalog.PointID) place {
		return func(t *testing.T, s store, point catalog.Commit) {
			s.put(t, pointKey(cluster, id, "commit"), s.object(t, pointKey(clusterA, point.Point, "commit")))
			s.put(t, pointKey(cluster, id, "bundle"), s.object(t, pointKey(clusterA, point.Point, "bundle")))
		}
	}
	bundle := func(raw func(catalog.Commit) string) place {
		return func(t *testing.T, s store, point catalog.Commit) {
			data, ref := compress(t, raw(point))
			s.replace(t, pointKey(clusterA, point.Point, "bundle"), data)
			key := pointKey(clusterA, point.Point, "commit")
			s.replace(t, key, reseal(t, s.object(t, key), func(statement map[string]any) { statement["bundle"] = ref }))
		}
	}
	for _, c := range []struct {
		name    string
		place   place
		cluster string
		id      catalog.PointID // "" for the point's own
		want    error
	}{
		{"a commit under another point's key", copyTo(clusterA, other), clusterA, other, catalog.ErrCorrupt},
		{"a commit under another cluster's key", copyTo(clusterB, catalog.NewPointID(clusterA, "databases", noon, 0)), clusterB, "", catalog.ErrCorrupt},
		{"a bundle of another point", bundle(func(catalog.Commit) string { return fmt.Sprintf(`{"format":1,"point":%q}`, other) }), clusterA, "", catalog.ErrCorrupt},
		{"a bundle of a later format", bundle(func(p catalog.Commit) string { return fmt.Sprintf(`{"format":2,"point":%q}`, p.Point) }), clusterA, "", catalog.ErrNewerFormat},
		{"a bundle that is gone", func(t *testing.T, s store, p catalog.Commit) {
			if err := s.Delete(t.Context(), pointKey(clusterA, p.Point, "bundle")); err != nil {
				t.Fatal(err)
			}
		}, clusterA, "", catalog.ErrCorrupt},
		{"a bundle that has grown", func(t *testing.T, s store, p catalog.Commit) {
			key := pointKey(clusterA, p.Point, "bundle")
			s.replace(t, key, append(s.object(t, key), 0))
		}, clusterA, "", catalog.ErrCorrupt},
		{"a commit of a later format", func(t *testing.T, s store, p catalog.Commit) {
			s.replace(t, pointKey(clusterA, p.Point, "commit"), []byte(`{"format":2}`))
		}, clusterA, "", catalog.ErrNewerFormat},
		{"a commit that is huge", func(t *testing.T, s store, p catalog.Commit) {
			s.replace(t, pointKey(clusterA, p.Point, "commit"), make([]byte, 1<<20+1))
		}, clusterA, "", catalog.ErrTooLarge},
		{"no commit", func(*testing.T, store, catalog.Commit) {}, clusterA, other, catalog.ErrNoPoint},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			point := s.add(t, clusterA, "databases", 0)
			c.place(t, s, point)
			id := c.id
			if id == "" {
				id = point.Point
			}
			if _, err := s.Load(t.Context(), c.cluster, id); !errors.Is(err, c.want) || !strings.Contains(err.Error(), string(id)) {
				t.Errorf("Load: %v, want %v that names the point", err, c.want)
			}
		})
	}
}

func TestAJournalEntryIsRefused(t *testing.T) {
	intent := newIntent(clusterA, "databases", 0)
	for _, c := range []struct {
		name, cluster, content string
		want                   error
	}{
		{"of a later format", clusterA, `{"format":2}`, catalog.ErrNewerFormat},
		{"that is cut", clusterA, `{"format":1,"point":"`, catalog.ErrCorrupt},
		{"that is empty", clusterA, ``, catalog.ErrCorrupt},
		{"of another point", clusterA, `{"format":1,"point":"p","cluster":{"uid":"` + clusterA + `"}}`, catalog.ErrCorrupt},
		{"of another cluster", clusterB, fmt.Sprintf(`{"format":1,"point":%q,"cluster":{"uid":%q}}`, intent.Point, clusterA), catalog.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			s.put(t, journalKey(c.cluster, intent.Point), []byte(c.content))
			_, err := s.Intent(t.Context(), catalog.Presence{ClusterUID: c.cluster, Point: intent.Point})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), string(intent.Point)) {
				t.Errorf("Intent: %v, want %v that names the point", err, c.want)
			}
		})
	}
}
