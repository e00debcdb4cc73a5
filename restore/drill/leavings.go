package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
)

// Seen is what a cluster has that may be of drills.
type Seen struct {
	Namespaces []corev1.Namespace
	Classes    []storagev1.StorageClass
	Volumes    []corev1.PersistentVolume // all of the cluster: two may be of one disk
	Contents   []snapshotv1.VolumeSnapshotContent
	// Claims and Snapshots are all that are in the namespaces.
	Claims    []corev1.PersistentVolumeClaim
	Snapshots []snapshotv1.VolumeSnapshot
}

// Object names an object as it was seen: what has taken its name since is
// another one.
type Object struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	UID     types.UID `json:"uid"`
	Version string    `json:"-"` // resourceVersion
}

// Leavings is what may be removed of one drill.
type Leavings struct {
	Drill catalog.DrillID
	// Volumes are the PersistentVolumes of disks that the drill made. They go with
	// their claims once they are Delete, which those in Retained are not.
	Volumes    []Object
	Retained   []Object
	Namespaces []Object
	Contents   []Object // what pointed to the point's snapshots, which stay
	Classes    []Object
	// Stays says why nothing of the drill may be removed; empty if it may.
	Stays []string
}

// Decide says what may be removed of each drill that has left anything and that
// over says is over, in order of their ids. Only what has the marks with which it
// was born counts: a label of the drill and of Hawser and a name that ends with
// the drill's mark; a PersistentVolume is of a class of such a name, in a
// namespace of such a name, provisioned by its driver, and the only one of its
// disk. If a namespace of the drill has come to hold data that is not the drill's
// own, or a content has come to rule over its snapshot, the drill stays as it is.
func Decide(seen Seen, over func(catalog.DrillID) bool) []Leavings {
	d := decider{seen: seen, byMark: map[string]*Leavings{}}
	d.namespaces()
	d.classes()
	d.contents()
	d.volumes()
	d.guard()
	var all []Leavings
	for _, l := range d.byMark {
		if over(l.Drill) {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b Leavings) int { return cmp.Compare(a.Drill, b.Drill) })
	return all
}

type decider struct {
	seen   Seen
	byMark map[string]*Leavings
}

// of is the drill of an object that has the marks; nil if it does not. Two drills
// of one mark are as good as impossible; the second has none.
func (d *decider) of(labels map[string]string, mark string) *Leavings {
	id := markedBy(labels)
	if id == "" || mark != id.Mark() {
		return nil
	}
	l := d.byMark[mark]
	if l == nil {
		l = &Leavings{Drill: id}
		d.byMark[mark] = l
	}
	if l.Drill != id {
		return nil
	}
	return l
}

func (d *decider) namespaces() {
	for _, n := range d.seen.Namespaces {
		if l := d.of(n.Labels, markIn(scratchName, n.Name)); l != nil {
			l.Namespaces = append(l.Namespaces, Object{"Namespace", n.Name, n.UID, n.ResourceVersion})
		}
	}
}

func (d *decider) classes() {
	for _, c := range d.seen.Classes {
		if l := d.of(c.Labels, markIn(scratchClass, c.Name)); l != nil {
			l.Classes = append(l.Classes, Object{"StorageClass", c.Name, c.UID, c.ResourceVersion})
		}
	}
}

func (d *decider) contents() {
	for _, c := range d.seen.Contents {
		l := d.of(c.Labels, markIn(scratchName, c.Spec.VolumeSnapshotRef.Namespace))
		if l == nil || c.Spec.Source.SnapshotHandle == nil {
			continue
		}
		if c.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain {
			l.Stays = append(l.Stays, fmt.Sprintf("VolumeSnapshotContent %s is %s: with it the point's snapshot would go; make it Retain", c.Name, c.Spec.DeletionPolicy))
			continue
		}
		l.Contents = append(l.Contents, Object{"VolumeSnapshotContent", c.Name, c.UID, c.ResourceVersion})
	}
}

// volumes finds the disks that drills made. A PersistentVolume has no labels of
// the drill: its class, which the provisioner wrote at its birth, says whose it is.
func (d *decider) volumes() {
	type disk struct{ driver, handle string }
	twins := map[disk]int{}
	for _, v := range d.seen.Volumes {
		if v.Spec.CSI != nil {
			twins[disk{v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle}]++
		}
	}
	for _, v := range d.seen.Volumes {
		mark := markIn(scratchClass, v.Spec.StorageClassName)
		if mark == "" || v.Spec.CSI == nil || v.Spec.ClaimRef == nil || markIn(scratchName, v.Spec.ClaimRef.Namespace) != mark {
			continue
		}
		l := d.byMark[mark]
		if l == nil || v.Annotations["pv.kubernetes.io/provisioned-by"] != v.Spec.CSI.Driver {
			continue
		}
		if !slices.ContainsFunc(l.Classes, func(c Object) bool { return c.Name == v.Spec.StorageClassName }) {
			continue // who made that class cannot be told
		}
		if twins[disk{v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle}] > 1 {
			l.Stays = append(l.Stays, fmt.Sprintf("disk %s has another PersistentVolume besides %s", v.Spec.CSI.VolumeHandle, v.Name))
			continue
		}
		object := Object{"PersistentVolume", v.Name, v.UID, v.ResourceVersion}
		l.Volumes = append(l.Volumes, object)
		if v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			l.Retained = append(l.Retained, object)
		}
	}
}

// guard looks for what is not the drill's in its namespaces: it would go with them.
func (d *decider) guard() {
	own := map[string]bool{} // volumes
	for _, l := range d.byMark {
		for _, v := range l.Volumes {
			own[l.Drill.Mark()+" "+v.Name] = true
		}
	}
	in := func(namespace string) *Leavings {
		for _, l := range d.byMark {
			if slices.ContainsFunc(l.Namespaces, func(n Object) bool { return n.Name == namespace }) {
				return l
			}
		}
		return nil
	}
	for _, c := range d.seen.Claims {
		l := in(c.Namespace)
		switch {
		case l == nil:
		case markedBy(c.Labels) != l.Drill:
			l.Stays = append(l.Stays, fmt.Sprintf("claim %s/%s was not made by the drill", c.Namespace, c.Name))
		case c.Spec.VolumeName != "" && !own[l.Drill.Mark()+" "+c.Spec.VolumeName]:
			if d.exists(c.Spec.VolumeName) {
				l.Stays = append(l.Stays, fmt.Sprintf("claim %s/%s is on PersistentVolume %s, which the drill did not make", c.Namespace, c.Name, c.Spec.VolumeName))
			}
		}
	}
	for _, s := range d.seen.Snapshots {
		if l := in(s.Namespace); l != nil && markedBy(s.Labels) != l.Drill {
			l.Stays = append(l.Stays, fmt.Sprintf("VolumeSnapshot %s/%s was not made by the drill", s.Namespace, s.Name))
		}
	}
}

func (d *decider) exists(volume string) bool {
	return slices.ContainsFunc(d.seen.Volumes, func(v corev1.PersistentVolume) bool { return v.Name == volume })
}

// Empty says whether nothing is left.
func (l Leavings) Empty() bool {
	return len(l.Volumes)+len(l.Namespaces)+len(l.Contents)+len(l.Classes) == 0
}

// stays is the error of a drill that may not be removed.
func (l Leavings) stays() error {
	return fmt.Errorf("drill %s is left as it is: %s; take what you want to keep out of its namespaces, then clean up again", l.Drill, strings.Join(l.Stays, "; "))
}
