package prune

import (
	"context"
	"errors"
	"fmt"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

const (
	// batchSize is how many snapshots are removed at once.
	batchSize = 256
	// removalTime and timePerSnapshot bound a removal: csi-snapshotter with its
	// usual rate of requests removes about one snapshot a second.
	removalTime     = 30 * time.Second
	timePerSnapshot = 2 * time.Second
)

// removeSnapshots removes VolumeSnapshots by NAMESPACE/NAME, those that the
// points leaving name or that nothing names, and returns which are gone.
func (a *actor) removeSnapshots(ctx context.Context, names sets.Set[string], leaving sets.Set[catalog.PointID]) (gone sets.Set[string], err error) {
	if names.Len() == 0 {
		return names, nil
	}
	ctx, cancel := context.WithTimeout(ctx, removalTime+time.Duration(names.Len())*timePerSnapshot)
	defer cancel()
	others := a.others(names, leaving)
	for _, h := range a.state.held {
		if names.Has(h.key()) && h.content != "" && others[h.handle] > 0 {
			a.note("the snapshot of VolumeSnapshot %s stays on the storage: another point or content relies on it", h.key())
		}
	}
	removal := backup.Removal{
		Client: a.Snapshots, Names: names, Selector: backup.OfCatalog(a.Catalog.Repository().ID),
		Spare: func(c *snapshotv1.VolumeSnapshotContent) bool {
			handle, known := handleOf(c)
			return known && others[handle] > 0
		},
	}
	removed, err := removal.Do(ctx)
	if !removed.Known {
		return nil, err
	}
	gone = names.Clone()
	for _, name := range removed.Left {
		gone.Delete(name)
	}
	return gone, err
}

// others counts, for each snapshot on the storage, who relies on it besides
// these VolumeSnapshots: contents, and points that are not leaving.
func (a *actor) others(names sets.Set[string], leaving sets.Set[catalog.PointID]) map[id]int {
	others := map[id]int{}
	for handle, use := range a.state.uses {
		others[handle] = use.contents
	}
	for _, h := range a.state.held {
		if h.content != "" && names.Has(h.key()) {
			others[h.handle]--
		}
	}
	for _, p := range a.state.Points {
		if p.contents == nil || leaving.Has(p.Point) {
			continue
		}
		for _, s := range p.contents.snapshots {
			others[s.handle]++
		}
	}
	return others
}

// sweep notes on snapshots since when nothing names them, and removes those
// that have been so for the grace period.
func (a *actor) sweep(ctx context.Context) error {
	plan := &a.result.Plan
	if plan.halted() {
		return nil
	}
	var errs []error
	for _, o := range plan.regained {
		errs = append(errs, a.annotate(ctx, o, "null"))
	}
	if !plan.Sweeps() {
		return errors.Join(errs...)
	}
	due := sets.New[string]()
	for i := range plan.Orphans {
		o := &plan.Orphans[i]
		switch {
		case o.Due:
			due.Insert(o.Namespace + "/" + o.Name)
		case o.Since == nil:
			now := a.Now().UTC().Truncate(time.Second)
			until := now.Add(a.state.Grace)
			o.Since, o.Until = &now, &until
			a.log().Info("nothing names this snapshot", "namespace", o.Namespace, "snapshot", o.Name, "content", o.Content, "why", o.Reason, "removedAfter", until)
			errs = append(errs, a.annotate(ctx, *o, fmt.Sprintf("%q", now.Format(time.RFC3339))))
		}
	}
	gone, err := a.removeOrphans(ctx, due)
	errs = append(errs, err)
	for i := range plan.Orphans {
		o := &plan.Orphans[i]
		switch {
		case !o.Due:
		case gone.Has(o.Namespace + "/" + o.Name):
			o.Done = true
			a.result.OrphansRemoved++
		default:
			o.Problem = "it is still there; the next run goes on"
		}
	}
	return errors.Join(errs...)
}

// removeOrphans removes snapshots in batches, and returns those that are gone.
func (a *actor) removeOrphans(ctx context.Context, due sets.Set[string]) (gone sets.Set[string], err error) {
	gone = sets.New[string]()
	for len(due) > 0 && ctx.Err() == nil {
		batch := sets.New[string]()
		for name := range due {
			if batch.Insert(name); batch.Len() == batchSize {
				break
			}
		}
		due = due.Difference(batch)
		removed, failed := a.removeSnapshots(ctx, batch, nil)
		err = errors.Join(err, failed)
		gone = gone.Union(removed)
	}
	return gone, err
}

// annotate sets the time since which nothing names a snapshot; value is JSON.
func (a *actor) annotate(ctx context.Context, o Orphan, value string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, OrphanedSince, value)
	var err error
	if o.Alone {
		_, err = a.Snapshots.SnapshotV1().VolumeSnapshotContents().Patch(ctx, o.Content, types.MergePatchType, patch, metav1.PatchOptions{})
	} else {
		_, err = a.Snapshots.SnapshotV1().VolumeSnapshots(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("note on snapshot %s/%s that nothing names it: %w", o.Namespace, o.Name, err)
	}
	return nil
}
