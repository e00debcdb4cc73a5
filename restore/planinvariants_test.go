package restore

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// checkedPlan is NewPlan with what must hold of every plan and every refusal.
func checkedPlan(t rapid.TB, point *catalog.RestorePoint, request Request, observed *Observed) (*Plan, error) {
	t.Helper()
	points, world := toJSON(t, point), toJSON(t, observed.all())
	plan, err := NewPlan(point, request, observed)
	if diff := cmp.Diff(points, toJSON(t, point)); diff != "" {
		t.Errorf("the point changed:\n%s", diff)
	}
	if diff := cmp.Diff(world, toJSON(t, observed.all())); diff != "" {
		t.Errorf("what was observed changed:\n%s", diff)
	}
	again, errAgain := NewPlan(point, request, observed)
	if diff := cmp.Diff(toJSON(t, plan), toJSON(t, again)); diff != "" || (err == nil) != (errAgain == nil) {
		t.Errorf("planned again, it differs: %v, %v\n%s", err, errAgain, diff)
	}
	if refused, ok := err.(*RefusedError); ok {
		for _, r := range refused.Refusals {
			if r.Kind == "" || r.Name == "" || r.Problem == "" || r.Remedy == "" {
				t.Errorf("a refusal must name object, problem and remedy: %+v", r)
			}
		}
	}
	if (plan == nil) != (err != nil) {
		t.Errorf("plan %v and error %v", plan, err)
	}
	if err == nil {
		expectSafe(t, plan, observed)
	}
	return plan, err
}

func toJSON(t rapid.TB, value any) string {
	t.Helper()
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// all is everything in o, for comparison.
func (o *Observed) all() []any {
	return []any{
		o.Namespaces, o.Volumes, o.Claims, o.StatefulSets, o.Deployments, o.Pods, o.Services, o.ConfigMaps, o.Secrets, o.StorageClasses,
		o.Drivers, o.Nodes, o.Attachments, o.SnapshotAPI, o.SnapshotClasses, o.Contents, o.Snapshots, fmt.Sprint(o.Disks),
	}
}

// expectSafe checks what the package promises of each plan.
func expectSafe(t rapid.TB, plan *Plan, observed *Observed) {
	t.Helper()
	expectOrder(t, plan.Steps())
	reservedFor := map[string]catalog.ClaimKey{}
	for _, s := range plan.Steps() {
		if resources[s.Kind].Resource == "" {
			t.Errorf("Apply cannot write a %s", s.Kind)
		}
		if s.Reason == "" {
			t.Errorf("%s %s has no reason", s.Kind, s.Name)
		}
		switch s.Action {
		case Create:
			expectNew(t, s, observed)
		case RearmPV, ProtectPV:
			expectRetainPatch(t, s, observed)
		case KeepAsIs:
		default:
			t.Errorf("%s %s: %s is not something that a plan does", s.Kind, s.Name, s.Action)
		}
	}
	for _, v := range plan.Volumes {
		for _, s := range v.Steps {
			if s.Kind == "PersistentVolume" && s.Action != ProtectPV {
				if other, taken := reservedFor[s.Name]; taken {
					t.Errorf("PersistentVolume %s is for %s and for %s", s.Name, other, v.Claim)
				}
				reservedFor[s.Name] = v.Claim
			}
		}
		expectData(t, v)
	}
}

// expectOrder checks that configuration comes first, each volume before its
// claim, and workloads last.
func expectOrder(t rapid.TB, steps []Step) {
	t.Helper()
	order := []string{"Namespace", "ConfigMap", "VolumeSnapshotContent", "VolumeSnapshot", "PersistentVolume", "PersistentVolumeClaim", "Service", "StatefulSet"}
	rank := func(kind string) int {
		switch kind {
		case "Secret":
			kind = "ConfigMap" // in any order
		case "Deployment", "Pod":
			kind = "StatefulSet"
		}
		return slices.Index(order, kind)
	}
	for i := 1; i < len(steps); i++ {
		if rank(steps[i].Kind) < rank(steps[i-1].Kind) {
			t.Errorf("%s %s comes after %s %s", steps[i].Kind, steps[i].Name, steps[i-1].Kind, steps[i-1].Name)
		}
	}
}

// expectNew checks that a step creates what does not exist, whole.
func expectNew(t rapid.TB, s Step, observed *Observed) {
	t.Helper()
	if observedHas(observed, s) {
		t.Errorf("%s %s/%s exists and would be created", s.Kind, s.Namespace, s.Name)
	}
	o := s.Object
	if o == nil || o.GetKind() != s.Kind || o.GetName() != s.Name || o.GetNamespace() != s.Namespace || o.GetAPIVersion() == "" {
		t.Fatalf("step %s %s/%s creates %v", s.Kind, s.Namespace, s.Name, o)
	}
	if o.GetUID() != "" || o.GetResourceVersion() != "" || len(o.GetOwnerReferences())+len(o.GetFinalizers()) > 0 || o.Object["status"] != nil {
		t.Errorf("%s %s carries what belongs to another cluster: %v", s.Kind, s.Name, o.Object)
	}
	if s.Kind == "PersistentVolume" {
		var volume corev1.PersistentVolume
		recode(t, o, &volume)
		if volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("PersistentVolume %s is created as %s", s.Name, volume.Spec.PersistentVolumeReclaimPolicy)
		}
		if uid := volume.Spec.ClaimRef.UID; uid != "" && !slices.ContainsFunc(observed.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.UID == uid }) {
			t.Errorf("PersistentVolume %s names claim uid %s, which does not exist: it would be Released", s.Name, uid)
		}
		if len(observed.volumesOf(volume.Spec.CSI.Driver, catalog.VolumeHandle(volume.Spec.CSI.VolumeHandle))) > 0 {
			t.Errorf("PersistentVolume %s would be the second over disk %s", s.Name, volume.Spec.CSI.VolumeHandle)
		}
	}
}

