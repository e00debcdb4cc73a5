package restore

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"hawser.dev/hawser/catalog"
)

// Situations in which a plan that looks right would lose data, or give a claim
// an empty disk.
func TestPlanRefusesWhatLooksRightAndIsDangerous(t *testing.T) {
	const set, claim0, claim2 = "StatefulSet shop/redis", "PersistentVolumeClaim shop/redis-pvc-redis-0", "PersistentVolumeClaim shop/redis-pvc-redis-2"
	runPlanCases(t, []planCase{
		{name: "the claim is bound to its disk, over which a second volume is Released with policy Delete",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound)
				o.haveVolume(0, corev1.VolumeReleased, renamed("pv-twin"), foreignUID, policyDelete)
			},
			refused: []refusal{{"PersistentVolume pv-redis-0, pv-twin", "all are over the same disk disk-0", "make each Retain"}}},
		{name: "the set exists at 0, and the point lacks the claim of an ordinal that had data",
			point: func(p *catalog.RestorePoint) {
				p.Bundle.Volumes = p.Bundle.Volumes[:2]
				p.Bundle.Skipped = append(p.Bundle.Skipped, catalog.Skip{
					Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "redis-pvc-redis-2", Reason: catalog.SkipProtectError, Message: "it could not be protected",
				})
			},
			given:   func(o *Observed) { o.StatefulSets = []appsv1.StatefulSet{redisSet(0)} },
			refused: []refusal{{claim2, "would be given an empty disk", "--ordinals"}}},
		{name: "a claim alone is asked for, and the set that would make an empty one runs",
			request: Request{Claims: []string{"redis-pvc-redis-0"}},
			given:   func(o *Observed) { o.StatefulSets = []appsv1.StatefulSet{redisSet(3)} },
			refused: []refusal{{set, "it is running", "--replicas=0"}}},
		{name: "a claim that an earlier restore filled has lost its volume",
			request: Request{Ordinals: []int{0}},
			given:   func(o *Observed) { o.haveClaim(0, corev1.ClaimLost, filledClaim(t, 0)) },
			refused: []refusal{{claim0, "has lost its volume", "delete the claim"}}},
		{name: "a class is asked for that does not exist",
			request: Request{Ordinals: []int{0}, Mapping: Mapping{StorageClasses: map[string]string{shopClass: "typo"}}},
			refused: []refusal{{"StorageClass typo", "it does not exist", "--storage-class " + shopClass + "=NEW"}}},
	})
}

// A volume that the plan itself reserves first cannot take a snapshot's place.
func TestPlanReservesItsOwnVolumesBeforeItRehydrates(t *testing.T) {
	point, observed := shop(), emptyCluster()
	observed.haveVolume(1, corev1.VolumeAvailable, unreserved)
	observed.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = DiskState{DiskGone, "volume disk-0 not found"}
	plan, err := checkedPlan(t, point, Request{From: FromAuto}, observed)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]Way{}
	for _, v := range plan.Volumes {
		ways[v.Claim.Name] = v.Way
	}
	if ways["redis-pvc-redis-0"] != FromSnapshot || ways["redis-pvc-redis-1"] != Reattach {
		t.Errorf("the claims come back by %v", ways)
	}
}

// The binder is at a pair whose volume names the claim by uid already: a patch
// would only make it lose a race.
func TestPlanLeavesAPairAloneThatIsBeingBound(t *testing.T) {
	point, observed := shop(), emptyCluster()
	observed.haveVolume(0, corev1.VolumeBound)
	observed.haveClaim(0, corev1.ClaimPending)
	plan, err := checkedPlan(t, point, Request{From: FromDisks, Ordinals: []int{0}}, observed)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range plan.Volumes[0].Steps {
		if step.Action != KeepAsIs {
			t.Errorf("%s %s %s: want it kept", step.Action, step.Kind, step.Name)
		}
	}
}
