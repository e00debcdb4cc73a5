package restore

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// planRehydrate gives the claim a new disk with the data of its snapshot.
func (p *planner) planRehydrate(v catalog.Volume, claim *corev1.PersistentVolumeClaim, reason string) {
	if v.Snapshot == nil {
		why := "the point has no snapshot of it"
		if v.Problem != "" {
			why += ": " + v.Problem
		}
		p.refuseClaim(v.Claim, why, "use --from disks if its disk "+string(v.VolumeHandle)+" still exists, or an older point")
		return
	}
	if !p.observed.SnapshotAPI {
		p.refuse("CustomResourceDefinition", "", "volumesnapshots.snapshot.storage.k8s.io", "the cluster has no VolumeSnapshot API", "install the snapshot CRDs and snapshot-controller, or use --from disks")
		return
	}
	class, ok := p.provisioningClass(v)
	if !ok {
		return
	}
	static, err := Rehydrate(p.point.Commit.Point, v, p.pairs[v.Claim].Claim, class.Name, p.snapshotClass(v))
	if err != nil {
		p.refuseClaim(v.Claim, err.Error(), "use --from disks, or an older point")
		return
	}
	plan := p.newVolumePlan(v, FromSnapshot, reason)
	plan.Data, plan.DataTime = string(v.Snapshot.Handle), &v.Snapshot.Taken
	plan.Size = static.Claim.Spec.Resources.Requests.Storage().String()
	plan.WaitsForPod = ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
	if claim != nil {
		p.resumeRehydrate(plan, claim, static)
		return
	}
	p.unnamed = append(p.unnamed, static.Claim)
	content, ok := p.contentStep(v, static)
	if !ok {
		return
	}
	snapshot, ok := p.snapshotStep(v, static)
	if !ok {
		return
	}
	plan.Steps = append(plan.Steps, content, snapshot, create(static.Claim, "filled from VolumeSnapshot "+static.Snapshot.Name))
	p.add(plan)
}

// resumeRehydrate keeps a claim that an earlier run of this restore made.
func (p *planner) resumeRehydrate(plan VolumePlan, claim *corev1.PersistentVolumeClaim, static Static) {
	lost := claim.Status.Phase == corev1.ClaimLost
	if !filledFrom(claim, static.Snapshot.Name) || lost {
		problem := "it exists and is not made from this snapshot"
		if lost {
			problem = "it was made from a snapshot and has lost its volume"
		}
		p.refuseClaim(plan.Claim, fmt.Sprintf("%s (%s, volume %q)", problem, claim.Status.Phase, claim.Spec.VolumeName),
			"scale its workload to 0, wait for its Pods to go, and delete the claim (make its PersistentVolume Retain first to keep the disk); then run the restore again")
		return
	}
	if claim.Status.Phase == corev1.ClaimPending {
		p.unnamed = append(p.unnamed, static.Claim)
	}
	plan.Reason = "an earlier restore from this snapshot made it"
	plan.WaitsForPod = plan.WaitsForPod && claim.Status.Phase != corev1.ClaimBound
	plan.Steps = append(plan.Steps, keep("PersistentVolumeClaim", plan.Claim.Namespace, plan.Claim.Name, "it is filled from this snapshot"))
	p.add(plan)
}

// filledFrom says whether claim is made from the VolumeSnapshot of that name.
func filledFrom(claim *corev1.PersistentVolumeClaim, snapshot string) bool {
	source := claim.Spec.DataSource
	return source != nil && source.Kind == "VolumeSnapshot" && source.Name == snapshot
}

// provisioningClass is the class that provisions the new disk. It must be of
// the snapshot's driver.
func (p *planner) provisioningClass(v catalog.Volume) (storagev1.StorageClass, bool) {
	want := v.StorageClass
	if mapped, ok := p.request.StorageClasses[want]; ok {
		want = mapped
	}
	const remedy = "choose a class of that driver with --storage-class OLD=NEW"
	for _, class := range p.observed.StorageClasses {
		if class.Name != want {
			continue
		}
		if class.Provisioner != v.Driver {
			p.refuse("StorageClass", "", want, "its provisioner is "+class.Provisioner+", but the snapshot of claim "+v.Claim.String()+" is of driver "+v.Driver, remedy)
			return class, false
		}
		return class, true
	}
	if want == "" {
		p.refuseClaim(v.Claim, "it has no storage class, so no disk can be made for it from its snapshot", remedy)
	} else {
		p.refuse("StorageClass", "", want, "it does not exist, and claim "+v.Claim.String()+" needs it to get a disk from its snapshot", remedy)
	}
	return storagev1.StorageClass{}, false
}

