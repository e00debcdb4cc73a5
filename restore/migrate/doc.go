// Package migrate takes workloads with their disks to another cluster.
//
// NewPlan decides, from what both clusters and the catalog have and what was
// asked, and refuses with every reason at once. Mover carries a plan out, leads
// an unfinished migration back, tells how far migrations have come, and removes
// what a finished one has left in the source. The package's promises:
//
//   - A refusal writes nothing.
//   - Each step is in the journal of the catalog before it acts, and each can be
//     taken again: the same command goes on with a migration that was interrupted.
//   - A workload is scaled up in one cluster only after it is at 0 in the other, no
//     Pod there uses its claims, no disk of it is attached there, and the catalog
//     says that its disks are the one's. Of several runs of one migration only the
//     newest scales anything.
//   - One conditional write in the catalog decides whether a migration is committed
//     or rolled back. Until it is there the migration can be led back.
//   - What is in the target is never overwritten, and removed only if the migration
//     has made it. What is in the source is removed only by Cleanup. Every
//     PersistentVolume is Retain before anything else happens, and stays so.
//
// Restore points are made by the caller (Mover.Fresh). What Pods of other clusters
// than the two do to the disks is not seen.
package migrate
