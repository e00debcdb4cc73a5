package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhereEachValueOfAListCameFrom(t *testing.T) {
	path := write(t, `snapshot: {timeout: 5m, classes: {a.example.com: all}}
plans:
- name: databases
  jitter: 0s
  rpo: 2w
  snapshot:
    timeout: 1m
    classes: {b.example.com: own}
  include:
    secrets: false
  hooks:
  - select:
      labels: {app: mariadb}
    pre: [sh, -c, lock]
  retain: {last: 3}
- name: all
  paused:
  select: {namespaces: []}
notify:
- url: https://hooks.example.com/hush
  format: slack
`)
	c, err := Load(Source{File: path, Env: []string{"HAWSER_SNAPSHOT_TIMEOUT=3m"}, NamespaceFile: "absent"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range c.Flat()[len(Keys()):] {
		got = append(got, fmt.Sprintf("%s = %v (%s)", v.Key, v.Value, strings.TrimPrefix(v.Origin.String(), path+":")))
	}
	want := []string{
		"plans[0].name = databases (3)",
		"plans[0].timezone = UTC (default)",
		"plans[0].jitter = 0s (4)",
		"plans[0].catchUp = 1h (default)",
		"plans[0].rpo = 14d (5)",
		"plans[0].concurrency = forbid (default)",
		"plans[0].snapshot.timeout = 3m (HAWSER_SNAPSHOT_TIMEOUT)",
		"plans[0].snapshot.classes = map[a.example.com:all b.example.com:own] (8)",
		"plans[0].protect = retain (default)",
		"plans[0].include.configMaps = true (default)",
		"plans[0].include.secrets = false (10)",
		"plans[0].hooks[0].select.labels = app=mariadb (13)",
		"plans[0].hooks[0].pre = [sh -c lock] (14)",
		"plans[0].retain.last = 3 (15)",
		"plans[1].name = all (16)",
		"plans[1].timezone = UTC (default)",
		"plans[1].catchUp = 1h (default)",
		"plans[1].concurrency = forbid (default)",
		"plans[1].select.namespaces = [] (18)",
		"plans[1].snapshot.timeout = 3m (HAWSER_SNAPSHOT_TIMEOUT)",
		"plans[1].snapshot.classes = map[a.example.com:all] (1)",
		"plans[1].protect = retain (default)",
		"plans[1].include.configMaps = true (default)",
		"notify[0].url = https://hooks.example.com/xxxxx (20)",
		"notify[0].format = slack (21)",
		"notify[0].on = [failure recovery rpo] (default)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.Values()[:len(Keys())], c.Flat()[:len(Keys())]); diff != "" {
		t.Errorf("values of keys in Values (-) and Flat (+):\n%s", diff)
	}
}

func TestKeysOfLists(t *testing.T) {
	defaults := map[string]string{}
	for _, k := range FileKeys() {
		if _, twice := defaults[k.Name]; twice || k.Usage == "" {
			t.Errorf("%s: twice %t, usage %q", k.Name, twice, k.Usage)
		}
		defaults[k.Name] = k.Default
	}
	for name, want := range map[string]string{
		"plans": "", "plans[].name": "", "plans[].paused": "false", "plans[].catchUp": "1h", "plans[].jitter": "", "plans[].include.configMaps": "true",
		"plans[].hooks[].hold": "false", "plans[].retain.last": "", "notify[].on": "failure, recovery, rpo",
	} {
		if got, there := defaults[name]; !there || got != want {
			t.Errorf("%s: there %t, default %q, want %q", name, there, got, want)
		}
	}
}
