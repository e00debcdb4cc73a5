package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

const (
	// cleanTime bounds the removal of what a drill has made.
	cleanTime = 5 * time.Minute
	// lapse is how long the namespaces of a drill are looked at: one that is under
	// way says so meanwhile, every renewal.
	lapse   = 20 * time.Second
	renewal = 5 * time.Second
	// again is the time between two looks at what is on its way out.
	again = 200 * time.Millisecond
)

// Cleaned says what was removed.
type Cleaned struct {
	Drills     []catalog.DrillID `json:"drills"`
	Namespaces int               `json:"namespaces"`
	Disks      int               `json:"disks"`
	// UnderWay and Kept are the drills that were left alone.
	UnderWay []catalog.DrillID `json:"underWay,omitempty"`
	Kept     []catalog.DrillID `json:"kept,omitempty"`
}

// CleanUp removes what drills of a plan, "" for all, have left that are over: those
// that were killed, and, if kept is set, those that were to be kept. A drill is over if its
// namespaces do not change for a while, which is waited for if there are any.
// What it may not remove it names in its error. It may be run at any time.
func (d *Driller) CleanUp(ctx context.Context, plan string, kept bool) (Cleaned, error) {
	first, err := d.marked(ctx, plan)
	if err != nil || len(first) == 0 {
		return Cleaned{Drills: []catalog.DrillID{}}, err
	}
	result := Cleaned{Drills: []catalog.DrillID{}}
	over := map[catalog.DrillID]bool{}
	if slices.ContainsFunc(first, func(s sign) bool { return len(s.alive) > 0 && !s.kept }) {
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-time.After(d.lapse()):
		}
	}
	now, err := d.marked(ctx, plan)
	if err != nil {
		return result, err
	}
	for _, s := range now {
		i := slices.IndexFunc(first, func(before sign) bool { return before.id == s.id })
		switch {
		case s.kept && !kept:
			result.Kept = append(result.Kept, s.id)
		case s.kept, len(s.alive) == 0, i >= 0 && s.still(first[i]):
			over[s.id] = true
		default:
			result.UnderWay = append(result.UnderWay, s.id)
		}
	}
	cctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	err = d.remove(cctx, func(id catalog.DrillID) bool { return over[id] }, &result)
	return result, err
}

// sign is what the namespaces of one drill say of it.
type sign struct {
	id    catalog.DrillID
	alive map[string]string // changes while it is under way, by namespace; empty if it has none: then it is on its way out
	kept  bool
}

// still says whether each namespace that is there says what it said before.
// Others may have gone meanwhile: somebody else cleans up too.
func (s sign) still(before sign) bool {
	for namespace, alive := range s.alive {
		if said, known := before.alive[namespace]; !known || said != alive {
			return false
		}
	}
	return true
}

// marked finds the drills that have left anything.
func (d *Driller) marked(ctx context.Context, plan string) ([]sign, error) {
	seen, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	var signs []sign
	for _, l := range Decide(seen, func(id catalog.DrillID) bool { return plan == "" || id.Plan() == plan }) {
		s := sign{id: l.Drill, alive: map[string]string{}}
		for _, n := range seen.Namespaces {
			if markedBy(n.Labels) == l.Drill {
				s.alive[n.Name] = n.Annotations[aliveAnnotation]
				s.kept = s.kept || n.Annotations[keptAnnotation] != ""
			}
		}
		signs = append(signs, s)
	}
	return signs, nil
}

// look lists what may be of drills. Namespaces come last: a drill makes them
// first, so what is seen of it without one has none any more.
func (d *Driller) look(ctx context.Context) (Seen, error) {
	var seen Seen
	core, storage, snapshots := d.Kubernetes.CoreV1(), d.Kubernetes.StorageV1(), d.Snapshots.SnapshotV1()
	if err := restore.Collect(ctx, "storageclasses", storage.StorageClasses().List, &seen.Classes); err != nil {
		return seen, err
	}
	marked := func(opts metav1.ListOptions) metav1.ListOptions {
		opts.LabelSelector = catalog.DrillLabel
		return opts
	}
	err := restore.Collect(ctx, "volumesnapshotcontents", func(ctx context.Context, opts metav1.ListOptions) (*snapshotv1.VolumeSnapshotContentList, error) {
		return snapshots.VolumeSnapshotContents().List(ctx, marked(opts))
	}, &seen.Contents)
	if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
		return seen, err
	}
	err = restore.Collect(ctx, "namespaces", func(ctx context.Context, opts metav1.ListOptions) (*corev1.NamespaceList, error) {
		return core.Namespaces().List(ctx, marked(opts))
	}, &seen.Namespaces)
	if err != nil {
		return seen, err
	}
	if len(seen.Namespaces)+len(seen.Contents) == 0 && !slices.ContainsFunc(seen.Classes, isMarked) {
		return seen, nil
	}
	for _, n := range seen.Namespaces {
		if err := restore.Collect(ctx, "persistentvolumeclaims", core.PersistentVolumeClaims(n.Name).List, &seen.Claims); err != nil {
			return seen, err
		}
		err := restore.Collect(ctx, "volumesnapshots", snapshots.VolumeSnapshots(n.Name).List, &seen.Snapshots)
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return seen, err
		}
	}
	// After the claims: a volume is there before its claim names it.
	return seen, restore.Collect(ctx, "persistentvolumes", core.PersistentVolumes().List, &seen.Volumes)
}

