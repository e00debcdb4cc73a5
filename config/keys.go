package config

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// Key describes one configuration key.
type Key struct {
	Name    string // as in the file, its path joined by dots
	Default string // in the form that variables and flags use
	Usage   string // one phrase
	shape   shape
	set     func(c *Config, rules Rules, value any) error
}

// Keys returns all keys, in the order in which they are listed.
func Keys() []Key {
	return []Key{
		{"cluster.name", "", "name of the cluster, for people", text,
			scalar(clusterName, func(c *Config) *string { return &c.Cluster.Name })},
		{"store.url", "", "where the catalog is: file:///path or s3://bucket/prefix?endpoint=...", text,
			scalar(storeURL, func(c *Config) *StoreURL { return &c.Store.URL })},
		{"catalog.limits.compressed", "64Mi", "largest bundle to read, as stored", quantity,
			scalar(size, func(c *Config) *int64 { return &c.Catalog.Limits.Compressed })},
		{"catalog.limits.ratio", "100", "largest decoded size of a bundle, as a multiple of the stored one", number,
			scalar(ratio, func(c *Config) *int64 { return &c.Catalog.Limits.Ratio })},
		{"snapshot.timeout", "10m", "how long a snapshot may take to be ready", duration,
			scalar(timeout, func(c *Config) *time.Duration { return &c.Snapshot.Timeout })},
		{"snapshot.classes", "", "VolumeSnapshotClass to follow, by CSI driver", mapping,
			classes(func(c *Config) *map[string]string { return &c.Snapshot.Classes })},
		{"kubernetes.qps", "100", "requests per second to the API server; -1 for no limit", number,
			scalar(qps, func(c *Config) *float32 { return &c.Kubernetes.QPS })},
		{"kubernetes.burst", "200", "requests at once to the API server; -1 for no limit", number,
			scalar(burst, func(c *Config) *int { return &c.Kubernetes.Burst })},
		{"log.level", "warn", "what to log to stderr: debug, info, warn or error", text,
			scalar(logLevel, func(c *Config) *slog.Level { return &c.Log.Level })},
		{"log.format", "text", "how to log: text or json", text,
			scalar(logFormat, func(c *Config) *LogFormat { return &c.Log.Format })},
		{"agent.listen", ":8080", "where the agent serves metrics and health: [HOST]:PORT", text,
			scalar(listen, func(c *Config) *string { return &c.Agent.Listen })},
		{"agent.namespace", "hawser", "namespace of the agent's Lease and state; in a Pod, that of the Pod", text,
			scalar(agentNamespace, func(c *Config) *string { return &c.Agent.Namespace })},
		{"agent.leaderElect", "true", "let only one of the agents work; false if there is but one", boolean,
			scalar(truth, func(c *Config) *bool { return &c.Agent.LeaderElect })},
		{"prune.schedule", "17 3 * * *", "when the agent deletes what retention dropped, in UTC; empty for never", text,
			scheduled(func(c *Config) *string { return &c.Prune.Schedule })},
		{"prune.grace", "24h", "how long a dropped point can still be restored", duration,
			scalar(period, func(c *Config) *time.Duration { return &c.Prune.Grace })},
	}
}

var camelCase = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// Env returns the environment variable of the key: HAWSER_SNAPSHOT_TIMEOUT.
func (k Key) Env() string {
	name := camelCase.ReplaceAllString(k.Name, "${1}_${2}")
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// Flag returns the name of the key's flag: snapshot-timeout.
func (k Key) Flag() string {
	name := camelCase.ReplaceAllString(k.Name, "${1}-${2}")
	return strings.ToLower(strings.ReplaceAll(name, ".", "-"))
}

// Kind is one word for what a value of the key is, for use in help texts.
func (k Key) Kind() string { return k.shape.kind }

// shape says what a value looks like before it is parsed.
type shape struct {
	kind string   // one word
	want string   // for messages
	tags []string // of YAML scalars; nil for a mapping
}

var (
	text     = shape{"string", "a string", []string{"!!str"}}
	number   = shape{"number", "a number", []string{"!!int", "!!float"}}
	quantity = shape{"quantity", "a quantity such as 64Mi", []string{"!!str", "!!int", "!!float"}}
	duration = shape{"duration", "a duration such as 10m", []string{"!!str"}}
	boolean  = shape{"boolean", "true or false", []string{"!!bool"}}
	mapping  = shape{"driver=class", "a mapping", nil}
)

func (s shape) isMapping() bool { return s.tags == nil }

// parse reads a value in the form that variables and flags use.
func (s shape) parse(value string) (any, error) {
	if !s.isMapping() {
		return value, nil
	}
	m := map[string]string{}
	for item := range strings.SplitSeq(value, ",") {
		if item == "" {
			continue
		}
		name, v, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("want name=value,name=value...; %q has no '='", item)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		m[name] = v
	}
	return m, nil
}

// show returns the value as it may be printed.
func (k Key) show(value any) any {
	if k.Name == "store.url" {
		return StoreURL(value.(string)).String()
	}
	return value
}

// defaults returns the defaults as the weakest layer.
func defaults(keys []Key) layer {
	l := layer{}
	for _, k := range keys {
		value, err := k.shape.parse(k.Default)
		if err != nil {
			panic(fmt.Sprintf("default of %s: %v", k.Name, err))
		}
		l[k.Name] = setting{value: value, origin: Origin{Source: Default}}
	}
	return l
}
