package restore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// A restore that is interrupted after any of its steps, whatever the cluster
// did after it, is completed by running it again, and then has nothing to do.
func TestRestoreIsCompletedByRunningItAgain(t *testing.T) {
	released := func(o *Observed) {
		for n := range 3 {
			o.haveVolume(n, corev1.VolumeReleased, foreignUID, policyDelete)
		}
	}
	tests := []struct {
		name    string
		request Request
		given   func(*Observed)
		gone    []int // ordinals whose disks the driver does not have
	}{
		{name: "of nothing, on retained disks", request: Request{From: FromAuto}},
		{name: "of nothing, on retained disks, unchecked", request: Request{From: FromDisks}},
		{name: "of Released volumes", request: Request{From: FromAuto}, given: released},
		{name: "of unreserved volumes", request: Request{From: FromAuto}, given: func(o *Observed) {
			for n := range 3 {
				o.haveVolume(n, corev1.VolumeAvailable, unreserved)
			}
		}},
		{name: "of Lost claims", request: Request{From: FromAuto}, given: func(o *Observed) {
			for n := range 3 {
				o.haveClaim(n, corev1.ClaimLost)
			}
		}},
		{name: "into a set at 0", request: Request{From: FromAuto}, given: func(o *Observed) {
			released(o)
			o.StatefulSets = append(o.StatefulSets, redisSet(0))
		}},
		{name: "from snapshots", request: Request{From: FromSnapshots}},
		{name: "from snapshots, of a class that waits for a Pod", request: Request{From: FromSnapshots}, given: func(o *Observed) {
			o.StorageClasses[0].VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
		}},
		{name: "of disks that are gone", request: Request{From: FromAuto}, gone: []int{0, 1, 2}},
		{name: "of disks that are gone, of a class that waits for a Pod", request: Request{From: FromAuto}, gone: []int{0, 1, 2}, given: func(o *Observed) {
			o.StorageClasses[0].VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
		}},
		{name: "of one disk that is gone and of two Released volumes", request: Request{From: FromAuto}, gone: []int{1}, given: released},
		{name: "of one ordinal", request: Request{From: FromAuto, Ordinals: []int{0}}, given: released},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := func() *world {
				w := &world{Observed: emptyCluster(), gone: map[catalog.VolumeHandle]bool{}}
				if test.given != nil {
					test.given(w.Observed)
				}
				for _, n := range test.gone {
					w.gone[diskOf(n)] = true
				}
				return w
			}
			plan, err := start().plan(t, shop(), test.request)
			if err != nil {
				t.Fatal(err)
			}
			for cut := range len(plan.Steps()) + 1 {
				for _, settled := range []bool{false, true} {
					after := "nothing"
					if cut > 0 {
						after = fmt.Sprintf("%d %s", cut, stepWords(plan.Steps()[cut-1 : cut])[0])
					}
					t.Run(fmt.Sprintf("after %s, settled %v", after, settled), func(t *testing.T) {
						runTwice(t, start(), test.request, cut, settled)
					})
				}
			}
		})
	}
}

// runTwice restores the shop up to the given number of steps, lets the cluster
// settle or not, and restores again.
func runTwice(t rapid.TB, w *world, request Request, cut int, settled bool) {
	t.Helper()
	plan, err := w.plan(t, shop(), request)
	if err != nil {
		t.Fatal(err)
	}
	w.apply(t, plan, cut)
	if settled {
		w.settle(t)
	}
	second, err := w.plan(t, shop(), request)
	if err != nil {
		t.Fatalf("the second run is refused: %v", err)
	}
	w.apply(t, second, len(second.Steps()))
	w.settle(t)
	w.expectRestored(t, plan)
	third, err := w.plan(t, shop(), request)
	if err != nil {
		t.Fatalf("the third run is refused: %v", err)
	}
	for _, s := range third.Steps() {
		if s.Action == Create || s.Action == RearmPV {
			t.Errorf("the third run still has to %s %s %s", s.Action, s.Kind, s.Name)
		}
	}
}

