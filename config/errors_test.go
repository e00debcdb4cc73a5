package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines returns the messages of err, with FILE for the path of the file.
func lines(err error, path string) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), path, "FILE"), "\n")
}

func TestErrorsOfFiles(t *testing.T) {
	tests := []struct {
		name string
		file string
		want []string
	}{
		{"a misspelt key names the key that was meant", "store:\n  ulr: file:///x\n",
			[]string{"FILE:2: store.ulr: unknown key; did you mean store.url?"}},
		{"a misspelt section names the section that was meant", "stroe:\n  url: file:///x\n",
			[]string{"FILE:1: stroe: unknown key; did you mean store?"}},
		{"keys are case-sensitive", "snapshot: {Timeout: 10m}",
			[]string{"FILE:1: snapshot.Timeout: unknown key; did you mean snapshot.timeout?"}},
		{"a key in the wrong place names the right one", "timeout: 10m",
			[]string{"FILE:1: timeout: unknown key; did you mean snapshot.timeout?"}},
		{"a key like no other has no suggestion", "colour: blue",
			[]string{"FILE:1: colour: unknown key"}},
		{"a key with dots is to be nested", "store.url: file:///x",
			[]string{"FILE:1: store.url: write the parts of a key on lines of their own, each below the one before"}},
		{"a duplicate key", "store: {url: file:///x}\nstore: {url: file:///y}\n",
			[]string{"FILE:2: store: duplicate key; line 1 has it too"}},
		{"a duplicate key of a mapping", "snapshot:\n  classes:\n    a.example.com: one\n    a.example.com: two\n",
			[]string{"FILE:4: snapshot.classes[a.example.com]: duplicate key"}},
		{"a number for a string", "cluster: {name: 12}",
			[]string{"FILE:1: cluster.name: want a string, found a number"}},
		{"a number for a duration", "snapshot: {timeout: 600}",
			[]string{"FILE:1: snapshot.timeout: want a duration such as 10m, found a number"}},
		{"a string for a number", "kubernetes: {qps: many}",
			[]string{"FILE:1: kubernetes.qps: want a number, found a string"}},
		{"a string for a section", "store: file:///x",
			[]string{"FILE:1: store: want a mapping, found a string"}},
		{"a list for a mapping", "snapshot: {classes: [a, b]}",
			[]string{"FILE:1: snapshot.classes: want a mapping, found a list"}},
		{"a mapping for a string", "cluster: {name: {a: b}}",
			[]string{"FILE:1: cluster.name: want a string, found a mapping"}},
		{"a boolean as a class", "snapshot: {classes: {a.example.com: true}}",
			[]string{"FILE:1: snapshot.classes[a.example.com]: want a string, found a boolean"}},
		{"a list for the whole", "- store", []string{"FILE:1: want a mapping of keys such as store and snapshot"}},
		{"a second document", "store: {url: file:///x}\n---\nlog: {level: info}\n",
			[]string{"FILE:2: want one YAML document; a second one begins"}},
		{"no YAML at all", "store: [\n",
			[]string{"FILE: not YAML: line 1: did not find expected node content"}},
		{"a malformed duration", "snapshot: {timeout: 10 minutes}",
			[]string{`FILE:1: snapshot.timeout: "10 minutes" is not a duration; write it as 90s, 10m or 1h30m`}},
		{"no duration at all", "snapshot: {timeout: 0s}",
			[]string{`FILE:1: snapshot.timeout: "0s": want more than 0`}},
		{"a malformed quantity", "catalog: {limits: {compressed: 64 MB}}",
			[]string{`FILE:1: catalog.limits.compressed: "64 MB" is not a quantity; write it as 64Mi or 67108864`}},
		{"a quantity below zero", "catalog: {limits: {compressed: -1}}",
			[]string{`FILE:1: catalog.limits.compressed: "-1": want more than 0 and at most 1Ti`}},
		{"a ratio of a half", "catalog: {limits: {ratio: 0.5}}",
			[]string{`FILE:1: catalog.limits.ratio: "0.5": want a whole number of at least 1`}},
		{"a rate of nothing", "kubernetes: {qps: 0, burst: 0}", []string{
			`FILE:1: kubernetes.qps: "0": want a number above 0, or -1 for no limit`,
			`FILE:1: kubernetes.burst: "0": want a whole number of at least 1, or -1 for no limit`,
		}},
		{"a rate that is no number", "kubernetes: {qps: .nan}",
			[]string{`FILE:1: kubernetes.qps: ".nan": want a number above 0, or -1 for no limit`}},
		{"a class that no object can have", "snapshot: {classes: {b.example.com: A B, a.example.com: ''}}",
			[]string{`FILE:1: snapshot.classes: class "" of driver a.example.com is not the name of an object; class "A B" of driver b.example.com is not the name of an object`}},
		{"an unknown level", "log: {level: loud, format: xml}", []string{
			`FILE:1: log.level: "loud": want debug, info, warn or error`,
			`FILE:1: log.format: "xml": want text or json`,
		}},
		{"an address without a port", "agent: {listen: localhost}",
			[]string{`FILE:1: agent.listen: "localhost": want [HOST]:PORT, such as :8080 or 127.0.0.1:8080`}},
		{"a port that is none", "agent: {listen: ':http'}",
			[]string{`FILE:1: agent.listen: ":http": want [HOST]:PORT, such as :8080 or 127.0.0.1:8080`}},
		{"a port that is too large", "agent: {listen: ':65536'}",
			[]string{`FILE:1: agent.listen: ":65536": want [HOST]:PORT, such as :8080 or 127.0.0.1:8080`}},
		{"no address", "agent: {listen: ''}",
			[]string{`FILE:1: agent.listen: "": want [HOST]:PORT, such as :8080 or 127.0.0.1:8080`}},
		{"a namespace that cannot be", "agent: {namespace: Hawser}",
			[]string{`FILE:1: agent.namespace: "Hawser" is not the name of a namespace`}},
		{"a string for a boolean", "agent: {leaderElect: 'no'}",
			[]string{"FILE:1: agent.leaderElect: want true or false, found a string"}},
		{"a misspelt key of the agent", "agent: {leaderelect: true}",
			[]string{"FILE:1: agent.leaderelect: unknown key; did you mean agent.leaderElect?"}},
		{"no grace", "prune: {grace: 0s}",
			[]string{`FILE:1: prune.grace: "0s": want more than 0`}},
		{"a malformed period", "prune: {grace: a day}",
			[]string{`FILE:1: prune.grace: "a day" is not a duration; write it as 90m, 12h, 30d or 2w`}},
		{"a schedule without quotes", "plans:\n- name: one\n  schedule: */5 * * * *\n", []string{
			"FILE: not YAML: line 3: did not find expected alphabetic or numeric character; the schedule in line 3 needs quotes, since it begins with * or @"}},
		{"a word of a schedule without quotes", "# schedule: *\nprune: {schedule: @daily}\n", []string{
			"FILE: not YAML: line 2: found character that cannot start any token; the schedule in line 2 needs quotes, since it begins with * or @"}},
		{"all errors come at once", "stor: {}\nsnapshot: {timeout: soon}\nlog: {level: 3}\n", []string{
			"FILE:1: stor: unknown key; did you mean store?",
			"FILE:3: log.level: want a string, found a number",
			`FILE:2: snapshot.timeout: "soon" is not a duration; write it as 90s, 10m or 1h30m`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.file)
			_, err := Load(Source{File: path})
			if diff := cmp.Diff(test.want, lines(err, path)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsOfVariablesAndFlags(t *testing.T) {
	tests := []struct {
		name  string
		env   []string
		flags map[string]string
		want  []string
	}{
		{"a misspelt variable", []string{"HAWSER_STORE_ULR=file:///x"}, nil,
			[]string{"HAWSER_STORE_ULR: unknown variable; did you mean HAWSER_STORE_URL?"}},
		{"a malformed variable", []string{"HAWSER_SNAPSHOT_TIMEOUT=soon"}, nil,
			[]string{`HAWSER_SNAPSHOT_TIMEOUT: snapshot.timeout: "soon" is not a duration; write it as 90s, 10m or 1h30m`}},
		{"a mapping without =", []string{"HAWSER_SNAPSHOT_CLASSES=fast"}, nil,
			[]string{`HAWSER_SNAPSHOT_CLASSES: snapshot.classes: want name=value,name=value...; "fast" has no '='`}},
		{"a malformed flag", nil, map[string]string{"kubernetes.burst": "many"},
			[]string{`--kubernetes-burst: kubernetes.burst: "many": want a whole number of at least 1, or -1 for no limit`}},
		{"a boolean that is none", []string{"HAWSER_AGENT_LEADER_ELECT=maybe"}, nil,
			[]string{`HAWSER_AGENT_LEADER_ELECT: agent.leaderElect: "maybe": want true or false`}},
		{"a namespace of a Pod that cannot be", []string{"POD_NAMESPACE=A"}, nil,
			[]string{`POD_NAMESPACE: agent.namespace: "A" is not the name of a namespace`}},
		{"a mapping with a driver twice", nil, map[string]string{"snapshot.classes": "a=x,a=y"},
			[]string{`--snapshot-classes: snapshot.classes: a is given twice`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(Source{File: write(t, ""), Env: test.env, Flags: test.flags})
			if diff := cmp.Diff(test.want, lines(err, "FILE")); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANamedFileMustBeThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent.yaml")
	want := []string{"FILE: cannot read the configuration file: no such file or directory"}
	for name, source := range map[string]Source{
		"by the flag":     {File: path},
		"by the variable": {Env: []string{"HAWSER_CONFIG=" + path}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(source)
			if diff := cmp.Diff(want, lines(err, path)); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}
