package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "hawser.dev/hawser"
	viper  = "github.com/spf13/viper"
)

// mayDependOn says which of our packages those in a folder may depend on,
// directly or not; the longest folder that matches counts. A name stands for
// all packages below it.
var mayDependOn = map[string][]string{
	"catalog":         {},
	"catalog/":        {"catalog"},
	"config":          {},
	"config/":         {"config"},
	"backup":          {"catalog"},
	"backup/":         {"catalog", "backup"},
	"restore":         {"catalog"},
	"restore/":        {"catalog", "restore"},
	"restore/migrate": {"catalog", "restore", "backup"}, // it composes them
	"cmd/":            {"catalog", "restore", "backup", "config", "deploy", "cmd"},
	"deploy":          {},
	"deploy/":         {"deploy"},
	"e2e":             {""},
	"e2e/":            {""},
}

// goPackage is what go list says of one package.
type goPackage struct {
	ImportPath, Name                         string
	Deps, Imports, TestImports, XTestImports []string
}

// folder is where in the repository the package is.
func (p goPackage) folder() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// ownDeps are the folders of our packages that p depends on.
func (p goPackage) ownDeps() []string {
	var folders []string
	for _, dep := range p.Deps {
		if folder, ours := strings.CutPrefix(dep, module+"/"); ours {
			folders = append(folders, folder)
		}
	}
	return folders
}

func TestPackagesImportOnlyWhatTheDesignAllows(t *testing.T) {
	for _, p := range ourPackages(t) {
		allowed, found := rule(p.folder())
		if !found {
			t.Errorf("%s: no rule says what it may import", p.folder())
			continue
		}
		for _, dep := range p.ownDeps() {
			if !slices.ContainsFunc(allowed, func(folder string) bool { return within(dep, folder) }) {
				t.Errorf("%s depends on %s; it may depend on %q only", p.folder(), dep, allowed)
			}
		}
	}
}

func TestOnlyConfigImportsViper(t *testing.T) {
	for _, p := range ourPackages(t) {
		imports := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		if slices.ContainsFunc(imports, func(path string) bool { return path == viper || strings.HasPrefix(path, viper+"/") }) && p.folder() != "config" {
			t.Errorf("%s imports %s; only config does", p.folder(), viper)
		}
	}
}

func TestNoPackageIsNamedForNothing(t *testing.T) {
	for _, p := range ourPackages(t) {
		last := p.folder()[strings.LastIndex(p.folder(), "/")+1:]
		for _, name := range []string{p.Name, last} {
			if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc"}, name) {
				t.Errorf("%s: name it for what is in it", p.folder())
			}
		}
	}
}

// rule finds what the packages in folder may depend on.
func rule(folder string) ([]string, bool) {
	best, found := "", false
	for key := range mayDependOn {
		if (folder == key || strings.HasSuffix(key, "/") && strings.HasPrefix(folder, key)) && len(key) >= len(best) {
			best, found = key, true
		}
	}
	return mayDependOn[best], found
}

// within says whether folder is outer or below it; "" is the repository.
func within(folder, outer string) bool {
	return outer == "" || folder == outer || strings.HasPrefix(folder, outer+"/")
}

// ourPackages lists the packages of this module.
func ourPackages(t *testing.T) []goPackage {
	t.Helper()
	lookAtSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Deps,Imports,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no packages: the test proves nothing")
	}
	return packages
}

// lookAtSources stats each Go file of the module. What go list reads is not
// seen by the test cache, so that a changed import would be "ok (cached)".
func lookAtSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "logs"}, entry.Name()) {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
