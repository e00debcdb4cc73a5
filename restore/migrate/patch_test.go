package migrate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"

	"hawser.dev/hawser/restore/users"
)

var policies = map[string]*appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
	"no policy": nil,
	"Retain":    {WhenScaled: "Retain", WhenDeleted: "Retain"},
	"Delete":    {WhenScaled: "Delete", WhenDeleted: "Delete"},
}

// What a rollback of a stop leaves is what was there before, whatever the set
// said of its claims; while it is stopped it keeps them.
func TestAStopAndItsRollbackLeaveASetAsItWas(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			set := redisSet()
			set.Spec.PersistentVolumeClaimRetentionPolicy = policy
			before := set.DeepCopy()
			for i, patch := range []patchOf{stopPatch("id", 1), holdPatch("id", 2), stopPatch("id", 3), backPatch("id")} {
				content, err := patch(user(set))
				if err != nil || content == "" {
					t.Fatalf("patch %d: %q, %v", i, content, err)
				}
				set = patched(t, set, content)
				if stopped := i < 3; stopped && (*set.Spec.Replicas != 0 || !users.KeepsClaims(set.Spec.PersistentVolumeClaimRetentionPolicy)) {
					t.Errorf("after patch %d: %+v", i, set.Spec)
				}
			}
			if diff := cmp.Diff(before, set, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("it is not as it was (-before +after):\n%s", diff)
			}
			if again, err := backPatch("id")(user(set)); err != nil || again != "" {
				t.Errorf("a rollback that is done writes %q, %v", again, err)
			}
		})
	}
}

// What a run has written already it does not write again; another run writes its
// number.
func TestAStopIsWrittenOncePerRun(t *testing.T) {
	set := redisSet()
	first, err := stopPatch("id", 1)(user(set))
	if err != nil {
		t.Fatal(err)
	}
	set = patched(t, set, first)
	if again, err := stopPatch("id", 1)(user(set)); err != nil || again != "" {
		t.Errorf("the same run writes %q, %v", again, err)
	}
	second, err := stopPatch("id", 2)(user(set))
	if err != nil || second == "" {
		t.Fatalf("the next run writes %q, %v", second, err)
	}
	record, err := recordOf(patched(t, set, second))
	if err != nil || record.Run != 2 || record.Replicas != 2 {
		t.Errorf("the record is %+v, %v; want run 2 that remembers 2 replicas", record, err)
	}
}

func TestAWorkloadOfAnotherMigrationIsLeftAlone(t *testing.T) {
	set := redisSet()
	set.Annotations = map[string]string{RecordAnnotation: `{"id":"other","run":1,"replicas":2}`}
	for name, patch := range map[string]patchOf{
		"stop": stopPatch("id", 1), "start": startPatch("id", 1), "reserve": reservePatch("id", 1, 2), "hold": holdPatch("id", 1), "halt": haltPatch("id", 1),
		"back": backPatch("id"), "end": endPatch("id"), "moved": movedPatch(Moved{ID: "id"}), "unreserve": unreservePatch("id"),
	} {
		if content, err := patch(user(set)); err == nil || content != "" {
			t.Errorf("%s writes %q, %v", name, content, err)
		}
	}
}

// The set in the target is, when all is over, as it was in the source.
func TestAnArrivingSetIsInTheEndAsItWasInTheSource(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			s := seen()
			s.Point.Bundle.Objects[4].Object["spec"].(map[string]any)["persistentVolumeClaimRetentionPolicy"] = nil
			if policy != nil {
				s.Point.Bundle.Objects[4].Object["spec"].(map[string]any)["persistentVolumeClaimRetentionPolicy"] = map[string]any{"whenScaled": string(policy.WhenScaled), "whenDeleted": string(policy.WhenDeleted)}
			}
			plan, err := NewPlan(s, moving())
			if err != nil {
				t.Fatal(err)
			}
			landing, err := plan.landing(s.Point, s.InTarget, 1, false)
			if err != nil {
				t.Fatal(err)
			}
			set := &appsv1.StatefulSet{}
			for _, step := range landing.Workloads {
				if step.Kind == "StatefulSet" {
					set = patched(t, set, users.Encode(step.Object.Object))
				}
			}
			if *set.Spec.Replicas != 0 || !users.KeepsClaims(set.Spec.PersistentVolumeClaimRetentionPolicy) {
				t.Errorf("it is created with %d replicas and policy %+v", *set.Spec.Replicas, set.Spec.PersistentVolumeClaimRetentionPolicy)
			}
			for _, patch := range []patchOf{startPatch(plan.ID, 1), endPatch(plan.ID)} {
				content, err := patch(user(set))
				if err != nil || content == "" {
					t.Fatalf("patch %q, %v", content, err)
				}
				set = patched(t, set, content)
			}
			if *set.Spec.Replicas != 2 {
				t.Errorf("it has %d replicas, want 2", *set.Spec.Replicas)
			}
			if diff := cmp.Diff(policy, set.Spec.PersistentVolumeClaimRetentionPolicy); diff != "" {
				t.Errorf("its policy (-source +target):\n%s", diff)
			}
			if record, err := recordOf(set); record != nil || err != nil {
				t.Errorf("the record is still on it: %+v, %v", record, err)
			}
		})
	}
}
