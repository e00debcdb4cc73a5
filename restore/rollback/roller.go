package rollback

import (
	"context"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Roller plans and carries out rollbacks, undos and redos in the cluster of a
// Restorer, all of whose required fields are required here too.
type Roller struct {
	*restore.Restorer
	// Fresh makes a restore point of the claims of a plan as they are, before
	// anything is stopped; nil: none is made. Where it fails nothing is changed.
	Fresh func(context.Context, *Plan) (catalog.PointID, error)
}

// Result says what was done.
type Result struct {
	ID        string               `json:"id"`
	Act       Act                  `json:"act"`
	Point     catalog.PointID      `json:"point"`
	Fresh     catalog.PointID      `json:"fresh,omitempty"` // the point that was made of what was there before
	Namespace string               `json:"namespace"`
	Workloads []WorkloadPlan       `json:"workloads"`
	Bound     []restore.BoundClaim `json:"bound"`
	Waiting   []catalog.ClaimKey   `json:"waiting,omitempty"` // for a Pod: they are bound when one uses them
	Aside     []Disk               `json:"aside"`             // the disks that were set aside
	Notes     []string             `json:"notes,omitempty"`
}

// Plan looks at the cluster and plans. It writes nothing, but for an undo or
// redo, unless SkipCheck is set, the VolumeAttachments with which the driver is
// asked whether it still has the disks. It fails with *restore.RefusedError.
func (r *Roller) Plan(ctx context.Context, point *catalog.RestorePoint, options Options) (*Plan, error) {
	observed, err := users.Look(ctx, r.Restorer, options.Namespace, rightsFor(options.Act, options.Namespace))
	if err != nil {
		return nil, err
	}
	plan, err := NewPlan(point, observed, options)
	if err != nil || options.Act == Rollback {
		return plan, err
	}
	return plan, r.checkReturning(ctx, plan)
}

// checkReturning refuses to put disks back that the driver does not have any
// more, or that are attached where this cluster cannot see it.
func (r *Roller) checkReturning(ctx context.Context, plan *Plan) error {
	asked := *plan.swap.point
	asked.Bundle.Volumes = nil
	for _, v := range plan.swap.point.Bundle.Volumes {
		if plan.swap.states[v.Claim.Name] != Arrived {
			asked.Bundle.Volumes = append(asked.Bundle.Volumes, v)
		}
	}
	if len(asked.Bundle.Volumes) == 0 {
		return nil
	}
	if r.SkipCheck {
		plan.Notes = append(plan.Notes, "the driver was not asked whether it still has the disks")
		return nil
	}
	notes, err := r.Usable(ctx, &asked, plan.observed.Observed, map[restore.Presence]string{
		restore.DiskGone:  "use hawser rollback to a point that has its data; `hawser points` lists them",
		restore.DiskInUse: "stop who has it attached, in whichever cluster that is",
	})
	plan.Notes = append(plan.Notes, notes...)
	return err
}

func (r *Roller) report(kind, namespace, name, stage, message string, done bool) {
	if r.Report != nil {
		r.Report(restore.Event{Kind: kind, Namespace: namespace, Name: name, Stage: stage, Message: message, Done: done, At: r.Now()})
	}
}

// retryAfter is how long to wait before what lost a race is tried again.
const retryAfter = 500 * time.Millisecond
