package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

const planFile = `
snapshot: {timeout: 20m}
plans:
- name: databases
  select:
    namespaces: [shop, billing]
    labels: tier=database
    workloads: [sts/redis, pvc/data]
  snapshot: {classes: {hostpath.csi.k8s.io: fast-snap}}
  include: {secrets: true}
  hooks:
  - select: {labels: {app: mariadb}}
    container: mariadb
    pre: [lock]
    post: [unlock]
    hold: true
    timeout: 90s
    onFailure: continue
- name: all
`

// configFile writes a configuration file and returns its path.
func configFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustParse(t *testing.T, selector string) labels.Selector {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestWhatABackupTakes(t *testing.T) {
	snapshot := backup.SnapshotPolicy{Timeout: 20 * time.Minute}
	tests := []struct {
		name string
		args []string
		want backup.Request
	}{
		{
			"a plan is taken as it says", []string{"--plan", "databases"},
			backup.Request{
				Plan: "databases",
				Select: backup.Selection{
					Namespaces: []string{"shop", "billing"}, Labels: mustParse(t, "tier=database"),
					Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}}, Claims: []string{"data"},
				},
				Include:  backup.Include{Secrets: true},
				Snapshot: backup.SnapshotPolicy{Timeout: 20 * time.Minute, Classes: map[string]string{"hostpath.csi.k8s.io": "fast-snap"}},
				Hooks: []backup.Hook{{
					Select: mustParse(t, "app=mariadb"), Container: "mariadb", Pre: []string{"lock"}, Post: []string{"unlock"},
					Hold: true, Timeout: 90 * time.Second, OnFailure: backup.Continue,
				}},
			},
		},
		{
			"a plan that selects nothing in particular takes all, whatever the namespace of the context", []string{"--plan", "all"},
			backup.Request{Plan: "all", Select: backup.Selection{Labels: labels.Everything()}, Snapshot: snapshot},
		},
		{
			"snapshots can be left out", []string{"--plan", "all", "--snapshots=false"},
			backup.Request{Plan: "all", Select: backup.Selection{Labels: labels.Everything()}, Snapshot: backup.SnapshotPolicy{Skip: true, Timeout: 20 * time.Minute}},
		},
		{
			"without a plan it is manual, and has no hooks but those of annotations", []string{"-n", "shop", "sts/redis", "--include-secrets"},
			backup.Request{
				Plan: catalog.ManualPlan, Snapshot: snapshot, Include: backup.Include{Secrets: true},
				Select: backup.Selection{Namespaces: []string{"shop"}, Labels: labels.Everything(), Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}}},
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := config.Load(config.Source{File: configFile(t, planFile), Rules: planRules()})
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseBackup(t, cfg, test.args)
			if err != nil {
				t.Fatal(err)
			}
			same := cmp.Comparer(func(a, b labels.Selector) bool { return a.String() == b.String() })
			if diff := cmp.Diff(test.want, got, same); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// parseBackup returns what a command line of hawser backup asks for.
func parseBackup(t *testing.T, cfg config.Config, args []string) (backup.Request, error) {
	t.Helper()
	t.Setenv("KUBECONFIG", "/dev/null")
	a := newApp(nil, nil, &strings.Builder{})
	var options backupOptions
	cmd := newBackupCommandWith(a, &options)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return a.backupRequest(cmd, cfg, options, cmd.Flags().Args())
}

func TestUsageErrorsOfPlans(t *testing.T) {
	const refused = "plans:\n- name: manual\n- name: A_b\n- name: jobs\n  select: {workloads: [job/x, redis]}\n"
	tests := []struct {
		name, file string
		args       []string
		want       string
	}{
		{"an unknown plan", planFile, []string{"--plan", "database"}, "error: --plan \"database\": there is no such plan; the plans are databases, all\n"},
		{"no plan at all", "", []string{"--plan", "databases"}, "error: --plan \"databases\": the configuration has no plans\n"},
		{"an empty name", planFile, []string{"--plan="}, "error: --plan \"\": there is no such plan; the plans are databases, all\n"},
		{"a plan of backups without one", planFile, []string{"--plan", "manual"}, "error: --plan \"manual\": there is no such plan; the plans are databases, all\n"},
		{"a plan and a selection", planFile, []string{"--plan", "all", "-n", "shop", "-A", "-l", "a=b", "--include-secrets", "sts/redis"},
			"error: --plan says what to back up; leave out --namespace, --all-namespaces, --selector, --include-secrets, sts/redis\n"},
		{"names and workloads that cannot be", refused, nil, "" +
			"error: FILE:2: plans[0].name: \"manual\" is the plan of backups that belong to none; use another name\n" +
			"error: FILE:3: plans[1].name: plan name \"A_b\": use 1 to 30 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit\n" +
			"error: FILE:5: plans[2].select.workloads[0]: \"job/x\": unknown kind \"job\"; want statefulset, deployment, pod or pvc\n" +
			"error: FILE:5: plans[2].select.workloads[1]: \"redis\": want KIND/NAME, such as statefulset/redis or pvc/data\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := configFile(t, test.file)
			r := hawser(t, nil, append([]string{"backup", "--config", path}, test.args...)...)
			r.stderr = strings.ReplaceAll(r.stderr, path, "FILE")
			want := result{stderr: test.want, exit: exitUsage}
			if diff := cmp.Diff(want, r, cmp.AllowUnexported(result{})); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompletionOfPlans(t *testing.T) {
	r := hawser(t, nil, "__complete", "backup", "--config", configFile(t, planFile), "--plan", "")
	if !strings.HasPrefix(r.stdout, "databases\nall\n:4\n") {
		t.Errorf("--plan completes %q", r.stdout)
	}
	r = hawser(t, nil, "__complete", "backup", "--plan", "")
	if !strings.HasPrefix(r.stdout, ":4\n") {
		t.Errorf("without plans, --plan completes %q", r.stdout)
	}
}

func TestNotes(t *testing.T) {
	for quiet, want := range map[bool]string{false: "note: one \nnote: two [31mlines\n", true: ""} {
		var stderr strings.Builder
		a := newApp(nil, nil, &stderr)
		a.quiet = quiet
		a.printNotes([]string{"one ", "two\n\x1b[31mlines"})
		if diff := cmp.Diff(want, stderr.String()); diff != "" {
			t.Errorf("quiet %t (-want +got):\n%s", quiet, diff)
		}
	}
}

// What the README tells people to write is right.
func TestTheSampleOfTheREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Configuration\n")
	_, sample, _ := strings.Cut(section, "```yaml\n")
	sample, _, found := strings.Cut(sample, "```\n")
	if !found {
		t.Fatal("README.md has no sample in section Configuration")
	}
	cfg, err := config.Load(config.Source{File: configFile(t, sample), Rules: planRules()})
	if err != nil {
		t.Fatal(err)
	}
	request, err := parseBackup(t, cfg, []string{"--plan", "databases"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sh", "-c", `{ echo "FLUSH TABLES WITH READ LOCK; SELECT 'locked';"; cat; } | mariadb -uroot -p"$MARIADB_ROOT_PASSWORD" -N --unbuffered`}
	if len(request.Hooks) != 1 || !cmp.Equal(want, request.Hooks[0].Pre) {
		t.Errorf("hooks are %+v, want one whose command is %q", request.Hooks, want)
	}
}
