package restore

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// goldenCases calls run for each folder in testdata/<kind>, as a subtest.
func goldenCases(t *testing.T, kind string, run func(t *testing.T, folder string)) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", kind))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) { run(t, filepath.Join("testdata", kind, entry.Name())) })
	}
}

// readInput decodes the documents of folder/in.yaml, one into each value, and
// fails on a field that the value does not have.
func readInput(t *testing.T, folder string, into ...any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(data), "---\n")
	if len(documents) != len(into) {
		t.Fatalf("%s/in.yaml has %d documents, want %d", folder, len(documents), len(into))
	}
	for i, document := range documents {
		if err := yaml.UnmarshalStrict([]byte(document), into[i]); err != nil {
			t.Fatalf("%s/in.yaml: %v", folder, err)
		}
	}
}

// golden compares values, as YAML documents, with folder/out.yaml.
func golden(t *testing.T, folder string, values ...any) {
	t.Helper()
	var documents [][]byte
	for _, value := range values {
		document, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
	got := bytes.Join(documents, []byte("---\n"))
	path := filepath.Join(folder, "out.yaml")
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
