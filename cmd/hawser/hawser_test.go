package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// testNow is the time in tests.
var testNow = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)

// result is what one call of hawser came to.
type result struct {
	stdout, stderr string
	exit           int
}

// hawser runs the real command line in this process, with a clock that stands
// still and no environment but env.
func hawser(t *testing.T, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := newApp(strings.NewReader(""), &stdout, &stderr)
	a.now = func() time.Time { return testNow }
	a.env = append([]string{"HAWSER_CONFIG=/dev/null"}, env...)
	exit := a.run(t.Context(), args)
	return result{stdout: stdout.String(), stderr: stderr.String(), exit: exit}
}

// golden compares a result with testdata/<name>.golden. What differs from
// machine to machine is replaced before: pairs are old and new strings.
func golden(t *testing.T, name string, args []string, r result, pairs ...string) {
	t.Helper()
	got := "$ " + strings.Join(append([]string{"hawser"}, args...), " ") + "\n" + r.stdout
	if r.stderr != "" {
		got += "-- stderr --\n" + r.stderr
	}
	got = strings.NewReplacer(pairs...).Replace(got + fmt.Sprintf("-- exit code %d --\n", r.exit))
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestHelp(t *testing.T) {
	tests := []struct {
		name string
		args []string
	}{
		{"help", nil},
		{"help-help", []string{"help", "help"}},
		{"help-points", []string{"help", "points"}},
		{"help-show", []string{"show", "--help"}},
		{"help-config", []string{"config", "-h"}},
		{"help-completion", []string{"help", "completion"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			golden(t, test.name, test.args, hawser(t, nil, test.args...))
		})
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"an unknown verb", nil, []string{"frobnicate"}, "error: unknown verb \"frobnicate\"\nsee 'hawser --help'\n"},
		{"a misspelt verb", nil, []string{"poitns"}, "error: unknown verb \"poitns\"; did you mean \"points\"?\nsee 'hawser --help'\n"},
		{"help of an unknown verb", nil, []string{"help", "shows"}, "error: unknown verb \"shows\"; did you mean \"show\"?\nsee 'hawser help --help'\n"},
		{"an unknown flag", nil, []string{"points", "--fast"}, "error: unknown flag: --fast\nsee 'hawser points --help'\n"},
		{"an unknown format", nil, []string{"version", "-o", "xml"}, "error: invalid argument \"xml\" for \"-o, --output\" flag: want one of table, json, yaml\nsee 'hawser version --help'\n"},
		{"an argument too many", nil, []string{"points", "latest"}, "error: want no arguments, got \"latest\"\nsee 'hawser points --help'\n"},
		{"no point", nil, []string{"show"}, "error: want one restore point: an id, the beginning of one, or \"latest\"; got 0 arguments\nsee 'hawser show --help'\n"},
		{"an unknown shell", nil, []string{"completion", "tcsh"}, "error: want one of bash, zsh, fish, powershell\nsee 'hawser completion --help'\n"},
		{"no store", nil, []string{"points"}, "error: no store is configured: use --store-url, HAWSER_STORE_URL or store.url in the configuration file\n"},
		{
			"bad configuration", []string{"HAWSER_SNAPSHOT_TIMEOUT=soon", "HAWSER_STORE_ULR=x"}, []string{"config", "--store-url", "x"},
			"error: HAWSER_STORE_ULR: unknown variable; did you mean HAWSER_STORE_URL?\n" +
				"error: --store-url: store.url: want file:///absolute/path or s3://bucket/prefix\n" +
				"error: HAWSER_SNAPSHOT_TIMEOUT: snapshot.timeout: \"soon\" is not a duration; write it as 90s, 10m or 1h30m\n",
		},
		{
			"a parameter of S3 that is not there", nil, []string{"points", "--store-url", "s3://backups/x?secret=hush"},
			"error: open store s3://backups/x?secret=xxxxx: store URL: parameter secret: there is none of this name; known are ca-file, endpoint, path-style, region\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := result{stderr: test.want, exit: exitUsage}
			if diff := cmp.Diff(want, hawser(t, test.env, test.args...), cmp.AllowUnexported(result{})); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	r := hawser(t, nil, "version")
	if r.exit != exitDone || !strings.HasPrefix(r.stdout, "hawser ") || !strings.Contains(r.stdout, "\ncatalog format 1\n") {
		t.Errorf("version: %+v", r)
	}
	if r := hawser(t, nil, "version", "-o", "json"); !strings.Contains(r.stdout, `"format": 1`) {
		t.Errorf("version -o json: %+v", r)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := hawser(t, nil, "completion", shell); r.exit != exitDone || !strings.Contains(r.stdout, "__complete") {
			t.Errorf("completion %s: exit code %d, %d bytes, stderr %q", shell, r.exit, len(r.stdout), r.stderr)
		}
	}
}
