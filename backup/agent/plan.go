package agent

import (
	"slices"
	"time"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// Plan is what the agent knows of one plan of the configuration.
type Plan struct {
	Name   string
	Paused bool
	// Schedule says when; the zero value is a plan that is run by hand only.
	Schedule Schedule
	// CatchUp is how late an occurrence may still start; see Due.
	CatchUp     time.Duration
	Concurrency Concurrency
	RPO         time.Duration // how old the newest data of a claim may be; 0 for no promise
	Retain      catalog.Retention
	Zone        *time.Location // whose days and weeks Retain counts; nil is UTC
	Drill       DrillPlan
	// Request is what a run takes; Plan, Scheduled and Attempt are filled in
	// by the agent.
	Request backup.Request
}

// Concurrency says what becomes of an occurrence while a run of its plan is
// under way.
type Concurrency string

const (
	// Forbid skips the occurrence; also the zero value.
	Forbid Concurrency = "forbid"
	// Replace cancels the run under way, and then starts the new one.
	Replace Concurrency = "replace"
)

// planNamed finds a plan by its name.
func planNamed(plans []Plan, name string) (Plan, bool) {
	i := slices.IndexFunc(plans, func(p Plan) bool { return p.Name == name })
	if i < 0 {
		return Plan{}, false
	}
	return plans[i], true
}

// Covered is what coverage needs to know of the plan.
func (p Plan) Covered() backup.CoveredPlan {
	return backup.CoveredPlan{Name: p.Name, Select: p.Request.Select, RPO: p.RPO}
}
