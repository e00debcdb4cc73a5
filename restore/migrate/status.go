package migrate

import (
	"context"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Stage is how far a migration has come.
type Stage string

const (
	UnderWay    Stage = "under way"    // it can be finished, or rolled back
	Committed   Stage = "committed"    // it is in the target; the marks in the source are missing
	Done        Stage = "done"         // it is in the target
	RollingBack Stage = "rolling back" // it will be in the source
	RolledBack  Stage = "rolled back"  // it is in the source
	Unreadable  Stage = "unreadable"
)

// Status tells of one migration.
type Status struct {
	catalog.Migration
	Stage Stage             `json:"stage"`
	Owner map[string]string `json:"owners,omitempty"` // claim to the cluster that owns its disk
	Steps []catalog.Step    `json:"steps,omitempty"`
	Runs  []catalog.Run     `json:"runs,omitempty"`
	Ended *time.Time        `json:"ended,omitempty"` // when it was decided
	Notes []string          `json:"notes,omitempty"`
	Error string            `json:"error,omitempty"`
}

// Point is the restore point that the migration made before anything was stopped,
// or "".
func (s Status) Point() catalog.PointID {
	for _, step := range s.Steps {
		if step.Point != "" {
			return step.Point
		}
	}
	return s.Migration.Point
}

// List tells of all migrations that the catalog knows, newest last. One that cannot
// be read does not hide the others.
func List(ctx context.Context, cat *catalog.Catalog) ([]Status, error) {
	states, err := cat.Migrations(ctx)
	if err != nil {
		return nil, err
	}
	return restore.Map(ctx, states, func(ctx context.Context, found catalog.MigrationState) (Status, error) {
		unreadable := func(err error) Status {
			return Status{Migration: found.Migration, Stage: Unreadable, Error: err.Error()}
		}
		if found.Err != nil {
			return unreadable(found.Err), nil
		}
		state, err := cat.Migration(ctx, found.Migration.ID)
		if catalog.Unreadable(err) {
			return unreadable(err), nil
		}
		return StatusOf(&state), err
	})
}

// Show tells of one migration, and who owns its disks.
func Show(ctx context.Context, cat *catalog.Catalog, id catalog.MigrationID) (Status, error) {
	state, err := cat.Migration(ctx, id)
	if err != nil {
		return Status{}, err
	}
	s := StatusOf(&state)
	owners, err := cat.OwnersOf(ctx, disksBack(s.Volumes))
	if err != nil {
		return Status{}, err
	}
	s.Owner = map[string]string{}
	for _, v := range s.Volumes {
		if owner, known := owners.Of(v.Disk); known && owner.Err == nil {
			s.Owner[v.Claim.String()] = clusterText(owner.Cluster)
		}
	}
	return s, nil
}

// StatusOf says how far a migration has come.
func StatusOf(state *catalog.MigrationState) Status {
	s := Status{Migration: state.Migration, Stage: UnderWay, Steps: state.Steps, Runs: state.Runs}
	over := stepOf(state, stepDone) != nil
	switch {
	case state.Verdict == nil && goesBack(state):
		s.Stage = RollingBack
	case state.Verdict == nil:
		return s
	case state.Verdict.Outcome == catalog.Committed && over:
		s.Stage = Done
	case state.Verdict.Outcome == catalog.Committed:
		s.Stage = Committed
	case over:
		s.Stage = RolledBack
	default:
		s.Stage = RollingBack
	}
	if state.Verdict != nil {
		s.Ended, s.Notes = &state.Verdict.At, state.Verdict.Notes
	}
	return s
}
