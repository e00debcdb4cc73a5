package rollback

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Release is what letting disks go will do.
type Release struct {
	Disks []Idle   `json:"disks"`
	Notes []string `json:"notes,omitempty"`

	volumes map[string]*corev1.PersistentVolume
}

// NewRelease decides whether the disks of PersistentVolumes may be deleted. It
// fails with *restore.RefusedError, which holds every reason at once: for each
// that something uses or may use, and, unless uncovered says that this is
// wanted, for each that no complete point holds a snapshot of.
func NewRelease(h *Holding, names []string, uncovered bool) (*Release, error) {
	release := &Release{volumes: map[string]*corev1.PersistentVolume{}}
	var refusals []restore.Refusal
	for _, name := range names {
		refuse := func(problem, remedy string) {
			refusals = append(refusals, restore.Refusal{Kind: "PersistentVolume", Name: name, Problem: problem, Remedy: remedy})
		}
		pv := h.volume(name)
		if pv == nil {
			refuse("it does not exist", "`hawser disks -A` lists the disks that no claim uses")
			continue
		}
		if release.volumes[name] != nil {
			continue
		}
		before := len(refusals)
		h.mayGo(pv, refuse)
		if pv.Spec.CSI == nil {
			continue
		}
		disk := describe(h, pv)
		switch {
		case len(refusals) > before:
		case disk.Covered == nil && !uncovered:
			refuse("no complete restore point holds a snapshot of its disk "+string(disk.Handle)+" that the cluster has", "its data would be lost; --force-uncovered if that is wanted")
		case disk.Covered == nil:
			release.Notes = append(release.Notes, "no restore point holds the data of disk "+string(disk.Handle)+": it is lost")
		default:
			release.Notes = append(release.Notes, coverNote(disk))
		}
		release.volumes[name] = pv
		release.Disks = append(release.Disks, disk)
	}
	if len(refusals) > 0 {
		return nil, &restore.RefusedError{Refusals: refusals}
	}
	return release, nil
}

// coverNote says which point covers a disk, and what of it may be lost all the
// same. Since has whole seconds, so a write may have come up to one second after
// it.
func coverNote(d Idle) string {
	taken := d.Covered.Taken.UTC().Format(time.RFC3339)
	if d.Covered.Taken.After(d.Since.Add(time.Second)) {
		return fmt.Sprintf("point %s holds the data of disk %s as it was left: its snapshot is of %s", d.Covered.Point, d.Handle, taken)
	}
	return fmt.Sprintf("point %s holds the data of disk %s as of %s; what was written between then and %s may be lost",
		d.Covered.Point, d.Handle, taken, d.Since.UTC().Format(time.RFC3339))
}

func (h *Holding) volume(name string) *corev1.PersistentVolume {
	for i := range h.Volumes {
		if h.Volumes[i].Name == name {
			return &h.Volumes[i]
		}
	}
	return nil
}

