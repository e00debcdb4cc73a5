package config

import (
	"encoding/json"
	"maps"
	"strings"
	"time"
)

// Plan is a named policy: what to back up, and how.
type Plan struct {
	Name     string   `json:"name"`
	Select   Select   `json:"select"`
	Snapshot Snapshot `json:"snapshot"` // in force: what the plan leaves open is as for all
	Include  Include  `json:"include"`
	Hooks    []Hook   `json:"hooks,omitempty"`
}

// Select says which claims a plan takes: those that meet all of it. What is
// empty does not restrict.
type Select struct {
	Namespaces []string `json:"namespaces,omitempty"`
	Labels     string   `json:"labels,omitempty"`    // a label selector that can be parsed
	Workloads  []string `json:"workloads,omitempty"` // KIND/NAME
}

// Include says what a point holds besides claims, volumes and workloads.
type Include struct {
	Secrets bool `json:"secrets"`
}

// Hook says what to run in the Pods that it selects, before and after the
// snapshots of their volumes are cut. Pre, Post or both are commands.
type Hook struct {
	Select    HookSelect    `json:"select"`
	Container string        `json:"container,omitempty"` // "" for the Pod's default
	Pre       []string      `json:"pre,omitempty"`
	Post      []string      `json:"post,omitempty"`
	Hold      bool          `json:"hold,omitempty"` // keep Pre running until the snapshots are cut
	Timeout   time.Duration `json:"-"`              // of each command; 0 for the default
	OnFailure string        `json:"onFailure,omitempty"`
}

// HookSelect says for which Pods a hook is.
type HookSelect struct {
	Labels string `json:"labels"` // a label selector that can be parsed; never empty
}

// MarshalJSON writes the snapshot settings under the names of the file.
func (s Snapshot) MarshalJSON() ([]byte, error) {
	type fields Snapshot
	return json.Marshal(struct {
		Timeout string `json:"timeout,omitempty"`
		fields
	}{durationText(s.Timeout), fields(s)})
}

// MarshalJSON writes the hook under the names of the file.
func (h Hook) MarshalJSON() ([]byte, error) {
	type fields Hook
	return json.Marshal(struct {
		fields
		Timeout string `json:"timeout,omitempty"`
	}{fields(h), durationText(h.Timeout)})
}

// durationText writes a duration as people do: 10m, not 10m0s; "" for none.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// effective returns the snapshot settings in force for a plan that has its
// own. The plan's win over those that the file has for all plans; variables
// and flags win over the file, as everywhere.
func effective(own, all Snapshot, settings layer) Snapshot {
	overridden := func(key string) bool {
		source := settings[key].origin.Source
		return source == Environment || source == Flag
	}
	if own.Timeout == 0 || overridden("snapshot.timeout") {
		own.Timeout = all.Timeout
	}
	if len(own.Classes) == 0 || overridden("snapshot.classes") {
		own.Classes = all.Classes
		return own
	}
	merged := maps.Clone(all.Classes)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, own.Classes)
	own.Classes = merged
	return own
}
