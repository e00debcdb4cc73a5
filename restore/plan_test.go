package restore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// planCase is one situation that NewPlan decides. A %d in what is wanted is the
// ordinal.
type planCase struct {
	name    string
	point   func(*catalog.RestorePoint) // changes the shop's point; nil: as it is
	request Request
	given   func(*Observed) // changes an empty cluster that has the driver; nil: as it is

	want    string    // of ordinal 0
	others  string    // of ordinals 1 and 2; "" means fresh
	refused []refusal // instead
}

// refusal is a Refusal, with what problem and remedy must contain.
type refusal struct{ object, problem, remedy string }

// fresh is what happens to a claim of which nothing is there.
const fresh = "reattach: create pv/pv-redis-%d, create pvc/redis-pvc-redis-%d"

func runPlanCases(t *testing.T, tests []planCase) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			point, observed := shop(), emptyCluster()
			if test.point != nil {
				test.point(point)
			}
			if test.given != nil {
				test.given(observed)
			}
			plan, err := checkedPlan(t, point, test.request, observed)
			if test.refused != nil {
				expectRefusals(t, test.refused, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.others == "" {
				test.others = fresh
			}
			want := []string{strings.ReplaceAll(test.want, "%d", "0"), strings.ReplaceAll(test.others, "%d", "1"), strings.ReplaceAll(test.others, "%d", "2")}
			if diff := cmp.Diff(want, volumeLines(plan)); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
		})
	}
}

// volumeLines says in one line per claim what becomes of it.
func volumeLines(plan *Plan) []string {
	var lines []string
	for _, v := range plan.Volumes {
		lines = append(lines, string(v.Way)+": "+strings.Join(stepWords(v.Steps), ", "))
	}
	return lines
}

// stepWords says in a few words each what steps do.
func stepWords(steps []Step) []string {
	short := map[string]string{"PersistentVolume": "pv", "PersistentVolumeClaim": "pvc", "VolumeSnapshotContent": "content", "VolumeSnapshot": "snapshot"}
	var words []string
	for _, s := range steps {
		kind, name := s.Kind, s.Name
		if k := short[kind]; k != "" {
			kind = k
		}
		if strings.HasPrefix(name, "hawser-restore-") {
			name = "static"
		}
		words = append(words, fmt.Sprintf("%s %s/%s", s.Action, kind, name))
	}
	return words
}

// expectRefusals checks that err holds exactly these refusals, in this order.
func expectRefusals(t *testing.T, want []refusal, err error) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("error %v, want a refusal", err)
	}
	if len(refused.Refusals) != len(want) {
		t.Fatalf("%d refusals, want %d: %v", len(refused.Refusals), len(want), err)
	}
	for i, got := range refused.Refusals {
		object := got.Kind + " " + got.Name
		if got.Namespace != "" {
			object = got.Kind + " " + got.Namespace + "/" + got.Name
		}
		if object != want[i].object {
			t.Errorf("refusal %d is about %q, want %q", i, object, want[i].object)
		}
		if !strings.Contains(got.Problem, want[i].problem) {
			t.Errorf("problem %q, want it to say %q", got.Problem, want[i].problem)
		}
		if !strings.Contains(got.Remedy, want[i].remedy) {
			t.Errorf("remedy %q, want it to say %q", got.Remedy, want[i].remedy)
		}
	}
}

const claim0 = "PersistentVolumeClaim shop/redis-pvc-redis-0"

