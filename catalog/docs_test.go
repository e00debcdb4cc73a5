package catalog_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"hawser.dev/hawser/catalog"
)

// docs/format.md must tell a stranger of every key and word of the format.
func TestTheFormatIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, name := range []string{"commit.json", "bundle.json", "journal.json", "tombstone.json", "verdict.json", "v1/hawser.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := json.Unmarshal(data, &content); err != nil {
			t.Fatal(err)
		}
		delete(content, "objects") // they are Kubernetes' own
		collectKeys(content, words)
	}
	for _, reason := range []catalog.SkipReason{
		catalog.SkipPodOwned, catalog.SkipUnbound, catalog.SkipNotCSI, catalog.SkipNotCovered, catalog.SkipNotFound, catalog.SkipNotSelected,
		catalog.SkipNotAsked, catalog.SkipNotSupported, catalog.SkipTerminating, catalog.SkipInconsistent, catalog.SkipProtectError,
	} {
		words[string(reason)] = true
	}
	for _, outcome := range []catalog.Outcome{catalog.Complete, catalog.Partial, catalog.Abandoned} {
		words[string(outcome)] = true
	}
	words["objects"] = true
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if !regexp.MustCompile("[`.]" + regexp.QuoteMeta(word) + "[`.]").Match(page) {
			t.Errorf("docs/format.md does not mention %q", word)
		}
	}
}

// collectKeys adds the keys of all objects in value, but not of maps whose keys
// are data.
func collectKeys(value any, keys map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			keys[key] = true
			if key != "contentAnnotations" {
				collectKeys(inner, keys)
			}
		}
	case []any:
		for _, inner := range v {
			collectKeys(inner, keys)
		}
	}
}
