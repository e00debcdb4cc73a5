package restore

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
)

// planVolume decides how one claim gets its data.
func (p *planner) planVolume(v catalog.Volume) {
	if !p.mayUse(v) {
		return
	}
	claim := p.observed.claim(v.Claim)
	if claim != nil && claim.DeletionTimestamp != nil {
		p.refuseClaim(v.Claim, "it is being deleted", "wait until it is gone (a Pod that uses it holds it), then run the restore again")
		return
	}
	if !p.observed.hasDriver(v.Driver) {
		p.refuse("CSIDriver", "", v.Driver, "the cluster does not have it, and claim "+v.Claim.String()+" needs it", "install the driver")
		return
	}
	if claim != nil && p.boundTo(claim, v) {
		p.adopt(v, claim)
		return
	}
	if claim != nil && p.request.From != FromDisks && v.Snapshot != nil && filledFrom(claim, staticName(v)) {
		p.planRehydrate(v, claim, "")
		return
	}
	way, reason := p.chooseWay(v)
	switch way {
	case Reattach:
		p.planReattach(v, claim, reason)
	case FromSnapshot:
		p.planRehydrate(v, claim, reason)
	}
}

// boundTo says whether an existing claim is bound to the very disk of v.
func (p *planner) boundTo(claim *corev1.PersistentVolumeClaim, v catalog.Volume) bool {
	volume := p.observed.volume(claim.Spec.VolumeName)
	return p.request.From != FromSnapshots && claim.Status.Phase == corev1.ClaimBound && volume != nil && volume.Spec.CSI != nil &&
		volume.Spec.CSI.Driver == v.Driver && volume.Spec.CSI.VolumeHandle == string(v.VolumeHandle) &&
		volume.Spec.ClaimRef != nil && volume.Spec.ClaimRef.UID == claim.UID
}

