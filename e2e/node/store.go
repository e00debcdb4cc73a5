package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"hawser.dev/hawser/e2e/tools"
)

// A store is the folder of what nodes are made of: programs of ours, unpacked
// Debian packages, images. It lies in the tools' folder of binaries.
type store struct{ dir string }

// parts is all that a node is made of, apart from its configuration.
type parts struct {
	machine string   // binary
	debian  string   // folder with containerd, runc and CNI plugins
	images  []string // archives
	tools   map[string]string
}

const (
	kubelet = "kubelet"
	coreDNS = "coredns"
)

// Install gets and builds whatever nodes are made of and is not there yet: the
// first time that takes minutes, of which most are for kubelet, later a second.
// It is part of Start.
func Install(ctx context.Context, progress io.Writer) error {
	_, err := install(ctx, progress)
	return err
}

func install(ctx context.Context, progress io.Writer) (parts, error) {
	if progress == nil {
		progress = io.Discard
	}
	binaries, err := tools.Paths(ctx, kubelet, coreDNS)
	if err != nil {
		return parts{}, err
	}
	root, err := tools.Dir()
	if err != nil {
		return parts{}, err
	}
	s := store{filepath.Join(root, "bin", "node")}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return parts{}, err
	}
	lock, err := s.lock(ctx, progress)
	if err != nil {
		return parts{}, err
	}
	defer lock.Close()

	p := parts{tools: binaries, machine: s.path("machine"), debian: s.path("debian")}
	if err := s.goBuild(ctx, p.machine, "hawser.dev/hawser/e2e/node/machine/run"); err != nil {
		return parts{}, err
	}
	daemons := []string{"containerd", "runc", "containernetworking-plugins"}
	err = s.make(p.debian, fmt.Sprint(daemons), func() error { return unpack(ctx, p.debian, progress, daemons...) })
	if err != nil {
		return parts{}, err
	}
	p.images, err = s.archives(ctx, progress)
	return p, err
}

// lock lets one process at a time look what is missing and make it.
func (s store) lock(ctx context.Context, progress io.Writer) (*os.File, error) {
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for waiting := false; ; waiting = true {
		lock, err := lockFile(s.path(".lock"))
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return lock, err
		}
		if !waiting {
			fmt.Fprintln(progress, "waiting for another process that installs what nodes are made of")
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another process that installs what nodes are made of: %w", context.Cause(ctx))
		}
	}
}

func (s store) path(name string) string { return filepath.Join(s.dir, name) }

// make makes the file or folder at path, unless it is there with the same stamp.
func (s store) make(path, stamp string, make func() error) error {
	stampFile := path + ".stamp"
	old, err := os.ReadFile(stampFile)
	if err == nil && bytes.Equal(old, []byte(stamp)) {
		if _, err = os.Stat(path); err == nil {
			return nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := make(); err != nil {
		return err
	}
	return os.WriteFile(stampFile, []byte(stamp), 0o644)
}

// goBuild builds a command of this module, if it has changed, into a file that
// needs no libraries.
func (s store) goBuild(ctx context.Context, path, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, pkg)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "PWD="+s.dir)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, output)
	}
	return nil
}

// lockFile takes the lock of a file, which lasts until the file is closed or
// this process ends. It fails with EWOULDBLOCK if another one has it.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
