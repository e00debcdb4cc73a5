package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/rollback"
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

func (p *planner) checkClusters() {
	if p.seen.Source.UID == p.seen.Target.UID {
		p.refuse("Cluster", "", p.seen.Source.UID, "it is the source and the target", "say which clusters with --from and --to; within one cluster hawser restore --map-namespace makes a copy")
	}
	if len(p.options.Mapping.Drivers) > 0 && p.options.Way != catalog.WayCopy {
		p.refuse("CSIDriver", "", "*", "who owns a disk is written down under its driver's name, and it would have two", "install the driver under the same name, or use --way copy")
	}
	if p.options.Way == catalog.WayAdopt && !p.options.SourceGone {
		p.refuse("Cluster", "", p.seen.Source.UID, "nothing can be fenced there: if one Pod there still writes to a disk, its data is lost",
			"make sure that the cluster's nodes are off, or cut off from the storage, and say so with --confirm-source-gone")
	}
	if p.options.Way == catalog.WayCopy && p.options.NoPoint {
		p.refuse("RestorePoint", "", "*", "a copy is made from fresh snapshots", "leave --no-point out")
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
	p.plan.ID, p.plan.Way, p.plan.Workloads, p.plan.Volumes = m.ID, m.Way, m.Workloads, m.Volumes
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
	case m.Way != p.options.Way:
		p.refuse("Migration", "", string(m.ID), "it is under way, the way "+string(m.Way), finish)
	case !slices.Equal(claimsOf(m.Volumes), claimsIn(p.seen.Point)):
		p.refuse("Migration", "", string(m.ID), "it is under way, and takes "+strings.Join(claimsOf(m.Volumes), ", "), finish+", naming these")
	}
	options, err := resumed(m, p.options)
	if err != nil {
		p.refuse("Migration", "", string(m.ID), err.Error(), "use the version of hawser that began it")
		return
	}
	p.options = options
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

// checkScope refuses to tear apart what belongs together.
func (p *planner) checkScope() {
	taken := map[string]bool{}
	for _, v := range p.seen.Point.Bundle.Volumes {
		taken[v.Claim.Name] = true
	}
	for _, u := range p.seen.InSource.Users() {
		goes := slices.ContainsFunc(p.stopped, func(s users.User) bool { return s.Workload == u.Workload })
		for name := range taken {
			if u.Uses(name) && !goes && p.plan.Way == catalog.WayMove {
				p.refuse(u.Kind, p.options.Namespace, u.Name, "it uses claim "+name+", which is to be migrated", "name it too, or leave the claim out")
				break
			}
		}
	}
	for _, skip := range p.seen.Point.Bundle.Skipped {
		if skip.Kind != "PersistentVolumeClaim" {
			continue
		}
		switch skip.Reason {
		case catalog.SkipUnbound, catalog.SkipPodOwned, catalog.SkipNotFound:
			p.note("claim %s/%s does not go along: %s", skip.Namespace, skip.Name, skip.Message)
		default:
			if p.plan.Way == catalog.WayAdopt { // the restore decides what can come back of the point
				p.note("not in the point: claim %s/%s: %s", skip.Namespace, skip.Name, skip.Message)
				continue
			}
			p.refuse("PersistentVolumeClaim", skip.Namespace, skip.Name, "it belongs to what is to be migrated, and cannot go along: "+skip.Message, "put that right, or leave its workload out")
		}
	}
	for _, o := range p.seen.Point.Bundle.Objects {
		if o.GetKind() == "Pod" && p.plan.Way == catalog.WayMove {
			p.refuse("Pod", o.GetNamespace(), o.GetName(), "it uses the claims, and cannot be scaled to 0", "delete it, and create it in the target afterwards")
		}
	}
}

// checkOwnership refuses disks that are not the source's, or that another
// migration has.
func (p *planner) checkOwnership() {
	if p.plan.Way == catalog.WayCopy {
		return
	}
	for _, v := range p.plan.Volumes {
		owner, known := p.seen.Owners.Of(v.Disk)
		if !known || owner.Err == nil && owner.Migration == p.plan.ID {
			continue
		}
		_, foreign := p.seen.Owners.Foreign(v.Disk, p.seen.Source.UID)
		switch {
		case owner.Err != nil:
			p.refuse("Disk", "", string(v.Disk.Handle), "whose it is cannot be read: "+owner.Err.Error(), "get the object back from the store's versions or copies")
		case foreign && p.plan.Way == catalog.WayAdopt && owner.Cluster.UID != p.seen.Target.UID:
			p.refuse("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, fmt.Sprintf("its disk %s was not the lost cluster's any more: it is owned by %s", v.Disk.Handle, owner), "migrate it from there")
		case foreign && p.plan.Way == catalog.WayMove:
			p.refuse("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, fmt.Sprintf("its disk %s is not this cluster's: it is owned by %s", v.Disk.Handle, owner), "migrate it from there")
		case owner.Underway:
			p.refuse("Migration", "", string(owner.Migration), fmt.Sprintf("it is under way, and has disk %s of claim %s", v.Disk.Handle, v.Claim), fmt.Sprintf("finish it, or lead it back with `hawser migrate --rollback %s`", owner.Migration))
		}
	}
}

// checkSource refuses what cannot be stopped, or would not stay so.
func (p *planner) checkSource() {
	j := users.Judge{Observed: p.seen.InSource, Namespace: p.options.Namespace, Ignore: ignored(p.options, users.Checks)}
	taken := claimsOf(p.plan.Volumes)
	j.Pods(p.stopped, func(claim string) bool { return slices.Contains(taken, p.options.Namespace+"/"+claim) })
	for _, u := range p.stopped {
		j.Stop(u)
		switch record, err := recordOf(u.Object); {
		case err != nil:
			p.refuse(u.Kind, p.options.Namespace, u.Name, err.Error(), "was it edited? put it right")
		case record != nil && record.ID != p.plan.ID:
			p.refuse(u.Kind, p.options.Namespace, u.Name, "migration "+string(record.ID)+" has it", fmt.Sprintf("finish that, or lead it back with `hawser migrate --rollback %s`", record.ID))
		case u.Object.GetAnnotations()[rollback.RecordAnnotation] != "":
			p.refuse(u.Kind, p.options.Namespace, u.Name, "a rollback or undo of it is under way", "finish that first, by running the same command again")
		case u.Object.GetDeletionTimestamp() != nil:
			p.refuse(u.Kind, p.options.Namespace, u.Name, "it is being deleted", "wait until it is gone")
		}
	}
	j.Rights()
	p.add("source", j.Refusals)
	for _, note := range slices.Concat(j.Notes, p.seen.InSource.Unknown, p.seen.InSource.Unseen) {
		p.note("in the source: %s", note)
	}
	for _, v := range p.plan.Volumes {
		if pv := p.seen.InSource.Volume(v.Volume); pv != nil && pv.DeletionTimestamp != nil {
			p.refuse("PersistentVolume", "", pv.Name, "in the source: it is being deleted", "leave claim "+v.Claim.String()+" out")
		} else if pv != nil && pv.Status.Phase == corev1.VolumeFailed {
			p.refuse("PersistentVolume", "", pv.Name, "in the source: it is Failed: "+pv.Status.Message, "look at its disk")
		}
	}
}

// land plans what is created in the target, and checks it as it will run.
func (p *planner) land() {
	p.checkReplicas()
	point := foreseen(p.seen.Point, p.plan.Way, p.seen.Now)
	asRunning, err := p.plan.landing(point, p.seen.InTarget, 0, true)
	if err == nil {
		p.plan.Landing, err = p.plan.landing(point, p.seen.InTarget, 0, p.plan.Way == catalog.WayCopy)
	}
	if refused := (*restore.RefusedError)(nil); errors.As(err, &refused) {
		p.add("target", refused.Refusals)
		return
	}
	if err != nil {
		p.refuse("Cluster", "", p.seen.Source.UID, err.Error(), "report this as a bug")
		return
	}
	if !p.plan.Resumes {
		p.name()
	}
	p.checkLanded()
	for _, note := range asRunning.Notes {
		if !strings.HasSuffix(note, "starts it") && !strings.HasPrefix(note, "not in the point: ") {
			p.note("in the target: %s", note)
		}
	}
}
