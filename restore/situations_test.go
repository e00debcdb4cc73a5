package restore

import (
	"errors"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// What there is of the volume over the disk of ordinal 0.
type volumeState func(*Observed)

func aVolume(phase corev1.PersistentVolumePhase, change ...func(*corev1.PersistentVolume)) volumeState {
	return func(o *Observed) { o.haveVolume(0, phase, change...) }
}

func ofAnother(v *corev1.PersistentVolume) {
	v.Spec.ClaimRef.Name, v.Spec.ClaimRef.UID = "other", "other"
}
func small(v *corev1.PersistentVolume) {
	v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("1Mi")
}
func block(v *corev1.PersistentVolume) { v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }
func gold(v *corev1.PersistentVolume)  { v.Spec.VolumeAttributesClassName = ptr.To("gold") }
func readMany(v *corev1.PersistentVolume) {
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
}

var (
	noVolume            volumeState = func(*Observed) {}
	forAnybody                      = aVolume(corev1.VolumeAvailable, unreserved)
	reservedForIt                   = aVolume(corev1.VolumeAvailable, reserved)
	reservedLoosely                 = aVolume(corev1.VolumeAvailable, reserved, boundByController)
	released                        = aVolume(corev1.VolumeReleased, foreignUID)
	releasedDelete                  = aVolume(corev1.VolumeReleased, foreignUID, policyDelete)
	boundToIt                       = aVolume(corev1.VolumeBound)
	boundToItDelete                 = aVolume(corev1.VolumeBound, policyDelete)
	boundToOther                    = aVolume(corev1.VolumeBound, ofAnother)
	releasedByOther                 = aVolume(corev1.VolumeReleased, ofAnother)
	terminating                     = aVolume(corev1.VolumeReleased, foreignUID, terminatingVolume)
	boundAndTerminating             = aVolume(corev1.VolumeBound, terminatingVolume)
	failed                          = aVolume(corev1.VolumeFailed, foreignUID)
	twins               volumeState = func(o *Observed) { released(o); aVolume(corev1.VolumeReleased, foreignUID, renamed("pv-twin"))(o) }
	nameTaken                       = aVolume(corev1.VolumeReleased, foreignUID, overDisk("disk-new"))
	otherName                       = aVolume(corev1.VolumeReleased, foreignUID, renamed("pv-by-hand"))
	reservedSmall                   = aVolume(corev1.VolumeAvailable, reserved, small)
	reservedBlock                   = aVolume(corev1.VolumeAvailable, reserved, block)
	reservedGold                    = aVolume(corev1.VolumeAvailable, reserved, gold)
	reservedReadMany                = aVolume(corev1.VolumeAvailable, reserved, readMany)
	reservedDelete                  = aVolume(corev1.VolumeAvailable, reserved, policyDelete)
	reservedTwice       volumeState = func(o *Observed) {
		reservedForIt(o)
		aVolume(corev1.VolumeAvailable, reserved, renamed("pv-zz"), overDisk("disk-new"))(o)
	}
)

// What there is of the claim.
type claimState func(*Observed)

func aClaim(phase corev1.PersistentVolumeClaimPhase, change ...func(*corev1.PersistentVolumeClaim)) claimState {
	return func(o *Observed) { o.haveClaim(0, phase, change...) }
}

var (
	noClaim        claimState = func(*Observed) {}
	pendingNamesIt            = aClaim(corev1.ClaimPending)
	pendingUnnamed            = aClaim(corev1.ClaimPending, namesNoVolume)
	pendingOther              = aClaim(corev1.ClaimPending, elsewhere)
	boundRight                = aClaim(corev1.ClaimBound)
	boundElsewhere claimState = func(o *Observed) {
		aVolume(corev1.VolumeBound, renamed("pv-elsewhere"), overDisk("disk-new"))(o)
		aClaim(corev1.ClaimBound, elsewhere)(o)
	}
	lost           = aClaim(corev1.ClaimLost)
	lostOther      = aClaim(corev1.ClaimLost, elsewhere)
	claimDeleted   = aClaim(corev1.ClaimBound, terminatingClaim)
	pendingDeleted = aClaim(corev1.ClaimPending, terminatingClaim)
)

// What is known of the disk.
var (
	diskUnasked = DiskState{}
	diskThere   = DiskState{DiskPresent, "it could be attached"}
	diskGone    = DiskState{DiskGone, "volume disk-0 not found"}
	diskElse    = DiskState{DiskInUse, "attached to node-9 of another cluster"}
	diskUnknown = DiskState{DiskUnknown, "no node has the driver"}
)

// What there is of the workload.
type workloadState func(*Observed)

var (
	noSet      workloadState = func(*Observed) {}
	setAtZero  workloadState = func(o *Observed) { o.StatefulSets = []appsv1.StatefulSet{redisSet(0)} }
	setRuns    workloadState = func(o *Observed) { o.StatefulSets = []appsv1.StatefulSet{redisSet(3)} }
	setStops   workloadState = func(o *Observed) { setAtZero(o); o.StatefulSets[0].Status.Replicas = 1 }
	setDeleted workloadState = func(o *Observed) {
		setAtZero(o)
		o.StatefulSets[0].DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
	}
	pausedByHPA  workloadState = func(o *Observed) { setAtZero(o); o.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{scaler()} }
	scaledByKEDA workloadState = func(o *Observed) {
		pausedByHPA(o)
		o.Autoscalers[0].OwnerReferences = []metav1.OwnerReference{{Kind: "ScaledObject", Name: "redis-scaler"}}
	}
)

func scaler() autoscalingv2.HorizontalPodAutoscaler {
	return autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "redis-hpa"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "StatefulSet", Name: "redis"}},
	}
}