// In any state of the cluster a plan is refused, or each claim gets its data,
// also if the restore is interrupted and run again.
func TestAnyPlanKeepsItsPromises(t *testing.T) {
	plans := 0
	rapid.Check(t, func(t *rapid.T) {
		request := Request{From: rapid.SampledFrom([]From{FromAuto, FromDisks, FromSnapshots}).Draw(t, "from")}
		build := drawWorld(t)
		w := build()
		plan, err := w.plan(t, shop(), request)
		if err != nil {
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			return
		}
		plans++
		cut := rapid.IntRange(0, len(plan.Steps())).Draw(t, "steps before the interruption")
		runTwice(t, build(), request, cut, rapid.Bool().Draw(t, "settled"))
	})
	if plans == 0 {
		t.Error("every plan was refused: the test proves nothing")
	}
	t.Logf("%d plans were carried out", plans)
}

// drawWorld draws a cluster, and returns what builds it, as often as asked.
func drawWorld(t *rapid.T) func() *world {
	type change = func(*world, int)
	volumes := map[string]change{
		"no volume":        func(*world, int) {},
		"released":         func(w *world, n int) { w.haveVolume(n, corev1.VolumeReleased, foreignUID) },
		"released, Delete": func(w *world, n int) { w.haveVolume(n, corev1.VolumeReleased, foreignUID, policyDelete) },
		"released, renamed": func(w *world, n int) {
			w.haveVolume(n, corev1.VolumeReleased, foreignUID, renamed(fmt.Sprintf("other-%d", n)))
		},
		"reserved":         func(w *world, n int) { w.haveVolume(n, corev1.VolumeAvailable, reserved) },
		"reserved, Delete": func(w *world, n int) { w.haveVolume(n, corev1.VolumeAvailable, reserved, policyDelete) },
		"unreserved":       func(w *world, n int) { w.haveVolume(n, corev1.VolumeAvailable, unreserved) },
		"failed":           func(w *world, n int) { w.haveVolume(n, corev1.VolumeFailed, foreignUID) },
		"terminating":      func(w *world, n int) { w.haveVolume(n, corev1.VolumeReleased, foreignUID, terminatingVolume) },
		"another disk":     func(w *world, n int) { w.haveVolume(n, corev1.VolumeReleased, foreignUID, overDisk("disk-other")) },
		"of another claim": func(w *world, n int) {
			w.haveVolume(n, corev1.VolumeBound, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Name = "other" })
		},
		"bound to its claim": func(w *world, n int) { w.haveVolume(n, corev1.VolumeBound) },
	}
	claims := map[string]change{
		"no claim":        func(*world, int) {},
		"pending, naming": func(w *world, n int) { w.haveClaim(n, corev1.ClaimPending) },
		"pending, free":   func(w *world, n int) { w.haveClaim(n, corev1.ClaimPending, namesNoVolume) },
		"pending, filled": func(w *world, n int) {
			w.Contents = append(w.Contents, *staticOf(t, n).Content)
			w.Snapshots = append(w.Snapshots, *staticOf(t, n).Snapshot)
			w.haveClaim(n, corev1.ClaimPending, filledClaim(t, n))
		},
		"lost":            func(w *world, n int) { w.haveClaim(n, corev1.ClaimLost) },
		"terminating":     func(w *world, n int) { w.haveClaim(n, corev1.ClaimBound, terminatingClaim) },
		"bound":           func(w *world, n int) { w.haveClaim(n, corev1.ClaimBound) },
		"bound elsewhere": func(w *world, n int) { w.haveClaim(n, corev1.ClaimBound, elsewhere) },
	}
	pick := func(label string, choices map[string]change, simple string) change {
		// Mostly the simple one: a world with trouble everywhere is always refused.
		if rapid.IntRange(0, 2).Draw(t, label+" simple") > 0 {
			return choices[simple]
		}
		return choices[rapid.SampledFrom(slices.Sorted(maps.Keys(choices))).Draw(t, label)]
	}
	var changes []change
	for n := range 3 {
		volume, claim := pick("volume", volumes, "no volume"), pick("claim", claims, "no claim")
		gone := rapid.Bool().Draw(t, "gone")
		changes = append(changes, func(w *world, _ int) {
			volume(w, n)
			claim(w, n)
			w.gone[diskOf(n)] = gone
		})
	}
	replicas := rapid.SampledFrom([]int32{-1, -1, 0, 3}).Draw(t, "replicas of the set, if there is one")
	return func() *world {
		w := &world{Observed: emptyCluster(), gone: map[catalog.VolumeHandle]bool{}}
		for _, change := range changes {
			change(w, 0)
		}
		if replicas >= 0 {
			w.StatefulSets = append(w.StatefulSets, redisSet(replicas))
		}
		return w
	}
}
