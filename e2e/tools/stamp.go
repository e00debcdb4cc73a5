package tools

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A binary's stamp says what it was built from: a digest of its module's files
// and of the toolchain. It lies in bin/.stamps and is written after the binary.

// A job is a tool to build and the stamp to give it.
type job struct {
	tool
	stamp string
}

// stale returns a job for each of the tools whose binary is missing or was
// built from something else.
func (b builder) stale(ctx context.Context, tools []tool) ([]job, error) {
	modules := map[string]string{}
	var jobs []job
	for _, t := range tools {
		if _, ok := modules[t.module]; !ok {
			stamp, err := moduleStamp(ctx, filepath.Join(b.root, t.module))
			if err != nil {
				return nil, err
			}
			modules[t.module] = stamp
		}
		stamp := modules[t.module] + " " + t.flags + "\n"
		fresh, err := b.isFresh(t, stamp)
		if err != nil {
			return nil, err
		}
		if !fresh {
			jobs = append(jobs, job{t, stamp})
		}
	}
	return jobs, nil
}

func (b builder) isFresh(t tool, stamp string) (bool, error) {
	_, errBinary := os.Stat(b.binary(t))
	old, errStamp := os.ReadFile(b.stampFile(t))
	for _, err := range []error{errBinary, errStamp} {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("see whether %s is built: %w", t.name, err)
		}
	}
	return string(old) == stamp, nil
}

// moduleStamp digests the files of the module in dir, which are few, and what
// `go env` says of the toolchain that will be used there.
func moduleStamp(ctx context.Context, dir string) (string, error) {
	env := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH", "CGO_ENABLED")
	env.Dir = dir
	toolchain, err := env.Output()
	if err != nil {
		return "", fmt.Errorf("ask Go for its version in %s: %w", dir, err)
	}
	sum := sha256.New()
	sum.Write(toolchain)
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read the tools' module: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return "", fmt.Errorf("read the tools' module: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n", file.Name(), len(data))
		sum.Write(data)
	}
	return fmt.Sprintf("%s %x", strings.Fields(string(toolchain))[0], sum.Sum(nil)), nil
}

func (b builder) stampFile(t tool) string { return filepath.Join(b.root, "bin", ".stamps", t.name) }
