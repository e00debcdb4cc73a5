// Package restore brings claims and workloads of a restore point back: on
// their own disks (reattach), or on new disks made from the point's snapshots
// (rehydrate).
//
// NewPlan decides, from the point, the request and what the cluster has now,
// and refuses with every reason at once. Apply carries a plan out. Prebind,
// Rearm and Rehydrate are the pure functions that say what each object must
// look like. The package's promises:
//
//   - Nothing that exists is overwritten. What exists and is right is kept.
//   - A PersistentVolume comes before its claim, always as Retain, and names the
//     claim without a uid; a workload comes after its claims are bound.
//   - A claim never gets another disk, or an empty one, in place of its data: where
//     that could happen the plan is a refusal, and a refusal writes nothing.
//   - Apply can be run again at any moment with the same outcome.
//
// Reading points is package catalog's; moving disks between two live clusters
// is not this package's: it sees one cluster.
package restore
