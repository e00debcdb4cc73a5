package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "hawser"
	// PointLabel holds the id of the point for which an object was made.
	PointLabel = "hawser.dev/point"
	// PlanLabel holds the name of that point's plan.
	PlanLabel = "hawser.dev/plan"
	// CatalogLabel holds the id of the catalog that knows of an object: several
	// may keep backups of one cluster.
	CatalogLabel = "hawser.dev/catalog"

	defaultClassAnnotation = "snapshot.storage.kubernetes.io/is-default-class"
)

// chooseClass finds the VolumeSnapshotClass whose parameters snapshots of
// driver are taken with: the one the plan names, else the driver's default,
// else its only one. Classes that Hawser made do not count.
func chooseClass(inv *Inventory, driver, named string) (snapshotv1.VolumeSnapshotClass, error) {
	if !inv.SnapshotAPI {
		return snapshotv1.VolumeSnapshotClass{}, fmt.Errorf("the cluster has no VolumeSnapshot API; install the snapshot CRDs and snapshot-controller of kubernetes-csi/external-snapshotter")
	}
	var candidates []snapshotv1.VolumeSnapshotClass
	for _, c := range inv.SnapshotClasses {
		class := c.Object
		if named != "" && class.Name == named {
			if class.Driver != driver {
				return class, fmt.Errorf("VolumeSnapshotClass %s is of driver %s, not %s; correct snapshot.classes", named, class.Driver, driver)
			}
			return class, nil
		}
		if class.Driver != driver || class.Labels[managedByLabel] == managedBy {
			continue
		}
		if class.Annotations[defaultClassAnnotation] == "true" && named == "" {
			return class, nil
		}
		candidates = append(candidates, class)
	}
	switch {
	case named != "":
		return snapshotv1.VolumeSnapshotClass{}, fmt.Errorf("VolumeSnapshotClass %s does not exist; correct snapshot.classes", named)
	case len(candidates) == 0:
		return snapshotv1.VolumeSnapshotClass{}, fmt.Errorf("no VolumeSnapshotClass for driver %s; create one, or back up with --snapshots=false if the driver cannot take snapshots", driver)
	case len(candidates) > 1:
		names := make([]string, len(candidates))
		for i, c := range candidates {
			names[i] = c.Name
		}
		return snapshotv1.VolumeSnapshotClass{}, fmt.Errorf("driver %s has several VolumeSnapshotClasses and no default: %s; choose one in snapshot.classes", driver, strings.Join(names, ", "))
	}
	return candidates[0], nil
}

// retainClass is the class that Hawser makes beside source: the same driver
// and parameters, but policy Retain, so that deleting a VolumeSnapshot or its
// namespace never deletes a backup. Its name is a function of its content, so
// that it never has to be changed. Each catalog has its own, so that a content
// whose VolumeSnapshot is gone still tells whose backup it is.
func retainClass(source snapshotv1.VolumeSnapshotClass, catalogID string) *snapshotv1.VolumeSnapshotClass {
	// Marshalling a map[string]string cannot fail, and sorts its keys.
	parameters, _ := json.Marshal(source.Parameters)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", catalogID, source.Driver, parameters))
	return &snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "hawser-" + hex.EncodeToString(sum[:6]),
			Labels: map[string]string{managedByLabel: managedBy, CatalogLabel: catalogID},
			Annotations: map[string]string{
				"hawser.dev/description": "made by Hawser after VolumeSnapshotClass " + source.Name + ", with deletionPolicy Retain",
			},
		},
		Driver:         source.Driver,
		DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain,
		Parameters:     maps.Clone(source.Parameters),
	}
}

// ensureClass makes sure that want exists as it should be, and never changes
// one that does not: it refuses to use that.
func ensureClass(ctx context.Context, client snapshotclient.Interface, inv *Inventory, want *snapshotv1.VolumeSnapshotClass) error {
	for _, c := range inv.SnapshotClasses {
		if c.Object.Name == want.Name {
			return sameClass(c.Object, want)
		}
	}
	_, err := client.SnapshotV1().VolumeSnapshotClasses().Create(ctx, want, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// Another run made it since. A list needs no right that was not needed yet.
	list, err := client.SnapshotV1().VolumeSnapshotClasses().List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + want.Name})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("VolumeSnapshotClass %s comes and goes; run the backup again", want.Name)
	}
	return sameClass(list.Items[0], want)
}

func sameClass(got snapshotv1.VolumeSnapshotClass, want *snapshotv1.VolumeSnapshotClass) error {
	if got.Driver != want.Driver || got.DeletionPolicy != want.DeletionPolicy || !equality.Semantic.DeepEqual(got.Parameters, want.Parameters) {
		return fmt.Errorf("VolumeSnapshotClass %s was changed and no longer has driver %s, policy %s and its parameters; delete it, Hawser makes it anew", want.Name, want.Driver, want.DeletionPolicy)
	}
	return nil
}
