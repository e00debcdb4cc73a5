package config

import (
	"fmt"
	"strconv"
)

// SourceKind is the kind of source that a value came from.
type SourceKind string

// The kinds of sources, the weakest first.
const (
	Default     SourceKind = "default"
	File        SourceKind = "file"
	Environment SourceKind = "environment"
	Flag        SourceKind = "flag"
)

// Origin says where a value came from.
type Origin struct {
	Source SourceKind `json:"source"`
	Name   string     `json:"name,omitempty"` // of the file, variable or flag
	Line   int        `json:"line,omitempty"` // of the file, from 1
}

// String returns the origin as people read it: "/etc/hawser/config.yaml:3",
// "HAWSER_STORE_URL", "--store-url" or "default".
func (o Origin) String() string {
	switch {
	case o.Name == "":
		return string(o.Source)
	case o.Line > 0:
		return o.Name + ":" + strconv.Itoa(o.Line)
	}
	return o.Name
}

// Value is one effective value, without secrets. Value.Value is a string, or a
// map[string]string for a mapping, as it was written. In Values it is also a
// Plan or a Notify, and in Flat a string, bool, int or []string of theirs.
type Value struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin Origin `json:"origin"`
}

// Values lists the effective values of all keys, and then the plans and the
// webhooks.
func (c Config) Values() []Value { return c.values }

// Error is one thing that is wrong with the configuration.
type Error struct {
	Origin  Origin
	Key     string // "" if the source as a whole is wrong
	Problem string
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", e.Origin, e.Problem)
	}
	return fmt.Sprintf("%s: %s: %s", e.Origin, e.Key, e.Problem)
}
