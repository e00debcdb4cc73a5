// Package drill restores for practice: it proves that the points of a plan can
// be brought back, and measures how long it takes.
//
// A drill makes new disks from the snapshots of a point, for claims in scratch
// namespaces of its own, runs a check in one Pod for each volume, records what
// came of it in the catalog, and removes all that it has made. NewScratch says
// what is made, Decide what may be removed; both are pure. Driller does it. The
// package's promises:
//
//   - What is in use is not touched: the claims of a drill have other namespaces,
//     their disks are new, and no workload and no Service is made.
//   - Nothing that does not carry the marks of a drill is ever deleted. A disk is
//     a drill's if its PersistentVolume is of a storage class that the drill made,
//     and that is so from the disk's birth.
//   - The snapshots of the point outlive the drill: what points to them is Retain.
//   - A drill cleans up after itself whatever happens. What one that was killed has
//     left is removed by the next, or by a clean-up that is asked for.
//   - Evidence is written only of what was seen to its end.
package drill