func TestPlanVolumesThatExist(t *testing.T) {
	runPlanCases(t, []planCase{
		{name: "nothing is there: the pair is made", want: fresh},
		{name: "everything is bound already: all is kept",
			given:  func(o *Observed) { *o = *runningShop() },
			want:   "adopt: keep pvc/redis-pvc-redis-%d",
			others: "adopt: keep pvc/redis-pvc-redis-%d"},
		{name: "bound already, with policy Delete: the volume is protected",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, policyDelete)
				o.haveClaim(0, corev1.ClaimBound)
			},
			want: "adopt: protect pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "bound already through a volume of another name: it is kept",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, renamed("pv-made-by-hand"))
				o.haveClaim(0, corev1.ClaimBound, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv-made-by-hand" })
			},
			want: "adopt: keep pvc/redis-pvc-redis-0"},
		{name: "the volume is Released: it is re-armed in place",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume is Released with policy Delete: it is re-armed, which makes it Retain",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID, policyDelete) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume is Released under another name: that one is re-armed and named by the claim",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID, renamed("pv-made-by-hand")) },
			want:  "reattach: re-arm pv/pv-made-by-hand, create pvc/redis-pvc-redis-0"},
		{name: "the claim was deleted a moment ago and its volume is still shown as Bound: it is re-armed",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeBound) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume is Available and reserved for the claim: it is kept",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeAvailable, reserved) },
			want:  "reattach: keep pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume is reserved for the claim, with policy Delete: it is made Retain",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeAvailable, reserved, policyDelete) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume was reserved by hand and would lose that on a conflict: it is re-armed",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeAvailable, reserved, boundByController) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "the volume is Available for anybody: it is reserved",
			given: func(o *Observed) { o.haveVolume(0, corev1.VolumeAvailable, unreserved) },
			want:  "reattach: re-arm pv/pv-redis-0, create pvc/redis-pvc-redis-0"},
		{name: "a volume of another driver with the same handle is another disk",
			given: func(o *Observed) {
				o.haveVolume(9, corev1.VolumeBound, overDisk("disk-0"), func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "other.example.com" })
			},
			want: fresh},
		{name: "a volume without a CSI source is another disk",
			given: func(o *Observed) {
				o.haveVolume(9, corev1.VolumeBound, func(v *corev1.PersistentVolume) { v.Spec.CSI = nil })
			},
			want: fresh},
		{name: "the volume is bound to another claim",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Namespace = "copy" })
			},
			refused: []refusal{{"PersistentVolume pv-redis-0", "it holds disk disk-0 for another claim, copy/redis-pvc-redis-0", "delete that claim and this PersistentVolume object"}}},
		{name: "the volume is being deleted",
			given:   func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID, terminatingVolume) },
			refused: []refusal{{"PersistentVolume pv-redis-0", "it is being deleted", "wait until it is gone"}}},
		{name: "the reclaim of the volume failed",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeFailed, foreignUID, func(v *corev1.PersistentVolume) { v.Status.Message = "still attached" })
			},
			refused: []refusal{{"PersistentVolume pv-redis-0", "its reclaim failed (still attached)", "look at the disk"}}},
		{name: "two volumes are over the disk",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeReleased, foreignUID)
				o.haveVolume(0, corev1.VolumeReleased, foreignUID, renamed("pv-twin"))
			},
			refused: []refusal{{"PersistentVolume pv-redis-0, pv-twin", "all are over the same disk disk-0", "delete all but one"}}},
		{name: "a volume of the name is over another disk",
			given:   func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID, overDisk("disk-new")) },
			refused: []refusal{{"PersistentVolume pv-redis-0", "it exists over another disk than disk-0", "delete that PersistentVolume"}}},
		{name: "the pair of the point do not name each other",
			point:   func(p *catalog.RestorePoint) { p.Bundle.Volumes[0].PersistentVolume = "pv-redis-1" },
			refused: []refusal{{claim0, "PersistentVolume pv-redis-1 is not the volume of claim shop/redis-pvc-redis-0", "use an older one"}}},
	})
}

