package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"time"
)

// Plan is a named policy: what to back up, when, how, and how long to keep it.
// What the file leaves out has its default, so the words are never empty.
type Plan struct {
	Name        string        `json:"name"`
	Paused      bool          `json:"paused,omitempty"`
	Schedule    string        `json:"schedule,omitempty"` // a cron expression; "" if it runs by hand only
	Timezone    string        `json:"timezone"`           // a name that time.LoadLocation knows; that of Schedule and Retain
	Jitter      time.Duration `json:"-"`                  // the most that a run is put off by; may be 0
	CatchUp     time.Duration `json:"-"`                  // the most that a missed run may be late; may be 0
	RPO         time.Duration `json:"-"`                  // the age that the newest point should not exceed; 0 for none
	Concurrency string        `json:"concurrency"`        // forbid or replace
	Select      Select        `json:"select"`
	Snapshot    Snapshot      `json:"snapshot"` // in force: what the plan leaves open is as for all
	Protect     string        `json:"protect"`  // retain or audit
	Include     Include       `json:"include"`
	Hooks       []Hook        `json:"hooks,omitempty"`
	Retain      Retain        `json:"retain,omitzero"`
	Drill       Drill         `json:"drill,omitzero"`
}

// Select says which claims a plan takes: those that meet all of it. What is
// empty does not restrict.
type Select struct {
	Namespaces []string `json:"namespaces,omitempty"`
	Labels     string   `json:"labels,omitempty"`    // a label selector that can be parsed
	Workloads  []string `json:"workloads,omitempty"` // KIND/NAME
	// OptIn takes only what asks for the plan by a label; the rest is empty then.
	OptIn bool `json:"optIn,omitempty"`
}

// Include says what a point holds besides claims, volumes and workloads.
type Include struct {
	ConfigMaps bool `json:"configMaps"` // those that the Pods use; the default
	Secrets    bool `json:"secrets"`
}

// Retain says which points of a plan are kept: the newest Last, and the newest
// of each of so many hours, days, weeks, months and years, and all that are
// less than Within older than the newest. The zero value keeps all; the file
// cannot have one that keeps none.
type Retain struct {
	Last    int           `json:"last,omitempty"`
	Hourly  int           `json:"hourly,omitempty"`
	Daily   int           `json:"daily,omitempty"`
	Weekly  int           `json:"weekly,omitempty"`
	Monthly int           `json:"monthly,omitempty"`
	Yearly  int           `json:"yearly,omitempty"`
	Within  time.Duration `json:"-"`
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

// Drill says when the plan's newest point is brought back for practice, and how
// each volume is then checked.
type Drill struct {
	Schedule string        `json:"schedule,omitempty"` // as that of the plan, in its time zone; "" if by hand only
	Image    string        `json:"image,omitempty"`    // of the Pods that check; never empty with a Command
	Command  []string      `json:"command,omitempty"`  // empty: the volumes are read
	Timeout  time.Duration `json:"-"`                  // of all of it; 0 for the default
}

// MarshalJSON writes the plan under the names of the file.
func (p Plan) MarshalJSON() ([]byte, error) {
	type fields Plan
	return json.Marshal(struct {
		Name     string `json:"name"` // again, so that what says when stands together
		Paused   bool   `json:"paused,omitempty"`
		Schedule string `json:"schedule,omitempty"`
		Timezone string `json:"timezone"`
		Jitter   string `json:"jitter,omitempty"`
		CatchUp  string `json:"catchUp"`
		RPO      string `json:"rpo,omitempty"`
		fields
	}{p.Name, p.Paused, p.Schedule, p.Timezone, durationText(p.Jitter), cmp.Or(durationText(p.CatchUp), "0s"), durationText(p.RPO), fields(p)})
}

// MarshalJSON writes the policy under the names of the file.
func (r Retain) MarshalJSON() ([]byte, error) {
	type fields Retain
	return json.Marshal(struct {
		fields
		Within string `json:"within,omitempty"`
	}{fields(r), durationText(r.Within)})
}

// MarshalJSON writes the drill under the names of the file.
func (d Drill) MarshalJSON() ([]byte, error) {
	type fields Drill
	return json.Marshal(struct {
		fields
		Timeout string `json:"timeout,omitempty"`
	}{fields(d), durationText(d.Timeout)})
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

// effective returns the snapshot settings in force for a plan that has its
// own. The plan's win over those that the file has for all plans; variables
// and flags win over the file, as everywhere.
func effective(own, all Snapshot, settings layer) Snapshot {
	if own.Timeout == 0 || settings["snapshot.timeout"].overrides() {
		own.Timeout = all.Timeout
	}
	if len(own.Classes) == 0 || settings["snapshot.classes"].overrides() {
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
