package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
)

// Stage is how far a claim has come in a run.
type Stage string

const (
	StageProtect  Stage = "protect"  // its volume is Retain
	StageQuiesce  Stage = "quiesce"  // a hook makes its Pod quiet
	StageSnapshot Stage = "snapshot" // its snapshot is being taken
	StageReady    Stage = "ready"    // its snapshot is ready
	StageFailed   Stage = "failed"   // it has no snapshot, or is not in the point
)

// Event is one step of one claim.
type Event struct {
	Claim   catalog.ClaimKey
	Stage   Stage
	Message string
	At      time.Time
}

// Runner makes restore points of one cluster. Its fields but Exec, Report, Log,
// Meter and Throttled are required.
type Runner struct {
	Kubernetes kubernetes.Interface
	Dynamic    dynamic.Interface
	Snapshots  snapshotclient.Interface
	Exec       Executor // runs hooks; nil: a Pod that asks for hooks gets no snapshot
	Catalog    *catalog.Catalog
	// ClusterName is for people; the cluster's identity is read from it.
	ClusterName string
	Writer      string // program and version, for the record
	// Agent is the identity of the agent's process; "" on the command line. No two
	// processes may have the same, not even one after the other in the same Pod:
	// the second could not tell its own runs from those that the first left open.
	Agent  string
	Now    func() time.Time // the clock
	Report func(Event)      // called from several goroutines; nil for none
	Log    *slog.Logger     // nil for none
	// Meter is on the clients above, and tells whether their requests are held
	// back; nil: that is not known.
	Meter *Meter
	// Throttled is told, every 15 s while a run waits for snapshots, of each
	// component that throttles. It is called from one goroutine for each run;
	// nil for none.
	Throttled func(Throttling)
}

// Request says what one run takes.
type Request struct {
	Plan      string    // catalog.ManualPlan if the run belongs to none
	Scheduled time.Time // the occurrence; the zero value means now
	// Attempt is how many runs of the occurrence have ended without a point. Those
	// that never began need not be left out: see Run.
	Attempt  int
	Select   Selection
	Include  Include
	Protect  Protection
	Snapshot SnapshotPolicy
	Hooks    []Hook // the first that selects a Pod is its hook
}

// Protection says what a run does about volumes that are not Retain.
type Protection string

const (
	// ProtectRetain makes them Retain; also the zero value.
	ProtectRetain Protection = "retain"
	// ProtectAudit leaves them as they are, and says so in the point's notes:
	// such a disk goes with its claim.
	ProtectAudit Protection = "audit"
)

// SnapshotPolicy says how snapshots are taken.
type SnapshotPolicy struct {
	// Skip makes a point that is good for reattaching only, on purpose.
	Skip    bool
	Timeout time.Duration     // from the first snapshot to the last being ready; 0 means DefaultSnapshotTimeout
	Classes map[string]string // VolumeSnapshotClass by driver, where the default is not wanted
}

const (
	// DefaultSnapshotTimeout is enough for a few hundred snapshots with the
	// sidecars' default request rates.
	DefaultSnapshotTimeout = 10 * time.Minute

	// closeTime is how much longer than its snapshots a run may take before
	// others may abandon it.
	closeTime = 5 * time.Minute
	// cleanupTime bounds what a run does after it was told to stop.
	cleanupTime = 45 * time.Second
)

// ErrNothing: the selection holds no claim that can be backed up.
var ErrNothing = errors.New("nothing to back up")

// run is the state of one run.
type run struct {
	*Runner
	request    Request
	cluster    catalog.Cluster
	point      catalog.PointID
	started    time.Time
	deadline   time.Time // the run does not commit after this
	survey     []catalog.Presence
	inv        *Inventory
	objects    objectSet
	volumes    []catalog.Volume
	persistent map[string]corev1.PersistentVolume // of volumes, by name, as listed
	skipped    []catalog.Skip
	counts     catalog.Counts
	shots      []*shot // the snapshots to take; none if the request says so
	resumed    bool    // they were requested by an earlier process

	mu      sync.Mutex // guards what hooks may add to side by side
	reasons []string   // why the point is partial
	notes   []string   // what else to know of it
}

