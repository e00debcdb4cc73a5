// Package backup makes restore points of PersistentVolumeClaims and of the
// workloads that use them.
//
// Run lists what the cluster has, decides what to take (Select, a pure
// function), makes the volumes Retain, writes its intent to the journal, takes
// CSI snapshots, and commits the point last. Its promises:
//
//   - The disk of every claim in a point outlives its claim: the volume was read
//     back as Retain before anything else happened.
//   - One failing claim makes the point partial; the others stand.
//   - A run either commits or is abandoned. What an abandoned run has made is
//     removed by that run, or by a later one that finds its intent in the journal.
//   - Nothing is left out silently: each exclusion is in the point, with its reason.
//
// When to run is the agent's to say; bringing a point back is package restore's.
package backup
