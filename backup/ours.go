package backup

import (
	"context"
	"fmt"
	"regexp"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

// OfCatalog selects, by labels, the VolumeSnapshots and VolumeSnapshotClasses
// that Hawser made for the catalog of this id.
func OfCatalog(catalogID string) string {
	return managedByLabel + "=" + managedBy + "," + CatalogLabel + "=" + catalogID
}

// IsSnapshotName says whether a VolumeSnapshot of this name can be one that a
// run made for a point.
func IsSnapshotName(name string) bool { return snapshotNames.MatchString(name) }

var snapshotNames = regexp.MustCompile(`^hawser-[0-9a-f]{20}$`) // see snapshotName

// EachSnapshot calls each with every VolumeSnapshot of the cluster.
func EachSnapshot(ctx context.Context, client snapshotclient.Interface, each func(*snapshotv1.VolumeSnapshot) error) error {
	return eachItem(ctx, "VolumeSnapshots", client.SnapshotV1().VolumeSnapshots(metav1.NamespaceAll).List, each)
}

// EachContent calls each with every VolumeSnapshotContent of the cluster.
func EachContent(ctx context.Context, client snapshotclient.Interface, each func(*snapshotv1.VolumeSnapshotContent) error) error {
	return eachItem(ctx, "VolumeSnapshotContents", client.SnapshotV1().VolumeSnapshotContents().List, each)
}

// eachItem calls each with every object that list finds, page by page. what are
// the objects, for an error.
func eachItem[T any, L runtime.Object](ctx context.Context, what string, list func(context.Context, metav1.ListOptions) (L, error), each func(*T) error) error {
	pages := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) { return list(ctx, opts) })
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error { return each(any(object).(*T)) })
	if err != nil {
		return fmt.Errorf("list %s: %w", what, err)
	}
	return nil
}
