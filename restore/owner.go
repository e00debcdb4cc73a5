package restore

import (
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/catalog"
)

// Held says whether a disk is not to be touched in this cluster, since another
// one owns it or a migration has it, and who that is. Where no catalog was
// asked, nothing is known to be held.
func (o *Observed) Held(driver string, handle catalog.VolumeHandle) (catalog.Ownership, bool) {
	return o.Owners.Held(catalog.Disk{Driver: driver, Handle: handle}, o.ClusterUID)
}

// OwnerRemedy is what can be done where a disk is held.
func OwnerRemedy(owner catalog.Ownership) string {
	switch {
	case owner.Err != nil:
		return "find out what became of that object of the store, and where the disk is in use, before anything else"
	case owner.Underway:
		return fmt.Sprintf("see how it stands with `hawser migrate --status %s`; finish it by running it again, or take it back with `hawser migrate --rollback %s`", owner.Migration, owner.Migration)
	}
	return "use it there, or bring it here with `hawser migrate`"
}

// mayUse refuses what would be put on a disk that is held: two clusters would
// write to it. A copy harms nobody, and is noted.
func (p *planner) mayUse(v catalog.Volume) bool {
	owner, held := p.plan.observed.Held(v.Driver, v.VolumeHandle)
	if !held {
		return true
	}
	if p.request.From == FromSnapshots {
		p.note("claim %s becomes a copy: its disk %s is owned by %s", v.Claim, v.VolumeHandle, owner)
		return true
	}
	p.refuseClaim(v.Claim, fmt.Sprintf("its disk %s is owned by %s", v.VolumeHandle, owner), OwnerRemedy(owner)+"; a copy can be had with --from snapshots")
	return false
}

// checkHeldClaims refuses to create a workload that would start on claims which
// are there, are not restored, and are on disks that are held.
func (p *planner) checkHeldClaims(captured unstructured.Unstructured) {
	for i := range p.plan.observed.Claims {
		claim := &p.plan.observed.Claims[i]
		volume := p.observed.volume(claim.Spec.VolumeName)
		if claim.Namespace != captured.GetNamespace() || volume == nil || volume.Spec.CSI == nil || !usesClaim(captured, claim.Name) {
			continue
		}
		if _, restored := p.pairs[keyOf(claim)]; restored {
			continue // decided by its own disk
		}
		handle := catalog.VolumeHandle(volume.Spec.CSI.VolumeHandle)
		if owner, held := p.plan.observed.Held(volume.Spec.CSI.Driver, handle); held {
			p.refuse(captured.GetKind(), captured.GetNamespace(), captured.GetName(),
				fmt.Sprintf("it would use claim %s, whose disk %s is owned by %s", claim.Name, handle, owner), OwnerRemedy(owner)+"; delete the claim here if it is not wanted (its PersistentVolume must be Retain)")
		}
	}
}

// usesClaim says whether the Pods of a workload use the claim of that name, be it
// one that a StatefulSet makes by its templates.
func usesClaim(workload unstructured.Unstructured, claim string) bool {
	if mentions(workload.Object["spec"], claim) {
		return true
	}
	if workload.GetKind() != "StatefulSet" {
		return false
	}
	templates, _, _ := unstructured.NestedSlice(workload.Object, "spec", "volumeClaimTemplates")
	for _, template := range templates {
		t, _ := template.(map[string]any)
		name, _, _ := unstructured.NestedString(t, "metadata", "name")
		if regexp.MustCompile("^" + regexp.QuoteMeta(name+"-"+workload.GetName()) + "-[0-9]+$").MatchString(claim) {
			return true
		}
	}
	return false
}
