package migrate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Seen is what a plan rests on: what both clusters and the catalog have.
type Seen struct {
	Now            time.Time
	Source, Target catalog.Cluster
	Point          *catalog.RestorePoint // what the source has, as a backup would take it
	InSource       *users.Observed       // the namespace of the source
	InTarget       *restore.Observed
	Denied         []users.Right // in the target; those in the source are in InSource
	Owners         catalog.Owners
	// Unfinished is the migration from the source that has to do with what is asked
	// for, and has not ended; nil: none.
	Unfinished *catalog.MigrationState
	// Missing are the Secrets and ServiceAccounts that Pods need, that are not
	// brought along, and that the target lacks.
	Missing  []Missing
	Versions string // a note, if the target is older than the source
	Notes    []string
}

// Missing is something that is needed in the target and is not there.
type Missing struct{ Kind, Namespace, Name string }

// Plan is what a migration will do.
type Plan struct {
	ID        catalog.MigrationID        `json:"id"`
	Way       catalog.MigrationWay       `json:"way"`
	From      catalog.Cluster            `json:"source"`
	To        catalog.Cluster            `json:"target"`
	Namespace string                     `json:"namespace"` // of the source
	Resumes   bool                       `json:"resumes"`   // an earlier run was interrupted, and this one goes on with it
	Workloads []catalog.MigratedWorkload `json:"workloads"`
	Volumes   []catalog.MigratedVolume   `json:"volumes"`
	// Landing is what is created in the target; nil when all of it is done.
	Landing *restore.Plan `json:"landing,omitempty"`
	Notes   []string      `json:"notes,omitempty"`

	migration catalog.Migration
	options   Options
	seen      *Seen
}

// committed says whether all that is left to do is to mark what is in the source.
func (p *Plan) committed() bool {
	u := p.seen.Unfinished
	return u != nil && u.Verdict != nil && u.Verdict.Outcome == catalog.Committed
}

// stepOf is the first record of a step of that name; nil: it was not taken.
func stepOf(state *catalog.MigrationState, name string) *catalog.Step {
	for i := range state.Steps {
		if state.Steps[i].Name == name {
			return &state.Steps[i]
		}
	}
	return nil
}

// NewPlan decides how to migrate what options name, or how to go on with what
// was interrupted. It fails with *restore.RefusedError, which holds every reason
// at once.
func NewPlan(seen *Seen, options Options) (*Plan, error) {
	p := &planner{seen: seen, options: options, plan: &Plan{From: seen.Source, To: seen.Target, Namespace: options.Namespace, seen: seen}}
	p.checkClusters()
	p.find()
	if len(p.refusals) == 0 && !p.plan.committed() {
		p.decide()
	}
	if len(p.refusals) > 0 {
		return nil, &restore.RefusedError{Refusals: p.refusals}
	}
	return p.plan, nil
}

type planner struct {
	seen     *Seen
	options  Options
	plan     *Plan
	stopped  []users.User // the workloads that are migrated
	refusals []restore.Refusal
}

func (p *planner) refuse(kind, namespace, name, problem, remedy string) {
	p.refusals = append(p.refusals, restore.Refusal{Kind: kind, Namespace: namespace, Name: name, Problem: problem, Remedy: remedy})
}

func (p *planner) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(p.plan.Notes, note) {
		p.plan.Notes = append(p.plan.Notes, note)
	}
}

// add takes over what was refused on one side, and says on which.
func (p *planner) add(side string, refusals []restore.Refusal) {
	for _, r := range refusals {
		r.Problem = "in the " + side + ": " + r.Problem
		p.refusals = append(p.refusals, r)
	}
}

// find finds the migration that is gone on with, or begins a new one.
func (p *planner) find() {
	unfinished := p.seen.Unfinished
	if unfinished == nil {
		p.plan.migration = p.begin()
	} else {
		p.resume(unfinished)
	}
	m := p.plan.migration
	p.plan.options = p.options
	p.plan.ID, p.plan.Way, p.plan.Workloads, p.plan.Volumes = m.ID, p.options.Way, m.Workloads, m.Volumes
}

