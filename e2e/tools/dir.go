package tools

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

var hawserModule = regexp.MustCompile(`(?m)^module hawser\.dev/hawser$`)

// Dir returns e2e/tools of the source tree that the working directory lies in.
func Dir() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find Hawser's source tree: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && hawserModule.Match(mod) {
			return filepath.Join(dir, "e2e", "tools"), nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find Hawser's source tree: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside Hawser's source tree, where the tools are built from; change into it", start)
		}
	}
}
