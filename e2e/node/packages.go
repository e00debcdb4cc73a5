package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unpack makes dir a tree of Debian packages and of all that they depend on, by
// this machine's sources of packages and without regard to what is installed on
// it. No script of a package is run. The files of packages, with their versions,
// are listed in <dir>.packages.
func unpack(ctx context.Context, dir string, progress io.Writer, packages ...string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(progress, "downloading Debian packages %s\n", strings.Join(packages, " "))
	files, err := download(ctx, filepath.Join(tmp, "cache"), packages)
	if err != nil {
		return fmt.Errorf("download %s: %w", strings.Join(packages, " "), err)
	}
	tree, list := filepath.Join(tmp, "tree"), new(bytes.Buffer)
	for _, file := range files {
		if err := run(ctx, "dpkg-deb", "--extract", file, tree); err != nil {
			return err
		}
		fmt.Fprintln(list, filepath.Base(file))
	}
	if err := os.WriteFile(dir+".packages", list.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tree, dir)
}

// download returns the files of packages and their dependencies, in order of
// their names.
func download(ctx context.Context, cache string, packages []string) ([]string, error) {
	archives := filepath.Join(cache, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, err
	}
	status := filepath.Join(cache, "status") // says that nothing is installed
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	get := append([]string{
		"-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache=" + cache, // also apt's own index, which is of another status
		"-o", "APT::Sandbox::User=root",
		"--no-install-recommends", "--yes", "--download-only", "install",
	}, packages...)
	if err := run(ctx, "apt-get", get...); err != nil {
		// It may never have been told what there is, or long ago.
		if err := run(ctx, "apt-get", "update"); err != nil {
			return nil, err
		}
		if err := run(ctx, "apt-get", get...); err != nil {
			return nil, err
		}
	}
	return filepath.Glob(filepath.Join(archives, "*.deb"))
}

func run(ctx context.Context, name string, args ...string) error {
	if output, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(output))
	}
	return nil
}
