package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const databases = `
plans:
- name: databases
  select:
    namespaces: [shop, billing]
    labels: tier=database
    workloads: [statefulset/redis, deploy/mariadb]
  snapshot: {timeout: 5m, classes: {hostpath.csi.k8s.io: fast-snap}}
  include: {secrets: true}
  hooks:
  - select: {labels: {app: mariadb, role: primary}}
    container: mariadb
    pre: [sh, -c, "lock; cat"]
    post: [unlock]
    hold: true
    timeout: 90s
    onFailure: continue
  - select: {labels: "app in (redis, valkey)"}
    post: [redis-cli, bgsave]
- name: all
`

// sample says everything that a plan can say.
const sample = `
plans:
- name: databases
  paused: true
  schedule: "0 */6 * * *"
  timezone: Europe/Berlin
  jitter: 5m
  catchUp: 12h
  rpo: 1d6h
  concurrency: replace
  select: {namespaces: [shop]}
  protect: audit
  include: {configMaps: false, secrets: true}
  retain: {last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: 6, within: 2w}
  drill: {schedule: "@weekly", image: "redis:7.0", command: [redis-check-rdb, /data/dump.rdb], timeout: 1h}
- name: labelled
  catchUp: 0s
  select: {optIn: true}
`

// defaultSnapshot is what holds for a plan that says nothing of snapshots.
var defaultSnapshot = Snapshot{Timeout: 10 * time.Minute}

// defaultPlan is a plan that says nothing but its name.
func defaultPlan(name string) Plan {
	return Plan{
		Name: name, Timezone: "UTC", CatchUp: time.Hour, Concurrency: "forbid", Protect: "retain",
		Snapshot: defaultSnapshot, Include: Include{ConfigMaps: true},
	}
}

func TestPlans(t *testing.T) {
	c, err := Load(Source{File: write(t, databases)})
	if err != nil {
		t.Fatal(err)
	}
	first, second := defaultPlan("databases"), defaultPlan("all")
	first.Select = Select{
		Namespaces: []string{"shop", "billing"}, Labels: "tier=database",
		Workloads: []string{"statefulset/redis", "deploy/mariadb"},
	}
	first.Snapshot = Snapshot{Timeout: 5 * time.Minute, Classes: map[string]string{"hostpath.csi.k8s.io": "fast-snap"}}
	first.Include.Secrets = true
	first.Hooks = []Hook{
		{
			Select: HookSelect{Labels: "app=mariadb,role=primary"}, Container: "mariadb",
			Pre: []string{"sh", "-c", "lock; cat"}, Post: []string{"unlock"},
			Hold: true, Timeout: 90 * time.Second, OnFailure: "continue",
		},
		{Select: HookSelect{Labels: "app in (redis,valkey)"}, Post: []string{"redis-cli", "bgsave"}},
	}
	want := []Plan{first, second}
	if diff := cmp.Diff(want, c.Plans); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
}

func TestWhenAPlanRunsAndWhatItKeeps(t *testing.T) {
	c, err := Load(Source{File: write(t, sample)})
	if err != nil {
		t.Fatal(err)
	}
	labelled := defaultPlan("labelled")
	labelled.CatchUp, labelled.Select.OptIn = 0, true
	want := []Plan{
		{
			Name: "databases", Paused: true, Schedule: "0 */6 * * *", Timezone: "Europe/Berlin",
			Jitter: 5 * time.Minute, CatchUp: 12 * time.Hour, RPO: 30 * time.Hour, Concurrency: "replace",
			Select: Select{Namespaces: []string{"shop"}}, Snapshot: defaultSnapshot, Protect: "audit",
			Include: Include{Secrets: true},
			Retain:  Retain{Last: 1, Hourly: 2, Daily: 3, Weekly: 4, Monthly: 5, Yearly: 6, Within: 14 * 24 * time.Hour},
			Drill:   Drill{Schedule: "@weekly", Image: "redis:7.0", Command: []string{"redis-check-rdb", "/data/dump.rdb"}, Timeout: time.Hour},
		},
		labelled,
	}
	if diff := cmp.Diff(want, c.Plans); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
}

