// Package catalog keeps restore points in an object store.
//
// A restore point is what one backup run leaves behind: a bundle, which holds
// the Kubernetes objects and one record per volume, and a commit, which is
// small and says what the bundle must be. The point exists when its commit
// exists. The commit is written last, once, after the bundle was read back;
// no object is ever overwritten. Reading needs no cluster.
//
// What a policy keeps is decided by Retention. A point goes in two phases: a
// tombstone, and after its grace period the removal, which cannot begin while the
// tombstone is being taken back, nor the other way round. Commits name each
// other by digest, and tombstones close the gaps: CheckChain finds what is
// missing without a reason.
//
// A disk that migrations took from one cluster to another has a chain of entries
// that says who owns it: Owners reads them, Take adds one. What a migration does
// is in a journal, and its verdict can be written only once.
//
// The layout of the keys and the formats are described in docs/format.md.
// Package catalog takes no decision about Kubernetes: what goes into a point
// is package backup's to say, and what comes out of it is package restore's.
package catalog