func TestPlanClaimsThatExist(t *testing.T) {
	gone := map[catalog.Disk]DiskState{{Driver: shopDriver, Handle: diskOf(0)}: {DiskGone, "volume disk-0 not found"}}
	runPlanCases(t, []planCase{
		{name: "the claim is Pending and names our volume, which is reserved for it by uid: both are kept",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeAvailable)
				o.haveClaim(0, corev1.ClaimPending)
			},
			want: "reattach: keep pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "the claim is Pending and names our volume, which is not there: the volume is made for it",
			given: func(o *Observed) { o.haveClaim(0, corev1.ClaimPending) },
			want:  "reattach: create pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "the claim is Pending and names our volume, which is Released: the volume is re-armed for it",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeReleased, foreignUID)
				o.haveClaim(0, corev1.ClaimPending)
			},
			want: "reattach: re-arm pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "the claim is Lost: its volume is made for its uid",
			given: func(o *Observed) { o.haveClaim(0, corev1.ClaimLost) },
			want:  "reattach: create pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "the claim is Lost and its volume was made anew without its uid: the volume is given it",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeReleased, foreignUID)
				o.haveClaim(0, corev1.ClaimLost)
			},
			want: "reattach: re-arm pv/pv-redis-0, keep pvc/redis-pvc-redis-0"},
		{name: "the claim is Pending and names no volume: it may be given an empty disk",
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, namesNoVolume) },
			refused: []refusal{{claim0, "it exists, is Pending and may be given an empty disk", "scale its workload to 0"}}},
		{name: "the claim is bound to another disk",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, renamed("pv-elsewhere"), overDisk("disk-new"))
				o.haveClaim(0, corev1.ClaimBound, elsewhere)
			},
			refused: []refusal{{claim0, "bound to another disk (PersistentVolume pv-elsewhere, volumeHandle disk-new)", "make its PersistentVolume Retain first"}}},
		{name: "the claim is bound to a disk of the same handle of another driver",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, renamed("pv-elsewhere"), func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "other.example.com" })
				o.haveClaim(0, corev1.ClaimBound, elsewhere)
			},
			refused: []refusal{{claim0, "PersistentVolume pv-elsewhere, volumeHandle disk-0", "delete the claim"}}},
		{name: "the claim is still shown as Bound, but its volume names another claim",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeReleased, foreignUID)
				o.haveClaim(0, corev1.ClaimBound)
			},
			refused: []refusal{{claim0, "PersistentVolume pv-redis-0, volumeHandle disk-0", "run the restore again"}}},
		{name: "the claim is bound to a volume without a CSI source",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound, renamed("pv-elsewhere"), func(v *corev1.PersistentVolume) { v.Spec.CSI = nil })
				o.haveClaim(0, corev1.ClaimBound, elsewhere)
			},
			refused: []refusal{{claim0, "bound to another disk (PersistentVolume pv-elsewhere)", "delete the claim"}}},
		{name: "the claim is Pending and names another volume",
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimPending, elsewhere) },
			refused: []refusal{{claim0, "PersistentVolume pv-elsewhere, which does not exist", "delete the claim"}}},
		{name: "the claim is Lost and names another volume",
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimLost, elsewhere) },
			refused: []refusal{{claim0, "PersistentVolume pv-elsewhere, which does not exist", "delete the claim"}}},
		{name: "the claim is being deleted",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound, terminatingClaim)
			},
			refused: []refusal{{claim0, "it is being deleted", "wait until it is gone"}}},
		{name: "a claim of the name in another namespace is another claim",
			given: func(o *Observed) {
				o.haveClaim(0, corev1.ClaimBound, elsewhere, func(c *corev1.PersistentVolumeClaim) { c.Namespace = "copy" })
			},
			want: fresh},
		{name: "the claim is bound to its disk, whatever was found out about the disk",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound)
				o.Disks = gone
			},
			want: "adopt: keep pvc/redis-pvc-redis-0"},
	})
}

func TestPlanDriversAndClasses(t *testing.T) {
	noDriver := func(o *Observed) { o.Drivers, o.Nodes = nil, nil }
	missing := func(n int) refusal {
		return refusal{"CSIDriver " + shopDriver, fmt.Sprintf("claim shop/redis-pvc-redis-%d needs it", n), "install the driver"}
	}
	runPlanCases(t, []planCase{
		{name: "the driver is known by its CSIDriver only", given: func(o *Observed) { o.Nodes = nil }, want: fresh},
		{name: "the driver is known by a node only", given: func(o *Observed) { o.Drivers = nil }, want: fresh},
		{name: "the driver is not there: each claim says so", given: noDriver, refused: []refusal{missing(0), missing(1), missing(2)}},
		{name: "another driver is there", given: func(o *Observed) {
			noDriver(o)
			o.Drivers = []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: "other.example.com"}}}
		}, refused: []refusal{missing(0), missing(1), missing(2)}},
	})
}