// Run makes one restore point and returns its commit, whose Outcome may be
// Partial. If it fails no point was made, and what it had made in the cluster
// was removed, or is named in the journal for a later run to remove; volumes
// that it protected stay protected. Run may be called again at any time.
//
// An occurrence comes to one point: a run with an Attempt above 0 closes the
// attempts before it that are still open. If one of them had made the point
// after all, Run returns its commit; if one had never begun, the run is that one.
func (r *Runner) Run(ctx context.Context, request Request) (catalog.Commit, error) {
	if err := catalog.ValidatePlan(request.Plan); err != nil {
		return catalog.Commit{}, err
	}
	run, err := r.prepare(ctx, request)
	if err != nil {
		return catalog.Commit{}, err
	}
	if err := r.recover(ctx, run.survey); err != nil {
		return catalog.Commit{}, fmt.Errorf("clear up after an earlier run: %w", err)
	}
	if made, err := run.closeEarlier(ctx); err != nil || made.Outcome != "" {
		return made, err
	}
	if err := run.protectAll(ctx); err != nil {
		return catalog.Commit{}, err
	}
	if err := run.aim(ctx); err != nil {
		return catalog.Commit{}, err
	}
	intent := run.intent()
	if err := r.Catalog.Begin(ctx, intent); err != nil {
		if errors.Is(err, catalog.ErrExist) {
			return catalog.Commit{}, fmt.Errorf("another run is making, or has made, point %s: %w", run.point, err)
		}
		return catalog.Commit{}, err
	}
	commit, err := run.conclude(ctx, intent)
	if err != nil {
		return catalog.Commit{}, err
	}
	return commit, nil
}