// adopt keeps a claim that is bound to its own disk.
func (p *planner) adopt(v catalog.Volume, claim *corev1.PersistentVolumeClaim) {
	volume := p.observed.volume(claim.Spec.VolumeName)
	if existing := p.observed.volumesOf(v.Driver, v.VolumeHandle); len(existing) > 1 {
		p.refuseTwins(v, existing)
		return
	}
	if volume.DeletionTimestamp != nil {
		p.note("PersistentVolume %s is being deleted: it goes once claim %s does, and its disk stays", volume.Name, v.Claim)
	}
	plan := p.newVolumePlan(v, Adopt, "the claim is bound to its disk")
	plan.VolumeName = volume.Name
	plan.Steps = append(p.protectStep(volume), keep("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, "bound to its disk"))
	p.add(plan)
}

func (p *planner) newVolumePlan(v catalog.Volume, way Way, reason string) VolumePlan {
	return VolumePlan{
		Claim: v.Claim, Way: way, Reason: reason, Size: v.Capacity,
		Data: string(v.VolumeHandle), Bytes: bytesOf(v.Capacity), driver: v.Driver, handle: v.VolumeHandle,
	}
}

// bytesOf is a quantity that a backup wrote down, in bytes.
func bytesOf(quantity string) int64 {
	q, err := resource.ParseQuantity(quantity)
	if err != nil {
		return 0
	}
	return q.Value()
}

func (p *planner) add(plan VolumePlan) {
	plan.Decision = decision(plan, p.observed.claim(plan.Claim))
	p.plan.Volumes = append(p.plan.Volumes, plan)
}

// decision names what the steps of a plan come to; claim is what exists.
func decision(plan VolumePlan, claim *corev1.PersistentVolumeClaim) Decision {
	does := func(action Action) bool {
		return slices.ContainsFunc(plan.Steps, func(step Step) bool { return step.Action == action })
	}
	switch {
	case plan.Way == Adopt, plan.Way == FromSnapshot && claim != nil && claim.Status.Phase == corev1.ClaimBound:
		return DecideAdopt
	case does(RearmPV):
		return DecideRearm
	case does(Create):
		return DecideCreate
	}
	return DecideWait
}

// chooseWay picks between disk and snapshot, or refuses.
func (p *planner) chooseWay(v catalog.Volume) (Way, string) {
	switch p.request.From {
	case FromDisks:
		return Reattach, "asked for (--from disks)"
	case FromSnapshots:
		return FromSnapshot, "asked for (--from snapshots)"
	}
	state, checked := p.observed.Disks[v.Disk()]
	switch {
	case checked && state.Presence == DiskGone && v.Snapshot != nil:
		return FromSnapshot, "the disk is gone: " + state.Message
	case checked && state.Presence == DiskGone:
		p.refuseClaim(v.Claim, fmt.Sprintf("its disk %s is gone (%s) and the point has no snapshot of it", v.VolumeHandle, state.Message), "restore it from an older point that has one (`hawser points`)")
		return "", ""
	case checked && state.Presence == DiskInUse:
		p.refuseClaim(v.Claim, fmt.Sprintf("its disk %s is in use elsewhere: %s", v.VolumeHandle, state.Message), "stop the workload that has it attached, in whichever cluster that is; or restore a copy with --from snapshots")
		return "", ""
	case checked && state.Presence == DiskPresent:
		return Reattach, "the disk is there: " + state.Message
	case checked:
		return Reattach, "the disk was retained; it could not be checked: " + state.Message
	}
	return Reattach, "the disk was retained; it was not checked"
}

// planReattach recreates the prebound pair over the retained disk.
func (p *planner) planReattach(v catalog.Volume, claim *corev1.PersistentVolumeClaim, reason string) {
	plan := p.newVolumePlan(v, Reattach, reason)
	existing := p.observed.volumesOf(v.Driver, v.VolumeHandle)
	plan.VolumeName = v.PersistentVolume
	if len(existing) > 0 {
		plan.VolumeName = existing[0].Name
	}
	uid, ok := p.admitClaim(v, claim, plan.VolumeName)
	if !ok {
		return
	}
	class, note, ok := p.classFor(v)
	if !ok {
		return
	}
	volume, newClaim, err := Prebind(p.pairs[v.Claim], class)
	if err != nil {
		p.refuseClaim(v.Claim, err.Error(), "the point cannot be used for this claim; use an older one")
		return
	}
	step, ok := p.volumeStep(v, existing, volume, uid)
	if !ok {
		return
	}
	plan.Steps = append(plan.Steps, step)
	if claim != nil {
		plan.Steps = append(plan.Steps, keep("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, "it names its volume already, or is about to be bound to it"))
	} else {
		newClaim.Spec.VolumeName = plan.VolumeName
		plan.Steps = append(plan.Steps, create(newClaim, "names PersistentVolume "+plan.VolumeName+note))
	}
	p.add(plan)
}

// admitClaim decides whether an existing claim that is not bound to its disk
// can be bound to the volume of that name, and returns the uid that the volume
// must name for it: a Lost claim takes back only what names its uid.
func (p *planner) admitClaim(v catalog.Volume, claim *corev1.PersistentVolumeClaim, volumeName string) (types.UID, bool) {
	const scaleDown = "scale its workload to 0, wait for its Pods to go, and delete the claim"
	switch {
	case claim == nil:
		return "", true
	case claim.Spec.VolumeName == volumeName && claim.Status.Phase != corev1.ClaimBound:
		if claim.Status.Phase == corev1.ClaimLost {
			return claim.UID, true
		}
		return "", true // Pending, after an interrupted restore
	case claim.Status.Phase == corev1.ClaimBound, claim.Spec.VolumeName != "":
		p.refuseClaim(v.Claim, fmt.Sprintf("it exists and is bound to another disk (%s)", p.describeVolume(claim.Spec.VolumeName)),
			scaleDown+" if that disk is not wanted (make its PersistentVolume Retain first to keep the disk); then run the restore again")
	case p.bindsByItself(v, volumeName):
		return "", true
	default:
		p.refuseClaim(v.Claim, "it exists, is "+string(claim.Status.Phase)+" and may be given an empty disk at any moment", scaleDown+"; then run the restore again")
	}
	return "", false
}

// bindsByItself says whether the binder, left alone, binds an existing claim
// that names no volume to the very volume that is reserved for it.
func (p *planner) bindsByItself(v catalog.Volume, volumeName string) bool {
	volume := p.observed.volume(volumeName)
	if volume == nil || volume.Spec.ClaimRef == nil || volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		return false
	}
	if p.settled == nil {
		p.settled = newBinder(p.observed.Observed).settle()
	}
	got := p.settled[v.Claim]
	return got.Phase == corev1.ClaimBound && got.Volume == volumeName && !p.hasRival(volume)
}

// hasRival says whether another volume is reserved for the claim of this one: a
// claim that names none may be given either.
func (p *planner) hasRival(volume *corev1.PersistentVolume) bool {
	return slices.ContainsFunc(p.observed.Volumes, func(other corev1.PersistentVolume) bool {
		ref := other.Spec.ClaimRef
		return other.Name != volume.Name && ref != nil && ref.Namespace == volume.Spec.ClaimRef.Namespace && ref.Name == volume.Spec.ClaimRef.Name
	})
}

func (p *planner) describeVolume(name string) string {
	volume := p.observed.volume(name)
	if volume == nil {
		return "PersistentVolume " + name + ", which does not exist"
	}
	if volume.Spec.CSI != nil {
		return "PersistentVolume " + name + ", volumeHandle " + volume.Spec.CSI.VolumeHandle
	}
	return "PersistentVolume " + name
}

// volumeStep decides what happens to the PersistentVolume: created, re-armed
// or kept; existing are those over the same disk.
func (p *planner) volumeStep(v catalog.Volume, existing []*corev1.PersistentVolume, prebound *corev1.PersistentVolume, claimUID types.UID) (Step, bool) {
	refuse := func(name, problem, remedy string) (Step, bool) {
		p.refuse("PersistentVolume", "", name, problem, remedy)
		return Step{}, false
	}
	if len(existing) == 0 {
		if p.observed.volume(prebound.Name) != nil {
			return refuse(prebound.Name, "it exists over another disk than "+string(v.VolumeHandle)+" of claim "+v.Claim.String(), "delete that PersistentVolume if it is not needed (make it Retain first to keep its disk)")
		}
		if claimUID != "" {
			prebound.Spec.ClaimRef.UID = claimUID
		}
		return create(prebound, "over disk "+string(v.VolumeHandle)+", reserved for the claim"), true
	}
	if len(existing) > 1 {
		p.refuseTwins(v, existing)
		return Step{}, false
	}
	volume := existing[0]
	ref := volume.Spec.ClaimRef
	switch {
	case volume.DeletionTimestamp != nil:
		return refuse(volume.Name, "it is being deleted", "wait until it is gone, then run the restore again")
	case volume.Status.Phase == corev1.VolumeFailed:
		return refuse(volume.Name, "its reclaim failed ("+volume.Status.Message+"), so the disk may be half deleted", "look at the disk; if it is whole, make the PersistentVolume Retain and delete the object, then run the restore again; or use --from snapshots")
	case ref != nil && (ref.Namespace != v.Claim.Namespace || ref.Name != v.Claim.Name):
		return refuse(volume.Name, fmt.Sprintf("it holds disk %s for another claim, %s/%s", v.VolumeHandle, ref.Namespace, ref.Name), "a disk can serve one claim: delete that claim and this PersistentVolume object first (it must be Retain), or use --from snapshots")
	case isReserved(*volume, claimUID, p.observed.claim(v.Claim)) && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain:
		return keep("PersistentVolume", "", volume.Name, "it is reserved for the claim"), true
	}
	patch, err := Rearm(*volume, v.Claim, claimUID)
	if err != nil {
		return refuse(volume.Name, err.Error(), "report this as a bug")
	}
	return Step{
		Action: RearmPV, Kind: "PersistentVolume", Name: volume.Name, Patch: string(patch),
		Reason: fmt.Sprintf("it is %s over disk %s; it becomes Retain and reserved for the claim", volume.Status.Phase, v.VolumeHandle),
	}, true
}

// refuseTwins refuses a disk that several PersistentVolumes name: the reclaim of
// any of them would delete it under the others.
func (p *planner) refuseTwins(v catalog.Volume, twins []*corev1.PersistentVolume) {
	names, states := make([]string, len(twins)), make([]string, len(twins))
	for i, twin := range twins {
		names[i] = twin.Name
		states[i] = fmt.Sprintf("%s and %s", twin.Status.Phase, twin.Spec.PersistentVolumeReclaimPolicy)
	}
	p.refuse("PersistentVolume", "", strings.Join(names, ", "), fmt.Sprintf("all are over the same disk %s of claim %s (%s)", v.VolumeHandle, v.Claim, strings.Join(states, ", ")),
		"make each Retain, then delete all but one of these objects")
}

// isReserved says whether volume, whose claimRef names the claim if there is
// one, stays the claim's. One without a uid that is marked as bound by the
// controller loses its claimRef on a conflict (unbindVolume in pv_controller.go).
func isReserved(volume corev1.PersistentVolume, claimUID types.UID, claim *corev1.PersistentVolumeClaim) bool {
	ref := volume.Spec.ClaimRef
	switch {
	case ref == nil:
		return false
	case claim != nil && ref.UID == claim.UID:
		return true // the binder is at it
	}
	return ref.UID == claimUID && (claimUID != "" || volume.Annotations["pv.kubernetes.io/bound-by-controller"] == "")
}

// protectStep makes a volume that is kept Retain, if it is not.
func (p *planner) protectStep(volume *corev1.PersistentVolume) []Step {
	if volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
		return nil
	}
	patch, err := Protect(*volume)
	if err != nil {
		p.refuse("PersistentVolume", "", volume.Name, err.Error(), "report this as a bug")
		return nil
	}
	return []Step{{Action: ProtectPV, Kind: "PersistentVolume", Name: volume.Name, Patch: string(patch), Reason: "its policy is " + string(volume.Spec.PersistentVolumeReclaimPolicy)}}
}

// classFor is the storage class under which a retained disk comes back: the
// mapped one, which must exist, else the recorded one where the target has it
// with the same driver, else none, which it notes. A prebound pair binds with
// any class, or without.
func (p *planner) classFor(v catalog.Volume) (class, note string, ok bool) {
	if mapped, asked := p.mapping.class(v.StorageClass); asked {
		if mapped != "" && p.observed.class(mapped) == nil {
			p.refuse("StorageClass", "", mapped, "it does not exist, and --storage-class asks for it", "correct --storage-class "+v.StorageClass+"=NEW")
			return "", "", false
		}
		return mapped, "", true
	}
	if v.StorageClass == "" {
		return "", "", true
	}
	if class := p.observed.class(v.StorageClass); class != nil && class.Provisioner == v.Driver {
		return class.Name, "", true
	}
	return "", `; class "" since the target has no class ` + v.StorageClass + " of this driver", true
}
