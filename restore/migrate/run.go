package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// run is one process that drives a migration.
type run struct {
	*Mover
	*Plan
	number int
	state  catalog.MigrationState // as the run found it
	result *Result

	abandoned bool      // it has changed nothing, and ended
	fenced    time.Time // when the source was, by this run

	mu     sync.Mutex
	owners catalog.Owners
	down   map[catalog.Workload]time.Time // when the workloads were scaled to 0
}

// Result says what a migration, or its rollback, did.
type Result struct {
	ID        catalog.MigrationID      `json:"id"`
	Way       catalog.MigrationWay     `json:"way"`
	Outcome   catalog.MigrationOutcome `json:"outcome"`
	Point     catalog.PointID          `json:"point,omitempty"` // the restore point that was made before
	Workloads []WorkloadResult         `json:"workloads"`
	// Handover is the seconds of the downtime that are not the Pods' own stop and
	// start: from when this run had the source fenced until it scaled the target up;
	// 0: it did not.
	Handover float64              `json:"handover,omitempty"`
	Bound    []restore.BoundClaim `json:"bound,omitempty"`
	Waiting  []catalog.ClaimKey   `json:"waiting,omitempty"` // of a copy: bound when a Pod uses them
	Notes    []string             `json:"notes,omitempty"`
}

// WorkloadResult says where a workload is now, and how long it was down.
type WorkloadResult struct {
	catalog.Workload
	Namespace string `json:"namespace"`
	Replicas  int32  `json:"replicas"`
	// Downtime is the seconds from its scaling to 0 until all its Pods were ready;
	// 0: not measured.
	Downtime float64 `json:"downtime,omitempty"`
}

// HalfwayError says that a migration has begun and not ended.
type HalfwayError struct {
	ID   catalog.MigrationID
	Back bool // it is being rolled back
	Err  error
}

func (e *HalfwayError) Error() string {
	if e.Back {
		return fmt.Sprintf("the rollback of migration %s is half done, and no disk is lost; `hawser migrate --rollback %s` goes on: %s", e.ID, e.ID, e.Unwrap())
	}
	return fmt.Sprintf("migration %s is half done, and no disk is lost; run the same command again to finish, or `hawser migrate --rollback %s` to return to where it was: %s", e.ID, e.ID, e.Unwrap())
}

// Unwrap keeps what ended the migration from being taken for a refusal, which
// writes nothing.
func (e *HalfwayError) Unwrap() error { return restore.Halfway(e.Err) }

// newRun puts this process in charge of a migration, and reads how far it has
// come.
func (m *Mover) newRun(ctx context.Context, plan *Plan, direction catalog.Direction) (*run, error) {
	number, err := m.Catalog.BeginRun(ctx, plan.ID, catalog.Run{Direction: direction, Started: m.Now().UTC(), Process: m.Process})
	if err != nil {
		return nil, err
	}
	state, err := m.Catalog.Migration(ctx, plan.ID)
	if err != nil {
		return nil, err
	}
	r := &run{Mover: m, Plan: plan, number: number, state: state, down: map[catalog.Workload]time.Time{}, result: &Result{ID: plan.ID, Way: plan.Way, Notes: plan.Notes}}
	if plan.seen != nil {
		r.owners = plan.seen.Owners
	}
	for _, s := range state.Steps {
		if s.Point != "" {
			r.result.Point = s.Point
		}
	}
	return r, nil
}

// step writes to the journal that the run is about to take a step, and says so.
// It fails with catalog.ErrSuperseded if a newer run is in charge.
func (r *run) step(ctx context.Context, name, note string) error {
	if err := r.Catalog.RecordStep(ctx, r.ID, catalog.Step{Name: name, Run: r.number, At: r.Now().UTC(), Note: note, Point: r.result.Point}); err != nil {
		return err
	}
	r.report("Migration", "", string(r.ID), name, note, name == stepDone)
	return nil
}

// note adds something that the user is told in the end.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Notes = append(r.result.Notes, fmt.Sprintf(format, args...))
}

// inCharge fails with catalog.ErrSuperseded unless this is the newest run. What is
// written after it to an object as it was read before it cannot undo what a newer
// run has written to the same object.
func (r *run) inCharge(ctx context.Context) error {
	newest, err := r.Catalog.NewestRun(ctx, r.ID)
	if err == nil && newest.Number != r.number {
		err = fmt.Errorf("migration %s: %w: run %d (%s)", r.ID, catalog.ErrSuperseded, newest.Number, newest.Process)
	}
	return err
}

// overtakenAfter is how often a run that waits looks whether it is still in charge.
const overtakenAfter = 5 * time.Second

// whileInCharge waits, and ends the wait with catalog.ErrSuperseded when a newer
// run takes charge. That the store cannot be asked ends no wait: the next step
// finds that out.
func (r *run) whileInCharge(ctx context.Context, await func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := r.inCharge(ctx); errors.Is(err, catalog.ErrSuperseded) {
			stop(err)
		}
	}, overtakenAfter)
	err := await(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, catalog.ErrSuperseded) {
		return cause
	}
	return err
}

