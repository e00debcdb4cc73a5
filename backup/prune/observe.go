package prune

import (
	"context"
	"fmt"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

const (
	// OrphanedSince is the annotation of a snapshot that nothing names: since
	// when that is known, as RFC 3339 has it.
	OrphanedSince = "hawser.dev/orphaned-since"

	// restorePrefix and restoredFrom tell the objects that a restore made for
	// its own use; package restore makes them.
	restorePrefix = "hawser-restore-"
	restoredFrom  = "hawser.dev/restored-from"
)

// held is one snapshot of this catalog as the cluster has it.
type held struct {
	namespace, name string          // of its VolumeSnapshot
	alone           bool            // only the content is left
	point           catalog.PointID // for which it was made, by its label; "" if it is alone
	content         string          // "" if there is none
	handle          id              // the zero value if it is not known
	since           time.Time       // by its annotation; the zero time if it has none
	going           bool            // it is being deleted

	uid types.UID // of the VolumeSnapshot
}

func (h held) key() string { return h.namespace + "/" + h.name }

// use is what the contents of a cluster say of one snapshot on the storage.
type use struct {
	leads    bool      // a content that stays leads to it
	going    bool      // a content that is going takes it along
	contents int       // over it, besides those of restores
	restored time.Time // when a restore last made a content over it
}

// observed is what a cluster has of this catalog's snapshots.
type observed struct {
	held []held
	uses map[id]use // of every content, whosever it is
}

// observe lists the VolumeSnapshots and the contents of the cluster. All of
// them: a content whose VolumeSnapshot has lost its labels is not alone.
func observe(ctx context.Context, client snapshotclient.Interface, catalogID string) (observed, error) {
	selector := backup.OfCatalog(catalogID)
	classes, err := client.SnapshotV1().VolumeSnapshotClasses().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if apierrors.IsNotFound(err) {
		return observed{}, fmt.Errorf("the cluster has no VolumeSnapshot API, so which snapshots there are cannot be seen; install the snapshot CRDs and snapshot-controller of kubernetes-csi/external-snapshotter: %w", err)
	}
	if err != nil {
		return observed{}, fmt.Errorf("list VolumeSnapshotClasses: %w", err)
	}
	ours := sets.New[string]()
	for _, class := range classes.Items {
		ours.Insert(class.Name)
	}
	labelledOurs, err := labels.Parse(selector)
	if err != nil {
		return observed{}, err
	}
	o := observed{uses: map[id]use{}}
	byKey := map[string]int{}
	strangers := sets.New[types.UID]()
	err = backup.EachSnapshot(ctx, client, func(s *snapshotv1.VolumeSnapshot) error {
		if isOfRestore(&s.ObjectMeta) || !labelledOurs.Matches(labels.Set(s.Labels)) {
			if backup.IsSnapshotName(s.Name) {
				strangers.Insert(s.UID)
			}
			return nil
		}
		h := held{
			namespace: s.Namespace, name: s.Name, point: catalog.PointID(s.Labels[backup.PointLabel]),
			since: orphanedSince(s.Annotations), going: s.DeletionTimestamp != nil, uid: s.UID,
		}
		byKey[h.key()] = len(o.held)
		o.held = append(o.held, h)
		return nil
	})
	if err != nil {
		return observed{}, err
	}
	return o, backup.EachContent(ctx, client, func(c *snapshotv1.VolumeSnapshotContent) error {
		o.add(c, byKey, func() bool { return isOurs(c, ours) && !strangers.Has(c.Spec.VolumeSnapshotRef.UID) })
		return nil
	})
}

// add notes one content. byKey are the VolumeSnapshots that are held; ours says
// of a content of none of them whether it was made for one.
func (o *observed) add(c *snapshotv1.VolumeSnapshotContent, byKey map[string]int, ours func() bool) {
	handle, known := handleOf(c)
	if isOfRestore(&c.ObjectMeta) {
		if u := o.uses[handle]; known {
			u.leads = u.leads || ready(c) && c.DeletionTimestamp == nil
			u.restored = later(u.restored, c.CreationTimestamp.Time)
			o.uses[handle] = u
		}
		return
	}
	ref := c.Spec.VolumeSnapshotRef
	i, found := byKey[ref.Namespace+"/"+ref.Name]
	found = found && o.held[i].uid == ref.UID
	going := c.DeletionTimestamp != nil || c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete && !(found && !o.held[i].going)
	if known {
		u := o.uses[handle]
		u.contents++
		u.leads = u.leads || ready(c) && !going
		u.going = u.going || going
		o.uses[handle] = u
	}
	switch {
	case found:
		o.held[i].content, o.held[i].handle = c.Name, handle
	case ours():
		o.held = append(o.held, held{
			namespace: ref.Namespace, name: ref.Name, alone: true, content: c.Name, handle: handle,
			since: orphanedSince(c.Annotations), going: c.DeletionTimestamp != nil,
		})
	}
}

// isOurs says whether a content without a VolumeSnapshot was made for one of a
// run: by its class, its VolumeSnapshot's name, and as runs have them made.
func isOurs(c *snapshotv1.VolumeSnapshotContent, classes sets.Set[string]) bool {
	return c.Spec.Source.VolumeHandle != nil &&
		classes.Has(ptr.Deref(c.Spec.VolumeSnapshotClassName, "")) &&
		backup.IsSnapshotName(c.Spec.VolumeSnapshotRef.Name)
}

func isOfRestore(m *metav1.ObjectMeta) bool {
	_, labelled := m.Labels[restoredFrom]
	return labelled || strings.HasPrefix(m.Name, restorePrefix)
}

// ready says whether the driver has confirmed the content's snapshot.
func ready(c *snapshotv1.VolumeSnapshotContent) bool {
	return c.Status != nil && ptr.Deref(c.Status.SnapshotHandle, "") != ""
}

// handleOf is the snapshot on the storage that a content is over.
func handleOf(c *snapshotv1.VolumeSnapshotContent) (handle id, known bool) {
	name := ptr.Deref(c.Spec.Source.SnapshotHandle, "")
	if ready(c) {
		name = *c.Status.SnapshotHandle
	}
	if name == "" {
		return id{}, false
	}
	return handleID(c.Spec.Driver, catalog.SnapshotHandle(name)), true
}

func orphanedSince(annotations map[string]string) time.Time {
	since, err := time.Parse(time.RFC3339, annotations[OrphanedSince])
	if err != nil {
		return time.Time{}
	}
	return since
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
