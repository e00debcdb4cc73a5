package migrate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// foreseen is a point as it will be once the fresh snapshots of a copy are in it,
// for the checks beforehand. The others need none. The input is not changed.
func foreseen(point *catalog.RestorePoint, way catalog.MigrationWay, now time.Time) *catalog.RestorePoint {
	if way != catalog.WayCopy {
		return point
	}
	out := *point
	out.Bundle.Volumes = slices.Clone(point.Bundle.Volumes)
	for i := range out.Bundle.Volumes {
		v := &out.Bundle.Volumes[i]
		size, err := resource.ParseQuantity(v.Capacity)
		if err != nil {
			size = resource.Quantity{}
		}
		v.Snapshot = &catalog.Snapshot{Handle: "of the disk as it is then", Name: "fresh", Taken: now.UTC(), RestoreSize: size.Value()}
	}
	return &out
}

// createCopy makes claims from the snapshots of the fresh point, and workloads on
// them, in the target.
func (r *run) createCopy(ctx context.Context) error {
	if r.result.Point == "" {
		return fmt.Errorf("no restore point was made that a copy could come from")
	}
	if err := r.step(ctx, stepCreate, ""); err != nil {
		return err
	}
	point, err := r.Catalog.Load(ctx, r.From.UID, r.result.Point)
	if err != nil {
		return err
	}
	wanted := restore.Request{}
	for _, w := range r.Workloads {
		wanted.Workloads = append(wanted.Workloads, workloadOf(w))
	}
	for _, v := range r.Volumes {
		wanted.Claims = append(wanted.Claims, v.Claim.Name)
	}
	if point, err = restore.Narrow(point, wanted); err != nil {
		return err
	}
	plan, err := r.Target.Plan(ctx, r.arriving(point, r.number), r.request(true))
	if err != nil {
		return err
	}
	result, err := r.Target.Apply(ctx, plan)
	if result != nil {
		r.result.Bound, r.result.Waiting = result.Bound, result.Waiting
		r.result.Notes = append(r.result.Notes, result.Notes...)
	}
	if err != nil {
		return err
	}
	return r.awaitReady(ctx, r.Target, target, r.bringsClaim)
}
