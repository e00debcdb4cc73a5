package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"hawser.dev/hawser/catalog"
)

// heldBy gives the disk of ordinal n to an owner. This cluster is "here".
func (o *Observed) heldBy(n int, owner catalog.Ownership) {
	o.ClusterUID = "here"
	if o.Owners == nil {
		o.Owners = catalog.Owners{}
	}
	owner.Disk = catalog.Disk{Driver: shopDriver, Handle: diskOf(n)}
	owner.Number, owner.Migration, owner.Taken = 2, "20260903-120000-0a1b2c3d", time.Date(2026, 9, 3, 12, 1, 0, 0, time.UTC)
	o.Owners[owner.Disk] = owner
}

var (
	there = catalog.Ownership{Cluster: catalog.Cluster{UID: "there", Name: "prod-us"}}
	here  = catalog.Ownership{Cluster: catalog.Cluster{UID: "here", Name: "prod-eu"}}
	going = catalog.Ownership{Cluster: catalog.Cluster{UID: "here", Name: "prod-eu"}, Underway: true}
)

func TestPlanRefusesDisksOfAnotherCluster(t *testing.T) {
	const claim0, set = "PersistentVolumeClaim shop/redis-pvc-redis-0", "StatefulSet shop/redis"
	const owned = "its disk disk-0 is owned by cluster prod-us (there), which took it on 2026-09-03T12:01:00Z by migration 20260903-120000-0a1b2c3d"
	const remedy = "`hawser migrate`; a copy can be had with --from snapshots"
	elsewhere := []refusal{{claim0, owned, remedy}}
	tests := []planCase{
		{name: "it came here", given: func(o *Observed) { o.heldBy(0, here) }, want: fresh},
		{name: "a migration has it that is under way", given: func(o *Observed) { o.heldBy(0, going) },
			refused: []refusal{{claim0, "by migration 20260903-120000-0a1b2c3d, which is under way", "--rollback 20260903-120000-0a1b2c3d"}}},
		{name: "nobody can tell whose it is", given: func(o *Observed) { o.heldBy(0, catalog.Ownership{Err: errors.New("disks/x/y/00000002: corrupt")}) },
			refused: []refusal{{claim0, "owned by a cluster that cannot be told: disks/x/y/00000002: corrupt", "find out"}}},
		{name: "a set would start on a claim that is there and is not restored", request: Request{From: FromSnapshots, Ordinals: []int{1, 2}},
			given: func(o *Observed) {
				o.heldBy(0, there)
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound)
			},
			refused: []refusal{{set, "it would use claim redis-pvc-redis-0, whose disk disk-0 is owned by cluster prod-us", "delete the claim here"}}},
	}
	for _, from := range []From{FromAuto, FromDisks} {
		for volume, haveVolume := range map[string]volumeState{"no volume": noVolume, "a Released volume": released, "a reserved volume": reservedForIt, "its own volume": boundToIt} {
			for claim, haveClaim := range map[string]claimState{"no claim": noClaim, "a claim that is bound": boundRight, "a claim that names it": pendingNamesIt} {
				for set, sets := range map[string][]appsv1.StatefulSet{"no set": nil, "a set at 0": {redisSet(0)}} {
					tests = append(tests, planCase{
						name: fmt.Sprintf("from %s, with %s, %s and %s", from, volume, claim, set), request: Request{From: from, Ordinals: []int{0}},
						given: func(o *Observed) {
							haveVolume(o)
							haveClaim(o)
							o.StatefulSets = sets
							o.heldBy(0, there)
						},
						refused: elsewhere,
					})
				}
			}
		}
	}
	runPlanCases(t, tests)
}

func TestPlanMakesACopyOfADiskOfAnotherCluster(t *testing.T) {
	observed := emptyCluster()
	observed.heldBy(0, there)
	plan, err := checkedPlan(t, shop(), Request{From: FromSnapshots, Ordinals: []int{0}}, observed)
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(plan.Notes, "\n"); !strings.Contains(notes, "redis-pvc-redis-0 becomes a copy: its disk disk-0 is owned by cluster prod-us (there)") {
		t.Errorf("notes %q do not say who has the disk", notes)
	}
}

// A migration may take the disks after a plan was made: nothing is written then.
func TestApplyAsksOnceMoreWhoOwnsTheDisks(t *testing.T) {
	plan, err := checkedPlan(t, shop(), Request{From: FromDisks}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	meanwhile := emptyCluster()
	meanwhile.heldBy(0, going)
	r := &Restorer{Kubernetes: client, Now: time.Now, Owners: func(context.Context) (catalog.Owners, string, error) {
		return meanwhile.Owners, meanwhile.ClusterUID, nil
	}}
	var refused *RefusedError
	if _, err := r.Apply(t.Context(), plan); !errors.As(err, &refused) || !strings.Contains(err.Error(), "is under way") {
		t.Errorf("got %v, want a refusal that names the migration", err)
	}
	for _, action := range client.Actions() {
		if action.GetVerb() != "list" {
			t.Errorf("it did %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}
