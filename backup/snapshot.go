package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// errorGrace is how long the last snapshots may go on failing: the driver
// retries, and a first error is often gone a moment later.
const errorGrace = 20 * time.Second

// snapshotName is the name of the VolumeSnapshot of one claim in one point: a
// function of both, so that a run that is taken up again finds its own.
func snapshotName(point catalog.PointID, claim catalog.ClaimKey) string {
	sum := sha256.Sum256([]byte(string(point) + "/" + claim.String()))
	return "hawser-" + hex.EncodeToString(sum[:10])
}

// newSnapshot is the VolumeSnapshot of one claim.
func newSnapshot(point catalog.PointID, claim catalog.ClaimKey, class string) *snapshotv1.VolumeSnapshot {
	return &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: claim.Namespace,
			Name:      snapshotName(point, claim),
			Labels: map[string]string{
				managedByLabel: managedBy,
				PointLabel:     string(point),
				PlanLabel:      point.Plan(),
			},
		},
		Spec: snapshotv1.VolumeSnapshotSpec{
			Source:                  snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To(claim.Name)},
			VolumeSnapshotClassName: ptr.To(class),
		},
	}
}

// createSnapshots creates the VolumeSnapshots of wanted, a map from the index
// of a volume to its class, and returns why those failed that did. It fails
// itself only if the run is to end.
func (r *run) createSnapshots(ctx context.Context, wanted map[int]string) (map[int]error, error) {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	errs := make([]error, len(r.volumes))
	for i, class := range wanted {
		group.Go(func() error {
			snapshot := newSnapshot(r.point, r.volumes[i].Claim, class)
			_, err := r.Snapshots.SnapshotV1().VolumeSnapshots(snapshot.Namespace).Create(gctx, snapshot, metav1.CreateOptions{})
			if err == nil {
				r.report(r.volumes[i].Claim, StageSnapshot, "snapshot requested")
				return nil
			}
			err = fmt.Errorf("create VolumeSnapshot for claim %s: %w", r.volumes[i].Claim, err)
			if fatal(err) || gctx.Err() != nil {
				return err
			}
			errs[i] = err
			return nil
		})
	}
	err := group.Wait()
	failed := map[int]error{}
	for i, err := range errs {
		if err != nil {
			failed[i] = err
		}
	}
	return failed, err
}

// ready is the VolumeSnapshots that became ready and what kept the others.
type ready struct {
	snapshots map[string]*snapshotv1.VolumeSnapshot // by namespace/name
	lastError map[string]string
}

// awaitSnapshots waits until every VolumeSnapshot named in waiting (by
// namespace/name, with its claim) is ready, by one watch. It returns what
// became ready when timeout has passed, or when nothing but failing ones is
// left for errorGrace. It fails only if ctx ends or the watch cannot be had.
func (r *run) awaitSnapshots(ctx context.Context, waiting map[string]catalog.ClaimKey, timeout time.Duration) (ready, error) {
	done := ready{snapshots: map[string]*snapshotv1.VolumeSnapshot{}, lastError: map[string]string{}}
	if len(waiting) == 0 {
		return done, nil
	}
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var giveUp *time.Timer
	observe := func(event watch.Event) (bool, error) {
		snapshot, ok := event.Object.(*snapshotv1.VolumeSnapshot)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		key := snapshot.Namespace + "/" + snapshot.Name
		claim, awaited := waiting[key]
		if !awaited || done.snapshots[key] != nil {
			return false, nil
		}
		if event.Type == watch.Deleted {
			done.lastError[key] = "the VolumeSnapshot was deleted while it was being taken"
		} else if r.see(&done, key, claim, snapshot) {
			delete(done.lastError, key)
		}
		onlyFailing := len(done.snapshots)+len(done.lastError) == len(waiting) && len(done.lastError) > 0
		switch {
		case onlyFailing && giveUp == nil:
			giveUp = time.AfterFunc(min(errorGrace, timeout), cancel)
		case !onlyFailing && giveUp != nil:
			giveUp.Stop()
			giveUp = nil
		}
		return len(done.snapshots) == len(waiting), nil
	}
	err := until(wctx, snapshotsOf(r.Snapshots, r.point, r.namespace()), &snapshotv1.VolumeSnapshot{}, nil, observe)
	switch {
	case ctx.Err() != nil:
		return done, context.Cause(ctx)
	case err != nil && (fatal(err) || wctx.Err() == nil):
		return done, fmt.Errorf("watch VolumeSnapshots: %w", err)
	}
	return done, nil
}

