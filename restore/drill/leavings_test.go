package drill

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

const (
	one = catalog.DrillID("20260903-120000-databases-0a1b2c3d")
	two = catalog.DrillID("20260903-130000-web-4e5f6071")
)

func every(catalog.DrillID) bool { return true }

// left is what a drill leaves that was killed at its height.
func left(id catalog.DrillID) Seen {
	namespace, class := namespaceName(DefaultPrefix, id, 0), className(id, 0)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, UID: types.UID(name + "-uid"), Labels: marks(id)}
	}
	claim := corev1.PersistentVolumeClaim{ObjectMeta: meta("data"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-" + id.Mark(), StorageClassName: &class}}
	claim.Namespace = namespace
	snapshot := snapshotv1.VolumeSnapshot{ObjectMeta: meta("hawser-restore-1")}
	snapshot.Namespace = namespace
	return Seen{
		Namespaces: []corev1.Namespace{{ObjectMeta: meta(namespace)}},
		Classes:    []storagev1.StorageClass{{ObjectMeta: meta(class)}},
		Claims:     []corev1.PersistentVolumeClaim{claim},
		Snapshots:  []snapshotv1.VolumeSnapshot{snapshot},
		Volumes: []corev1.PersistentVolume{{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + id.Mark(), UID: types.UID(id.Mark()), Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "disks.example.com"}},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: class, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				ClaimRef:               &corev1.ObjectReference{Namespace: namespace, Name: "data", UID: claim.UID},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com", VolumeHandle: "disk-" + id.Mark()}},
			},
		}},
		Contents: []snapshotv1.VolumeSnapshotContent{{ObjectMeta: meta("hawser-restore-" + id.Mark()), Spec: snapshotv1.VolumeSnapshotContentSpec{
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: "disks.example.com",
			Source: snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: ptr.To("snap-1")}, VolumeSnapshotRef: corev1.ObjectReference{Namespace: namespace, Name: "hawser-restore-1"},
		}}},
	}
}

func join(a, b Seen) Seen {
	return Seen{
		Namespaces: slices.Concat(a.Namespaces, b.Namespaces), Classes: slices.Concat(a.Classes, b.Classes), Volumes: slices.Concat(a.Volumes, b.Volumes),
		Contents: slices.Concat(a.Contents, b.Contents), Claims: slices.Concat(a.Claims, b.Claims), Snapshots: slices.Concat(a.Snapshots, b.Snapshots),
	}
}

