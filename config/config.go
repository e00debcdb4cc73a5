package config

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/viper"
)

// Config is the effective configuration.
type Config struct {
	Cluster    Cluster
	Store      Store
	Catalog    Catalog
	Snapshot   Snapshot
	Kubernetes Kubernetes
	Log        Log
	Agent      Agent
	Prune      Prune
	Plans      []Plan   // in the order of the file
	Notify     []Notify // in the order of the file

	values, flat []Value
}

// Cluster says how people call the cluster.
type Cluster struct {
	Name string // may be empty
}

// Store says where the catalog is.
type Store struct {
	URL StoreURL // empty if none is configured
}

// Catalog guards the reader of the catalog.
type Catalog struct {
	Limits Limits
}

// Limits are those of catalog.Limits.
type Limits struct {
	Compressed int64 // bytes
	Ratio      int64
}

// Snapshot says how CSI snapshots are taken.
type Snapshot struct {
	Timeout time.Duration `json:"-"`
	// Classes maps a CSI driver to the VolumeSnapshotClass to learn its
	// parameters from. May be nil.
	Classes map[string]string `json:"classes,omitempty"`
}

// Kubernetes limits the rate of requests to the API server. -1 is unlimited;
// neither is ever 0.
type Kubernetes struct {
	QPS   float32
	Burst int
}

// Log says what is logged to stderr, and how.
type Log struct {
	Level  slog.Level
	Format LogFormat
}

// LogFormat is how a log line is written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Agent says how hawser agent runs.
type Agent struct {
	Listen      string // HOST:PORT of metrics and health; never empty
	Namespace   string // of its Lease, state and Events; never empty
	LeaderElect bool   // off only where there is one replica
}

// Prune says how the agent deletes what retention drops.
type Prune struct {
	Schedule string        // when the agent sweeps, in UTC; "" for never
	Grace    time.Duration // from a point being dropped to its being deleted; more than 0
}

// Source is what a Config is loaded from.
type Source struct {
	// File is the configuration file. If it is "", the file is the one that
	// HAWSER_CONFIG names, else the first of DefaultFiles that exists, else
	// none.
	File string
	// Env is the environment in the form of os.Environ.
	Env []string
	// Flags are the values of the flags that were given, by key.
	Flags map[string]string
	// NamespaceFile tells a Pod its namespace. If it is "", the file is the one
	// that the kubelet writes.
	NamespaceFile string
	Rules         Rules
}

// Rules are those of others that values must keep to: what they refuse is
// reported with file, line and key. A nil one refuses nothing.
type Rules struct {
	PlanName func(name string) error
	Workload func(reference string) error // such as statefulset/redis
	// Schedule is asked about a cron expression, without its time zone.
	Schedule func(expression string) error
}

// Load reads and validates the configuration. The error joins one *Error for
// everything that is wrong.
func Load(source Source) (Config, error) {
	keys := Keys()
	file, fileErr := fromFile(keys, source)
	environment, environmentErr := fromEnvironment(keys, source.Env)
	flags, flagsErr := fromFlags(keys, source.Flags)

	var c Config
	errs := []error{fileErr, environmentErr, flagsErr}
	settings := merge(defaults(keys), surroundings(source), file.layer, environment, flags)
	for _, k := range keys {
		s := settings[k.Name]
		if err := k.set(&c, source.Rules, s.value); err != nil {
			errs = append(errs, &Error{Origin: s.origin, Key: k.Name, Problem: err.Error()})
			continue
		}
		c.values = append(c.values, Value{Key: k.Name, Value: k.show(s.value), Origin: s.origin})
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	for i := range file.plans {
		p := &file.plans[i]
		p.Snapshot = effective(p.Snapshot, c.Snapshot, settings)
	}
	c.Plans, c.Notify = file.plans, file.notify
	c.flat = append(slices.Clone(c.values), file.flatten("", file.lists(), settings)...)
	for i, p := range c.Plans {
		c.values = append(c.values, file.item("plans", i, p))
	}
	for i, n := range c.Notify {
		n.URL = WebhookURL(n.URL.String()) // fmt prints what lies in c.values whole
		c.values = append(c.values, file.item("notify", i, n))
	}
	return c, nil
}

// setting is one value as a source gave it: a string, or a map[string]string
// for a mapping.
type setting struct {
	value  any
	origin Origin
}

// overrides reports whether a setting wins over whatever the file says.
func (s setting) overrides() bool {
	return s.origin.Source == Environment || s.origin.Source == Flag
}

// layer holds the settings of one source by key.
type layer map[string]setting

// merge picks the setting of each key from the strongest layer that has one,
// the last being the strongest.
// viper folds the case of keys also inside of values and splits them at its
// delimiter, so it sees opaque settings under whole, known keys only.
func merge(defaults layer, stronger ...layer) layer {
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	for name, s := range defaults {
		v.SetDefault(name, s)
	}
	for _, l := range stronger {
		for name, s := range l {
			v.Set(name, s)
		}
	}
	merged := layer{}
	for name := range defaults {
		merged[name] = v.Get(name).(setting)
	}
	return merged
}
