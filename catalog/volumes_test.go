package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// storeOf makes a bundle's object, as it is, the one point of a catalog.
func storeOf(t *testing.T, data []byte, ref catalog.BundleRef) (store, catalog.PointID) {
	t.Helper()
	s := newStore(t)
	commit := s.add(t, clusterA, "web", 0)
	s.replace(t, pointKey(clusterA, commit.Point, "bundle"), data)
	s.replace(t, pointKey(clusterA, commit.Point, "commit"), reseal(t, s.object(t, pointKey(clusterA, commit.Point, "commit")), func(statement map[string]any) {
		statement["bundle"] = ref
	}))
	return s, commit.Point
}

func TestVolumesAreThoseOfTheWholePoint(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		bundle := bundles.Draw(r, "bundle")
		bundle.Point = catalog.NewPointID(clusterA, "web", hour(0), 0)
		data, ref, err := catalog.EncodeBundle(bundle)
		if err != nil {
			r.Fatal(err)
		}
		s, id := storeOf(t, data, ref)
		point, err := s.Load(t.Context(), clusterA, id)
		if err != nil {
			r.Fatal(err)
		}
		commit, volumes, err := s.Volumes(t.Context(), clusterA, id)
		if err != nil {
			r.Fatal(err)
		}
		wantDiff(t, "commit", point.Commit, commit)
		if len(point.Bundle.Volumes)+len(volumes) > 0 {
			wantDiff(t, "volumes", point.Bundle.Volumes, volumes)
		}
	})
}

// Whatever Load refuses, Volumes refuses for the same reason.
func TestVolumesRefusesWhatLoadRefuses(t *testing.T) {
	id := catalog.NewPointID(clusterA, "web", hour(0), 0)
	good := fmt.Sprintf(`{"format":1,"point":%q,"objects":[],"volumes":[]}`, id)
	for _, c := range []struct {
		name, raw string
		want      error
	}{
		{"nothing is wrong", good, nil},
		{"lists that are null", fmt.Sprintf(`{"format":1,"point":%q,"objects":null,"volumes":null}`, id), nil},
		{"a key of a later writer", strings.Replace(good, `"volumes"`, `"later":{"a":[1]},"volumes"`, 1), nil},
		{"the next format", strings.Replace(good, `1`, `2`, 1), catalog.ErrNewerFormat},
		{"the next format, which has other lists", `{"format":2,"volumes":{"elsewhere":true}}`, catalog.ErrNewerFormat},
		{"no format", strings.Replace(good, `"format":1,`, ``, 1), catalog.ErrCorrupt},
		{"the bundle of another point", strings.Replace(good, string(id), "20260903-130000-web-00000000", 1), catalog.ErrCorrupt},
		{"what is not JSON", "hello", catalog.ErrCorrupt},
		{"a list of bundles", "[" + good + "]", catalog.ErrCorrupt},
		{"volumes that are no list", strings.Replace(good, `"volumes":[]`, `"volumes":{}`, 1), catalog.ErrCorrupt},
		{"a volume that is none", strings.Replace(good, `"volumes":[]`, `"volumes":["disk"]`, 1), catalog.ErrCorrupt},
		{"no end", good[:len(good)-1], catalog.ErrCorrupt},
		{"two values", good + good, catalog.ErrCorrupt},
		{"something after its end", good + "}", catalog.ErrCorrupt},
		{"nothing", "", catalog.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, ref := compress(t, c.raw)
			s, id := storeOf(t, data, ref)
			_, whole := s.Load(t.Context(), clusterA, id)
			_, _, err := s.Volumes(t.Context(), clusterA, id)
			if !errors.Is(whole, c.want) || !errors.Is(err, c.want) {
				t.Errorf("Volumes: %v; Load: %v; want %v", err, whole, c.want)
			}
		})
	}
}

func TestVolumesRefusesWhatIsNotStoredAsItsCommitSays(t *testing.T) {
	good, ref, err := catalog.EncodeBundle(newBundle())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(data []byte, ref *catalog.BundleRef) []byte{
		"another digest":       func(data []byte, ref *catalog.BundleRef) []byte { ref.SHA256 = digest(nil); return data },
		"it decodes to less":   func(data []byte, ref *catalog.BundleRef) []byte { ref.RawSize++; return data },
		"it decodes to more":   func(data []byte, ref *catalog.BundleRef) []byte { ref.RawSize--; return data },
		"it is cut":            func(data []byte, ref *catalog.BundleRef) []byte { return data[:len(data)-1] },
		"its frame asks a lot": func(_ []byte, ref *catalog.BundleRef) []byte { var d []byte; d, *ref = refOf(wideWindow, 2); return d },
	} {
		t.Run(name, func(t *testing.T) {
			changed := ref
			s, id := storeOf(t, change(good, &changed), changed)
			if _, _, err := s.Volumes(t.Context(), clusterA, id); !errors.Is(err, catalog.ErrCorrupt) {
				t.Errorf("Volumes: %v, want %v", err, catalog.ErrCorrupt)
			}
		})
	}
}

func TestAnAbandonedRunHasNoVolumes(t *testing.T) {
	s := newStore(t)
	if _, _, err := s.Volumes(t.Context(), clusterA, s.abandon(t, clusterA, "web", 0)); !errors.Is(err, catalog.ErrNoPoint) {
		t.Errorf("Volumes: %v, want %v", err, catalog.ErrNoPoint)
	}
}

// The objects of a large point need not be in memory to read its volumes.
func TestVolumesLeavesTheObjectsOut(t *testing.T) {
	bundle := newBundle()
	bundle.Point = catalog.NewPointID(clusterA, "web", hour(0), 0)
	for i := range 20_000 {
		bundle.Objects = append(bundle.Objects, unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprint("c-", i)},
			"data": map[string]any{"text": strings.Repeat(fmt.Sprint("text ", i, " "), 100)},
		}})
	}
	data, ref, err := catalog.EncodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	s, id := storeOf(t, data, ref)
	var volumes []catalog.Volume
	spent := allocated(func() { _, volumes, err = s.Volumes(t.Context(), clusterA, id) })
	if err != nil || len(volumes) != 1 {
		t.Fatalf("%d volumes, %v", len(volumes), err)
	}
	t.Logf("%d MiB decoded, %d MiB allocated", ref.RawSize>>20, spent>>20)
	if ref.RawSize < 20<<20 || spent > ref.RawSize {
		t.Errorf("reading the volumes of a bundle of %d bytes allocates %d in all", ref.RawSize, spent)
	}
}
