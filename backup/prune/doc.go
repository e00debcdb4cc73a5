// Package prune deletes what is no longer wanted: restore points that their
// plan's retention drops, and snapshots that nothing names.
//
// A run reads the cluster and then the catalog, decides (Decide, a pure
// function, with a reason for each point), and acts. Its promises:
//
//   - A point goes in two phases. First it gets a tombstone, and can be restored
//     as ever until the grace period is over. A later run decides again: it takes
//     the tombstone back, or removes the point.
//   - Snapshots go before the objects that name them, and their removal is
//     confirmed by the storage. A run that is cut off at any step is finished by
//     the next one.
//   - The newest complete and verified point of each claim stays, whatever the
//     policy says: its bundle was read back, and its snapshots are in the cluster.
//   - Points of other clusters, of plans without a policy, of runs under way, and
//     such as cannot be read are never touched; nor is any snapshot that one of
//     them may name.
//   - Absence proves nothing: an error, or an answer that is emptier than it can
//     be, stops everything. So does a clock that is not the store's, and a policy
//     that would drop much at once.
//
// What a policy keeps is package catalog's to say, when to prune is the agent's.
package prune
