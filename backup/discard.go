package backup

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// discardTime bounds the removal of the snapshots of one abandoned run.
const discardTime = 30 * time.Second

// discard removes the named VolumeSnapshots of a point that no committed point
// relies on, with their contents and the snapshots on the storage, and waits
// until they are gone. The right to do so is the caller's to have: the run was
// abandoned, or committed without them. It returns false if something may yet
// become of them, so that they must be looked for once more.
func (r *Runner) discard(ctx context.Context, point catalog.PointID, snapshots []catalog.IntentSnapshot) (done bool, err error) {
	if len(snapshots) == 0 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, discardTime)
	defer cancel()
	names := sets.New[string]()
	for _, s := range snapshots {
		names.Insert(s.Claim.Namespace + "/" + s.Name)
	}
	removed, err := Removal{Client: r.Snapshots, Names: names, Selector: PointLabel + "=" + string(point)}.Do(ctx)
	return err == nil && !removed.Unresting, err
}