func isMarked[T any, P interface {
	*T
	GetLabels() map[string]string
}](object T) bool {
	return markedBy(P(&object).GetLabels()) != ""
}

// remove removes what is left of the drills that are over, and waits until it is
// gone. Classes go last: they say whose the disks are.
func (d *Driller) remove(ctx context.Context, over func(catalog.DrillID) bool, result *Cleaned) error {
	var errs []error
	told := map[catalog.DrillID]bool{}
	for {
		seen, err := d.look(ctx)
		if err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		errs = nil
		var namespaces, volumes []Object
		left := false
		for _, l := range Decide(seen, over) {
			if len(l.Stays) > 0 {
				errs = append(errs, l.stays())
				continue
			}
			if !told[l.Drill] {
				told[l.Drill] = true
				result.Drills = append(result.Drills, l.Drill)
				result.Namespaces += len(l.Namespaces)
				result.Disks += len(l.Volumes)
			}
			left = true
			begun, err := d.removeOne(ctx, l)
			if err != nil {
				return fmt.Errorf("clean up drill %s: %w", l.Drill, err)
			}
			if begun {
				namespaces, volumes = append(namespaces, l.Namespaces...), append(volumes, l.Volumes...)
			}
		}
		if !left {
			return errors.Join(errs...)
		}
		if err := d.await(ctx, namespaces, volumes); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("clean up: %w", context.Cause(ctx))
		case <-time.After(again):
		}
	}
}

// removeOne does what can be done at once of one drill: its volumes become Delete
// before its namespaces go, what points to snapshots goes after those that name it,
// and the classes last. It says whether its part is done; else the drill is looked
// at anew.
func (d *Driller) removeOne(ctx context.Context, l Leavings) (bool, error) {
	core := d.Kubernetes.CoreV1()
	for _, v := range l.Retained {
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q},"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`, v.UID, v.Version)
		_, err := core.PersistentVolumes().Patch(ctx, v.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("make PersistentVolume %s Delete: %w", v.Name, err)
		}
	}
	remove, objects := core.Namespaces().Delete, l.Namespaces
	switch {
	case len(l.Namespaces) > 0:
	case len(l.Contents) > 0:
		objects = l.Contents
		remove = func(ctx context.Context, name string, o metav1.DeleteOptions) error {
			return restore.RemoveContent(ctx, d.Snapshots, name, *o.Preconditions.UID)
		}
	case len(l.Volumes) == 0:
		remove, objects = d.Kubernetes.StorageV1().StorageClasses().Delete, l.Classes
	}
	for _, o := range objects {
		if err := d.delete(ctx, o, remove); err != nil {
			return false, err
		}
	}
	return true, nil
}

// await waits until namespaces, or else volumes, are gone. Only what was made
// Delete, and whose claim is on its way, is waited for: it is removed by others.
func (d *Driller) await(ctx context.Context, namespaces, volumes []Object) error {
	core := d.Kubernetes.CoreV1()
	switch {
	case len(namespaces) > 0:
		return d.gone(ctx, namespaces, restore.ListWatch(core.Namespaces().List, core.Namespaces().Watch, catalog.DrillLabel), &corev1.Namespace{})
	case len(volumes) > 0:
		return d.gone(ctx, volumes, restore.ListWatch(core.PersistentVolumes().List, core.PersistentVolumes().Watch, ""), &corev1.PersistentVolume{})
	}
	return nil
}

// delete deletes the object that was seen, and no other of its name.
func (d *Driller) delete(ctx context.Context, o Object, remove func(context.Context, string, metav1.DeleteOptions) error) error {
	err := remove(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(o.UID)}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s: %w", o.Kind, o.Name, err)
	}
	d.report(restore.Event{Kind: o.Kind, Name: o.Name, Stage: "removed", Done: true})
	return nil
}

// gone waits until none of the objects is there.
func (d *Driller) gone(ctx context.Context, objects []Object, source cache.ListWatch, kind runtime.Object) error {
	var store cache.Store
	left := func() (names []string) {
		for _, object := range store.List() {
			there, err := meta.Accessor(object)
			if err == nil && slices.ContainsFunc(objects, func(o Object) bool { return o.UID == there.GetUID() }) {
				names = append(names, there.GetName())
			}
		}
		slices.Sort(names)
		return names
	}
	err := restore.Until(ctx, source, kind, func(s cache.Store) (bool, error) { store = s; return len(left()) == 0, nil }, func(event watch.Event) (bool, error) {
		if event.Type == watch.Error {
			return false, apierrors.FromObject(event.Object)
		}
		return len(left()) == 0, nil
	})
	if err != nil && store != nil {
		if names := left(); len(names) > 0 && ctx.Err() != nil {
			return fmt.Errorf("%s %s does not go: %w; see `kubectl describe`, and whether csi-provisioner and the Pods' nodes work", objects[0].Kind, strings.Join(names, ", "), err)
		}
	}
	return err
}
