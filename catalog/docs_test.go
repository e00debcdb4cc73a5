package catalog_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/catalog/dir"
)

// docs/format.md must tell a stranger of every key and word of the format.
func TestTheFormatIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, name := range []string{"commit.json", "bundle.json", "journal.json", "tombstone.json", "verdict.json", "drill.json", "v1/hawser.json",
		"ownership.json", "migration.json", "migration-run.json", "migration-step.json", "migration-verdict.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := json.Unmarshal(data, &content); err != nil {
			t.Fatal(err)
		}
		delete(content, "objects")            // they are Kubernetes' own
		content["mapping"] = map[string]any{} // it is the writer's own
		collectKeys(content, words)
	}
	for _, reason := range []catalog.SkipReason{
		catalog.SkipPodOwned, catalog.SkipUnbound, catalog.SkipNotCSI, catalog.SkipNotCovered, catalog.SkipNotFound, catalog.SkipNotSelected,
		catalog.SkipNotAsked, catalog.SkipNotSupported, catalog.SkipTerminating, catalog.SkipInconsistent, catalog.SkipProtectError, catalog.SkipDrill, catalog.SkipForeign, catalog.SkipOwnerUnknown,
	} {
		words[string(reason)] = true
	}
	for _, word := range []string{
		string(catalog.WayMove), string(catalog.WayCopy), string(catalog.WayAdopt), string(catalog.Forward), string(catalog.Back),
		string(catalog.Committed), string(catalog.RolledBack),
	} {
		words[word] = true
	}
	for _, outcome := range []catalog.DrillOutcome{catalog.DrillPassed, catalog.DrillFailed} {
		words[string(outcome)] = true
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

// The page's way of asking whether a point is missing finds what CheckChain does.
func TestTheDocumentedCheckOfTheChain(t *testing.T) {
	for _, tool := range []string{"sh", "jq", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the page is for machines that have %s", tool)
		}
	}
	page, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## Is one missing?")
	_, script, _ := strings.Cut(section, "```sh\n")
	script, _, _ = strings.Cut(script, "```")

	folder := t.TempDir()
	bucket, err := dir.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	s := store{Faulty: &catalogtest.Faulty{Bucket: bucket}}
	if s.Catalog, err = catalog.OpenOrCreate(t.Context(), s.Faulty, catalog.Limits{}, noon); err != nil {
		t.Fatal(err)
	}
	check := func() string {
		run := exec.CommandContext(t.Context(), "sh", "-c", script)
		run.Dir = filepath.Join(folder, "clusters", clusterA)
		out, err := run.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Errorf("the script says nothing and fails: %v", err)
		}
		return string(out)
	}
	var ids []catalog.PointID
	for n := range 6 {
		ids = append(ids, s.add(t, clusterA, "databases", n).Point)
	}
	wantDiff(t, "of a whole chain", "", check())
	s.prune(t, ids[2], ids[3])
	wantDiff(t, "of one with pruned points", "", check())
	if err := s.Delete(t.Context(), pointKey(clusterA, ids[1], "commit")); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "of one whose point behind the pruned ones is gone",
		fmt.Sprintf("points/%s/commit leads to %s, which is gone\n", ids[4], ids[1]), check())
	key := pointKey(clusterA, ids[4], "commit")
	s.replace(t, key, reseal(t, s.object(t, key), func(statement map[string]any) { statement["writer"] = "another" }))
	if said := check(); !strings.Contains(said, "points/"+string(ids[4])+"/commit: FAILED") {
		t.Errorf("of one with a changed point it says %q", said)
	}
}
