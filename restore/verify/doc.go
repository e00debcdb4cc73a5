// Package verify says whether restore points could be brought back, without
// bringing anything back: whether each object of a point can be read and is what
// its commit says, whether the chain of its plan is whole, and whether the
// snapshots and disks that it names are still known.
//
// Judge decides, from a point and from what was seen of the cluster. Verifier
// reads and asks. The package's promises:
//
//   - Nothing is written: not to the store, and not to the cluster, but for the
//     VolumeAttachments of a check of disks that was asked for.
//   - What could not be looked at is unknown, never missing; an error of the store
//     or of the cluster ends it and is no finding.
package verify