// change patches a workload exactly as it is while this run is in charge. It says
// whether it is there.
func (r *run) change(ctx context.Context, side *Side, namespace string, w catalog.Workload, patch patchOf) (found bool, err error) {
	return users.Change(ctx, side.Kubernetes, namespace, w, func(u users.User) ([]byte, error) {
		content, err := patch(u)
		if err != nil || content == "" {
			return nil, err
		}
		return []byte(content), r.inCharge(ctx)
	})
}

// source and target name a workload where it is, or is to be.
func source(w catalog.MigratedWorkload) (namespace string, workload catalog.Workload) {
	return w.Namespace, workloadOf(w)
}

func target(w catalog.MigratedWorkload) (namespace string, workload catalog.Workload) {
	return w.TargetNamespace, catalog.Workload{Kind: w.Kind, Name: w.TargetName}
}

// changeSource patches those of the workloads that are in the source; with all,
// all must be.
func (r *run) changeSource(ctx context.Context, all bool, patch patchOf) error {
	return restore.Each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
		namespace, name := source(w)
		found, err := r.change(ctx, r.Source, namespace, name, patch)
		if err == nil && !found && all {
			err = errors.New("it is gone")
		}
		if err != nil {
			return fmt.Errorf("%s in the source: %w", users.Named(name), err)
		}
		return nil
	})
}

// changeTarget patches those of the workloads that are in the target; with all,
// all must be.
func (r *run) changeTarget(ctx context.Context, all bool, patch func(catalog.MigratedWorkload) patchOf) error {
	return restore.Each(ctx, r.Workloads, func(ctx context.Context, w catalog.MigratedWorkload) error {
		namespace, name := target(w)
		found, err := r.change(ctx, r.Target, namespace, name, patch(w))
		if err == nil && !found && all {
			err = errors.New("it is gone")
		}
		if err != nil {
			return fmt.Errorf("%s in the target: %w", users.Named(name), err)
		}
		return nil
	})
}

// take makes the disk of each of the volumes a cluster's. The first is taken before
// the others, so that of several migrations at once one gets them all. A disk that
// it took already stays as it is, unless always says that no earlier run may take
// it any more.
func (r *run) take(ctx context.Context, volumes []catalog.MigratedVolume, cluster catalog.Cluster, volume func(catalog.MigratedVolume) string, always bool) error {
	one := func(ctx context.Context, v catalog.MigratedVolume) error {
		for {
			r.mu.Lock()
			owner, known := r.owners.Of(v.Disk)
			next := r.owners.Next(v.Disk)
			r.mu.Unlock()
			if known && owner.Migration == r.ID && owner.Cluster.UID == cluster.UID && !always {
				return nil
			}
			entry := catalog.Ownership{Disk: v.Disk, Number: next, Cluster: cluster, Migration: r.ID, Volume: volume(v), Taken: r.Now().UTC(), Writer: r.Writer}
			err := r.Catalog.Take(ctx, entry)
			taken := (*catalog.TakenError)(nil)
			switch {
			case err == nil:
				r.own(v.Disk, entry)
				return nil
			case errors.As(err, &taken) && taken.Owner.Migration == r.ID && (always || taken.Owner.Cluster.UID == cluster.UID):
				r.own(v.Disk, taken.Owner) // by an earlier run, at this very moment
			default:
				return err
			}
		}
	}
	if len(volumes) == 0 {
		return nil
	}
	if err := one(ctx, volumes[0]); err != nil {
		return err
	}
	return restore.Each(ctx, volumes[1:], one)
}

func (r *run) own(d catalog.Disk, entry catalog.Ownership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owners == nil {
		r.owners = catalog.Owners{}
	}
	r.owners[d] = entry
}

func (p *Plan) sourceClaims() []catalog.ClaimKey {
	var keys []catalog.ClaimKey
	for _, v := range p.Volumes {
		keys = append(keys, v.Claim)
	}
	return keys
}

func (p *Plan) sourceVolumes() []string {
	var names []string
	for _, v := range p.Volumes {
		names = append(names, v.Volume)
	}
	return names
}

func (p *Plan) targetClaims() []catalog.ClaimKey {
	var keys []catalog.ClaimKey
	for _, v := range p.Volumes {
		if v.TargetClaim.Name != "" {
			keys = append(keys, v.TargetClaim)
		}
	}
	return keys
}

func (p *Plan) targetVolumes() []string {
	var names []string
	for _, v := range p.Volumes {
		if v.TargetVolume != "" {
			names = append(names, v.TargetVolume)
		}
	}
	return names
}

func (p *Plan) takesClaim(claim string) bool {
	return slices.ContainsFunc(p.Volumes, func(v catalog.MigratedVolume) bool { return v.Claim.Name == claim })
}

func (p *Plan) bringsClaim(claim string) bool {
	return slices.ContainsFunc(p.Volumes, func(v catalog.MigratedVolume) bool { return v.TargetClaim.Name == claim })
}
