package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// books are what must agree when nothing is under way: a catalog, and the
// snapshots of one namespace in the cluster and on the storage. The methods
// return what is wrong.
type books struct {
	*world
	handles  map[string]string // disk of each claim
	catalog  *catalog.Catalog
	existing sets.Set[string] // snapshots of these disks that were there before
}

// points are the committed points.
func (b *books) points(ctx context.Context) ([]*catalog.RestorePoint, error) {
	survey, err := b.catalog.Survey(ctx, "")
	if err != nil {
		return nil, err
	}
	var points []*catalog.RestorePoint
	for _, p := range survey {
		if !p.Commit {
			continue
		}
		point, err := b.catalog.Load(ctx, p.ClusterUID, p.Point)
		if errors.Is(err, catalog.ErrNoPoint) {
			continue
		}
		if err != nil {
			return nil, err
		}
		points = append(points, point)
	}
	return points, nil
}

// check says what of points, journal, VolumeSnapshots, contents and storage does
// not agree.
func (b *books) check(ctx context.Context) error {
	points, err := b.points(ctx)
	if err != nil {
		return err
	}
	survey, err := b.catalog.Survey(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range survey {
		if !p.Journal || !p.Settled || !p.Commit {
			errs = append(errs, fmt.Errorf("run %s is not settled: %+v", p.Point, p))
		}
	}
	snapshots, contents, handles := sets.New[string](), sets.New[string](), sets.New[string]()
	occurrences := map[string]catalog.PointID{}
	for _, point := range points {
		occurrence := point.Commit.Plan + " at " + point.Commit.Scheduled.String()
		if other := occurrences[occurrence]; other != "" {
			errs = append(errs, fmt.Errorf("%s has two points: %s and %s", occurrence, other, point.Commit.Point))
		}
		occurrences[occurrence] = point.Commit.Point
		for _, v := range point.Bundle.Volumes {
			if v.Snapshot != nil {
				snapshots.Insert(v.Snapshot.Name)
				contents.Insert(v.Snapshot.Content)
				handles.Insert(string(v.Snapshot.Handle))
			}
		}
	}
	return errors.Join(append(errs, b.checkSnapshots(ctx, snapshots), b.checkContents(ctx, contents, handles), b.checkStored(handles))...)
}

// checkSnapshots waits until the VolumeSnapshots of this catalog are those that
// its points rely on: those that were discarded go in their own time.
func (b *books) checkSnapshots(ctx context.Context, want sets.Set[string]) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var got []string
	err := b.lab.AwaitAll(ctx, snapshotsResource, b.namespace, backup.CatalogLabel+"="+b.catalog.Repository().ID, func(objects []*unstructured.Unstructured) bool {
		got = nil
		for _, object := range objects {
			if ready, _, _ := unstructured.NestedBool(object.Object, "status", "readyToUse"); ready && object.GetDeletionTimestamp() == nil {
				got = append(got, object.GetName())
			} else {
				got = append(got, object.GetName()+" (not ready)")
			}
		}
		return want.Equal(sets.New(got...))
	})
	if err != nil {
		return fmt.Errorf("VolumeSnapshots %q, want %q: %w", got, sets.List(want), err)
	}
	return nil
}

// checkContents compares the contents of this catalog, which its class marks.
func (b *books) checkContents(ctx context.Context, want, handles sets.Set[string]) error {
	classes, err := b.snapshots.SnapshotV1().VolumeSnapshotClasses().List(ctx, metav1.ListOptions{LabelSelector: backup.CatalogLabel + "=" + b.catalog.Repository().ID})
	if err != nil {
		return err
	}
	ours := sets.New[string]()
	for _, class := range classes.Items {
		ours.Insert(class.Name)
	}
	list, err := b.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	got := sets.New[string]()
	var errs []error
	for _, content := range list.Items {
		if !ours.Has(ptr.Deref(content.Spec.VolumeSnapshotClassName, "")) {
			continue
		}
		got.Insert(content.Name)
		handle := ""
		if content.Status != nil {
			handle = ptr.Deref(content.Status.SnapshotHandle, "")
		}
		if content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain || content.DeletionTimestamp != nil || !handles.Has(handle) {
			errs = append(errs, fmt.Errorf("VolumeSnapshotContent %s of %s is %s and of handle %q", content.Name, cache.NewObjectName(content.Spec.VolumeSnapshotRef.Namespace, content.Spec.VolumeSnapshotRef.Name), content.Spec.DeletionPolicy, handle))
		}
	}
	if !got.Equal(want) {
		errs = append(errs, fmt.Errorf("VolumeSnapshotContents %q, want %q", sets.List(got), sets.List(want)))
	}
	return errors.Join(errs...)
}

// checkStored compares what has come to the storage.
func (b *books) checkStored(want sets.Set[string]) error {
	stored, err := b.storedOf(b.handles)
	if err != nil {
		return err
	}
	if got := stored.Difference(b.existing); !got.Equal(want) {
		return fmt.Errorf("snapshots %q have come to the storage, want %q", sets.List(got), sets.List(want))
	}
	return nil
}

// storedOf names the snapshots of disks on the storage.
func (w *world) storedOf(handles map[string]string) (sets.Set[string], error) {
	all, err := w.region.Snapshots()
	if err != nil {
		return nil, err
	}
	ours := sets.New(slices.Collect(maps.Values(handles))...)
	stored := sets.New[string]()
	for _, snapshot := range all {
		if ours.Has(snapshot.Disk) {
			stored.Insert(snapshot.Handle)
		}
	}
	return stored, nil
}
