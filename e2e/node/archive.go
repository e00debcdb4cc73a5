package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// An archive is an image of one layer, as `docker save` writes it and `ctr
// images import` reads it. The same content is the same file, byte for byte.

// imageConfig is what we use of the OCI image configuration.
type imageConfig struct {
	Architecture string        `json:"architecture"`
	OS           string        `json:"os"`
	Config       processConfig `json:"config"`
	RootFS       rootFS        `json:"rootfs"`
}

type processConfig struct {
	Env        []string `json:",omitempty"`
	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// writeArchive writes the image that has the files below tree, less those that
// skip says yes to, under the name tag. It is written beside path and moved.
func writeArchive(path, tag, architecture string, process processConfig, tree string, skip func(name string) bool) error {
	layer, err := os.CreateTemp(filepath.Dir(path), ".layer-")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	digest := sha256.New()
	if err := writeLayer(io.MultiWriter(layer, digest), tree, skip); err != nil {
		return fmt.Errorf("write the layer of image %s: %w", tag, err)
	}
	sum := fmt.Sprintf("%x", digest.Sum(nil))
	config, err := json.Marshal(imageConfig{
		Architecture: architecture, OS: "linux", Config: process,
		RootFS: rootFS{Type: "layers", DiffIDs: []string{"sha256:" + sum}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{tag}, "Layers": []string{sum + ".tar"},
	}})
	if err != nil {
		return err
	}

	tmp, err := os.CreateTemp(filepath.Dir(path), ".image-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is moved
	defer tmp.Close()
	archive := tar.NewWriter(tmp)
	size, err := layer.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = layer.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	for _, member := range []struct {
		name    string
		size    int64
		content io.Reader
	}{
		{configName, int64(len(config)), bytes.NewReader(config)},
		{sum + ".tar", size, layer},
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
	} {
		header := &tar.Header{Name: member.name, Mode: 0o644, Size: member.size, ModTime: time.Unix(0, 0)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, member.content); err != nil {
			return err
		}
	}
	if err := errors.Join(archive.Close(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// writeLayer writes a tree in the order of its names. Everything is root's and
// of one time.
func writeLayer(to io.Writer, tree string, skip func(name string) bool) error {
	layer := tar.NewWriter(to)
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == tree {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		if skip(name) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return writeFile(layer, path, name, entry)
	})
	return errors.Join(err, layer.Close())
}

func writeFile(layer *tar.Writer, path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var target string
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	header.Name = name
	if info.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	if err := layer.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(layer, file)
	return err
}

// skipAny returns a function that says yes to paths which match one of the
// patterns (of package path/filepath).
func skipAny(patterns ...string) func(string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			matched, err := filepath.Match(pattern, name)
			if err != nil {
				panic(fmt.Sprintf("pattern %q: %v", strings.TrimSpace(pattern), err)) // they are part of the program
			}
			return matched
		})
	}
}
