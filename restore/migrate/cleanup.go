package migrate

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Removed is what a clean-up has removed.
type Removed struct {
	ID      catalog.MigrationID `json:"id"`
	Objects []RemovedObject     `json:"objects"`
}

// RemovedObject is one object that is gone.
type RemovedObject struct {
	Kind string `json:"kind"`
	Name string `json:"name"` // with its namespace, if it has one
}

// Cleanup removes what a committed migration has left in the source: workloads,
// claims and PersistentVolume objects that say so. It refuses while the catalog
// does not say that every disk is another cluster's, and deletes no PersistentVolume
// that is not Retain, so no disk goes. It may be run again.
func (m *Mover) Cleanup(ctx context.Context, id catalog.MigrationID) (*Removed, error) {
	state, err := m.Catalog.Migration(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := m.checkCleanup(ctx, &state); err != nil {
		return nil, err
	}
	moved := func(o metav1.Object) bool {
		where, err := movedOf(o)
		return err == nil && where != nil && where.ID == id
	}
	removed := &Removed{ID: id, Objects: []RemovedObject{}}
	for _, w := range state.Migration.Workloads {
		namespace, name := source(w)
		u, err := users.Read(ctx, m.Source.Kubernetes, namespace, name)
		if err != nil {
			return removed, err
		}
		if u == nil || !moved(u.Object) {
			continue
		}
		if u.Replicas != 0 {
			return removed, fmt.Errorf("%s was moved away, and somebody has scaled it to %d; scale it to 0 first", users.Named(name), u.Replicas)
		}
		if err := deleteWorkload(ctx, m.Source, u); err != nil {
			return removed, err
		}
		removed.Objects = append(removed.Objects, RemovedObject{w.Kind, namespace + "/" + w.Name})
		m.report(w.Kind, namespace, w.Name, "removed", "", true)
	}
	var pairs []pair
	for _, v := range state.Migration.Volumes {
		pairs = append(pairs, pair{v.Claim, v.Volume})
	}
	gone, err := removePairs(ctx, m.Source, pairs, moved)
	removed.Objects = append(removed.Objects, gone...)
	return removed, err
}

// checkCleanup refuses to remove what may be needed yet.
func (m *Mover) checkCleanup(ctx context.Context, state *catalog.MigrationState) error {
	refuse := func(problem, remedy string) error {
		return &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "Migration", Name: string(state.Migration.ID), Problem: problem, Remedy: remedy}}}
	}
	if m.Source.UID != state.Migration.Source.UID {
		return refuse("it was from cluster "+clusterText(state.Migration.Source), "correct --from")
	}
	switch stage := StatusOf(state).Stage; {
	case state.Migration.Way == catalog.WayCopy:
		return refuse("it was a copy, and has left nothing behind", "there is nothing to do")
	case stage != Done:
		return refuse("it is "+string(stage)+", not done", "finish it first")
	}
	owners, err := m.Catalog.OwnersOf(ctx, disksBack(state.Migration.Volumes))
	if err != nil {
		return err
	}
	var refusals []restore.Refusal
	for _, v := range state.Migration.Volumes {
		owner, known := owners.Of(v.Disk)
		if known && owner.Err == nil && owner.Cluster.UID != m.Source.UID {
			continue
		}
		problem := "nobody is known to own its disk " + string(v.Disk.Handle)
		if known {
			problem = fmt.Sprintf("its disk %s is owned by %s", v.Disk.Handle, owner)
		}
		refusals = append(refusals, restore.Refusal{Kind: "PersistentVolumeClaim", Namespace: v.Claim.Namespace, Name: v.Claim.Name, Problem: problem, Remedy: "it came back: there is nothing to clean up"})
	}
	if len(refusals) > 0 {
		return &restore.RefusedError{Refusals: refusals}
	}
	return nil
}
