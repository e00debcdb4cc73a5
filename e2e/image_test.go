package e2e_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"go/version"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/s3"
	"hawser.dev/hawser/e2e/image"
	"hawser.dev/hawser/e2e/objectstore"
)

// buildImage carries out the Dockerfile, with the certificates of one file.
func buildImage(t *testing.T, architecture, certificates string) image.Image {
	t.Helper()
	made, err := image.Build(t.Context(), image.Options{Dir: t.TempDir(), Architecture: architecture, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// The image's program runs where there is nothing but the image, as a user who
// owns nothing and can write nowhere.
func TestTheImageNeedsNothingElse(t *testing.T) {
	if testing.Short() {
		t.Skip("builds hawser and starts an S3 server; run without -short")
	}
	t.Parallel()
	server, err := objectstore.StartTLS(t.Context(), objectstore.VersityGW, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	makeCatalog(t, server)
	if err := os.Chmod(server.CAFile, 0o644); err != nil { // as those of the build image
		t.Fatal(err)
	}
	made := buildImage(t, "", server.CAFile)
	if files := filesIn(t, made.Root); !slices.Equal(files, []string{"etc/ssl/certs/ca-certificates.crt", "hawser"}) {
		t.Errorf("the image holds %q", files)
	}
	checkStatic(t, filepath.Join(made.Root, "hawser"), runtime.GOARCH)

	// As kubelet mounts the ConfigMap.
	config := filepath.Join(made.Root, "etc", "hawser", "config.yaml")
	if err := os.Mkdir(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("plans:\n- {name: nightly, schedule: '0 2 * * *', timezone: Europe/Berlin}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	readOnly(t, made.Root)
	before := filesIn(t, made.Root)

	if out, err := inImage(t, made, nil, "version"); err != nil || !strings.Contains(out, runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("version: %v\n%s", err, out)
	}
	if out, err := inImage(t, made, nil, "config", "-o", "yaml"); err != nil || !strings.Contains(out, "timezone: Europe/Berlin") {
		t.Errorf("config: %v\n%s", err, out)
	}
	store := append(server.Env(), "HAWSER_STORE_URL="+withoutCAFile(t, server.URL("image")))
	if out, err := inImage(t, made, store, "points"); err != nil {
		t.Errorf("points, from a store whose certificate the image's vouch for: %v\n%s", err, out)
	}
	if after := filesIn(t, made.Root); !slices.Equal(before, after) {
		t.Errorf("there were the files %q, now there are %q", before, after)
	}

	// The same from a store that they do not vouch for.
	stranger, err := objectstore.StartTLS(t.Context(), objectstore.VersityGW, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Stop)
	store = append(stranger.Env(), "HAWSER_STORE_URL="+withoutCAFile(t, stranger.URL("image")))
	if out, err := inImage(t, made, store, "points"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("points, from a store whose certificate the image's do not vouch for: %v\n%s", err, out)
	}
}

func TestTheImageIsMadeForOtherMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("builds hawser; run without -short")
	}
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		if architecture != runtime.GOARCH {
			checkStatic(t, filepath.Join(buildImage(t, architecture, none).Root, "hawser"), architecture)
		}
	}
}

// The Go of the build image is new enough for go.mod, and its user is that of
// the chart.
func TestTheDockerfileAgreesWithTheRest(t *testing.T) {
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	base, wanted := regexp.MustCompile(`golang:(\S+)`).FindSubmatch(dockerfile), regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	if base == nil || wanted == nil || version.Compare("go"+string(base[1])+".0", "go"+string(wanted[1])) < 0 {
		t.Errorf("the Dockerfile builds with %q, go.mod asks for %q", base, wanted)
	}
	pod := ofKind[appsv1.Deployment](t, render(t, "minimal", ""), "Deployment")[0].Spec.Template.Spec.SecurityContext
	if user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindSubmatch(dockerfile); user == nil ||
		string(user[1]) != fmt.Sprint(*pod.RunAsUser) || string(user[2]) != fmt.Sprint(*pod.RunAsGroup) {
		t.Errorf("the Dockerfile's user is %q, the chart's %d:%d", user, *pod.RunAsUser, *pod.RunAsGroup)
	}
}

// inImage runs hawser in the image, and returns all that it printed.
func inImage(t *testing.T, made image.Image, env []string, args ...string) (string, error) {
	t.Helper()
	cmd, err := made.Command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Start()
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		t.Skip("needs root or user namespaces")
	}
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	return out.String(), err
}

// makeCatalog makes an empty catalog under the prefix image.
func makeCatalog(t *testing.T, server *objectstore.Server) {
	t.Helper()
	options, err := s3.ParseURL(server.URL("image"))
	if err != nil {
		t.Fatal(err)
	}
	options.AccessKey, options.SecretKey = server.AccessKey, server.SecretKey
	bucket, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.OpenOrCreate(t.Context(), bucket, catalog.Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// withoutCAFile is a store's URL that leaves the trust to the system.
func withoutCAFile(t *testing.T, store string) string {
	t.Helper()
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Del("ca-file")
	u.RawQuery = query.Encode()
	return u.String()
}

// filesIn are the paths of all files below root.
func filesIn(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// readOnly takes the right to write from all folders, until the test ends.
func readOnly(t *testing.T, root string) {
	t.Helper()
	chmod := func(mode fs.FileMode) error {
		return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			return os.Chmod(path, mode)
		})
	}
	if err := chmod(0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chmod(0o755) })
}

// checkStatic fails the test unless a program is for this architecture, and
// needs no libraries.
func checkStatic(t *testing.T, program, architecture string) {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if file.Machine != machines[architecture] {
		t.Errorf("the program is for %v, want %s", file.Machine, architecture)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program for %s is not static: it has a segment %v", architecture, segment.Type)
		}
	}
}
