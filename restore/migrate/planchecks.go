package migrate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/rollback"
	"hawser.dev/hawser/restore/users"
)

func (p *planner) checkClusters() {
	if p.seen.Source.UID == p.seen.Target.UID {
		p.refuse("Cluster", "", p.seen.Source.UID, "it is the source and the target", "say which clusters with --from and --to; within one cluster hawser restore --map-namespace makes a copy")
	}
	if len(p.options.Mapping.Drivers) > 0 && p.options.Way != catalog.WayCopy {
		p.refuse("CSIDriver", "", "*", "who owns a disk is written down under its driver's name, and it would have two", "install the driver under the same name, or use --way copy")
	}
	if p.options.Way == catalog.WayAdopt && !p.options.SourceGone {
		p.refuse("Cluster", "", p.seen.Source.UID, "nothing can be fenced there: if one Pod there still writes to a disk, its data is lost",
			"make sure that the cluster's nodes are off, or cut off from the storage, and say so with --confirm-source-gone")
	}
	if p.options.Way == catalog.WayCopy && p.options.NoPoint {
		p.refuse("RestorePoint", "", "*", "a copy is made from fresh snapshots", "leave --no-point out")
	}
}

// checkScope refuses to tear apart what belongs together.
func (p *planner) checkScope() {
	taken := map[string]bool{}
	for _, v := range p.seen.Point.Bundle.Volumes {
		taken[v.Claim.Name] = true
	}
	for _, u := range p.seen.InSource.Users() {
		goes := slices.ContainsFunc(p.stopped, func(s users.User) bool { return s.Workload == u.Workload }) && p.selected(u)
		for name := range taken {
			if u.Uses(name) && !goes && p.plan.Way == catalog.WayMove {
				p.refuse(u.Kind, p.options.Namespace, u.Name, "it uses claim "+name+", which is to be migrated", "name it too, or leave the claim out")
				break
			}
		}
	}
	for _, skip := range p.seen.Point.Bundle.Skipped {
		if skip.Kind != "PersistentVolumeClaim" {
			continue
		}
		switch skip.Reason {
		case catalog.SkipUnbound, catalog.SkipPodOwned, catalog.SkipNotFound:
			p.note("claim %s/%s does not go along: %s", skip.Namespace, skip.Name, skip.Message)
		default:
			if p.plan.Way == catalog.WayAdopt { // the restore decides what can come back of the point
				p.note("not in the point: claim %s/%s: %s", skip.Namespace, skip.Name, skip.Message)
				continue
			}
			p.refuse("PersistentVolumeClaim", skip.Namespace, skip.Name, "it belongs to what is to be migrated, and cannot go along: "+skip.Message, "put that right, or leave its workload out")
		}
	}
	for _, o := range p.seen.Point.Bundle.Objects {
		if o.GetKind() == "Pod" && p.plan.Way == catalog.WayMove {
			p.refuse("Pod", o.GetNamespace(), o.GetName(), "it uses the claims, and cannot be scaled to 0", "delete it, and create it in the target afterwards")
		}
	}
}

// selected says whether a workload is among what was asked for: with labels, it or
// a claim that it uses bears them.
func (p *planner) selected(u users.User) bool {
	query := p.options.Labels
	if query == nil || query.Matches(labels.Set(u.Object.GetLabels())) {
		return true
	}
	return slices.ContainsFunc(p.seen.InSource.Claims, func(claim corev1.PersistentVolumeClaim) bool {
		return u.Uses(claim.Name) && query.Matches(labels.Set(claim.Labels))
	})
}

// checkOwnership refuses disks that are not the source's, or that another
// migration has.
func (p *planner) checkOwnership() {
	if p.plan.Way == catalog.WayCopy {
		return
	}
	for _, v := range p.plan.Volumes {
		owner, known := p.seen.Owners.Of(v.Disk)
		if !known || owner.Err == nil && owner.Migration == p.plan.ID {
			continue
		}
		_, foreign := p.seen.Owners.Foreign(v.Disk, p.seen.Source.UID)
		switch {
		case owner.Err != nil:
			p.refuse("Disk", "", string(v.Disk.Handle), "whose it is cannot be read: "+owner.Err.Error(), "get the object back from the store's versions or copies")
		case foreign && p.plan.Way == catalog.WayAdopt && owner.Cluster.UID != p.seen.Target.UID:
			p.refuse("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, fmt.Sprintf("its disk %s was not the lost cluster's any more: it is owned by %s", v.Disk.Handle, owner), "migrate it from there")
		case foreign && p.plan.Way == catalog.WayMove:
			p.refuse("PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name, fmt.Sprintf("its disk %s is not this cluster's: it is owned by %s", v.Disk.Handle, owner), "migrate it from there")
		case owner.Underway:
			p.refuse("Migration", "", string(owner.Migration), fmt.Sprintf("it is under way, and has disk %s of claim %s", v.Disk.Handle, v.Claim), fmt.Sprintf("finish it, or lead it back with `hawser migrate --rollback %s`", owner.Migration))
		}
	}
}

// checkSource refuses what cannot be stopped, or would not stay so.
func (p *planner) checkSource() {
	j := users.Judge{Observed: p.seen.InSource, Namespace: p.options.Namespace, Ignore: ignored(p.options, users.Checks)}
	taken := claimsOf(p.plan.Volumes)
	j.Pods(p.stopped, func(claim string) bool { return slices.Contains(taken, p.options.Namespace+"/"+claim) })
	for _, u := range p.stopped {
		j.Stop(u)
		switch record, err := recordOf(u.Object); {
		case err != nil:
			p.refuse(u.Kind, p.options.Namespace, u.Name, err.Error(), "was it edited? put it right")
		case record != nil && record.ID != p.plan.ID:
			p.refuse(u.Kind, p.options.Namespace, u.Name, "migration "+string(record.ID)+" has it", fmt.Sprintf("finish that, or lead it back with `hawser migrate --rollback %s`", record.ID))
		case u.Object.GetAnnotations()[rollback.RecordAnnotation] != "":
			p.refuse(u.Kind, p.options.Namespace, u.Name, "a rollback or undo of it is under way", "finish that first, by running the same command again")
		case u.Object.GetDeletionTimestamp() != nil:
			p.refuse(u.Kind, p.options.Namespace, u.Name, "it is being deleted", "wait until it is gone")
		}
	}
	j.Rights()
	p.add("source", j.Refusals)
	for _, note := range slices.Concat(j.Notes, p.seen.InSource.Unknown, p.seen.InSource.Unseen) {
		p.note("in the source: %s", note)
	}
	for _, v := range p.plan.Volumes {
		if pv := p.seen.InSource.Volume(v.Volume); pv != nil && pv.DeletionTimestamp != nil {
			p.refuse("PersistentVolume", "", pv.Name, "in the source: it is being deleted", "leave claim "+v.Claim.String()+" out")
		} else if pv != nil && pv.Status.Phase == corev1.VolumeFailed {
			p.refuse("PersistentVolume", "", pv.Name, "in the source: it is Failed: "+pv.Status.Message, "look at its disk")
		}
	}
}