// resume goes on with a migration, if it is the same one.
func (p *planner) resume(state *catalog.MigrationState) {
	m := state.Migration
	p.plan.migration, p.plan.Resumes = m, true
	finish := fmt.Sprintf("finish it with the same command as before, or lead it back with `hawser migrate --rollback %s`", m.ID)
	switch {
	case goesBack(state):
		p.refuse("Migration", "", string(m.ID), "it is being rolled back", fmt.Sprintf("`hawser migrate --rollback %s` finishes that", m.ID))
		return
	case m.Target.UID != p.seen.Target.UID:
		p.refuse("Migration", "", string(m.ID), "it is under way, to cluster "+clusterText(m.Target), finish)
	case m.Way != p.options.Way && !finishedAlone(m.Way, p.options.Way):
		p.refuse("Migration", "", string(m.ID), "it is under way, the way "+string(m.Way), finish)
	case !slices.Equal(claimsOf(m.Volumes), claimsIn(p.seen.Point)):
		p.refuse("Migration", "", string(m.ID), "it is under way, and takes "+strings.Join(claimsOf(m.Volumes), ", "), finish+", naming these")
	case finishedAlone(m.Way, p.options.Way):
		p.checkPoint(m)
	}
	options, err := resumed(m, p.options)
	if err != nil {
		p.refuse("Migration", "", string(m.ID), err.Error(), "use the version of hawser that began it")
		return
	}
	p.options = options
}

// checkPoint refuses a restore point that knows the claims of a migration on other
// disks than those that it took.
func (p *planner) checkPoint(m catalog.Migration) {
	of := map[catalog.ClaimKey]catalog.Disk{}
	for _, v := range m.Volumes {
		of[v.Claim] = v.Disk
	}
	for _, v := range p.seen.Point.Bundle.Volumes {
		if disk := of[v.Claim]; disk != v.Disk() {
			p.refuse("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, fmt.Sprintf("the point %s has it on disk %s, and migration %s on disk %s", p.seen.Point.Commit.Point, v.VolumeHandle, m.ID, disk.Handle), "name a point that is as old as the migration (--point)")
		}
	}
}

// goesBack says whether a migration is led back, or was.
func goesBack(state *catalog.MigrationState) bool {
	return state.Verdict != nil && state.Verdict.Outcome == catalog.RolledBack ||
		slices.ContainsFunc(state.Runs, func(r catalog.Run) bool { return r.Direction == catalog.Back })
}

func clusterText(c catalog.Cluster) string {
	if c.Name == "" {
		return c.UID
	}
	return c.Name + " (" + c.UID + ")"
}

func claimsOf(volumes []catalog.MigratedVolume) []string {
	var names []string
	for _, v := range volumes {
		names = append(names, v.Claim.String())
	}
	slices.Sort(names)
	return names
}

func claimsIn(point *catalog.RestorePoint) []string {
	var names []string
	for _, v := range point.Bundle.Volumes {
		names = append(names, v.Claim.String())
	}
	slices.Sort(names)
	return names
}

// begin is the journal's record of a new migration, but for the names in the
// target, which the landing decides.
func (p *planner) begin() catalog.Migration {
	m := catalog.Migration{
		ID: catalog.NewMigrationID(p.seen.Now), Way: p.options.Way, Source: p.seen.Source, Target: p.seen.Target,
		Mapping: p.options.settings(), Started: p.seen.Now.UTC().Truncate(time.Millisecond),
	}
	for _, u := range p.migrated() {
		w := catalog.MigratedWorkload{Kind: u.Kind, Namespace: p.options.Namespace, Name: u.Name, Replicas: u.Replicas}
		if u.Policy != nil {
			w.Policy = &catalog.ClaimPolicy{WhenDeleted: string(u.Policy.WhenDeleted), WhenScaled: string(u.Policy.WhenScaled)}
		}
		m.Workloads = append(m.Workloads, w)
	}
	for _, v := range p.seen.Point.Bundle.Volumes {
		m.Volumes = append(m.Volumes, catalog.MigratedVolume{Claim: v.Claim, Volume: v.PersistentVolume, Disk: v.Disk()})
	}
	return m
}

// migrated are the workloads that go, which are those that the point holds.
func (p *planner) migrated() []users.User {
	var all []users.User
	for _, u := range p.seen.InSource.Users() {
		if slices.ContainsFunc(p.seen.Point.Bundle.Objects, holds(u.Workload)) {
			all = append(all, u)
		}
	}
	return all
}

// decide finds what stands in the way, and what is created.
func (p *planner) decide() {
	p.stopped = p.migrated()
	p.checkScope()
	p.checkOwnership()
	if p.plan.Way == catalog.WayMove {
		p.checkSource()
	}
	rights := users.Judge{Observed: &users.Observed{Denied: p.seen.Denied}}
	rights.Rights()
	p.add("target", rights.Refusals)
	for _, m := range p.seen.Missing {
		p.refuse(m.Kind, m.Namespace, m.Name, "it does not exist in the target, and the Pods need it", "create it there"+map[bool]string{true: ", or bring it along with --include-secrets"}[m.Kind == "Secret"])
	}
	p.land()
	for _, note := range append(slices.Clone(p.seen.Notes), p.seen.Versions) {
		if note != "" {
			p.note("%s", note)
		}
	}
}