// snapshotClass is the recorded VolumeSnapshotClass if the target has it, else
// "": a content that names an absent class fails.
func (p *planner) snapshotClass(v catalog.Volume) string {
	for _, class := range p.observed.SnapshotClasses {
		if class.Name == v.Snapshot.Class && class.Driver == v.Driver {
			return class.Name
		}
	}
	return ""
}

// checkUsurpers makes sure that no existing PersistentVolume would be bound to
// a claim instead of a new one from the snapshot: the binder looks for a match
// before it provisions, and does not look at the claim's dataSource
// (syncUnboundClaim in pv_controller.go).
func (p *planner) checkUsurpers() {
	for i := range p.observed.Volumes {
		volume := &p.observed.Volumes[i]
		if p.reservedByPlan(volume) {
			continue
		}
		for _, claim := range p.unnamed {
			if couldBind(volume, claim) {
				p.refuse("PersistentVolume", "", volume.Name, "it is Available and would be bound to claim "+claim.Namespace+"/"+claim.Name+" in place of a disk from the snapshot",
					"delete that PersistentVolume object (make it Retain first to keep its disk) or reserve it for another claim")
			}
		}
	}
}

// reservedByPlan says whether the plan reserves volume for the claim of its own
// disk, which it does before it creates claims.
func (p *planner) reservedByPlan(volume *corev1.PersistentVolume) bool {
	return slices.ContainsFunc(p.plan.Volumes, func(plan VolumePlan) bool {
		return plan.Way == Reattach && plan.VolumeName == volume.Name
	})
}

// couldBind says whether the binder might match volume to a claim that does
// not exist yet and names no volume. It errs towards yes.
func couldBind(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	if ref := volume.Spec.ClaimRef; ref != nil {
		return ref.UID == "" && ref.Namespace == claim.Namespace && ref.Name == claim.Name
	}
	capacity, request := volume.Spec.Capacity.Storage(), claim.Spec.Resources.Requests.Storage()
	return volume.Spec.StorageClassName == ptr.Deref(claim.Spec.StorageClassName, "") &&
		capacity.Cmp(*request) >= 0 &&
		ptr.Deref(volume.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == ptr.Deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

// contentStep creates the static content, or keeps one that is the same.
func (p *planner) contentStep(v catalog.Volume, static Static) (Step, bool) {
	for i := range p.observed.Contents {
		c := &p.observed.Contents[i]
		if c.Name != static.Content.Name {
			continue
		}
		if ptr.Deref(c.Spec.Source.SnapshotHandle, "") != string(v.Snapshot.Handle) || c.Spec.Driver != v.Driver || c.DeletionTimestamp != nil {
			p.refuse("VolumeSnapshotContent", "", c.Name, "it exists and is not over snapshot "+string(v.Snapshot.Handle)+", or is being deleted", "delete it (its policy is Retain), then run the restore again")
			return Step{}, false
		}
		return keep("VolumeSnapshotContent", "", c.Name, "it is over the snapshot"), true
	}
	return create(static.Content, "over snapshot "+string(v.Snapshot.Handle)), true
}

func (p *planner) snapshotStep(v catalog.Volume, static Static) (Step, bool) {
	for i := range p.observed.Snapshots {
		s := &p.observed.Snapshots[i]
		if s.Namespace != static.Snapshot.Namespace || s.Name != static.Snapshot.Name {
			continue
		}
		if ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "") != static.Content.Name || s.DeletionTimestamp != nil {
			p.refuse("VolumeSnapshot", s.Namespace, s.Name, "it exists and does not name VolumeSnapshotContent "+static.Content.Name+", or is being deleted", "delete it, then run the restore again")
			return Step{}, false
		}
		return keep("VolumeSnapshot", s.Namespace, s.Name, "it names the content"), true
	}
	return create(static.Snapshot, "names the content, for claim "+v.Claim.String()), true
}
