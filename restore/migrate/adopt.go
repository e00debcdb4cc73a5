package migrate

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// usersIn are the workloads of a restore point, as if its cluster was there.
func usersIn(point *catalog.RestorePoint) (*users.Observed, error) {
	o := &users.Observed{Observed: &restore.Observed{}}
	for _, object := range point.Bundle.Objects {
		var err error
		switch object.GetKind() {
		case "StatefulSet":
			var set appsv1.StatefulSet
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &set)
			o.StatefulSets = append(o.StatefulSets, set)
		case "Deployment":
			var d appsv1.Deployment
			err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &d)
			o.Deployments = append(o.Deployments, d)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s in the point: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return o, nil
}

// CheckDisks asks the driver in the target whether the disks that are to be
// adopted are there and attached nowhere else, and refuses if not. It writes
// nothing but VolumeAttachments, which it takes away again. What could not be
// checked is a note of the plan.
func (m *Mover) CheckDisks(ctx context.Context, plan *Plan) error {
	began := plan.seen.Unfinished
	if plan.Way != catalog.WayAdopt || began != nil && stepOf(began, stepStart) != nil {
		return nil // they were fenced or checked, and may be attached here by now
	}
	notes, err := m.Target.Usable(ctx, plan.seen.Point, plan.seen.InTarget, map[restore.Presence]string{
		restore.DiskGone:  "bring its data back from the snapshots with hawser restore --from snapshots",
		restore.DiskInUse: "the source is not gone: use --way move",
	})
	plan.Notes = append(plan.Notes, notes...)
	return err
}
