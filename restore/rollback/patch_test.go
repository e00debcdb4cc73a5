package rollback

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/restore/users"
)

// What stopping a set changes, starting and ending it puts back, whatever it
// said of its claims; each write that was done already is not done again.
func TestASetIsAsItWasAfterAllPatches(t *testing.T) {
	for name, policy := range map[string]*appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		"no policy":        nil,
		"Retain":           {WhenScaled: "Retain", WhenDeleted: "Retain"},
		"Delete at once":   {WhenScaled: "Delete", WhenDeleted: "Delete"},
		"Delete at an end": {WhenScaled: "Retain", WhenDeleted: "Delete"},
	} {
		t.Run(name, func(t *testing.T) {
			o := cluster()
			o.StatefulSets[0].Spec.PersistentVolumeClaimRetentionPolicy = policy
			before := *o.StatefulSets[0].DeepCopy()
			record := &Record{ID: "id", Act: Rollback, Step: StepStopped}
			steps := []func() ([]byte, error){
				func() ([]byte, error) { return stopPatch(record, o.Users()[0]) },
				func() ([]byte, error) { return startPatch(o.Users()[0]) },
				func() ([]byte, error) { return endPatch(o.Users()[0]) },
			}
			for i, step := range steps {
				patch, err := step()
				if err != nil || patch == nil {
					t.Fatalf("step %d: patch %s, %v", i, patch, err)
				}
				o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
				if i == 0 && (*o.StatefulSets[0].Spec.Replicas != 0 || !users.KeepsClaims(o.StatefulSets[0].Spec.PersistentVolumeClaimRetentionPolicy)) {
					t.Errorf("a set that is stopped: %+v", o.StatefulSets[0].Spec)
				}
				if again, err := step(); err != nil || again != nil {
					t.Errorf("step %d is done again: %s, %v", i, again, err)
				}
			}
			after := o.StatefulSets[0]
			after.Annotations = nil
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the set (-before +after):\n%s", diff)
			}
		})
	}
}

// Somebody who scales the set up in the middle does not become what is
// remembered.
func TestReplicasThatWereSetMeanwhileAreNotRemembered(t *testing.T) {
	o := cluster()
	record := &Record{ID: "id", Act: Rollback, Step: StepStopped}
	patch, _ := stopPatch(record, o.Users()[0])
	o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
	o.StatefulSets[0].Spec.Replicas = ptr.To[int32](5)
	patch, err := stopPatch(record, o.Users()[0])
	if err != nil || patch == nil {
		t.Fatalf("it is not stopped again: %s, %v", patch, err)
	}
	o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
	patch, _ = startPatch(o.Users()[0])
	if set := patched(t, o.StatefulSets[0], patch); *set.Spec.Replicas != 2 {
		t.Errorf("it is scaled back to %d, want 2", *set.Spec.Replicas)
	}
}

// A disk that is set aside is Retain, and carries its claim; with its claim back
// it carries nothing.
func TestADiskThatIsSetAsideCarriesItsClaim(t *testing.T) {
	o := cluster()
	record := &Record{ID: "id", Act: Undo, Point: pointID}
	change := &Change{Claim: "data-redis-0", UID: o.Claims[0].UID, From: diskOf(&o.Volumes[0])}
	o.Volumes[0].Labels = map[string]string{UndoLabel: "former", "kept": "yes"}
	patch, err := asidePatch(record, change, &o.Claims[0])
	if err != nil {
		t.Fatal(err)
	}
	pv := patched(t, o.Volumes[0], patch)
	if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain || pv.Labels[UndoneLabel] != "id" || pv.Labels[UndoLabel] != "" {
		t.Errorf("it is %s, labelled %v", pv.Spec.PersistentVolumeReclaimPolicy, pv.Labels)
	}
	aside := asideOf(&pv)
	if aside == nil || aside.ID != "id" || aside.Act != Undo || aside.Claim.UID != "" || len(aside.Claim.OwnerReferences) > 0 {
		t.Fatalf("it was set aside as %+v", aside)
	}
	if diff := cmp.Diff(o.Claims[0].Spec, aside.Claim.Spec); diff != "" {
		t.Errorf("the claim in it (-was +is):\n%s", diff)
	}
	patch, err = backPatch(change.From)
	if err != nil {
		t.Fatal(err)
	}
	if pv = patched(t, pv, patch); asideOf(&pv) != nil || len(pv.Labels) != 1 {
		t.Errorf("with its claim back it carries labels %v, annotations %v", pv.Labels, pv.Annotations)
	}
}