// asDesigned is the configuration that Hawser was designed by.
const asDesigned = `cluster: {name: prod-eu}            # for people; identity is the kube-system uid
store:
  url: s3://backups/hawser?endpoint=https://s3.example.com&region=eu-central-1   # or file:///var/lib/hawser
plans:
- name: databases
  schedule: "0 */6 * * *"
  timezone: Europe/Berlin
  jitter: 5m
  catchUp: 12h                      # after an outage run once if the missed time is younger than this
  rpo: 8h
  select:
    namespaces: [shop, billing]
    labels: tier=database
    workloads: [statefulset/redis]
  snapshot: {timeout: 10m, classes: {hostpath.csi.k8s.io: fast-snap}}
  protect: retain                   # retain (default) | audit
  hooks:
  - select: {labels: app=mariadb}
    container: mariadb
    pre: ["mariadb", "-e", "FLUSH TABLES WITH READ LOCK"]
    post: ["mariadb", "-e", "UNLOCK TABLES"]
    timeout: 30s
    onFailure: abort                # abort | continue
  include: {configMaps: true, secrets: false}
  retain: {last: 3, daily: 7, weekly: 4, monthly: 12}
notify:
- url: https://hooks.example.com/x
  on: [failure, recovery, rpo]
`

func TestTheConfigurationAsDesigned(t *testing.T) {
	c, err := Load(Source{File: write(t, asDesigned), NamespaceFile: "absent"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.Cluster.Name = "prod-eu"
	want.Store.URL = "s3://backups/hawser?endpoint=https://s3.example.com&region=eu-central-1"
	want.Plans = []Plan{{
		Name: "databases", Schedule: "0 */6 * * *", Timezone: "Europe/Berlin",
		Jitter: 5 * time.Minute, CatchUp: 12 * time.Hour, RPO: 8 * time.Hour, Concurrency: "forbid",
		Select:   Select{Namespaces: []string{"shop", "billing"}, Labels: "tier=database", Workloads: []string{"statefulset/redis"}},
		Snapshot: Snapshot{Timeout: 10 * time.Minute, Classes: map[string]string{"hostpath.csi.k8s.io": "fast-snap"}},
		Protect:  "retain", Include: Include{ConfigMaps: true},
		Hooks: []Hook{{
			Select: HookSelect{Labels: "app=mariadb"}, Container: "mariadb",
			Pre: []string{"mariadb", "-e", "FLUSH TABLES WITH READ LOCK"}, Post: []string{"mariadb", "-e", "UNLOCK TABLES"},
			Timeout: 30 * time.Second, OnFailure: "abort",
		}},
		Retain: Retain{Last: 3, Daily: 7, Weekly: 4, Monthly: 12},
	}}
	want.Notify = []Notify{{URL: "https://hooks.example.com/x", Format: "json", On: []string{"failure", "recovery", "rpo"}}}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestSnapshotSettingsOfAPlan(t *testing.T) {
	const (
		all = "snapshot: {timeout: 1m, classes: {a.example.com: all-a, b.example.com: all-b}}\n"
		own = "plans: [{name: p, snapshot: {timeout: 2m, classes: {a.example.com: own-a}}}]\n"
	)
	tests := []struct {
		name  string
		file  string
		env   []string
		flags map[string]string
		want  Snapshot
	}{
		{"the defaults", "plans: [{name: p}]", nil, nil, defaultSnapshot},
		{"those of all plans", all + "plans: [{name: p}]", nil, nil, Snapshot{Timeout: time.Minute, Classes: map[string]string{"a.example.com": "all-a", "b.example.com": "all-b"}}},
		{"null is the same as leaving them out", all + "plans: [{name: p, snapshot: {timeout: ~, classes: }}]", nil, nil, Snapshot{Timeout: time.Minute, Classes: map[string]string{"a.example.com": "all-a", "b.example.com": "all-b"}}},
		{"the plan's own win, driver by driver", all + own, nil, nil, Snapshot{Timeout: 2 * time.Minute, Classes: map[string]string{"a.example.com": "own-a", "b.example.com": "all-b"}}},
		{"a variable wins over the plan", all + own, []string{"HAWSER_SNAPSHOT_TIMEOUT=3m"}, nil, Snapshot{Timeout: 3 * time.Minute, Classes: map[string]string{"a.example.com": "own-a", "b.example.com": "all-b"}}},
		{"a flag wins over the plan", all + own, nil, map[string]string{"snapshot.classes": "c.example.com=flag-c"}, Snapshot{Timeout: 2 * time.Minute, Classes: map[string]string{"c.example.com": "flag-c"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := Load(Source{File: write(t, test.file), Env: test.env, Flags: test.flags})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, c.Plans[0].Snapshot); diff != "" {
				t.Errorf("snapshot settings (-want +got):\n%s", diff)
			}
		})
	}
}

// What is printed can be put into a file again.
func TestPlansPrintAsTheFileHasThem(t *testing.T) {
	for name, file := range map[string]string{"what": databases, "when": sample} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(Source{File: write(t, file)})
			if err != nil {
				t.Fatal(err)
			}
			printed, err := json.Marshal(map[string]any{"plans": c.Plans}) // JSON is YAML
			if err != nil {
				t.Fatal(err)
			}
			again, err := Load(Source{File: write(t, string(printed))})
			if err != nil {
				t.Fatalf("%v in\n%s", err, printed)
			}
			if diff := cmp.Diff(c.Plans, again.Plans); diff != "" {
				t.Errorf("plans that were printed and read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlansTellWhereTheyCameFrom(t *testing.T) {
	path := write(t, databases)
	c, err := Load(Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range c.Values() {
		if p, ok := v.Value.(Plan); ok {
			got = append(got, fmt.Sprintf("%s %s %s", v.Key, p.Name, strings.TrimPrefix(v.Origin.String(), path)))
		}
	}
	if diff := cmp.Diff([]string{"plans[0] databases :3", "plans[1] all :20"}, got); diff != "" {
		t.Errorf("plans among the values (-want +got):\n%s", diff)
	}
}

func TestErrorsOfPlans(t *testing.T) {
	tests := []struct {
		name string
		file string
		want []string
	}{
		{"a misspelt list", "plan: []", []string{"FILE:1: plan: unknown key; did you mean plans?"}},
		{"no list", "plans: {databases: {}}", []string{"FILE:1: plans: want a list, found a mapping"}},
		{"a name in place of a plan", "plans:\n- databases", []string{"FILE:2: plans[0]: want a mapping, found a string"}},
		{"nothing in place of a plan", "plans:\n- name: one\n-\n", []string{"FILE:3: plans[1]: want a mapping, found nothing"}},
		{"no name", "plans:\n- name: one\n- select: {namespaces: [shop]}", []string{"FILE:3: plans[1].name: missing; every plan has a name"}},
		{"what is wrong comes in the order of the file", "plans:\n- paused: soon\n  retain: {}\n  rpo: 0s", []string{
			"FILE:2: plans[0].paused: want true or false, found a string",
			"FILE:2: plans[0].name: missing; every plan has a name",
			"FILE:3: plans[0].retain: keeps no point at all; say how many to keep, such as {last: 3, daily: 7}, or leave it out to keep all",
			`FILE:4: plans[0].rpo: "0s": want more than 0`,
		}},
		{"a name that the rule refuses", "plans:\n- select: {}\n  name: Two", []string{`FILE:3: plans[0].name: "Two" is refused`}},
		{"a name twice", "plans:\n- name: one\n- name: two\n- name: one", []string{`FILE:4: plans[2].name: "one" is the name of plans[0] too`}},
		{"misspelt keys name what was meant", "plans:\n- name: one\n  selct: {}\n  snapshot: {timeuot: 1m}\n  include: {Secrets: true}\n  hook: []\n  labels: a=b",
			[]string{
				"FILE:3: plans[0].selct: unknown key; did you mean plans[0].select?",
				"FILE:4: plans[0].snapshot.timeuot: unknown key; did you mean plans[0].snapshot.timeout?",
				"FILE:5: plans[0].include.Secrets: unknown key; did you mean plans[0].include.secrets?",
				"FILE:6: plans[0].hook: unknown key; did you mean plans[0].hooks?",
				"FILE:7: plans[0].labels: unknown key; did you mean plans[0].select.labels?",
			}},
		{"misspelt keys of schedules and policies", "plans:\n- name: one\n  Schedule: '@daily'\n  timeZone: UTC\n  catchup: 1h\n  retain: {dayly: 7, wihtin: 2d}\n  include: {configmaps: true}\n  optIn: true\n  daily: 7\n  select: {opt: true}",
			[]string{
				"FILE:3: plans[0].Schedule: unknown key; did you mean plans[0].schedule?",
				"FILE:4: plans[0].timeZone: unknown key; did you mean plans[0].timezone?",
				"FILE:5: plans[0].catchup: unknown key; did you mean plans[0].catchUp?",
				"FILE:6: plans[0].retain.dayly: unknown key; did you mean plans[0].retain.daily?",
				"FILE:6: plans[0].retain.wihtin: unknown key; did you mean plans[0].retain.within?",
				"FILE:7: plans[0].include.configmaps: unknown key; did you mean plans[0].include.configMaps?",
				"FILE:8: plans[0].optIn: unknown key; did you mean plans[0].select.optIn?",
				"FILE:9: plans[0].daily: unknown key; did you mean plans[0].retain.daily?",
				"FILE:10: plans[0].select.opt: unknown key; did you mean plans[0].select.optIn?",
			}},
		{"a key with dots is to be nested", "plans: [{name: one, select.labels: a=b}]",
			[]string{"FILE:1: plans[0].select.labels: write the parts of a key on lines of their own, each below the one before"}},
		{"a duplicate key", "plans:\n- name: one\n  name: two", []string{"FILE:3: plans[0].name: duplicate key; line 2 has it too"}},
		{"values of the wrong type", "plans:\n- name: 1\n  select:\n    namespaces: shop\n    labels: 3\n    workloads:\n    - statefulset/redis\n    - 7\n  snapshot: {timeout: 600, classes: [a]}\n  include: {secrets: yes}\n  hooks: {}",
			[]string{
				"FILE:2: plans[0].name: want a string, found a number",
				"FILE:4: plans[0].select.namespaces: want a list of strings, found a string",
				"FILE:5: plans[0].select.labels: want labels such as tier=database or {tier: database}, found a number",
				"FILE:8: plans[0].select.workloads[1]: want a string, found a number",
				"FILE:9: plans[0].snapshot.timeout: want a duration such as 10m, found a number",
				"FILE:9: plans[0].snapshot.classes: want a mapping, found a list",
				"FILE:10: plans[0].include.secrets: want true or false, found a string",
				"FILE:11: plans[0].hooks: want a list, found a mapping",
			}},
		{"values that mean nothing", "plans:\n- name: one\n  select:\n    namespaces: [Shop]\n    labels: tier in\n    workloads: [job/x]\n  snapshot: {timeout: soon, classes: {a.example.com: A B}}",
			[]string{
				`FILE:4: plans[0].select.namespaces[0]: "Shop" is not the name of a namespace`,
				`FILE:5: plans[0].select.labels: want labels such as tier=database or {tier: database}: unable to parse requirement: found '' expected: '('`,
				`FILE:6: plans[0].select.workloads[0]: "job/x" is refused`,
				`FILE:7: plans[0].snapshot.timeout: "soon" is not a duration; write it as 90s, 10m or 1h30m`,
				`FILE:7: plans[0].snapshot.classes: class "A B" of driver a.example.com is not the name of an object`,
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, test.file, test.want) })
	}
}

func TestErrorsOfOneKeyOfAPlan(t *testing.T) {
	tests := []struct {
		name, key string
		want      string // after plans[0].
	}{
		{"paused by a word", "paused: soon", "paused: want true or false, found a string"},
		{"a schedule that the rule refuses", "schedule: '0 25 * * *'", `schedule: "0 25 * * *": hour "25": refused; want 0 to 23, or *, with ranges, lists and steps`},
		{"a schedule that is a number", "schedule: 5", "schedule: want a string, found a number"},
		{"a time zone that is none", "timezone: Europe/Berln", `timezone: "Europe/Berln" is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC`},
		{"a time zone in letters", "timezone: PST", `timezone: "PST" is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC`},
		{"the time zone of the machine", "timezone: Local", `timezone: "Local" is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC`},
		{"a time zone that is a file", "timezone: ../etc/passwd", `timezone: "../etc/passwd" is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC`},
		{"no time zone", "timezone: ''", `timezone: "" is not a time zone; want a name of the IANA database, such as Europe/Berlin or UTC`},
		{"a jitter below zero", "jitter: -5m", `jitter: "-5m": want 0 or more`},
		{"a jitter without a unit", "jitter: 5", "jitter: want a duration such as 10m, found a number"},
		{"a jitter in words", "jitter: five", `jitter: "five" is not a duration; write it as 90s, 10m, 12h or 2d`},
		{"a catch-up below zero", "catchUp: -1h", `catchUp: "-1h": want 0 or more`},
		{"an rpo of nothing", "rpo: 0s", `rpo: "0s": want more than 0`},
		{"an rpo below zero", "rpo: -8h", `rpo: "-8h": want more than 0`},
		{"an rpo in words", "rpo: daily", `rpo: "daily" is not a duration; write it as 90m, 12h, 30d or 2w`},
		{"another concurrency", "concurrency: allow", `concurrency: "allow": want forbid or replace`},
		{"no concurrency", "concurrency: ''", `concurrency: "": want forbid or replace`},
		{"another protection", "protect: delete", `protect: "delete": want retain or audit`},
		{"a protection that is none", "protect: false", "protect: want a string, found a boolean"},
		{"ConfigMaps by a word", "include: {configMaps: all}", "include.configMaps: want true or false, found a string"},
		{"an opt-in by name", "select: {optIn: databases}", "select.optIn: want true or false, found a string"},
		{"an opt-in and namespaces", "select: {optIn: true, namespaces: [shop]}", "select.namespaces: select.optIn takes only what is labelled hawser.dev/plan=one; leave out one or the other"},
		{"an opt-in and labels", "select: {labels: a=b, optIn: true}", "select.labels: select.optIn takes only what is labelled hawser.dev/plan=one; leave out one or the other"},
		{"an opt-in and workloads", "select: {optIn: true, workloads: [sts/x]}", "select.workloads: select.optIn takes only what is labelled hawser.dev/plan=one; leave out one or the other"},
		{"a policy that is a number", "retain: 7", "retain: want a mapping, found a number"},
		{"a policy that is a list", "retain: [last, 3]", "retain: want a mapping, found a list"},
		{"less than no point", "retain: {last: -1}", `retain.last: "-1": want a whole number, 0 or more`},
		{"half a point", "retain: {daily: 0.5}", `retain.daily: "0.5": want a whole number, 0 or more`},
		{"too many points", "retain: {daily: 99999999999}", `retain.daily: "99999999999": want a whole number, 0 or more`},
		{"points in words", "retain: {weekly: all}", "retain.weekly: want a number, found a string"},
		{"within no time", "retain: {within: 0d}", `retain.within: "0d": want more than 0`},
		{"within days without a unit", "retain: {within: 30}", "retain.within: want a duration such as 10m, found a number"},
		{"within months", "retain: {within: 2 months}", `retain.within: "2 months" is not a duration; write it as 90m, 12h, 30d or 2w`},
		{"a policy that keeps nothing", "retain: {last: 0, daily: 0}", "retain: keeps no point at all; say how many to keep, such as {last: 3, daily: 7}, or leave it out to keep all"},
		{"a policy that says nothing", "retain: {}", "retain: keeps no point at all; say how many to keep, such as {last: 3, daily: 7}, or leave it out to keep all"},
		{"a drill that never is", `drill: {schedule: "every week"}`, `drill.schedule: "every week": want five fields (minute, hour, day of the month, month, day of the week), found 2`},
		{"a check without an image", "drill: {command: [sync]}", "drill.image: missing; say which image has the command"},
		{"a check in a line", "drill: {image: a, command: sync}", `drill.command: want a command as a list of strings, such as ["sh", "-c", "sync"], found a string`},
		{"an image with a space", `drill: {image: "redis 7"}`, `drill.image: "redis 7" is not the name of an image, such as redis:7.0`},
		{"no time for a drill", "drill: {timeout: 0s}", `drill.timeout: "0s": want more than 0`},
		{"a policy of which nothing is left", "retain: {last: , within: ~}", "retain: keeps no point at all; say how many to keep, such as {last: 3, daily: 7}, or leave it out to keep all"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantErrors(t, "plans:\n- name: one\n  "+test.key, []string{"FILE:3: plans[0]." + test.want})
		})
	}
}

func TestErrorsOfHooks(t *testing.T) {
	const hook = "plans:\n- name: one\n  hooks:\n  - select: {labels: app=x}\n    post: [sync]\n  - "
	tests := []struct {
		name string
		hook string
		want []string
	}{
		{"no mapping", "sync", []string{"FILE:6: plans[0].hooks[1]: want a mapping, found a string"}},
		{"no Pods", "pre: [sync]", []string{"FILE:6: plans[0].hooks[1].select.labels: missing; say which Pods the hook is for, by labels such as tier=database or {tier: database}"}},
		{"no labels", "{select: {labels: {}}, pre: [sync]}", []string{"FILE:6: plans[0].hooks[1].select.labels: missing; say which Pods the hook is for, by labels such as tier=database or {tier: database}"}},
		{"no commands", "{select: {labels: app=x}, pre: [], timeout: 3s}", []string{`FILE:6: plans[0].hooks[1]: want pre, post or both: a command as a list of strings, such as ["sh", "-c", "sync"]`}},
		{"a line in place of a command", "{select: {labels: app=x}, pre: sync}", []string{`FILE:6: plans[0].hooks[1].pre: want a command as a list of strings, such as ["sh", "-c", "sync"], found a string`}},
		{"a number in a command", "{select: {labels: app=x}, pre: [sleep, 5]}", []string{"FILE:6: plans[0].hooks[1].pre[1]: want a string, found a number"}},
		{"nothing to hold", "{select: {labels: app=x}, post: [sync], hold: true}", []string{"FILE:6: plans[0].hooks[1].hold: there is no pre command to hold"}},
		{"misspelt keys name what was meant", "{select: {label: app=x, labels: app=x}, pre: [sync], onfailure: abort, commands: []}", []string{
			"FILE:6: plans[0].hooks[1].select.label: unknown key; did you mean plans[0].hooks[1].select.labels?",
			"FILE:6: plans[0].hooks[1].onfailure: unknown key; did you mean plans[0].hooks[1].onFailure?",
			"FILE:6: plans[0].hooks[1].commands: unknown key",
		}},
		{"all errors come at once", "select: {labels: {app: 1, tier: 'a b'}}\n    container: A\n    pre: [sync]\n    hold: maybe\n    timeout: 0s\n    onFailure: abrot", []string{
			"FILE:6: plans[0].hooks[1].select.labels[app]: want a string, found a number",
			`FILE:6: plans[0].hooks[1].select.labels: want labels such as tier=database or {tier: database}: values[0][tier]: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
			`FILE:7: plans[0].hooks[1].container: "A" is not the name of a container`,
			"FILE:9: plans[0].hooks[1].hold: want true or false, found a string",
			`FILE:10: plans[0].hooks[1].timeout: "0s": want more than 0`,
			`FILE:11: plans[0].hooks[1].onFailure: "abrot": want abort or continue`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantErrors(t, hook+test.hook, test.want) })
	}
}

// wantErrors loads a file with rules that refuse the plan Two, jobs, and an hour
// of 25.
func wantErrors(t *testing.T, file string, want []string) {
	t.Helper()
	refuse := func(word string) func(string) error {
		return func(s string) error {
			if strings.HasPrefix(s, word) {
				return errors.New(`"` + s + `" is refused`)
			}
			return nil
		}
	}
	path := write(t, file)
	_, err := Load(Source{File: path, Rules: Rules{PlanName: refuse("Two"), Workload: refuse("job/"), Schedule: noHour25}})
	if diff := cmp.Diff(want, lines(err, path)); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}
