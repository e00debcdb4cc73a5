package node

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"hawser.dev/hawser/e2e/node/machine"
)

// The images that every node has. Manifests name them as they are here.
const (
	RedisImage   = "redis:7.0"     // redis-server, redis-cli, a shell and its tools
	MariaDBImage = "mariadb:10.11" // starts MariaDB as the official image does
)

// Image is one that a test has made itself.
type Image struct {
	Tag        string // as Pods name it: host/name:tag
	Root       string // the folder of its files
	Entrypoint []string
}

// write writes the image's archive.
func (i Image) write(path string) error {
	return writeArchive(path, i.Tag, runtime.GOARCH, processConfig{Entrypoint: i.Entrypoint}, i.Root, skipAny())
}

// recipe says what an image is made of.
type recipe struct {
	name     string // of the image's files here
	tag      string
	packages []string // of Debian, and all that they depend on
	files    string   // folder below images whose files are added
	process  processConfig
}

// shell is what the scripts of images and of tests may use.
var shell = []string{"bash", "coreutils", "dash", "grep", "hostname", "sed"}

var recipes = []recipe{
	{
		name:     "redis",
		tag:      "docker.io/library/" + RedisImage,
		packages: append([]string{"redis-server", "redis-tools"}, shell...),
		process:  processConfig{Cmd: []string{"redis-server"}},
	},
	{
		name:     "mariadb",
		tag:      "docker.io/library/" + MariaDBImage,
		packages: append([]string{"mariadb-client-core", "mariadb-server-core"}, shell...),
		files:    "mariadb",
		process:  processConfig{Entrypoint: []string{"/entrypoint"}, Cmd: []string{"mariadbd"}},
	},
}

//go:embed images
var imageFiles embed.FS

// unused is what no program in an image reads.
var unused = skipAny(
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug",
	"usr/share/perl*", "usr/lib/*/perl*", "usr/lib/*/libperl*", "usr/bin/perl*", "usr/lib/*/gconv", "usr/lib/systemd", "lib/systemd",
	"etc/init.d", "etc/cron*", "etc/systemd",
)

// archives returns the files of all images, and writes those that are missing.
func (s store) archives(ctx context.Context, progress io.Writer) ([]string, error) {
	pause, err := s.pauseArchive(ctx)
	if err != nil {
		return nil, err
	}
	archives := []string{pause}
	for _, r := range recipes {
		archive, err := s.archive(ctx, r, progress)
		if err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

func (s store) archive(ctx context.Context, r recipe, progress io.Writer) (string, error) {
	stamp, err := r.stamp()
	if err != nil {
		return "", err
	}
	path := s.path("image-" + r.name + ".tar")
	return path, s.make(path, stamp, func() error {
		tree, err := os.MkdirTemp(s.dir, ".image-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tree)
		files := filepath.Join(tree, r.name)
		if err := unpack(ctx, files, progress, r.packages...); err != nil {
			return err
		}
		if err := finishTree(files, r.files); err != nil {
			return fmt.Errorf("finish image %s: %w", r.name, err)
		}
		if err := os.Rename(files+".packages", s.path(r.name+".packages")); err != nil {
			return err
		}
		fmt.Fprintf(progress, "writing image %s\n", r.tag)
		return writeArchive(path, r.tag, runtime.GOARCH, r.process, files, unused)
	})
}

// stamp tells recipes apart, and what this package makes of them.
func (r recipe) stamp() (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "1 %+v\n", r)
	if r.files != "" {
		added, err := fs.Sub(imageFiles, "images/"+r.files)
		if err != nil {
			return "", err
		}
		err = fs.WalkDir(added, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(added, name)
			fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// finishTree does what the packages' own scripts would, as far as anything here
// needs it, and adds the files of a folder of imageFiles.
func finishTree(tree, added string) error {
	for _, dir := range []string{"tmp", "run/mysqld", "var/lib/mysql", "redis", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(tree, "tmp"), 0o777|fs.ModeSticky); err != nil {
		return err
	}
	sh := filepath.Join(tree, "bin/sh")
	if _, err := os.Lstat(sh); err != nil {
		if err := os.Symlink("dash", sh); err != nil {
			return err
		}
	}
	passwd := "root:x:0:0:root:/root:/bin/bash\n"
	if err := os.WriteFile(filepath.Join(tree, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/group"), []byte("root:x:0:\n"), 0o644); err != nil {
		return err
	}
	if added == "" {
		return nil
	}
	folder := "images/" + added
	return fs.WalkDir(imageFiles, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := imageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(tree, name[len(folder):])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Remove(to); err != nil && !os.IsNotExist(err) { // it may be a link
			return err
		}
		return os.WriteFile(to, data, 0o755)
	})
}

// pauseArchive is made of a program of ours.
func (s store) pauseArchive(ctx context.Context) (string, error) {
	tree := s.path("pause")
	if err := s.goBuild(ctx, filepath.Join(tree, "pause"), "hawser.dev/hawser/e2e/node/pause"); err != nil {
		return "", err
	}
	path := s.path("image-pause.tar")
	process := processConfig{Entrypoint: []string{"/pause"}}
	return path, writeArchive(path, machine.PauseImage, runtime.GOARCH, process, tree, skipAny())
}
