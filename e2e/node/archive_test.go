package node

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveIsTheSameForTheSameFiles(t *testing.T) {
	dir := t.TempDir()
	var archives [][]byte
	for _, name := range []string{"one", "two"} { // made one after the other, in different folders
		tree, archive := filepath.Join(dir, name), filepath.Join(dir, name+".tar")
		must(t, os.MkdirAll(filepath.Join(tree, "usr/share/doc/hawser"), 0o700))
		must(t, os.WriteFile(filepath.Join(tree, "usr/hawser"), []byte("#!"), 0o755))
		must(t, os.Symlink("hawser", filepath.Join(tree, "usr/rope")))
		must(t, writeArchive(archive, "hawser:1", "amd64", processConfig{Cmd: []string{"hawser"}}, tree, unused))
		data, err := os.ReadFile(archive)
		must(t, err)
		archives = append(archives, data)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the archives differ")
	}

	members := untar(t, archives[0])
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	must(t, json.Unmarshal(members["manifest.json"], &manifest))
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || manifest[0].RepoTags[0] != "hawser:1" {
		t.Fatalf("the manifest says %+v", manifest)
	}
	var config imageConfig
	must(t, json.Unmarshal(members[manifest[0].Config], &config))
	if got, want := config.RootFS.DiffIDs[0]+".tar", "sha256:"+manifest[0].Layers[0]; got != want {
		t.Errorf("the configuration is of layer %s, the manifest of %s", got, want)
	}
	want := map[string][]byte{"usr/": {}, "usr/hawser": []byte("#!"), "usr/rope": {}, "usr/share/": {}}
	if diff := cmp.Diff(want, untar(t, members[manifest[0].Layers[0]])); diff != "" {
		t.Errorf("files of the layer (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files, archive := map[string][]byte{}, tar.NewReader(bytes.NewReader(data))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		if header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s is of user %d and time %s", header.Name, header.Uid, header.ModTime)
		}
		content, err := io.ReadAll(archive)
		must(t, err)
		files[header.Name] = content
	}
}

func TestTheStampOfAnImageKnowsItsFiles(t *testing.T) {
	seen := map[string]string{}
	for _, r := range append(recipes, recipe{name: "without files", tag: recipes[1].tag, packages: recipes[1].packages}) {
		stamp, err := r.stamp()
		must(t, err)
		if seen[stamp] != "" {
			t.Errorf("%s and %s have one stamp", r.name, seen[stamp])
		}
		seen[stamp] = r.name
	}
}

func TestMadeOnceForEachStamp(t *testing.T) {
	s := store{t.TempDir()}
	path, n := s.path("thing"), 0
	for _, step := range []struct {
		stamp string
		lost  bool
		want  int
	}{{"a", false, 1}, {"a", false, 1}, {"b", false, 2}, {"b", true, 3}} {
		if step.lost {
			must(t, os.Remove(path))
		}
		must(t, s.make(path, step.stamp, func() error { n++; return os.WriteFile(path, nil, 0o644) }))
		if n != step.want {
			t.Errorf("at %+v it was made %d times", step, n)
		}
	}
	if err := s.make(path, "c", func() error { return fs.ErrInvalid }); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the error is %v", err)
	}
	must(t, s.make(path, "b", func() error { n++; return nil }))
	if n != 3 {
		t.Error("what was not replaced is made again")
	}
}