// The class under which a retained disk comes back.
func TestPlanClassOfReattachedClaims(t *testing.T) {
	const absent = "; class \"\" since the target has no class %s of this driver"
	tests := []struct {
		name     string
		recorded string
		mapping  map[string]string
		want     string
		note     string
	}{
		{name: "the target has the class: it is kept", recorded: shopClass, want: shopClass},
		{name: "the target has no such class: none", recorded: "gp2", want: "", note: absent},
		{name: "the target's class of that name is of another driver: none", recorded: "foreign", want: "", note: absent},
		{name: "no class was recorded: none", recorded: "", want: ""},
		{name: "the class is mapped", recorded: "gp2", mapping: map[string]string{"gp2": "fast"}, want: "fast"},
		{name: "the class is mapped to none, although the target has it", recorded: shopClass, mapping: map[string]string{shopClass: ""}, want: ""},
		{name: "no class is mapped to one", recorded: "", mapping: map[string]string{"": "fast"}, want: "fast"},
		{name: "another class is mapped", recorded: shopClass, mapping: map[string]string{"gp2": "fast"}, want: shopClass},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			point := shop()
			for i := range point.Bundle.Volumes {
				point.Bundle.Volumes[i].StorageClass = test.recorded
			}
			plan, err := checkedPlan(t, point, Request{Mapping: Mapping{StorageClasses: test.mapping}}, emptyCluster())
			if err != nil {
				t.Fatal(err)
			}
			var volume corev1.PersistentVolume
			var claim corev1.PersistentVolumeClaim
			recode(t, plan.Volumes[0].Steps[0].Object, &volume)
			recode(t, plan.Volumes[0].Steps[1].Object, &claim)
			if got := volume.Spec.StorageClassName; got != test.want {
				t.Errorf("class of the volume %q, want %q", got, test.want)
			}
			reason := "names PersistentVolume pv-redis-0" + strings.ReplaceAll(test.note, "%s", test.recorded)
			if got := plan.Volumes[0].Steps[1].Reason; got != reason {
				t.Errorf("reason %q, want %q", got, reason)
			}
			if got := claim.Spec.StorageClassName; got == nil || *got != test.want {
				t.Errorf("class of the claim %q, want %q", ptr.Deref(got, "absent, so the default class"), test.want)
			}
		})
	}
}

// What the driver said of the disk decides between disk and snapshot.
func TestPlanChoosesByTheDisk(t *testing.T) {
	const rehydrate = "rehydrate: create content/static, create snapshot/static, create pvc/redis-pvc-redis-%d"
	disks := func(presence Presence, message string) func(*Observed) {
		return func(o *Observed) { o.haveDisks(presence, message) }
	}
	noSnapshots := func(p *catalog.RestorePoint) {
		for i := range p.Bundle.Volumes {
			p.Bundle.Volumes[i].Snapshot = nil
		}
	}
	each := func(problem, remedy string) []refusal {
		var refusals []refusal
		for n := range 3 {
			refusals = append(refusals, refusal{fmt.Sprintf("PersistentVolumeClaim shop/redis-pvc-redis-%d", n), strings.ReplaceAll(problem, "%d", fmt.Sprint(n)), remedy})
		}
		return refusals
	}
	runPlanCases(t, []planCase{
		{name: "it was not checked: the disk", request: Request{From: FromAuto}, want: fresh},
		{name: "it is there: the disk", request: Request{From: FromAuto}, given: disks(DiskPresent, "attached"), want: fresh},
		{name: "it could not be checked: the disk", request: Request{From: FromAuto}, given: disks(DiskUnknown, "no node"), want: fresh},
		{name: "it is gone: the snapshot", request: Request{From: FromAuto}, given: disks(DiskGone, "not found"), want: rehydrate, others: rehydrate},
		{name: "one is gone: the snapshot for that one only", request: Request{From: FromAuto},
			given: func(o *Observed) {
				o.haveDisks(DiskPresent, "attached")
				o.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = DiskState{DiskGone, "not found"}
			}, want: rehydrate},
		{name: "one of the same handle but of another driver is gone: the disk", request: Request{From: FromAuto},
			given: func(o *Observed) {
				o.Disks[catalog.Disk{Driver: "other.example.com", Handle: diskOf(0)}] = DiskState{DiskGone, "not found"}
			}, want: fresh},
		{name: "it is gone and there is no snapshot", request: Request{From: FromAuto}, point: noSnapshots, given: disks(DiskGone, "volume not found"),
			refused: each("its disk disk-%d is gone (volume not found) and the point has no snapshot", "an older point")},
		{name: "it is in use elsewhere", request: Request{From: FromAuto}, given: disks(DiskInUse, "attached to node-9"),
			refused: each("its disk disk-%d is in use elsewhere: attached to node-9", "--from snapshots")},
		{name: "it is gone, and the disk was asked for", request: Request{From: FromDisks}, given: disks(DiskGone, "not found"), want: fresh},
		{name: "it is there, and the snapshot was asked for", request: Request{From: FromSnapshots}, given: disks(DiskPresent, "attached"), want: rehydrate, others: rehydrate},
	})
}

