package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// write returns the path of a configuration file with this content.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func defaultConfig() Config {
	return Config{
		Catalog:    Catalog{Limits: Limits{Compressed: 64 << 20, Ratio: 100}},
		Snapshot:   Snapshot{Timeout: 10 * time.Minute},
		Kubernetes: Kubernetes{QPS: 100, Burst: 200},
		Log:        Log{Level: slog.LevelWarn, Format: LogText},
		Agent:      Agent{Listen: ":8080", Namespace: "hawser", LeaderElect: true},
		Prune:      Prune{Schedule: "17 3 * * *", Grace: 24 * time.Hour},
	}
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		env   []string
		flags map[string]string
		want  func(*Config)
	}{
		{name: "nothing gives the defaults", want: func(*Config) {}},
		{name: "a file of comments gives the defaults", file: "# nothing yet\n---\n", want: func(*Config) {}},
		{name: "null is the same as leaving a key out", file: "store:\nsnapshot: {timeout: null, classes: ~}\n", want: func(*Config) {}},
		{
			name: "every key can be in the file",
			file: `
cluster: {name: prod-eu}
store: {url: "s3://backups/hawser?endpoint=https://s3.example.com&region=eu-central-1"}
catalog: {limits: {compressed: 128Mi, ratio: 50}}
snapshot:
  timeout: 1h30m
  classes: {hostpath.csi.k8s.io: fast-snap, Vendor.Example.COM: slow}
kubernetes: {qps: 0.5, burst: -1}
log: {level: debug, format: json}
agent: {listen: "127.0.0.1:9090", namespace: backups, leaderElect: false}
prune: {schedule: "0 4 * * SUN", grace: 2d}
`,
			want: func(c *Config) {
				c.Cluster.Name = "prod-eu"
				c.Store.URL = "s3://backups/hawser?endpoint=https://s3.example.com&region=eu-central-1"
				c.Catalog.Limits = Limits{Compressed: 128 << 20, Ratio: 50}
				c.Snapshot.Timeout = 90 * time.Minute
				c.Snapshot.Classes = map[string]string{"hostpath.csi.k8s.io": "fast-snap", "Vendor.Example.COM": "slow"}
				c.Kubernetes = Kubernetes{QPS: 0.5, Burst: -1}
				c.Log = Log{Level: slog.LevelDebug, Format: LogJSON}
				c.Agent = Agent{Listen: "127.0.0.1:9090", Namespace: "backups"}
				c.Prune = Prune{Schedule: "0 4 * * SUN", Grace: 48 * time.Hour}
			},
		},
		{
			name: "an empty schedule turns pruning by the clock off",
			file: `prune: {schedule: ""}`,
			want: func(c *Config) { c.Prune.Schedule = "" },
		},
		{
			name: "a plain number is a quantity",
			file: "catalog: {limits: {compressed: 1048576}}",
			want: func(c *Config) { c.Catalog.Limits.Compressed = 1 << 20 },
		},
		{
			name: "an alias stands for what it names",
			file: "cluster: {name: &name prod}\nsnapshot: {classes: {driver.example.com: *name}}",
			want: func(c *Config) {
				c.Cluster.Name = "prod"
				c.Snapshot.Classes = map[string]string{"driver.example.com": "prod"}
			},
		},
		{
			name: "a variable wins over the file",
			file: "store: {url: file:///from/file}\nsnapshot: {timeout: 1m}",
			env:  []string{"HAWSER_STORE_URL=file:///from/env", "HAWSER_KUBERNETES_QPS=-1", "HAWSER_AGENT_LEADER_ELECT=false"},
			want: func(c *Config) {
				c.Store.URL = "file:///from/env"
				c.Snapshot.Timeout = time.Minute
				c.Kubernetes.QPS = -1
				c.Agent.LeaderElect = false
			},
		},
		{
			name:  "a flag wins over a variable",
			env:   []string{"HAWSER_STORE_URL=file:///from/env", "HAWSER_SNAPSHOT_TIMEOUT=2m"},
			flags: map[string]string{"store.url": "file:///from/flag"},
			want: func(c *Config) {
				c.Store.URL = "file:///from/flag"
				c.Snapshot.Timeout = 2 * time.Minute
			},
		},
		{
			name:  "an empty flag takes back what the file says",
			file:  "store: {url: file:///from/file}",
			flags: map[string]string{"store.url": ""},
			want:  func(*Config) {},
		},
		{name: "an empty variable is not set", env: []string{"HAWSER_SNAPSHOT_TIMEOUT="}, want: func(*Config) {}},
		{
			name: "a mapping in a variable has no file's entries in it",
			file: "snapshot: {classes: {a.example.com: one}}",
			env:  []string{"HAWSER_SNAPSHOT_CLASSES=b.example.com=two,c.example.com=three"},
			want: func(c *Config) {
				c.Snapshot.Classes = map[string]string{"b.example.com": "two", "c.example.com": "three"}
			},
		},
		{
			name: "variables of a Service that is called hawser are not ours",
			env: []string{
				"HAWSER_PORT=tcp://10.0.0.1:80", "HAWSER_PORT_80_TCP_ADDR=10.0.0.1", "HAWSER_SERVICE_HOST=10.0.0.1",
				"HAWSER_STORE_PORT=tcp://10.0.0.2:80", "HAWSER_AGENT_SERVICE_PORT_METRICS=9090", "HAWSER_FLAVOUR=salt",
			},
			want: func(*Config) {},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Load(Source{File: write(t, test.file), Env: test.env, Flags: test.flags, NamespaceFile: "absent"})
			if err != nil {
				t.Fatal(err)
			}
			want := defaultConfig()
			test.want(&want)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValuesTellWhereTheyCameFrom(t *testing.T) {
	path := write(t, "store:\n  url: file:///from/file\nsnapshot:\n  classes: {a.example.com: one}\n")
	c, err := Load(Source{
		File:  path,
		Env:   []string{"HAWSER_SNAPSHOT_TIMEOUT=2m"},
		Flags: map[string]string{"log.level": "info"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Value{}
	for _, v := range c.Values() {
		got[v.Key] = v
	}
	want := []Value{
		{"store.url", "file:///from/file", Origin{Source: File, Name: path, Line: 2}},
		{"snapshot.classes", map[string]string{"a.example.com": "one"}, Origin{Source: File, Name: path, Line: 4}},
		{"snapshot.timeout", "2m", Origin{Source: Environment, Name: "HAWSER_SNAPSHOT_TIMEOUT"}},
		{"log.level", "info", Origin{Source: Flag, Name: "--log-level"}},
		{"kubernetes.qps", "100", Origin{Source: Default}},
	}
	for _, w := range want {
		if diff := cmp.Diff(w, got[w.Key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", w.Key, diff)
		}
	}
	if len(got) != len(Keys()) {
		t.Errorf("%d values, want one for each of %d keys", len(got), len(Keys()))
	}
}

func TestWhichFileIsRead(t *testing.T) {
	named := write(t, "cluster: {name: named}")
	variable := write(t, "cluster: {name: variable}")
	home := t.TempDir()
	for folder, name := range map[string]string{"xdg/hawser": "xdg", ".config/hawser": "home"} {
		if err := os.MkdirAll(filepath.Join(home, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, folder, "config.yaml"), []byte("cluster: {name: "+name+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"HAWSER_CONFIG=" + variable, "XDG_CONFIG_HOME=" + home + "/xdg", "HOME=" + home}
	tests := []struct {
		name string
		file string
		env  []string
		want string
	}{
		{"the one that the flag names comes first", named, all, "named"},
		{"then the one that the variable names", "", all, "variable"},
		{"then the one in XDG_CONFIG_HOME", "", all[1:], "xdg"},
		{"then the one in ~/.config", "", all[2:], "home"},
		{"a relative XDG_CONFIG_HOME counts as not set", "", []string{"XDG_CONFIG_HOME=xdg", all[2]}, "home"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := Load(Source{File: test.file, Env: test.env})
			if err != nil {
				t.Fatal(err)
			}
			if c.Cluster.Name != test.want {
				t.Errorf("read file %q, want %q", c.Cluster.Name, test.want)
			}
		})
	}
}

func TestTheNamespaceOfTheAgent(t *testing.T) {
	const file = "agent: {namespace: from-file}"
	pod := []string{"POD_NAMESPACE=from-pod"}
	kubelet := write(t, "from-kubelet\n")
	tests := []struct {
		name          string
		file          string
		env           []string
		namespaceFile string
		want, origin  string
	}{
		{"outside of a Pod it is hawser", "", nil, "absent", "hawser", "default"},
		{"a Pod is told by the kubelet", "", nil, kubelet, "from-kubelet", kubelet},
		{"or by its manifest", "", pod, kubelet, "from-pod", "POD_NAMESPACE"},
		{"what is configured wins over where it runs", file, pod, kubelet, "from-file", "FILE:1"},
		{"and the variable over the file", file, append(pod, "HAWSER_AGENT_NAMESPACE=from-env"), kubelet, "from-env", "HAWSER_AGENT_NAMESPACE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.file)
			c, err := Load(Source{File: path, Env: test.env, NamespaceFile: test.namespaceFile})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(c.Values(), func(v Value) bool { return v.Key == "agent.namespace" })
			v := c.Values()[i]
			if origin := strings.ReplaceAll(v.Origin.String(), path, "FILE"); c.Agent.Namespace != test.want || v.Value != test.want || origin != test.origin {
				t.Errorf("namespace %q, printed as %q from %s; want %q from %s", c.Agent.Namespace, v.Value, origin, test.want, test.origin)
			}
		})
	}
}
