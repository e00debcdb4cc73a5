package rollback

import (
	"slices"

	"hawser.dev/hawser/restore/users"
)

// Observed is what the cluster has, as far as a rollback in one namespace rests
// on it.
type Observed = users.Observed

// Check is a condition that the user may know better than a plan.
type Check = users.Check

// CheckAutoscaler and CheckOwners are what can be left out.
const (
	CheckAutoscaler = users.CheckAutoscaler
	CheckOwners     = users.CheckOwners
)

// Checks are all that can be left out.
var Checks = users.Checks

// Right is a verb on a kind, in a namespace or, with "", in the cluster.
type Right = users.Right

type user = users.User

// rightsFor are what an act writes.
func rightsFor(act Act, namespace string) []Right {
	const snapshots = "snapshot.storage.k8s.io"
	rights := slices.Concat(
		users.Rights("apps", "statefulsets", namespace, "patch"),
		users.Rights("apps", "deployments", namespace, "patch"),
		users.Rights("", "persistentvolumeclaims", namespace, "create", "delete"),
		users.Rights("", "persistentvolumes", "", "patch"),
	)
	if act == Rollback {
		return slices.Concat(rights,
			users.Rights(snapshots, "volumesnapshots", namespace, "create", "delete"),
			users.Rights(snapshots, "volumesnapshotcontents", "", "create", "patch", "delete"))
	}
	return append(rights, users.Rights("storage.k8s.io", "volumeattachments", "", "create", "deletecollection")...) // the check whether the disk is there
}

// judge refuses what keeps the workloads from being stopped.
func (p *planner) judge() {
	j := users.Judge{Observed: p.observed, Namespace: p.Namespace, Ignore: p.Ignore}
	j.Pods(p.workloads, func(claim string) bool { return p.plan.record.change(claim) != nil })
	for _, u := range p.workloads {
		j.Stop(u)
	}
	p.refusals = append(p.refusals, j.Refusals...)
	for _, note := range j.Notes {
		p.note("%s", note)
	}
}