func observedHas(o *Observed, s Step) bool {
	switch s.Kind {
	case "PersistentVolume":
		return o.volume(s.Name) != nil
	case "PersistentVolumeClaim":
		return o.claim(catalog.ClaimKey{Namespace: s.Namespace, Name: s.Name}) != nil
	case "VolumeSnapshotContent":
		for _, c := range o.Contents {
			if c.Name == s.Name {
				return true
			}
		}
		return false
	case "VolumeSnapshot":
		for _, x := range o.Snapshots {
			if x.Namespace == s.Namespace && x.Name == s.Name {
				return true
			}
		}
		return false
	}
	return o.find(s.Kind, s.Namespace, s.Name) != nil
}

// expectRetainPatch checks that a patch keeps a volume that exists, and that
// volume only.
func expectRetainPatch(t rapid.TB, s Step, observed *Observed) {
	t.Helper()
	volume := observed.volume(s.Name)
	if s.Kind != "PersistentVolume" || volume == nil {
		t.Errorf("%s %s %s: there is no such PersistentVolume", s.Action, s.Kind, s.Name)
		return
	}
	var patch struct {
		Metadata struct{ UID string }
		Spec     struct {
			PersistentVolumeReclaimPolicy string
			ClaimRef                      *struct{ Namespace, Name, UID string }
		}
	}
	if err := json.Unmarshal([]byte(s.Patch), &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.UID != string(volume.UID) {
		t.Errorf("%s %s applies to uid %q, want %q", s.Action, s.Name, patch.Metadata.UID, volume.UID)
	}
	if patch.Spec.PersistentVolumeReclaimPolicy != "Retain" {
		t.Errorf("%s %s leaves policy %q", s.Action, s.Name, patch.Spec.PersistentVolumeReclaimPolicy)
	}
	if s.Action == ProtectPV && patch.Spec.ClaimRef != nil {
		t.Errorf("protect %s touches its binding", s.Name)
	}
	if strings.Contains(s.Patch, "deletionTimestamp") || strings.Contains(s.Patch, "finalizers") {
		t.Errorf("%s %s deletes: %s", s.Action, s.Name, s.Patch)
	}
}

// expectData checks that a claim gets its data, and never an empty disk: a
// claim that is created names its volume, which the plan made sure of, or its
// snapshot.
func expectData(t rapid.TB, v VolumePlan) {
	t.Helper()
	var prepared, snapshots []string
	for _, s := range v.Steps {
		switch {
		case s.Kind == "PersistentVolume":
			prepared = append(prepared, s.Name)
		case s.Kind == "VolumeSnapshot":
			snapshots = append(snapshots, s.Name)
		case s.Kind == "PersistentVolumeClaim" && s.Action == Create:
			var claim corev1.PersistentVolumeClaim
			recode(t, s.Object, &claim)
			source := ptr.Deref(claim.Spec.DataSource, corev1.TypedLocalObjectReference{})
			fromDisk := v.Way == Reattach && claim.Spec.VolumeName == v.VolumeName && slices.Contains(prepared, claim.Spec.VolumeName) && source.Name == ""
			fromSnapshot := v.Way == FromSnapshot && claim.Spec.VolumeName == "" && source.Kind == "VolumeSnapshot" && slices.Contains(snapshots, source.Name)
			if !fromDisk && !fromSnapshot {
				t.Errorf("claim %s (%s) would not get its data: volumeName %q, dataSource %v, of %v and %v", v.Claim, v.Way, claim.Spec.VolumeName, source, prepared, snapshots)
			}
		}
	}
}