// touched are the objects that would be removed, or made Delete.
func touched(all []Leavings) []string {
	var names []string
	for _, l := range all {
		if len(l.Stays) > 0 {
			continue
		}
		for _, o := range slices.Concat(l.Namespaces, l.Classes, l.Volumes, l.Retained, l.Contents) {
			names = append(names, o.Kind+" "+o.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestAllThatADrillHasLeftIsRemoved(t *testing.T) {
	seen := join(left(one), left(two))
	all := Decide(seen, func(id catalog.DrillID) bool { return id == one })
	want := []string{
		"Namespace hawser-drill-0a1b2c3d-0", "PersistentVolume pvc-0a1b2c3d", "StorageClass hawser-drill-0a1b2c3d-0", "VolumeSnapshotContent hawser-restore-0a1b2c3d",
	}
	if got := touched(all); !slices.Equal(got, want) {
		t.Errorf("removed is %q, want %q", got, want)
	}
	if both := Decide(seen, every); len(both) != 2 || both[0].Drill != one || both[1].Drill != two {
		t.Errorf("drills are %+v, want both, in order", both)
	}
	if none := Decide(Seen{}, every); len(none) != 0 {
		t.Errorf("of nothing it removes %+v", none)
	}
}

// A volume that is not marked any more can still be told by its class after the
// namespace is gone; not when the class is gone too.
func TestADiskIsKnownByItsClass(t *testing.T) {
	seen := left(one)
	seen.Namespaces, seen.Claims, seen.Snapshots, seen.Contents = nil, nil, nil, nil
	if got := touched(Decide(seen, every)); !slices.Contains(got, "PersistentVolume pvc-0a1b2c3d") {
		t.Errorf("with its class alone, removed is %q, want the disk too", got)
	}
	seen.Classes = nil
	if got := Decide(seen, every); len(got) != 0 {
		t.Errorf("without its class, %+v is found, want nothing", got)
	}
}

func TestADrillStaysThatHoldsWhatIsNotItsOwn(t *testing.T) {
	namespace := namespaceName(DefaultPrefix, one, 0)
	for name, change := range map[string]func(*Seen){
		"a claim that somebody made": func(s *Seen) {
			s.Claims = append(s.Claims, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "theirs"}})
		},
		"a snapshot that somebody took":            func(s *Seen) { s.Snapshots[0].Labels = nil },
		"a claim of another drill":                 func(s *Seen) { s.Claims[0].Labels = marks(two) },
		"a claim on a volume that is not its own":  func(s *Seen) { s.Volumes[0].Spec.StorageClassName = "fast" },
		"a claim on a volume of another namespace": func(s *Seen) { s.Volumes[0].Spec.ClaimRef.Namespace = "shop" },
		"a volume that no driver made":             func(s *Seen) { s.Volumes[0].Annotations = nil },
		"two volumes of its disk": func(s *Seen) {
			twin := s.Volumes[0].DeepCopy()
			twin.Name, twin.Spec.StorageClassName, twin.Spec.ClaimRef = "twin", "fast", nil
			s.Volumes = append(s.Volumes, *twin)
		},
		"a content with which the snapshot would go": func(s *Seen) { s.Contents[0].Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete },
	} {
		seen := join(left(one), left(two))
		change(&seen)
		all := Decide(seen, every)
		if len(all) != 2 || len(all[0].Stays) == 0 || len(all[1].Stays) > 0 {
			t.Errorf("%s: %+v, want that the first drill stays and the second does not", name, all)
		}
	}
}

// Whatever is there, what lacks any of a drill's marks is never touched.
func TestNothingWithoutTheMarksIsEverTouched(t *testing.T) {
	ids := []catalog.DrillID{one, two, "true", ""}
	labels := rapid.Custom(func(r *rapid.T) map[string]string {
		m := map[string]string{"app": "redis"}
		if id := rapid.SampledFrom(ids).Draw(r, "drill"); id != "" {
			m[catalog.DrillLabel] = string(id)
		}
		if rapid.Bool().Draw(r, "managed") {
			m[managedByLabel] = rapid.SampledFrom([]string{managedBy, "Helm"}).Draw(r, "by")
		}
		return m
	})
	namespaces := []string{"shop", "hawser-drill", "0a1b2c3d-0", namespaceName(DefaultPrefix, one, 0), namespaceName("mine", two, 1), "hawser-drill-0a1b2c3d", "kube-system"}
	classes := []string{"", "fast", className(one, 0), className(two, 0), "hawser-drill-fast-0", "hawser-drill-0a1b2c3d"}
	rapid.Check(t, func(r *rapid.T) {
		meta := func(name string) metav1.ObjectMeta {
			return metav1.ObjectMeta{Name: name, UID: types.UID(fmt.Sprint("u", rapid.Uint64().Draw(r, "uid"))), Labels: labels.Draw(r, "labels")}
		}
		var seen Seen
		for _, n := range namespaces {
			if rapid.Bool().Draw(r, "is there") {
				seen.Namespaces = append(seen.Namespaces, corev1.Namespace{ObjectMeta: meta(n)})
			}
		}
		for _, c := range classes[1:] {
			if rapid.Bool().Draw(r, "is there") {
				seen.Classes = append(seen.Classes, storagev1.StorageClass{ObjectMeta: meta(c)})
			}
		}
		mostly := func(what string) bool { return rapid.IntRange(0, 9).Draw(r, what) > 0 }
		for i := range rapid.IntRange(0, 4).Draw(r, "volumes") {
			// One that a drill made, but for what chance takes away.
			v := left(rapid.SampledFrom([]catalog.DrillID{one, two}).Draw(r, "made by")).Volumes[0]
			v.Name, v.Spec.CSI.VolumeHandle = fmt.Sprint("pv-", i), fmt.Sprint("disk-", rapid.IntRange(0, 9).Draw(r, "disk"))
			if !mostly("class") {
				v.Spec.StorageClassName = rapid.SampledFrom(classes).Draw(r, "class")
			}
			if !mostly("claim") {
				v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: rapid.SampledFrom(namespaces).Draw(r, "of"), Name: "data"}
			}
			if !mostly("bound") {
				v.Spec.ClaimRef = nil
			}
			if !mostly("provisioned") {
				v.Annotations = nil
			}
			if !mostly("csi") {
				v.Spec.CSI = nil
			}
			seen.Volumes = append(seen.Volumes, v)
		}
		for i := range rapid.IntRange(0, 3).Draw(r, "contents") {
			c := snapshotv1.VolumeSnapshotContent{ObjectMeta: meta(fmt.Sprint("content-", i))}
			c.Spec.DeletionPolicy = rapid.SampledFrom([]snapshotv1.DeletionPolicy{"Retain", "Delete"}).Draw(r, "policy")
			c.Spec.VolumeSnapshotRef.Namespace = rapid.SampledFrom(namespaces).Draw(r, "of")
			if rapid.Bool().Draw(r, "static") {
				c.Spec.Source.SnapshotHandle = ptr.To("snap")
			}
			seen.Contents = append(seen.Contents, c)
		}
		for i := range rapid.IntRange(0, 3).Draw(r, "claims") {
			c := corev1.PersistentVolumeClaim{ObjectMeta: meta(fmt.Sprint("claim-", i))}
			c.Namespace, c.Spec.VolumeName = rapid.SampledFrom(namespaces).Draw(r, "in"), rapid.SampledFrom([]string{"", "pv-0", "pv-1", "pv-9"}).Draw(r, "volume")
			seen.Claims = append(seen.Claims, c)
		}
		allowed := marked(seen)
		for _, name := range touched(Decide(seen, every)) {
			if !allowed[name] {
				r.Fatalf("%s is touched, which lacks a drill's marks", name)
			}
		}
	})
}

// marked states once more, plainly, what a drill may touch.
func marked(seen Seen) map[string]bool {
	allowed := map[string]bool{}
	whose := func(labels map[string]string) string {
		for _, id := range []catalog.DrillID{one, two} {
			if labels["hawser.dev/drill"] == string(id) && labels["app.kubernetes.io/managed-by"] == "hawser" {
				return string(id)[len(id)-8:]
			}
		}
		return "nobody's"
	}
	ends := func(name, mark string) bool {
		return strings.HasSuffix(strings.TrimRight(name, "0123456789"), "-"+mark+"-")
	}
	classes := map[string]string{}
	for _, c := range seen.Classes {
		if mark := whose(c.Labels); ends(c.Name, mark) && strings.HasPrefix(c.Name, "hawser-drill-") {
			allowed["StorageClass "+c.Name], classes[c.Name] = true, mark
		}
	}
	for _, n := range seen.Namespaces {
		if ends(n.Name, whose(n.Labels)) {
			foreign := slices.ContainsFunc(seen.Claims, func(c corev1.PersistentVolumeClaim) bool {
				return c.Namespace == n.Name && whose(c.Labels) != whose(n.Labels)
			})
			allowed["Namespace "+n.Name] = !foreign
		}
	}
	for _, v := range seen.Volumes {
		alone := 0
		for _, other := range seen.Volumes {
			if v.Spec.CSI != nil && other.Spec.CSI != nil && v.Spec.CSI.Driver == other.Spec.CSI.Driver && v.Spec.CSI.VolumeHandle == other.Spec.CSI.VolumeHandle {
				alone++
			}
		}
		mark, made := classes[v.Spec.StorageClassName]
		allowed["PersistentVolume "+v.Name] = made && alone == 1 && v.Spec.ClaimRef != nil && ends(v.Spec.ClaimRef.Namespace, mark) && v.Annotations["pv.kubernetes.io/provisioned-by"] == v.Spec.CSI.Driver
	}
	for _, c := range seen.Contents {
		allowed["VolumeSnapshotContent "+c.Name] = ends(c.Spec.VolumeSnapshotRef.Namespace, whose(c.Labels)) && c.Spec.DeletionPolicy == "Retain" && c.Spec.Source.SnapshotHandle != nil
	}
	maps.DeleteFunc(allowed, func(_ string, may bool) bool { return !may })
	return allowed
}
