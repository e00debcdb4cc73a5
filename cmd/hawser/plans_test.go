package main

import (
	"fmt"
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
- name: asked
  select: {optIn: true}
  protect: audit
  include: {configMaps: false}
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
					OptIn: "databases",
				},
				Include:  backup.Include{Secrets: true},
				Protect:  backup.ProtectRetain,
				Snapshot: backup.SnapshotPolicy{Timeout: 20 * time.Minute, Classes: map[string]string{"hostpath.csi.k8s.io": "fast-snap"}},
				Hooks: []backup.Hook{{
					Select: mustParse(t, "app=mariadb"), Container: "mariadb", Pre: []string{"lock"}, Post: []string{"unlock"},
					Hold: true, Timeout: 90 * time.Second, OnFailure: backup.Continue,
				}},
			},
		},
		{
			"a plan that selects nothing in particular takes all, whatever the namespace of the context", []string{"--plan", "all"},
			backup.Request{Plan: "all", Select: backup.Selection{Labels: labels.Everything(), OptIn: "all"}, Protect: backup.ProtectRetain, Snapshot: snapshot},
		},
		{
			"a plan can take what asks for it alone, leave volumes as they are, and ConfigMaps out", []string{"--plan", "asked"},
			backup.Request{
				Plan: "asked", Select: backup.Selection{Labels: labels.Everything(), OptIn: "asked", OptInOnly: true},
				Include: backup.Include{NoConfigMaps: true}, Protect: backup.ProtectAudit, Snapshot: snapshot,
			},
		},
		{
			"snapshots can be left out", []string{"--plan", "all", "--snapshots=false"},
			backup.Request{
				Plan: "all", Select: backup.Selection{Labels: labels.Everything(), OptIn: "all"}, Protect: backup.ProtectRetain,
				Snapshot: backup.SnapshotPolicy{Skip: true, Timeout: 20 * time.Minute},
			},
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
		{"an unknown plan", planFile, []string{"--plan", "database"}, "error: --plan \"database\": there is no such plan; the plans are databases, all, asked\n"},
		{"no plan at all", "", []string{"--plan", "databases"}, "error: --plan \"databases\": the configuration has no plans\n"},
		{"an empty name", planFile, []string{"--plan="}, "error: --plan \"\": there is no such plan; the plans are databases, all, asked\n"},
		{"a plan of backups without one", planFile, []string{"--plan", "manual"}, "error: --plan \"manual\": there is no such plan; the plans are databases, all, asked\n"},
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
	if !strings.HasPrefix(r.stdout, "databases\nall\nasked\n:4\n") {
		t.Errorf("--plan completes %q", r.stdout)
	}
	r = hawser(t, nil, "__complete", "backup", "--plan", "")
	if !strings.HasPrefix(r.stdout, ":4\n") {
		t.Errorf("without plans, --plan completes %q", r.stdout)
	}
}

func TestWhatIsWrongWithASchedule(t *testing.T) {
	const fields = "want five fields (minute, hour, day of the month, month, day of the week), found "
	tests := []struct{ schedule, want string }{
		{"0 */6 * * *", ""}, {"@daily", ""}, {"0 0 29 2 *", ""}, {"15,45 8-18/2 1 JAN-MAR,12 mon-fri", ""},
		{"60 * * * *", `minute "60": end of range (60) above maximum (59); want 0 to 59, or *, with ranges, lists and steps`},
		{"0 1-24 * * *", `hour "1-24": end of range (24) above maximum (23); want 0 to 23, or *, with ranges, lists and steps`},
		{"0 noon * * *", `hour "noon": failed to parse int from noon; want 0 to 23, or *, with ranges, lists and steps`},
		{"0 0 0 * *", `day of the month "0": beginning of range (0) below minimum (1); want 1 to 31, or *, with ranges, lists and steps`},
		{"0 0 L * *", `day of the month "L": failed to parse int from L; want 1 to 31, or *, with ranges, lists and steps`},
		{"0 0 1 6-2 *", `month "6-2": beginning of range (6) beyond end of range (2); want 1 to 12, or JAN to DEC, or *, with ranges, lists and steps`},
		{"0 0 * * 7", `day of the week "7": end of range (7) above maximum (6); want 0 (Sunday) to 6, or SUN to SAT, or *, with ranges, lists and steps`},
		{"*/0 * * * *", `minute "*/0": step of range should be a positive number; want 0 to 59, or *, with ranges, lists and steps`},
		{"*/90 * * * *", `minute "*/90": a step of 90 is more than the 60 that there are, so it would not be kept; list the times, or use a smaller step`},
		{"0 0 31 2 *", "there is no such day in any year; it would never run"},
		{"0 0 31 2,4,6,9,11 *", "there is no such day in any year; it would never run"},
		{"0 0 * *", fields + "4"}, {"0 0 0 * * *", fields + "6"}, {"daily", fields + "1"},
		{"@dayly", "want @hourly, @daily, @weekly, @monthly or @yearly, or five fields"},
		{"@every 6h", `@every counts from the start of the process, so that a restart moves it; use five fields, for instance "0 */6 * * *"`},
		{"TZ=Europe/Berlin 0 0 * * *", "set the plan's timezone instead of a prefix"},
		{"CRON_TZ=UTC @daily", "set the plan's timezone instead of a prefix"},
		{"TZ=UTC", "set the plan's timezone instead of a prefix"},
	}
	for _, test := range tests {
		t.Run(test.schedule, func(t *testing.T) {
			path := configFile(t, fmt.Sprintf("prune: {schedule: %[1]q}\nplans:\n- name: one\n  schedule: %[1]q\n", test.schedule))
			_, err := config.Load(config.Source{File: path, Rules: planRules()})
			want, got := "", ""
			if test.want != "" {
				problem := fmt.Sprintf("%q: %s", test.schedule, test.want)
				want = "FILE:4: plans[0].schedule: " + problem + "\nFILE:1: prune.schedule: " + problem
			}
			if err != nil {
				got = strings.ReplaceAll(err.Error(), path, "FILE")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatAPlanTakesInOneLine(t *testing.T) {
	cfg, err := config.Load(config.Source{File: configFile(t, planFile), Rules: planRules()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range cfg.Plans {
		got = append(got, planText(p))
	}
	want := []string{
		"namespaces shop,billing; labels tier=database; workloads sts/redis,pvc/data; with Secrets; 1 hook",
		"everything",
		"what is labelled hawser.dev/plan=asked; without ConfigMaps",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
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
