package restore

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// What the model of the binder rests on; that it is what the real one does is
// shown by TestPlansPredictTheBinder in e2e.
func TestSettle(t *testing.T) {
	otherClass := func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "fast" }
	tests := []struct {
		name   string
		volume volumeState
		claim  claimState
		phase  corev1.PersistentVolumeClaimPhase
		named  string
		reason string
	}{
		{"a prebound pair binds", reservedForIt, pendingNamesIt, corev1.ClaimBound, "pv-redis-0", ""},
		{"whatever its class", aVolume(corev1.VolumeAvailable, reserved, otherClass), pendingNamesIt, corev1.ClaimBound, "pv-redis-0", ""},
		{"and size", reservedSmall, pendingNamesIt, corev1.ClaimBound, "pv-redis-0", ""},
		{"a volume for anybody that the claim names binds", forAnybody, pendingNamesIt, corev1.ClaimBound, "pv-redis-0", ""},
		{"but not of another class", aVolume(corev1.VolumeAvailable, unreserved, otherClass), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "their storage classes differ"},
		{"nor a smaller one", aVolume(corev1.VolumeAvailable, unreserved, small), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "smaller"},
		{"nor of another mode", aVolume(corev1.VolumeAvailable, unreserved, block), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "volumeModes differ"},
		{"nor of another VolumeAttributesClass", aVolume(corev1.VolumeAvailable, unreserved, gold), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "VolumeAttributesClasses differ"},
		{"nor with other access modes", aVolume(corev1.VolumeAvailable, unreserved, readMany), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "lacks an access mode"},
		{"nor one that is being deleted", aVolume(corev1.VolumeAvailable, unreserved, terminatingVolume), pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "being deleted"},
		{"a volume of a former claim does not", released, pendingNamesIt, corev1.ClaimPending, "pv-redis-0", "names another claim, or a former one"},
		{"a claim that names none is given what is reserved for it", reservedForIt, pendingUnnamed, corev1.ClaimBound, "pv-redis-0", ""},
		{"also of another class", aVolume(corev1.VolumeAvailable, reserved, otherClass), pendingUnnamed, corev1.ClaimBound, "pv-redis-0", ""},
		{"but not if it is too small", reservedSmall, pendingUnnamed, corev1.ClaimPending, "", "is to make a disk"},
		{"of two for anybody it is given the smaller", func(o *Observed) {
			aVolume(corev1.VolumeAvailable, unreserved, func(v *corev1.PersistentVolume) { v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("2Gi") })(o)
			aVolume(corev1.VolumeAvailable, unreserved, renamed("pv-zz"))(o)
		}, pendingUnnamed, corev1.ClaimBound, "pv-zz", ""},
		{"one that is reserved loses to one for anybody with fewer access modes", func(o *Observed) {
			aVolume(corev1.VolumeAvailable, reserved, func(v *corev1.PersistentVolume) {
				v.Spec.AccessModes = append(v.Spec.AccessModes, corev1.ReadOnlyMany)
			})(o)
			aVolume(corev1.VolumeAvailable, unreserved, renamed("pv-zz"))(o)
		}, pendingUnnamed, corev1.ClaimBound, "pv-zz", ""},
		{"a class that waits for a Pod leaves volumes for anybody alone", func(o *Observed) {
			aVolume(corev1.VolumeAvailable, unreserved, otherClass)(o)
		}, aClaim(corev1.ClaimPending, namesNoVolume, func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("fast") }), corev1.ClaimPending, "", "waits for a Pod"},
		{"a claim whose volume is gone is Lost", noVolume, boundRight, corev1.ClaimLost, "pv-redis-0", "is gone"},
		{"and found again when the volume comes back for it", boundToIt, lost, corev1.ClaimBound, "pv-redis-0", ""},
		{"or for anybody", forAnybody, lost, corev1.ClaimBound, "pv-redis-0", ""},
		{"but not without its uid", reservedForIt, lost, corev1.ClaimLost, "pv-redis-0", "names another claim"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := emptyCluster()
			test.volume(observed)
			test.claim(observed)
			before := toJSON(t, observed.all())
			after, bindings := Settle(observed)
			if toJSON(t, observed.all()) != before {
				t.Error("the input changed")
			}
			got := bindings[redisKey(0)]
			if got.Phase != test.phase || got.Volume != test.named || !strings.Contains(got.Reason, test.reason) || (got.Reason == "") != (test.reason == "") {
				t.Errorf("the claim is %+v, want %s, volume %q, because %q", got, test.phase, test.named, test.reason)
			}
			_, again := Settle(after)
			if again[redisKey(0)] != got {
				t.Errorf("settled again, it is %+v", again[redisKey(0)])
			}
		})
	}
}
