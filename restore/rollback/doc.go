// Package rollback turns running workloads back to a restore point, and back
// again (undo).
//
// A rollback gives each claim a new disk with the data of the point, under the
// claim's own name, and sets the disk that it was on aside: retained, labelled,
// and with all that is needed to put it back. NewPlan decides, from the point,
// what the cluster has and what was asked, and refuses with every reason at
// once. Roller carries a plan out. Disks and NewRelease say what becomes of the
// disks that were set aside. The package's promises:
//
//   - A refusal writes nothing.
//   - What is going on is recorded on the workload before it is scaled down, in
//     one write. A run that was killed is finished by running it again, or led
//     back by an undo: what is to be done next follows from what is there.
//   - A claim is deleted only when its workload is at 0, no Pod uses it, no disk
//     of it is attached, and its PersistentVolume is Retain and carries the claim.
//   - A claim is created only complete: with the snapshot it is filled from, which
//     the driver has confirmed, or with the disk that is reserved for it.
//   - No PersistentVolume is deleted. Only a release, which is asked for by name,
//     lets a disk go.
//
// Taking the fresh point of the present is left to the caller: this package
// knows of restores alone. One cluster is seen.
package rollback
