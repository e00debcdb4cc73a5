package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

func TestConfig(t *testing.T) {
	path := configFile(t, `store:
  url: s3://backups/hawser?endpoint=https://user:hush@s3.example.com
snapshot:
  classes: {hostpath.csi.k8s.io: fast-snap}
prune: {schedule: ""}
plans:
- name: databases
  schedule: "0 */6 * * *"
  timezone: Europe/Berlin
  jitter: 5m
  rpo: 8h
  select: {namespaces: [shop, billing], labels: tier=database}
  include: {secrets: true}
  hooks:
  - select: {labels: {app: mariadb}}
    pre: [sh, -c, "{ echo \"FLUSH TABLES WITH READ LOCK; SELECT 'locked';\"; cat; } | mariadb -N --unbuffered"]
    hold: true
    timeout: 90s
  retain: {last: 3, within: 30d}
- name: all
notify:
- url: https://hooks.example.com/services/hush
  on: [failure, recovery]
`)
	env := []string{"HAWSER_CLUSTER_NAME=prod-eu", "POD_NAMESPACE=backups"}
	for _, format := range []string{"table", "json", "yaml"} {
		args := []string{"config", "--config", path, "--log-level", "info", "-o", format}
		r := hawser(t, env, args...)
		if strings.Contains(r.stdout, "hush") {
			t.Errorf("-o %s prints a secret", format)
		}
		golden(t, "config-"+format, args, r, path, "CONFIG")
	}
}

// An image without a time zone database knows the zones of plans all the same.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	packages, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(packages), "\ntime/tzdata\n") {
		t.Error("hawser is built without time/tzdata")
	}
}

const exampleFile = "../../deploy/hawser.example.yaml"

// The example is right, and says everything that there is to say.
func TestTheExampleOfAConfiguration(t *testing.T) {
	cfg, err := config.Load(config.Source{File: exampleFile, Rules: planRules()})
	if err != nil {
		t.Fatal(err)
	}
	index := regexp.MustCompile(`\[\d+\]`)
	said := map[string]bool{}
	for _, v := range cfg.Flat() {
		if v.Origin.Source == config.File {
			said[index.ReplaceAllString(v.Key, "[]")] = true
		}
	}
	var keys []string
	for _, k := range config.Keys() {
		keys = append(keys, k.Name)
	}
	for _, k := range config.FileKeys() {
		if !k.List {
			keys = append(keys, k.Name)
		}
	}
	for _, key := range keys {
		if !said[key] {
			t.Errorf("%s is not in the example", key)
		}
	}
}

// What is printed of the plans means the same when it is read again.
func TestPlansOfTheExampleOnceMore(t *testing.T) {
	cfg, err := config.Load(config.Source{File: exampleFile, Rules: planRules()})
	if err != nil {
		t.Fatal(err)
	}
	printed, err := yaml.Marshal(map[string]any{"plans": cfg.Plans})
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(config.Source{File: configFile(t, string(printed)), Rules: planRules()})
	if err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	if diff := cmp.Diff(cfg.Plans, again.Plans); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
}

// The agent does what the example says.
func TestTheAgentsPlansOfTheExample(t *testing.T) {
	cfg, err := config.Load(config.Source{File: exampleFile, Rules: planRules()})
	if err != nil {
		t.Fatal(err)
	}
	plans, err := agentPlans(cfg)
	if err != nil {
		t.Fatal(err)
	}
	databases, labelled := plans[0], plans[1]
	next := databases.Schedule.Next(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)).UTC().Format(time.RFC3339)
	if next != "2026-07-01T04:00:00Z" { // 6 o'clock in Berlin, in summer
		t.Errorf("the next occurrence is at %s, want 6 o'clock in Berlin", next)
	}
	want := catalog.Retention{Last: 3, Hourly: 12, Daily: 7, Weekly: 4, Monthly: 12, Yearly: 3, Within: 48 * time.Hour}
	if diff := cmp.Diff(want, databases.Retain); diff != "" {
		t.Errorf("retention (-want +got):\n%s", diff)
	}
	if databases.Zone.String() != "Europe/Berlin" || databases.CatchUp != 12*time.Hour || databases.RPO != 8*time.Hour || databases.Paused || databases.Concurrency != "forbid" {
		t.Errorf("zone %s, catchUp %s, rpo %s, paused %t, concurrency %s", databases.Zone, databases.CatchUp, databases.RPO, databases.Paused, databases.Concurrency)
	}
	if !labelled.Paused || !labelled.Request.Select.OptInOnly || labelled.Request.Protect != backup.ProtectRetain {
		t.Errorf("the second plan is %+v", labelled)
	}
}
