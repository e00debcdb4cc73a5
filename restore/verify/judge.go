package verify

import (
	"fmt"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// State says whether something is there.
type State string

const (
	OK      State = "ok"
	Missing State = "missing" // or not what it should be
	Unknown State = "unknown" // it was not, or could not be, looked at
)

// Finding is a state and why.
type Finding struct {
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// Claim is what was found of one claim of a point.
type Claim struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is missing if the snapshot that the point names is, or, of a claim
	// without a snapshot, the disk. A disk that is gone does not matter to a claim
	// whose snapshot is there.
	Finding
	Snapshot *Finding `json:"snapshot,omitempty"` // nil: the point has none
	Disk     Finding  `json:"disk"`
	// What they are of.
	SnapshotHandle catalog.SnapshotHandle `json:"snapshotHandle,omitempty"`
	VolumeHandle   catalog.VolumeHandle   `json:"volumeHandle"`
}

// Seen is what a cluster has. The zero value is one that was not looked at.
type Seen struct {
	Looked      bool
	ClusterUID  string
	SnapshotAPI bool
	Contents    []snapshotv1.VolumeSnapshotContent
	Volumes     []corev1.PersistentVolume
	// Disks is what the driver says, of those disks that it was asked about.
	Disks map[catalog.Disk]restore.DiskState
}

// index finds things in what was seen.
type index struct {
	Seen
	contents map[snapshotKey]*snapshotv1.VolumeSnapshotContent
	volumes  map[catalog.Disk]*corev1.PersistentVolume
}

type snapshotKey struct {
	driver string
	handle catalog.SnapshotHandle
}

func newIndex(seen Seen) *index {
	i := &index{Seen: seen, contents: map[snapshotKey]*snapshotv1.VolumeSnapshotContent{}, volumes: map[catalog.Disk]*corev1.PersistentVolume{}}
	for n := range seen.Contents {
		c := &seen.Contents[n]
		handle := ptr.Deref(c.Spec.Source.SnapshotHandle, "")
		if c.Status != nil && ptr.Deref(c.Status.SnapshotHandle, "") != "" {
			handle = *c.Status.SnapshotHandle
		}
		key := snapshotKey{c.Spec.Driver, catalog.SnapshotHandle(handle)}
		if known := i.contents[key]; known == nil || rank(c) > rank(known) {
			i.contents[key] = c
		}
	}
	for n := range seen.Volumes {
		if csi := seen.Volumes[n].Spec.CSI; csi != nil {
			i.volumes[catalog.Disk{Driver: csi.Driver, Handle: catalog.VolumeHandle(csi.VolumeHandle)}] = &seen.Volumes[n]
		}
	}
	return i
}

// rank tells which of several contents of one snapshot says more for it.
func rank(c *snapshotv1.VolumeSnapshotContent) int {
	switch {
	case c.Status != nil && c.Status.Error != nil:
		return 0
	case c.DeletionTimestamp != nil:
		return 1
	}
	return 2
}

// Judge says of each claim of a point whether what the point names of it is
// there, in the order of the point.
func Judge(commit catalog.Commit, volumes []catalog.Volume, seen Seen) []Claim {
	i := newIndex(seen)
	claims := make([]Claim, 0, len(volumes))
	for _, v := range volumes {
		c := Claim{Namespace: v.Claim.Namespace, Name: v.Claim.Name, VolumeHandle: v.VolumeHandle, Disk: i.disk(commit, v)}
		c.Finding = c.Disk
		if v.Snapshot != nil {
			found := i.snapshot(commit, v)
			c.Snapshot, c.SnapshotHandle, c.Finding = &found, v.Snapshot.Handle, found
			if found.State == OK && c.Disk.State == Missing {
				c.Finding.Reason = "its disk is gone, its snapshot is there: " + c.Disk.Reason
			}
		} else if c.Disk.State != OK && v.Problem != "" {
			c.Finding.Reason += "; it has no snapshot: " + v.Problem
		}
		claims = append(claims, c)
	}
	return claims
}

const notLooked = "the cluster was not asked"

// snapshot looks for the content of a volume's snapshot.
func (i *index) snapshot(commit catalog.Commit, v catalog.Volume) Finding {
	if !i.Looked {
		return Finding{Unknown, notLooked}
	}
	if !i.SnapshotAPI {
		return Finding{Unknown, "this cluster has no VolumeSnapshot API"}
	}
	c := i.contents[snapshotKey{v.Driver, v.Snapshot.Handle}]
	switch {
	case c == nil && commit.Cluster.UID != i.ClusterUID:
		return Finding{Unknown, "not in this cluster, which is not the point's"}
	case c == nil:
		return Finding{Missing, fmt.Sprintf("not in this cluster: no VolumeSnapshotContent is over snapshot %s; the storage may still have it", v.Snapshot.Handle)}
	case c.Status != nil && c.Status.Error != nil:
		message := ptr.Deref(c.Status.Error.Message, "no message")
		if strings.Contains(message, "code = NotFound") || strings.Contains(message, "can not find snapshot") {
			return Finding{Missing, "the driver does not find it: " + message}
		}
		return Finding{Unknown, "VolumeSnapshotContent " + c.Name + " has an error: " + message}
	case c.DeletionTimestamp != nil && c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete:
		return Finding{Missing, "VolumeSnapshotContent " + c.Name + " is being deleted, and the snapshot with it"}
	case c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete:
		return Finding{OK, "VolumeSnapshotContent " + c.Name + " is Delete: the snapshot goes with its VolumeSnapshot"}
	}
	return Finding{State: OK}
}

// disk looks for the disk of a volume: the driver's word counts, if it was asked.
func (i *index) disk(commit catalog.Commit, v catalog.Volume) Finding {
	if !i.Looked {
		return Finding{Unknown, notLooked}
	}
	key := v.Disk()
	switch state := i.Disks[key]; state.Presence {
	case restore.DiskPresent:
		return Finding{OK, state.Message}
	case restore.DiskInUse:
		return Finding{OK, "in use: " + state.Message}
	case restore.DiskGone:
		return Finding{Missing, "the driver does not find it: " + state.Message}
	}
	pv := i.volumes[key]
	switch {
	case pv == nil && i.Disks[key].Presence == restore.DiskUnknown:
		return Finding{Unknown, i.Disks[key].Message}
	case pv == nil && commit.Cluster.UID != i.ClusterUID:
		return Finding{Unknown, "not in this cluster, which is not the point's"}
	case pv == nil:
		return Finding{Missing, fmt.Sprintf("not in this cluster: no PersistentVolume is of disk %s; the storage may still have it (--check-disks asks the driver)", v.VolumeHandle)}
	case pv.DeletionTimestamp != nil:
		return Finding{OK, "PersistentVolume " + pv.Name + " is being deleted"}
	case pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain:
		return Finding{OK, "PersistentVolume " + pv.Name + " is " + string(pv.Spec.PersistentVolumeReclaimPolicy) + ": the disk goes with its claim"}
	}
	return Finding{State: OK}
}
