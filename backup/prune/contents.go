package prune

import (
	"crypto/sha256"
	"unique"

	"hawser.dev/hawser/catalog"
)

// id stands for a name or a handle, in little memory: an agent keeps those of
// all snapshots.
type id [16]byte

func idOf(parts ...string) id {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return id(h.Sum(nil))
}

// nameID stands for a VolumeSnapshot.
func nameID(namespace, name string) id { return idOf("name", namespace, name) }

// handleID stands for a snapshot on the storage.
func handleID(driver string, handle catalog.SnapshotHandle) id {
	return idOf("handle", driver, string(handle))
}

// contents is what pruning needs to know of a bundle.
type contents struct {
	snapshots []snapshotFact
	records   []catalog.ClaimKey // claims without a snapshot, none of which was asked for
}

// snapshotFact is one snapshot that a bundle names.
type snapshotFact struct {
	claim        catalog.ClaimKey
	name, handle id
}

func contentsOf(bundle catalog.Bundle) *contents {
	c := &contents{}
	for _, v := range bundle.Volumes {
		// Points name the same claims again and again.
		claim := catalog.ClaimKey{Namespace: unique.Make(v.Claim.Namespace).Value(), Name: unique.Make(v.Claim.Name).Value()}
		switch {
		case v.Snapshot != nil:
			c.snapshots = append(c.snapshots, snapshotFact{claim: claim, name: nameID(v.Claim.Namespace, v.Snapshot.Name), handle: handleID(v.Driver, v.Snapshot.Handle)})
		case v.Problem == "":
			c.records = append(c.records, claim)
		}
	}
	return c
}

// intentsOf names the snapshots of a bundle as a tombstone does.
func intentsOf(bundle catalog.Bundle) []catalog.IntentSnapshot {
	var snapshots []catalog.IntentSnapshot
	for _, v := range bundle.Volumes {
		if v.Snapshot != nil {
			snapshots = append(snapshots, catalog.IntentSnapshot{Claim: v.Claim, Name: v.Snapshot.Name})
		}
	}
	return snapshots
}