// situations are what restore can find of one claim, and what it does then:
// a decision, or a refusal with what it says and its remedy.
var situations = []struct {
	sentence string
	volume   volumeState
	claim    claimState
	disk     DiskState
	workload workloadState
	from     From // "" is auto
	want     Decision
	refused  string
	remedy   string
}{
	// Nothing of the claim is there.
	{"all is gone but the disk", noVolume, noClaim, diskThere, noSet, "", DecideCreate, "", ""},
	{"all is gone, and nobody asked about the disk", noVolume, noClaim, diskUnasked, noSet, "", DecideCreate, "", ""},
	{"all is gone, and nobody can tell of the disk", noVolume, noClaim, diskUnknown, noSet, "", DecideCreate, "", ""},
	{"all is gone, the disk too", noVolume, noClaim, diskGone, noSet, "", DecideCreate, "", ""},
	{"all is gone, and another cluster has the disk", noVolume, noClaim, diskElse, noSet, "", "", "in use elsewhere", "stop the workload"},
	{"all is gone, another cluster has the disk, and a copy is asked for", noVolume, noClaim, diskElse, noSet, FromSnapshots, DecideCreate, "", ""},
	{"all is gone, the disk too, and the disk is asked for", noVolume, noClaim, diskGone, noSet, FromDisks, DecideCreate, "", ""},
	{"the set waits at 0", noVolume, noClaim, diskThere, setAtZero, "", DecideCreate, "", ""},
	{"the set runs without the claim", noVolume, noClaim, diskThere, setRuns, "", "", "it is running", "--replicas=0"},
	{"the set is at 0 and a Pod is not gone yet", noVolume, noClaim, diskThere, setStops, "", "", "it is running", "wait for its Pods"},
	{"the set is being deleted", noVolume, noClaim, diskThere, setDeleted, "", "", "it is being deleted", "wait until it is gone"},
	{"the set is at 0, where a HorizontalPodAutoscaler leaves it", noVolume, noClaim, diskThere, pausedByHPA, "", DecideCreate, "", ""},
	{"the set is at 0, from where KEDA may scale it", noVolume, noClaim, diskThere, scaledByKEDA, "", "", "may scale statefulset/redis up", "autoscaling.keda.sh/paused"},
	{"the disk is gone under a set at 0", noVolume, noClaim, diskGone, setAtZero, "", DecideCreate, "", ""},
	{"the disk is gone under a set that runs", noVolume, noClaim, diskGone, setRuns, "", "", "it is running", "--replicas=0"},

	// The volume is there, the claim is not.
	{"the volume is for anybody", forAnybody, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is reserved for the claim", reservedForIt, noClaim, diskThere, noSet, "", DecideCreate, "", ""},
	{"the volume is reserved, and would lose that on a conflict", reservedLoosely, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is reserved and would be deleted with its claim", reservedDelete, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is Released", released, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is Released and about to be deleted by its policy", releasedDelete, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is Released, the set at 0", released, noClaim, diskThere, setAtZero, "", DecideRearm, "", ""},
	{"the volume is Released, and the set runs", released, noClaim, diskThere, setRuns, "", "", "it is running", "--replicas=0"},
	{"the volume is Released, at 0 by a HorizontalPodAutoscaler", released, noClaim, diskThere, pausedByHPA, "", DecideRearm, "", ""},
	{"the volume is Released under another name", otherName, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is Released, its disk is gone", released, noClaim, diskGone, noSet, "", DecideCreate, "", ""},
	{"the volume is Released, its disk in another cluster", released, noClaim, diskElse, noSet, "", "", "in use elsewhere", "stop the workload"},
	{"the claim has just been deleted", boundToIt, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the claim has just been deleted, and the policy is Delete", boundToItDelete, noClaim, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume is bound to another claim", boundToOther, noClaim, diskThere, noSet, "", "", "for another claim, shop/other", "a disk can serve one claim"},
	{"the volume was released by another claim", releasedByOther, noClaim, diskThere, noSet, "", "", "for another claim, shop/other", "use --from snapshots"},
	{"the volume is bound to another claim, and a copy is asked for", boundToOther, noClaim, diskThere, noSet, FromSnapshots, DecideCreate, "", ""},
	{"the volume is being deleted", terminating, noClaim, diskThere, noSet, "", "", "it is being deleted", "wait until it is gone"},
	{"the volume is being deleted, and a copy is asked for", terminating, noClaim, diskThere, noSet, FromSnapshots, DecideCreate, "", ""},
	{"the reclaim of the volume failed", failed, noClaim, diskThere, noSet, "", "", "its reclaim failed", "look at the disk"},
	{"the reclaim of the volume failed, the disk is gone", failed, noClaim, diskGone, noSet, "", DecideCreate, "", ""},
	{"two volumes are over the disk", twins, noClaim, diskThere, noSet, "", "", "all are over the same disk", "delete all but one"},
	{"a volume of the name is over another disk", nameTaken, noClaim, diskThere, noSet, "", "", "over another disk", "delete that PersistentVolume"},
	{"a volume for anybody would take the place of the snapshot", forAnybody, noClaim, diskThere, noSet, FromSnapshots, "", "in place of a disk from the snapshot", "reserve it for another claim"},
	{"a volume that is reserved would take the place of the snapshot", reservedForIt, noClaim, diskGone, noSet, "", "", "in place of a disk from the snapshot", "delete that PersistentVolume"},
	{"a volume that is reserved is too small to take the place of the snapshot", reservedSmall, noClaim, diskGone, noSet, "", DecideCreate, "", ""},

	// The claim is Pending.
	{"the claim names a volume that is gone", noVolume, pendingNamesIt, diskThere, noSet, "", DecideCreate, "", ""},
	{"the claim names a volume that is gone, the set runs", noVolume, pendingNamesIt, diskThere, setRuns, "", "", "it is running", "--replicas=0"},
	{"the claim names its volume, which is Released", released, pendingNamesIt, diskThere, noSet, "", DecideRearm, "", ""},
	{"the claim names its volume, which is for anybody", forAnybody, pendingNamesIt, diskThere, noSet, "", DecideRearm, "", ""},
	{"the claim names its volume, which is reserved for it", reservedForIt, pendingNamesIt, diskThere, noSet, "", DecideWait, "", ""},
	{"the claim names its volume, and the binder is at it", boundToIt, pendingNamesIt, diskThere, noSet, "", DecideWait, "", ""},
	{"the binder is at it while the set runs", boundToIt, pendingNamesIt, diskThere, setRuns, "", DecideWait, "", ""},
	{"the claim names its volume, which is of another claim", boundToOther, pendingNamesIt, diskThere, noSet, "", "", "for another claim", "a disk can serve one claim"},
	{"the claim names its volume, which is being deleted", terminating, pendingNamesIt, diskThere, noSet, "", "", "it is being deleted", "wait"},
	{"the claim names another volume", noVolume, pendingOther, diskThere, noSet, "", "", "bound to another disk", "delete the claim"},
	{"the claim names no volume", noVolume, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, its own is Released", released, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, its own is reserved: the binder finds it", reservedForIt, pendingUnnamed, diskThere, noSet, "", DecideWait, "", ""},
	{"the same, in a set that runs", reservedForIt, pendingUnnamed, diskThere, setRuns, "", DecideWait, "", ""},
	{"the claim names no volume, its own is reserved but too small", reservedSmall, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, its own is reserved but of another mode", reservedBlock, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, its own has another VolumeAttributesClass", reservedGold, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, its own lacks an access mode", reservedReadMany, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim names no volume, and two are reserved for it", reservedTwice, pendingUnnamed, diskThere, noSet, "", "", "may be given an empty disk", "delete the claim"},
	{"the claim is Pending and being deleted", reservedForIt, pendingDeleted, diskThere, noSet, "", "", "it is being deleted", "wait until it is gone"},

	// The claim is Bound.
	{"all is as it was", boundToIt, boundRight, diskThere, noSet, "", DecideAdopt, "", ""},
	{"all is as it was, and the set runs", boundToIt, boundRight, diskThere, setRuns, "", DecideAdopt, "", ""},
	{"all is as it was, but for the policy", boundToItDelete, boundRight, diskThere, setRuns, "", DecideAdopt, "", ""},
	{"all is as it was, whatever a check said of the disk", boundToIt, boundRight, diskGone, noSet, "", DecideAdopt, "", ""},
	{"all is as it was, but the volume goes with its claim", boundAndTerminating, boundRight, diskThere, setRuns, "", DecideAdopt, "", ""},
	{"a copy is asked for, and the claim is there", boundToIt, boundRight, diskThere, noSet, FromSnapshots, "", "not made from this snapshot", "delete the claim"},
	{"the claim is bound, and being deleted", boundToIt, claimDeleted, diskThere, noSet, "", "", "it is being deleted", "wait until it is gone"},
	{"the claim is bound elsewhere", noVolume, boundElsewhere, diskThere, noSet, "", "", "bound to another disk", "delete the claim"},
	{"the claim is bound elsewhere, its volume is Released", released, boundElsewhere, diskThere, setRuns, "", "", "bound to another disk", "scale its workload to 0"},
	{"the claim is bound elsewhere, its disk is gone", noVolume, boundElsewhere, diskGone, noSet, "", "", "not made from this snapshot", "delete the claim"},
	{"the claim is shown as Bound, but its volume names a former one", released, boundRight, diskThere, noSet, "", "", "bound to another disk", "run the restore again"},

	// The claim is Lost.
	{"the volume object was deleted under the claim", noVolume, lost, diskThere, noSet, "", DecideCreate, "", ""},
	{"the volume object was deleted under a set that runs", noVolume, lost, diskThere, setRuns, "", "", "it is running", "--replicas=0"},
	{"the volume was made anew, without the uid of the claim", released, lost, diskThere, noSet, "", DecideRearm, "", ""},
	{"the volume was made anew, for anybody", forAnybody, lost, diskThere, setAtZero, "", DecideRearm, "", ""},
	{"the volume is of another claim now", boundToOther, lost, diskThere, noSet, "", "", "for another claim", "a disk can serve one claim"},
	{"the claim is Lost with a volume of another disk", noVolume, lostOther, diskThere, noSet, "", "", "bound to another disk", "delete the claim"},
	{"the claim is Lost and the disk too", noVolume, lost, diskGone, noSet, "", "", "lost its volume", "delete the claim"},
}

func TestSituations(t *testing.T) {
	if len(situations) < 60 {
		t.Errorf("%d situations", len(situations))
	}
	page, err := os.ReadFile("../docs/restore-plans.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range situations {
		if !strings.Contains(string(page), "| "+s.sentence+" |") {
			t.Errorf("docs/restore-plans.md does not list: %s", s.sentence)
		}
		t.Run(s.sentence, func(t *testing.T) {
			if seen[s.sentence] {
				t.Error("it is there twice")
			}
			seen[s.sentence] = true
			observed := emptyCluster()
			s.volume(observed)
			s.claim(observed)
			s.workload(observed)
			if s.disk != diskUnasked {
				observed.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = s.disk
			}
			request := Request{From: s.from, Ordinals: []int{0}}
			if s.from == "" {
				request.From = FromAuto
			}
			plan, err := checkedPlan(t, shop(), request, observed)
			if s.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := plan.Volumes[0].Decision; got != s.want {
					t.Errorf("decision %s, want %s: %v", got, s.want, stepWords(plan.Volumes[0].Steps))
				}
				return
			}
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a refusal", err)
			}
			if len(refused.Refusals) != 1 || !strings.Contains(refused.Refusals[0].Problem, s.refused) || !strings.Contains(refused.Refusals[0].Remedy, s.remedy) {
				t.Errorf("%v\nwant one refusal that says %q, with a remedy that says %q", err, s.refused, s.remedy)
			}
		})
	}
}
