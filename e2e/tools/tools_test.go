package tools

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	for _, test := range []struct {
		name  string
		given []string
		want  string
	}{
		{"a group is its tools in the order of the list", []string{"lint", "s3"}, "versitygw staticcheck"},
		{"a tool of a group that is named too is built once", []string{"versitygw", "s3"}, "versitygw"},
		{"a rare tool is built when it is named", []string{"kubectl", "minio"}, "kubectl minio"},
		{"no names are all tools but the rare ones", nil,
			"etcd kube-apiserver kube-controller-manager kube-scheduler kwok snapshot-controller " +
				"csi-snapshotter csi-provisioner csi-attacher versitygw staticcheck"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tools, err := expand(test.given)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, tool := range tools {
				names = append(names, tool.name)
			}
			if diff := cmp.Diff(test.want, strings.Join(names, " ")); diff != "" {
				t.Errorf("tools (-want +got):\n%s", diff)
			}
		})
	}

	if _, err := expand([]string{"kube-api-server"}); err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("the error for an unknown name does not list the known ones: %v", err)
	}
}

func TestEveryToolsModuleNamesItsPackage(t *testing.T) {
	for _, tool := range all {
		mod, err := os.ReadFile(filepath.Join(tool.module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(mod), tool.pkg+"\n") {
			t.Errorf("%s/go.mod has no tool directive for %s", tool.module, tool.pkg)
		}
		if tool.flags == kubernetesFlags && !strings.Contains(string(mod), "k8s.io/kubernetes "+kubernetesVersion+" ") {
			t.Errorf("%s is not built from %s, as its linker flags say", tool.name, kubernetesVersion)
		}
	}
}

// hello is a tool in a module of the test's own.
var hello = tool{name: "hello", module: "hello", pkg: "example.test/hello"}

// newBuilder builds in a folder like e2e/tools with nothing but hello.
func newBuilder(t *testing.T) builder {
	t.Helper()
	b := builder{root: t.TempDir(), progress: new(lockedBuffer)}
	writeHello(t, b, "one")
	return b
}

func writeHello(t *testing.T, b builder, text string) {
	t.Helper()
	dir := filepath.Join(b.root, hello.module)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"go.mod":  "module example.test/hello\n\ngo 1.26.0\n",
		"main.go": fmt.Sprintf("package main\n\nfunc main() { print(%q) }\n", text),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func say(t *testing.T, b builder) string {
	t.Helper()
	output, err := exec.Command(b.binary(hello)).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func TestBuildOnlyWhenTheModuleChanged(t *testing.T) {
	b := newBuilder(t)
	for _, step := range []struct{ text, wantShown string }{
		{"one", "[1/1] building hello ..."},
		{"one", ""},
		{"two", "[1/1] building hello ..."},
	} {
		shown := new(lockedBuffer)
		b.progress = shown
		writeHello(t, b, step.text)
		if err := b.build(context.Background(), []tool{hello}); err != nil {
			t.Fatal(err)
		}
		if got := say(t, b); got != step.text {
			t.Errorf("the binary says %q, want %q", got, step.text)
		}
		if line, _, _ := strings.Cut(shown.String(), "\n"); line != step.wantShown {
			t.Errorf("for module %q progress begins with %q, want %q", step.text, line, step.wantShown)
		}
	}
}

func TestAFailedBuildShowsItsOutput(t *testing.T) {
	b := newBuilder(t)
	broken := filepath.Join(b.root, hello.module, "main.go")
	if err := os.WriteFile(broken, []byte("package main\n\nfunc main() { nonsense() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := b.build(context.Background(), []tool{hello})
	if err == nil || !strings.Contains(err.Error(), "undefined: nonsense") || !strings.Contains(err.Error(), "build hello") {
		t.Errorf("error does not name the tool and show the compiler's words: %v", err)
	}
}

func TestOfSeveralAtOnceOneBuilds(t *testing.T) {
	b := newBuilder(t)
	shown := new(lockedBuffer)
	b.progress = shown

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := b.build(context.Background(), []tool{hello}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(shown.String(), "hello built"); n != 1 {
		t.Errorf("hello was built %d times, want once:\n%s", n, shown.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
