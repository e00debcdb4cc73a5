package backup

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
)

// takeSnapshots takes a snapshot of every volume whose driver can, fills in
// the records, and removes the snapshots that failed.
func (r *run) takeSnapshots(ctx context.Context) error {
	wanted, err := r.classes(ctx)
	if err != nil {
		return err
	}
	failed, err := r.createSnapshots(ctx, wanted)
	if err != nil {
		return err
	}
	waiting := map[string]catalog.ClaimKey{}
	for i := range wanted {
		if failed[i] == nil {
			claim := r.volumes[i].Claim
			waiting[claim.Namespace+"/"+snapshotName(r.point, claim)] = claim
		}
	}
	done, err := r.awaitSnapshots(ctx, waiting, r.request.Snapshot.Timeout)
	if err != nil {
		return err
	}
	if err := r.fillSnapshots(ctx, wanted, failed, done); err != nil {
		return err
	}
	var leftover []catalog.IntentSnapshot
	for i := range wanted {
		if claim := r.volumes[i].Claim; r.volumes[i].Snapshot == nil {
			leftover = append(leftover, catalog.IntentSnapshot{Claim: claim, Name: snapshotName(r.point, claim)})
		}
	}
	return r.discard(ctx, r.point, leftover)
}

// namespace is where the run looks for snapshots: its one namespace, or all.
func (r *run) namespace() string {
	if len(r.request.Select.Namespaces) == 1 {
		return r.request.Select.Namespaces[0]
	}
	return metav1.NamespaceAll
}

// problem records why a volume has no snapshot.
func (r *run) problem(i int, err error) {
	v := &r.volumes[i]
	v.Problem = err.Error()
	r.reasons = append(r.reasons, fmt.Sprintf("claim %s: no snapshot, good for reattaching only: %v", v.Claim, err))
	r.report(v.Claim, StageFailed, err.Error())
}

// classes finds the snapshot class of each volume, by index, and makes sure
// that it exists. A volume whose driver has none gets no snapshot.
func (r *run) classes(ctx context.Context) (map[int]string, error) {
	type answer struct {
		class string
		err   error
	}
	byDriver := map[string]answer{}
	wanted := map[int]string{}
	for i, v := range r.volumes {
		got, known := byDriver[v.Driver]
		if !known {
			source, err := chooseClass(r.inv, v.Driver, r.request.Snapshot.Classes[v.Driver])
			if err == nil {
				retain := retainClass(source)
				got.class, err = retain.Name, ensureClass(ctx, r.Snapshots, r.inv, retain)
			}
			if err != nil && (fatal(err) || ctx.Err() != nil) {
				return nil, err
			}
			got.err = err
			byDriver[v.Driver] = got
		}
		if got.err != nil {
			r.problem(i, got.err)
			continue
		}
		wanted[i] = got.class
	}
	return wanted, nil
}

// fillSnapshots writes into the records what became of each snapshot.
func (r *run) fillSnapshots(ctx context.Context, wanted map[int]string, failed map[int]error, done ready) error {
	contents, err := r.boundContents(ctx, done)
	if err != nil {
		return err
	}
	for i := range r.volumes {
		if _, ok := wanted[i]; !ok {
			continue
		}
		key := r.volumes[i].Claim.Namespace + "/" + snapshotName(r.point, r.volumes[i].Claim)
		snapshot := done.snapshots[key]
		switch {
		case failed[i] != nil:
			r.problem(i, failed[i])
		case snapshot != nil:
			record, err := finished(snapshot, contents[*snapshot.Status.BoundVolumeSnapshotContentName])
			if err != nil {
				r.problem(i, err)
				continue
			}
			r.volumes[i].Snapshot = record
			r.counts.Snapshots++
		case done.lastError[key] != "":
			r.problem(i, fmt.Errorf("VolumeSnapshot %s fails: %s", key, done.lastError[key]))
		default:
			r.problem(i, fmt.Errorf("VolumeSnapshot %s is not ready after %s; see `kubectl describe volumesnapshot`, the logs of snapshot-controller and csi-snapshotter, or raise snapshot.timeout", key, r.request.Snapshot.Timeout))
		}
	}
	return nil
}
