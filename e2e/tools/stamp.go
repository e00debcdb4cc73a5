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

// stale returns those tools whose binary is missing or was built from
// something else, and the stamps that all of them should have.
func stale(ctx context.Context, root string, tools []tool) ([]tool, map[string]string, error) {
	stamps := map[string]string{} // by module
	var need []tool
	for _, t := range tools {
		if _, ok := stamps[t.module]; !ok {
			stamp, err := moduleStamp(ctx, filepath.Join(root, t.module))
			if err != nil {
				return nil, nil, err
			}
			stamps[t.module] = stamp
		}
		fresh, err := isFresh(root, t, stamps[t.module])
		if err != nil {
			return nil, nil, err
		}
		if !fresh {
			need = append(need, t)
		}
	}
	return need, stamps, nil
}

func isFresh(root string, t tool, stamp string) (bool, error) {
	_, errBinary := os.Stat(binary(root, t))
	old, errStamp := os.ReadFile(stampFile(root, t))
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
	return fmt.Sprintf("%s %x\n", strings.Fields(string(toolchain))[0], sum.Sum(nil)), nil
}

func stampFile(root string, t tool) string { return filepath.Join(root, "bin", ".stamps", t.name) }