func TestPlanSaysWhereTheDataComesFrom(t *testing.T) {
	observed := emptyCluster()
	observed.haveDisks(DiskPresent, "attached to node-1")
	observed.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = DiskState{DiskGone, "disk-0 not found"}
	observed.haveVolume(2, corev1.VolumeBound)
	observed.haveClaim(2, corev1.ClaimBound)
	plan, err := checkedPlan(t, shop(), Request{From: FromAuto}, observed)
	if err != nil {
		t.Fatal(err)
	}
	var got []VolumePlan
	for _, v := range plan.Volumes {
		v.Steps, v.driver, v.handle, v.static = nil, "", "", ""
		if v.Bytes != 1<<30 {
			t.Errorf("claim %s is said to get %d bytes", v.Claim, v.Bytes)
		}
		v.Bytes = 0
		got = append(got, v)
	}
	want := []VolumePlan{
		{Claim: redisKey(0), Decision: DecideCreate, Way: FromSnapshot, Reason: "the disk is gone: disk-0 not found", Data: "snapshot-0", DataTime: ptr.To(shopTime), Size: "1Gi", HasPod: true},
		{Claim: redisKey(1), Decision: DecideCreate, Way: Reattach, Reason: "the disk is there: attached to node-1", Data: "disk-1", Size: "1Gi", VolumeName: "pv-redis-1", HasPod: true},
		{Claim: redisKey(2), Decision: DecideAdopt, Way: Adopt, Reason: "the claim is bound to its disk", Data: "disk-2", Size: "1Gi", VolumeName: "pv-redis-2", HasPod: true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(VolumePlan{})); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
}

func TestPlanReportsEveryReasonAtOnce(t *testing.T) {
	observed := emptyCluster()
	observed.haveClaim(0, corev1.ClaimPending, namesNoVolume)
	observed.haveVolume(1, corev1.VolumeReleased, terminatingVolume)
	observed.haveVolume(2, corev1.VolumeReleased, foreignUID)
	observed.StatefulSets = append(observed.StatefulSets, redisSet(3))
	request := Request{Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}, {Kind: "Deployment", Name: "web"}}, Ordinals: []int{0, 1, 2, 7}}
	_, err := checkedPlan(t, shop(), request, observed)
	expectRefusals(t, []refusal{
		{"Deployment web", "the point does not hold it", "hawser show"},
		{"StatefulSet *", "the point holds no claim of ordinal 7", "hawser show"},
		{claim0, "may be given an empty disk", "scale its workload to 0"},
		{"PersistentVolume pv-redis-1", "it is being deleted", "wait"},
		{"StatefulSet shop/redis", "it is running (3 replicas wanted, 3 Pods)", "--replicas=0"},
	}, err)
	for _, line := range []string{"refused, nothing was changed:", "  PersistentVolume pv-redis-1: it is being deleted; wait until it is gone"} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("error %q, want it to say %q", err, line)
		}
	}
}
