package restore

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"hawser.dev/hawser/catalog"
)

func TestMoved(t *testing.T) {
	released := func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID) }
	tests := []struct {
		name  string
		given func(*Observed) // when the plan was made
		then  func(*Observed) // since
		want  []refusal       // nil: it is the same plan
	}{
		{name: "nothing changed", given: released},
		{name: "a volume was written to, without a change that matters", given: released, then: func(o *Observed) { o.Volumes[0].ResourceVersion = "101" }},
		{name: "a volume was made anew under its name", given: released, then: func(o *Observed) { o.Volumes[0].UID = "another" },
			want: []refusal{{"PersistentVolume pv-redis-0", "then re-arm (it is Released", "--dry-run"}}},
		{name: "a volume is gone", given: released, then: func(o *Observed) { o.Volumes = nil },
			want: []refusal{{"PersistentVolume pv-redis-0", "now create (over disk disk-0", "--dry-run"}}},
		{name: "a volume came under another name", then: func(o *Observed) { o.haveVolume(0, corev1.VolumeReleased, foreignUID, renamed("pv-b")) },
			want: []refusal{
				{"PersistentVolume pv-redis-0", "then create (over disk disk-0, reserved for the claim), now nothing", "again"},
				{claim0, "names PersistentVolume pv-b", "again"},
				{"PersistentVolume pv-b", "then nothing, now re-arm", "again"},
			}},
		{name: "an earlier run has made a pair meanwhile, and the binder is at it", then: func(o *Observed) {
			o.haveVolume(0, corev1.VolumeAvailable, reserved)
			o.haveClaim(0, corev1.ClaimPending)
		}},
		{name: "the binder has bound a pair meanwhile",
			given: func(o *Observed) {
				o.haveVolume(0, corev1.VolumeAvailable, reserved)
				o.haveClaim(0, corev1.ClaimPending)
			},
			then: func(o *Observed) {
				o.Volumes, o.Claims = nil, nil
				o.haveVolume(0, corev1.VolumeBound)
				o.haveClaim(0, corev1.ClaimBound)
			}},
		{name: "somebody has made the Service", then: func(o *Observed) { o.Services = []corev1.Service{shopService()} },
			want: []refusal{{"Service shop/redis-service", "then create", "again"}}},
		{name: "a disk was found to be gone", then: func(o *Observed) {
			o.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = DiskState{DiskGone, "not found"}
		},
			want: []refusal{
				{"PersistentVolume pv-redis-0", "now nothing", "again"},
				{claim0, "then reattach from disk-0", "again"},
				{"VolumeSnapshotContent " + staticName(redisRecord(0)), "then nothing", "again"},
				{"VolumeSnapshot shop/" + staticName(redisRecord(0)), "then nothing", "again"},
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := emptyCluster()
			if test.given != nil {
				test.given(observed)
			}
			before, err := NewPlan(shop(), Request{From: FromAuto}, observed)
			if err != nil {
				t.Fatal(err)
			}
			stored := &Plan{}
			data, err := json.Marshal(before)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, stored); err != nil {
				t.Fatal(err)
			}
			if test.then != nil {
				test.then(observed)
			}
			after, err := NewPlan(shop(), Request{From: FromAuto}, observed)
			if err != nil {
				t.Fatal(err)
			}
			for what, plan := range map[string]*Plan{"the plan": before, "the plan read from JSON": stored} {
				err := Moved(plan, after)
				if test.want == nil {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					continue
				}
				expectRefusals(t, test.want, err)
			}
		})
	}
}

func TestMovedOfAnotherPoint(t *testing.T) {
	plan, err := NewPlan(shop(), Request{Namespaces: []string{"shop"}}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	part, err := NewPlan(shop(), Request{Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}}, Ordinals: []int{0}}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	if Moved(plan, part) == nil || Moved(part, plan) == nil {
		t.Error("a plan of a part is taken for one of the whole")
	}
}