// conclude brings a run whose intent is in the journal to its end, and returns
// how it is closed: the point is committed, or the run is abandoned, which is an
// error, and what it made is removed. The commit is the zero value if the run
// could not be closed.
func (r *run) conclude(ctx context.Context, intent catalog.Intent) (catalog.Commit, error) {
	commit, err := r.finish(ctx)
	if err != nil {
		return r.giveUp(ctx, intent, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if err := r.tidy(ctx, intent, unusedSnapshots(intent, r.volumes)); err != nil {
		r.log().Warn("the point is committed; its journal entry stays open, and the next run clears up", "point", r.point, "error", err)
	}
	return commit, nil
}

// prepare reads the cluster and the catalog, and decides what to take.
func (r *Runner) prepare(ctx context.Context, request Request) (*run, error) {
	uid, err := catalog.ClusterUID(ctx, r.Kubernetes.CoreV1().Namespaces())
	if err != nil {
		return nil, err
	}
	run := &run{Runner: r, request: request, started: r.Now().UTC()}
	run.cluster = catalog.Cluster{UID: uid, Name: r.ClusterName}
	if run.request.Scheduled.IsZero() {
		run.request.Scheduled = run.started
	}
	if run.request.Snapshot.Timeout <= 0 {
		run.request.Snapshot.Timeout = DefaultSnapshotTimeout
	}
	run.deadline = run.started.Add(run.request.Snapshot.Timeout + closeTime)
	run.point = run.pointOf(request.Attempt)
	if run.inv, err = Observe(ctx, r.Dynamic, request.Select, request.Include); err != nil {
		return nil, err
	}
	selected, err := Select(run.inv, request.Select, request.Include)
	if err != nil {
		return nil, err
	}
	owners, err := r.Catalog.OwnersOf(ctx, catalog.DisksOf(selected.Volumes))
	if err != nil {
		return nil, fmt.Errorf("ask who owns the disks: %w", err)
	}
	selected.leaveForeign(owners, uid)
	if len(selected.Volumes) == 0 {
		return nil, nothing(selected.Skipped)
	}
	run.volumes, run.persistent = selected.Volumes, selected.Persistent
	run.skipped, run.objects = selected.Skipped, selected.Objects
	for _, skip := range run.skipped {
		if skip.Reason == catalog.SkipInconsistent || skip.Reason == catalog.SkipOwnerUnknown {
			run.reasons = append(run.reasons, fmt.Sprintf("claim %s/%s: %s", skip.Namespace, skip.Name, skip.Message))
		}
	}
	run.survey, err = r.Catalog.Survey(ctx, run.cluster.UID)
	return run, err
}

// pointOf is the id of the point that an attempt at the run's occurrence makes.
func (r *run) pointOf(attempt int) catalog.PointID {
	return catalog.NewPointID(r.cluster.UID, r.request.Plan, r.request.Scheduled, attempt)
}

// nothing says why a selection came out empty.
func nothing(skipped []catalog.Skip) error {
	var why []string
	for _, skip := range skipped {
		if skip.Kind == "PersistentVolumeClaim" {
			why = append(why, fmt.Sprintf("claim %s/%s: %s", skip.Namespace, skip.Name, skip.Message))
		}
	}
	if len(why) == 0 {
		return fmt.Errorf("%w: no claim matches the selection", ErrNothing)
	}
	return fmt.Errorf("%w: %s", ErrNothing, strings.Join(why, "; "))
}

// protectAll makes the volume of every claim Retain, unless the run is to audit
// only. A claim whose volume cannot be protected is left out of the point.
func (r *run) protectAll(ctx context.Context) error {
	if r.request.Protect == ProtectAudit {
		r.noteUnprotected()
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	errs := make([]error, len(r.volumes))
	for i := range r.volumes {
		group.Go(func() error {
			v := &r.volumes[i]
			was := v.ReclaimAfter
			policy, err := protect(gctx, r.Kubernetes, r.persistent[v.PersistentVolume])
			v.ReclaimAfter = string(policy)
			switch {
			case err == nil && was != v.ReclaimAfter:
				r.report(v.Claim, StageProtect, "volume protected: "+was+" → "+v.ReclaimAfter)
			case err == nil:
				r.report(v.Claim, StageProtect, "volume is "+v.ReclaimAfter)
			case fatal(err) || gctx.Err() != nil:
				return err
			}
			errs[i] = err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.leaveOut(errs)
	for _, v := range r.volumes {
		if r.persistent[v.PersistentVolume].Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			r.counts.Protected++
		}
	}
	if len(r.volumes) == 0 {
		return fmt.Errorf("no volume could be protected: %w", errors.Join(errs...))
	}
	return nil
}

// noteUnprotected says of which claims the disk does not outlive the claim.
func (r *run) noteUnprotected() {
	for _, v := range r.volumes {
		if v.ReclaimAfter != string(corev1.PersistentVolumeReclaimRetain) {
			r.note(fmt.Sprintf("claim %s: its volume is %s and was left so (protect: audit); the disk goes with the claim", v.Claim, v.ReclaimAfter))
		}
	}
}

// leaveOut drops the volumes that have an error, and records why.
func (r *run) leaveOut(errs []error) {
	var kept []catalog.Volume
	for i, v := range r.volumes {
		if errs[i] == nil {
			kept = append(kept, v)
			continue
		}
		r.report(v.Claim, StageFailed, errs[i].Error())
		r.reasons = append(r.reasons, fmt.Sprintf("claim %s: %v", v.Claim, errs[i]))
		r.skipped = append(r.skipped, catalog.Skip{
			Kind: "PersistentVolumeClaim", Namespace: v.Claim.Namespace, Name: v.Claim.Name,
			Reason: catalog.SkipProtectError, Message: errs[i].Error(),
		})
	}
	r.volumes = kept
}

// intent is the journal entry of this run.
func (r *run) intent() catalog.Intent {
	intent := catalog.Intent{
		Point: r.point, Cluster: r.cluster, Plan: r.request.Plan, Scheduled: r.request.Scheduled.UTC(),
		Attempt: r.request.Attempt, Agent: r.Agent, Started: r.started, Deadline: r.deadline, Writer: r.Writer,
	}
	for _, shot := range r.shots {
		intent.Snapshots = append(intent.Snapshots, catalog.IntentSnapshot{Claim: shot.volume.Claim, Name: shot.name})
	}
	return intent
}

// finish takes the snapshots and commits the point.
func (r *run) finish(ctx context.Context) (catalog.Commit, error) {
	if err := r.takeSnapshots(ctx); err != nil {
		return catalog.Commit{}, err
	}
	now := r.Now().UTC()
	if now.After(r.deadline) {
		return catalog.Commit{}, fmt.Errorf("the run took until %s, past its deadline of %s; raise snapshot.timeout", now.Format(time.TimeOnly), r.deadline.Format(time.TimeOnly))
	}
	r.counts.Claims, r.counts.Objects, r.counts.Skipped = len(r.volumes), len(r.objects.objects), len(r.skipped)
	outcome := catalog.Complete
	if len(r.reasons) > 0 {
		outcome = catalog.Partial
	}
	slices.Sort(r.reasons)
	commit := catalog.Commit{
		Point: r.point, Cluster: r.cluster, Plan: r.request.Plan,
		Scheduled: r.request.Scheduled.UTC(), Attempt: r.request.Attempt, Started: r.started, Committed: now,
		Outcome: outcome, Reasons: r.reasons, Notes: r.notes, Counts: r.counts, Writer: r.Writer,
	}
	bundle := catalog.Bundle{Objects: r.objects.objects, Volumes: r.volumes, Skipped: r.skipped}
	return r.Catalog.Commit(ctx, commit, bundle, r.survey)
}

func (r *Runner) report(claim catalog.ClaimKey, stage Stage, message string) {
	if r.Report != nil {
		r.Report(Event{Claim: claim, Stage: stage, Message: message, At: r.Now()})
	}
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
