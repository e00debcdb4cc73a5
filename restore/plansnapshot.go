package restore

import (
	"cmp"
	"fmt"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
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
	plan.Bytes = cmp.Or(v.Snapshot.RestoreSize, plan.Bytes)
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
	plan.static = static.Snapshot.Name
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
	if p.observed.find("VolumeSnapshot", plan.Claim.Namespace, static.Snapshot.Name) != nil || p.observed.find("VolumeSnapshotContent", "", static.Content.Name) != nil {
		plan.static = static.Snapshot.Name
	}
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
	want, _ := p.mapping.class(v.StorageClass)
	const remedy = "choose a class of that driver with --storage-class OLD=NEW"
	if class := p.observed.class(want); class != nil {
		if class.Provisioner != v.Driver {
			p.refuse("StorageClass", "", want, "its provisioner is "+class.Provisioner+", but the snapshot of claim "+v.Claim.String()+" is of driver "+v.Driver, remedy)
		}
		return *class, class.Provisioner == v.Driver
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
	class := found[snapshotv1.VolumeSnapshotClass](p.observed, "VolumeSnapshotClass", "", v.Snapshot.Class)
	if class == nil || class.Driver != v.Driver {
		return ""
	}
	return class.Name
}

// contentStep creates the static content, or keeps one that is the same.
func (p *planner) contentStep(v catalog.Volume, static Static) (Step, bool) {
	if c := found[snapshotv1.VolumeSnapshotContent](p.observed, "VolumeSnapshotContent", "", static.Content.Name); c != nil {
		if ptr.Deref(c.Spec.Source.SnapshotHandle, "") != string(v.Snapshot.Handle) || c.Spec.Driver != v.Driver || c.DeletionTimestamp != nil {
			p.refuse("VolumeSnapshotContent", "", c.Name, "it exists and is not over snapshot "+string(v.Snapshot.Handle)+", or is being deleted", "delete it (its policy is Retain), then run the restore again")
			return Step{}, false
		}
		return keep("VolumeSnapshotContent", "", c.Name, "it is over the snapshot"), true
	}
	return create(static.Content, "over snapshot "+string(v.Snapshot.Handle)), true
}

func (p *planner) snapshotStep(v catalog.Volume, static Static) (Step, bool) {
	if s := found[snapshotv1.VolumeSnapshot](p.observed, "VolumeSnapshot", static.Snapshot.Namespace, static.Snapshot.Name); s != nil {
		if ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "") != static.Content.Name || s.DeletionTimestamp != nil {
			p.refuse("VolumeSnapshot", s.Namespace, s.Name, "it exists and does not name VolumeSnapshotContent "+static.Content.Name+", or is being deleted", "delete it, then run the restore again")
			return Step{}, false
		}
		return keep("VolumeSnapshot", s.Namespace, s.Name, "it names the content"), true
	}
	return create(static.Snapshot, "names the content, for claim "+v.Claim.String()), true
}