// see notes one observation of an awaited snapshot, and says whether it is
// free of errors.
func (r *run) see(done *ready, key string, claim catalog.ClaimKey, snapshot *snapshotv1.VolumeSnapshot) bool {
	status := snapshot.Status
	switch {
	case status == nil:
		return true
	case ptr.Deref(status.ReadyToUse, false) && status.BoundVolumeSnapshotContentName != nil:
		done.snapshots[key] = snapshot
		r.report(claim, StageReady, "snapshot ready")
		return true
	case status.Error != nil:
		message := strings.TrimSpace(ptr.Deref(status.Error.Message, "the driver gave no message"))
		if done.lastError[key] != message {
			r.report(claim, StageSnapshot, "snapshot fails: "+message)
		}
		done.lastError[key] = message
		return false
	}
	return true
}

// snapshotsOf lists and watches the VolumeSnapshots of one point, in one
// namespace or, with "", in all.
func snapshotsOf(client snapshotclient.Interface, point catalog.PointID, namespace string) cache.ListWatch {
	selector := PointLabel + "=" + string(point)
	snapshots := client.SnapshotV1().VolumeSnapshots(namespace)
	return cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = selector
			return snapshots.List(ctx, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = selector
			return snapshots.Watch(ctx, opts)
		},
	}
}

// listContents calls each with every VolumeSnapshotContent of the cluster.
func listContents(ctx context.Context, client snapshotclient.Interface, each func(*snapshotv1.VolumeSnapshotContent) error) error {
	pages := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		return client.SnapshotV1().VolumeSnapshotContents().List(ctx, opts)
	})
	list, _, err := pages.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list VolumeSnapshotContents: %w", err)
	}
	return meta.EachListItem(list, func(object runtime.Object) error {
		return each(object.(*snapshotv1.VolumeSnapshotContent))
	})
}

// boundContents reads the VolumeSnapshotContents of ready snapshots, by name,
// with one list.
func (r *run) boundContents(ctx context.Context, done ready) (map[string]*snapshotv1.VolumeSnapshotContent, error) {
	contents := map[string]*snapshotv1.VolumeSnapshotContent{}
	if len(done.snapshots) == 0 {
		return contents, nil
	}
	bound := sets.New[string]()
	for _, snapshot := range done.snapshots {
		bound.Insert(*snapshot.Status.BoundVolumeSnapshotContentName)
	}
	return contents, listContents(ctx, r.Snapshots, func(content *snapshotv1.VolumeSnapshotContent) error {
		if bound.Has(content.Name) {
			contents[content.Name] = content
		}
		return nil
	})
}

// finished describes a ready snapshot by its two objects, or says why it
// cannot be relied on.
func finished(snapshot *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) (*catalog.Snapshot, error) {
	switch {
	case content == nil:
		return nil, fmt.Errorf("VolumeSnapshotContent %s is gone", *snapshot.Status.BoundVolumeSnapshotContentName)
	case content.Spec.VolumeSnapshotRef.UID != snapshot.UID:
		return nil, fmt.Errorf("VolumeSnapshotContent %s belongs to another VolumeSnapshot", content.Name)
	case content.Status == nil || ptr.Deref(content.Status.SnapshotHandle, "") == "":
		return nil, fmt.Errorf("VolumeSnapshotContent %s has no snapshotHandle", content.Name)
	case content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain:
		return nil, fmt.Errorf("VolumeSnapshotContent %s has policy %s, not Retain", content.Name, content.Spec.DeletionPolicy)
	}
	taken, err := takenAt(snapshot, content)
	if err != nil {
		return nil, err
	}
	s := &catalog.Snapshot{
		Handle:      catalog.SnapshotHandle(*content.Status.SnapshotHandle),
		Name:        snapshot.Name,
		Content:     content.Name,
		Class:       ptr.Deref(content.Spec.VolumeSnapshotClassName, ""),
		Taken:       taken,
		RestoreSize: ptr.Deref(content.Status.RestoreSize, 0),
	}
	if mode := content.Spec.SourceVolumeMode; mode != nil {
		s.SourceVolumeMode = string(*mode)
	}
	for key, value := range content.Annotations {
		if strings.HasPrefix(key, "snapshot.storage.kubernetes.io/deletion-secret-") {
			if s.ContentAnnotations == nil {
				s.ContentAnnotations = map[string]string{}
			}
			s.ContentAnnotations[key] = value
		}
	}
	return s, nil
}

// takenAt is the driver's time of the cut.
func takenAt(snapshot *snapshotv1.VolumeSnapshot, content *snapshotv1.VolumeSnapshotContent) (time.Time, error) {
	switch {
	case content.Status.CreationTime != nil:
		return time.Unix(0, *content.Status.CreationTime).UTC(), nil
	case snapshot.Status.CreationTime != nil:
		return snapshot.Status.CreationTime.UTC(), nil
	}
	return time.Time{}, errors.New("the driver does not say when the snapshot was taken")
}