// mayGo refuses what keeps the disk of a PersistentVolume from being deleted.
func (h *Holding) mayGo(pv *corev1.PersistentVolume, refuse func(problem, remedy string)) {
	if pv.Spec.CSI == nil {
		refuse("it is not a CSI volume", "delete it by hand")
		return
	}
	if claim := h.user(pv); claim != nil {
		refuse("claim "+claim.Namespace+"/"+claim.Name+" uses it", "it can be released when that is deleted")
		return
	}
	if owner, held := h.Owners.Held(catalog.Disk{Driver: pv.Spec.CSI.Driver, Handle: catalog.VolumeHandle(pv.Spec.CSI.VolumeHandle)}, h.ClusterUID); held {
		refuse("its disk "+pv.Spec.CSI.VolumeHandle+" is owned by "+owner.String(), restore.OwnerRemedy(owner)+"; the PersistentVolume object can be deleted as long as it is Retain")
	}
	switch {
	case pv.DeletionTimestamp != nil:
		refuse("it is being deleted", "wait")
	case pv.Annotations[RecordAnnotation] != "", slices.ContainsFunc(h.Records, func(r *Record) bool { return slices.Contains(r.volumes(), pv.Name) }):
		refuse("a rollback or undo of its claim is under way", "finish that first, by running the same command again")
	case pv.Status.Phase == corev1.VolumeAvailable && pv.Spec.ClaimRef != nil:
		refuse("it is reserved for claim "+pv.Spec.ClaimRef.Namespace+"/"+pv.Spec.ClaimRef.Name, "was a restore interrupted? run it again; else delete the PersistentVolume object, and the disk by the means of the storage")
	case pv.Status.Phase != corev1.VolumeReleased:
		refuse("it is "+string(pv.Status.Phase)+", and a provisioner deletes the disks of Released ones only", "delete the PersistentVolume object, and the disk by the means of the storage")
	case !wasProvisioned(pv):
		refuse("no provisioner made it, so none would delete its disk", "delete the PersistentVolume object, and the disk by the means of the storage")
	}
	for _, a := range h.Attachments {
		if ptr.Deref(a.Spec.Source.PersistentVolumeName, "") == pv.Name || sameInline(&a.Spec.Source, pv) {
			refuse("VolumeAttachment "+a.Name+" has it on node "+a.Spec.NodeName, "wait until it is detached")
		}
	}
	for i := range h.Volumes {
		other := &h.Volumes[i]
		if other.Name != pv.Name && other.Spec.CSI != nil && other.Spec.CSI.Driver == pv.Spec.CSI.Driver && other.Spec.CSI.VolumeHandle == pv.Spec.CSI.VolumeHandle {
			refuse("PersistentVolume "+other.Name+" is over the same disk "+pv.Spec.CSI.VolumeHandle, "delete one of the two objects (make it Retain first)")
		}
	}
}

// sameInline says whether an attachment that names no PersistentVolume names the
// disk itself.
func sameInline(source *storagev1.VolumeAttachmentSource, pv *corev1.PersistentVolume) bool {
	inline := source.InlineVolumeSpec
	return inline != nil && inline.CSI != nil && inline.CSI.Driver == pv.Spec.CSI.Driver && inline.CSI.VolumeHandle == pv.Spec.CSI.VolumeHandle
}

// Apply lets the disks go, one after the other: each PersistentVolume is made
// Delete, as it was looked at, upon which the driver's provisioner deletes the
// disk and then the object, whose end is awaited. released are those that are
// gone; the error is about the first that is not.
func (r *Release) Apply(ctx context.Context, client kubernetes.Interface, done func(Idle)) (released []catalog.VolumeHandle, err error) {
	for _, disk := range r.Disks {
		pv := r.volumes[disk.Volume]
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": pv.UID, "resourceVersion": pv.ResourceVersion},
			"spec":     map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimDelete},
		})
		if err != nil {
			return released, err
		}
		if _, err := client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return released, fmt.Errorf("release PersistentVolume %s: %w", pv.Name, err)
		}
		if err := awaitVolumeGone(ctx, client, pv.Name); err != nil {
			return released, err
		}
		released = append(released, disk.Handle)
		done(disk)
	}
	return released, nil
}

func awaitVolumeGone(ctx context.Context, client kubernetes.Interface, name string) error {
	only := fields.OneTermEqualSelector("metadata.name", name).String()
	volumes := client.CoreV1().PersistentVolumes()
	source := restore.ListWatch(func(ctx context.Context, o metav1.ListOptions) (*corev1.PersistentVolumeList, error) {
		o.FieldSelector = only
		return volumes.List(ctx, o)
	}, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = only
		return volumes.Watch(ctx, o)
	}, "")
	last := "no provisioner has answered"
	err := restore.Until(ctx, source, &corev1.PersistentVolume{}, func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil },
		func(event watch.Event) (bool, error) {
			if pv, ok := event.Object.(*corev1.PersistentVolume); ok && pv.Status.Message != "" {
				last = string(pv.Status.Phase) + ": " + pv.Status.Message
			}
			return event.Type == watch.Deleted, nil
		})
	if err != nil {
		return fmt.Errorf("PersistentVolume %s is Delete now, and is not gone (%s): %w; see `kubectl describe pv %s`; `kubectl patch pv %s -p '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'` keeps what may be left of the disk",
			name, strings.TrimSpace(last), err, name, name)
	}
	return nil
}
