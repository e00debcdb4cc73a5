package rollback

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"hawser.dev/hawser/restore"
)

func claimCount(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.DecimalSI) }

// patched applies a merge patch as the API server does.
func patched[T any](t rapid.TB, object T, patch []byte) T {
	t.Helper()
	before, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	after, err := jsonpatch.MergePatch(before, patch)
	if err != nil {
		t.Fatal(err)
	}
	var into T
	if err := json.Unmarshal(after, &into); err != nil {
		t.Fatal(err)
	}
	return into
}

// interrupted is the shop as a run leaves it that was killed at a random moment.
func interrupted(t *rapid.T, act Act) *Observed {
	o := cluster()
	plan, err := NewPlan(point(), o, rollingBack())
	if err != nil {
		t.Fatal(err)
	}
	record := plan.record
	if rapid.Bool().Draw(t, "the set is stopped") {
		patch, err := stopPatch(record, o.Users()[0])
		if err != nil {
			t.Fatal(err)
		}
		o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
	} else {
		return o // nothing else happens before
	}
	o.Pods = nil
	claims := o.Claims
	o.Claims = nil
	for n := range 2 {
		change := &record.Claims[n]
		moment := rapid.SampledFrom([]string{"before", "set aside", "deleting", "deleted", "made", "bound"}).Draw(t, fmt.Sprint("claim ", n))
		if moment != "before" {
			patch, err := asidePatch(record, change, &claims[n])
			if err != nil {
				t.Fatal(err)
			}
			o.Volumes[n] = patched(t, o.Volumes[n], patch)
		}
		switch moment {
		case "before", "set aside":
			o.Claims = append(o.Claims, claims[n])
			continue
		case "deleting":
			claims[n].DeletionTimestamp = &metav1.Time{Time: testNow}
			o.Claims = append(o.Claims, claims[n])
			continue
		}
		o.Volumes[n].Status.Phase = corev1.VolumeReleased
		if moment == "deleted" {
			continue
		}
		made := claimOf(n, types.UID(fmt.Sprint("uid-made-", n)), "")
		made.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ptr.To("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: change.Snapshot}
		made.Status.Phase = corev1.ClaimPending
		if moment == "bound" {
			made.Spec.VolumeName, made.Status.Phase = fmt.Sprint("pv-made-", n), corev1.ClaimBound
			o.Volumes = append(o.Volumes, volumeOf(made.Spec.VolumeName, fmt.Sprint("disk-made-", n), &made))
		}
		o.Claims = append(o.Claims, made)
	}
	return o
}

// Whatever a killed run has left, running it again or undoing it goes on; it
// makes no claim that does not say which data it gets, deletes no claim whose
// disk is not, or is not to be, set aside with it, and leads to the point's
// data, or back to the very disks that were there.
func TestWhateverAKilledRunLeavesIsGoneOnWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		act := rapid.SampledFrom([]Act{Rollback, Undo}).Draw(t, "next")
		o := interrupted(t, act)
		options := rollingBack()
		options.Act, options.Now = act, testNow.Add(time.Minute)
		plan, err := NewPlan(point(), o, options)
		if begun := o.StatefulSets[0].Annotations[RecordAnnotation] != ""; act == Undo && !begun {
			if refused := (*restore.RefusedError)(nil); !errors.As(err, &refused) {
				t.Fatalf("an undo of nothing: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("a killed run cannot be gone on with: %v", err)
		}
		for _, step := range plan.confirm.Steps() {
			if step.Kind != "PersistentVolumeClaim" || step.Action != restore.Create {
				continue
			}
			claim := &corev1.PersistentVolumeClaim{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(step.Object.Object, claim); err != nil {
				t.Fatal(err)
			}
			if claim.Spec.VolumeName == "" && claim.Spec.DataSource == nil {
				t.Fatalf("claim %s would be made without data", claim.Name)
			}
			if *claim.Spec.StorageClassName != "fast" || claim.Labels["app"] != "redis" {
				t.Fatalf("claim %s would not be as it was: %+v", claim.Name, claim)
			}
		}
		for i := range plan.record.Claims {
			c := &plan.record.Claims[i]
			live := o.Claim("shop", c.Claim)
			switch plan.swap.states[c.Claim] {
			case Untouched:
				if live.UID != c.UID {
					t.Fatalf("claim %s would be deleted, and is another one", c.Claim)
				}
				pv := o.Volume(live.Spec.VolumeName)
				if pv != nil && (c.From == nil || c.From.UID != pv.UID) && asideOf(pv) == nil {
					t.Fatalf("claim %s would be deleted, and PersistentVolume %s not be set aside", c.Claim, pv.Name)
				}
			case Stray:
				t.Fatalf("claim %s is taken for a stranger's", c.Claim)
			}
		}
		for n, c := range plan.Claims {
			want := map[Act]string{Rollback: fmt.Sprint("snap-", n), Undo: fmt.Sprint("disk-", n)}[act]
			if c.Data != want {
				t.Fatalf("claim %s gets %s, want %s", c.Claim, c.Data, want)
			}
		}
		// What was remembered of the set is not forgotten, whoever stops it again.
		patch, err := stopPatch(plan.record, o.Users()[0])
		if err != nil {
			t.Fatal(err)
		}
		stopped := o.StatefulSets[0]
		if patch != nil {
			stopped = patched(t, stopped, patch)
		}
		own, err := recordOf(&stopped)
		if err != nil || own.Replicas != 2 || *stopped.Spec.Replicas != 0 || own.Act != act {
			t.Fatalf("the set bears %+v (%v), with %d replicas", own, err, *stopped.Spec.Replicas)
		}
	})
}

// A claim that somebody made while its disk was being replaced is neither used
// nor deleted.
func TestAStrangersClaimIsRefused(t *testing.T) {
	o := cluster()
	plan, err := NewPlan(point(), o, rollingBack())
	if err != nil {
		t.Fatal(err)
	}
	patch, err := stopPatch(plan.record, o.Users()[0])
	if err != nil {
		t.Fatal(err)
	}
	o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
	o.Pods = nil
	for n := range 2 {
		aside, err := asidePatch(plan.record, &plan.record.Claims[n], &o.Claims[n])
		if err != nil {
			t.Fatal(err)
		}
		o.Volumes[n] = patched(t, o.Volumes[n], aside)
		o.Volumes[n].Status.Phase = corev1.VolumeReleased
	}
	o.Claims = []corev1.PersistentVolumeClaim{claimOf(0, "uid-stranger", "pv-empty")}
	_, err = NewPlan(point(), o, rollingBack())
	expectRefused(t, err, []string{"data-redis-0: somebody made it anew"})
}

// Two runs never lead the same workload in two directions.
func TestASecondRollbackIsRefusedWhileOneIsUnderWay(t *testing.T) {
	o := cluster()
	plan, err := NewPlan(point(), o, rollingBack())
	if err != nil {
		t.Fatal(err)
	}
	patch, err := stopPatch(plan.record, o.Users()[0])
	if err != nil {
		t.Fatal(err)
	}
	before := o.Users()[0]
	o.StatefulSets[0] = patched(t, o.StatefulSets[0], patch)
	if _, err := stopPatch(&Record{ID: "other", Act: Rollback}, o.Users()[0]); err == nil {
		t.Error("another rollback, planned before, would take the set over")
	}
	var content struct {
		Metadata struct{ ResourceVersion, UID string }
	}
	if json.Unmarshal(patch, &content) != nil || content.Metadata.ResourceVersion != before.Object.GetResourceVersion() || content.Metadata.UID != "uid-redis" {
		t.Errorf("the patch would apply to a set that was changed since: %s", patch)
	}
	other := point()
	other.Commit.Point, other.Bundle.Point = "20260903-070000-databases-5e6f7a8b", "20260903-070000-databases-5e6f7a8b"
	_, err = NewPlan(other, o, rollingBack())
	expectRefused(t, err, []string{"is under way", "--to " + pointID, "hawser undo statefulset/redis -n shop"})
}
