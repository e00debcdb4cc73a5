package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	migrationsPrefix = "migrations/"
	migrationDigits  = 4
	migrationSteps   = "step"
	migrationRuns    = "run"
)

func migrationPrefix(id MigrationID) string { return migrationsPrefix + string(id) + "/" }

func beginKey(id MigrationID) string { return migrationPrefix(id) + "begin" }

func migrationVerdictKey(id MigrationID) string { return migrationPrefix(id) + "verdict" }

// numberedKey is the key of a step or run.
func numberedKey(id MigrationID, kind string, number int) string {
	return fmt.Sprintf("%s%s/%0*d", migrationPrefix(id), kind, migrationDigits, number)
}

// BeginMigration writes what was decided, before anything is done. It fails with
// ErrExist if the id was used for anything else, and may be run again. It costs
// one write.
func (c *Catalog) BeginMigration(ctx context.Context, m Migration) error {
	if !m.ID.valid() {
		return fmt.Errorf("begin migration %q: that is not the id of a migration", m.ID)
	}
	for _, cluster := range []Cluster{m.Source, m.Target} {
		if err := validateClusterUID(cluster.UID); err != nil {
			return fmt.Errorf("begin migration %s: %w", m.ID, err)
		}
	}
	m.Format = Format
	err := c.write(ctx, beginKey(m.ID), m)
	if !errors.Is(err, ErrExist) {
		return err
	}
	data, encodeErr := json.Marshal(m)
	stored, readErr := c.bucket.Get(ctx, beginKey(m.ID), c.limits.Compressed)
	if encodeErr == nil && readErr == nil && bytes.Equal(stored, data) {
		return nil // the answer to an earlier attempt was lost
	}
	return errors.Join(err, readErr)
}

// write creates a small object of a migration.
func (c *Catalog) write(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := c.bucket.Create(ctx, key, data); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// readInto reads an object of a migration.
func (c *Catalog) readInto(ctx context.Context, key string, into any) error {
	data, err := c.bucket.Get(ctx, key, c.limits.Compressed)
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if err := decodeJSON(data, into); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// Migrations reads what was decided and the verdict of every migration, newest
// last; Steps and Runs are left out. One that cannot be read has Err, so that it
// does not hide the others. It costs one listing, and two reads for each.
func (c *Catalog) Migrations(ctx context.Context) ([]MigrationState, error) {
	found := map[MigrationID]bool{}
	for object, err := range c.bucket.List(ctx, migrationsPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list migrations: %w", err)
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(object.Key, migrationsPrefix), "/")
		if id := MigrationID(name); id.valid() && rest == "begin" {
			found[id] = true
		}
	}
	states := make([]MigrationState, 0, len(found))
	for id := range found {
		states = append(states, MigrationState{Migration: Migration{ID: id}})
	}
	slices.SortFunc(states, func(a, b MigrationState) int {
		return strings.Compare(string(a.Migration.ID), string(b.Migration.ID))
	})
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range states {
		group.Go(func() error {
			s := &states[i]
			id := s.Migration.ID
			if s.Migration, s.Err = c.begun(gctx, id); s.Err == nil {
				s.Verdict, s.Err = c.migrationVerdict(gctx, id)
			}
			s.Migration.ID = id
			return gctx.Err()
		})
	}
	return states, group.Wait()
}

// begun reads what was decided. It fails with ErrNoMigration if there is none.
func (c *Catalog) begun(ctx context.Context, id MigrationID) (Migration, error) {
	if !id.valid() {
		return Migration{}, fmt.Errorf("migration %q: %w; `hawser migrate --status` lists what there is", id, ErrNoMigration)
	}
	var m Migration
	if err := c.readInto(ctx, beginKey(id), &m); errors.Is(err, ErrNotExist) {
		return Migration{}, fmt.Errorf("migration %s: %w; `hawser migrate --status` lists what there is", id, ErrNoMigration)
	} else if err != nil {
		return Migration{}, err
	}
	if m.ID != id {
		return Migration{}, fmt.Errorf("%s: %w: it is that of migration %s", beginKey(id), ErrCorrupt, m.ID)
	}
	return m, nil
}

// migrationVerdict reads how a migration ended; nil: it has not. It costs one
// read.
func (c *Catalog) migrationVerdict(ctx context.Context, id MigrationID) (*Verdict, error) {
	if !id.valid() {
		return nil, fmt.Errorf("%w: %q is not the id of a migration", ErrCorrupt, id)
	}
	var v Verdict
	if err := c.readInto(ctx, migrationVerdictKey(id), &v); errors.Is(err, ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if v.Migration != id || v.Outcome != Committed && v.Outcome != RolledBack {
		return nil, fmt.Errorf("%s: %w: it says %q of migration %s", migrationVerdictKey(id), ErrCorrupt, v.Outcome, v.Migration)
	}
	return &v, nil
}

// Migration reads all that the catalog has of one migration. It fails with
// ErrNoMigration if there is none. It costs one listing and a read of each
// object.
func (c *Catalog) Migration(ctx context.Context, id MigrationID) (MigrationState, error) {
	m, err := c.begun(ctx, id)
	if err != nil {
		return MigrationState{}, err
	}
	numbers, err := c.numbers(ctx, id)
	if err != nil {
		return MigrationState{}, err
	}
	state := MigrationState{Migration: m, Steps: make([]Step, len(numbers[migrationSteps])), Runs: make([]Run, len(numbers[migrationRuns]))}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, number := range numbers[migrationSteps] {
		group.Go(func() error { return c.readInto(gctx, numberedKey(id, migrationSteps, number), &state.Steps[i]) })
	}
	for i, number := range numbers[migrationRuns] {
		group.Go(func() error { return c.readInto(gctx, numberedKey(id, migrationRuns, number), &state.Runs[i]) })
	}
	if err := group.Wait(); err != nil {
		return MigrationState{}, err
	}
	state.Verdict, err = c.migrationVerdict(ctx, id) // last: what it rests on was read before
	return state, err
}

// numbers lists the numbers of a migration's steps and runs, in order. It costs
// one listing.
func (c *Catalog) numbers(ctx context.Context, id MigrationID) (map[string][]int, error) {
	if !id.valid() {
		return nil, fmt.Errorf("migration %q: %w", id, ErrNoMigration)
	}
	numbers := map[string][]int{}
	for object, err := range c.bucket.List(ctx, migrationPrefix(id)) {
		if err != nil {
			return nil, fmt.Errorf("list migration %s: %w", id, err)
		}
		kind, part, _ := strings.Cut(strings.TrimPrefix(object.Key, migrationPrefix(id)), "/")
		if number, ok := numberOf(part, migrationDigits); ok {
			numbers[kind] = append(numbers[kind], int(number))
		}
	}
	for _, kind := range numbers {
		slices.Sort(kind)
	}
	return numbers, nil
}

func newestOf(numbers []int) int {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

// BeginRun writes that a process drives the migration from here on, and returns
// the number of its run, which is higher than all before. It costs one listing
// and one write, and as much again for each run that begins at the same moment.
func (c *Catalog) BeginRun(ctx context.Context, id MigrationID, run Run) (int, error) {
	for {
		numbers, err := c.numbers(ctx, id)
		if err != nil {
			return 0, err
		}
		run.Format, run.Number = Format, newestOf(numbers[migrationRuns])+1
		err = c.write(ctx, numberedKey(id, migrationRuns, run.Number), run)
		if !errors.Is(err, ErrExist) {
			return run.Number, err
		}
	}
}

// NewestRun reads the run that is in charge; Number is 0 if there is none. It
// costs one listing and one read.
func (c *Catalog) NewestRun(ctx context.Context, id MigrationID) (Run, error) {
	numbers, err := c.numbers(ctx, id)
	newest := newestOf(numbers[migrationRuns])
	if err != nil || newest == 0 {
		return Run{}, err
	}
	var run Run
	if err := c.readInto(ctx, numberedKey(id, migrationRuns, newest), &run); err != nil {
		return Run{}, err
	}
	if run.Number != newest {
		return Run{}, fmt.Errorf("%s: %w: it is run %d", numberedKey(id, migrationRuns, newest), ErrCorrupt, run.Number)
	}
	return run, nil
}

// RecordStep writes that a run is about to take a step. Number is filled in. It
// fails with ErrSuperseded if a newer run is in charge. It costs one listing and
// one write, and as much again for each step that is written at the same moment.
func (c *Catalog) RecordStep(ctx context.Context, id MigrationID, step Step) error {
	for {
		numbers, err := c.numbers(ctx, id)
		if err != nil {
			return err
		}
		if newest := newestOf(numbers[migrationRuns]); newest != step.Run {
			return fmt.Errorf("migration %s: step %s of run %d: %w: run %d", id, step.Name, step.Run, ErrSuperseded, newest)
		}
		step.Format, step.Number = Format, newestOf(numbers[migrationSteps])+1
		if err := c.write(ctx, numberedKey(id, migrationSteps, step.Number), step); !errors.Is(err, ErrExist) {
			return err
		}
	}
}

// Conclude writes the verdict on a migration, unless there is one, and returns
// the one in force, which may be another's and another one. It costs one write,
// and one read if there was a verdict.
func (c *Catalog) Conclude(ctx context.Context, id MigrationID, v Verdict) (Verdict, error) {
	if !id.valid() || v.Outcome != Committed && v.Outcome != RolledBack {
		return Verdict{}, fmt.Errorf("conclude migration %q: %q is not a verdict", id, v.Outcome)
	}
	v.Format, v.Migration, v.Notes = Format, id, firstReasons(v.Notes)
	err := c.write(ctx, migrationVerdictKey(id), v)
	if !errors.Is(err, ErrExist) {
		return v, err
	}
	inForce, err := c.migrationVerdict(ctx, id)
	if err == nil && inForce == nil {
		err = fmt.Errorf("conclude migration %s: the store says that there is a verdict, and has none", id)
	}
	if err != nil {
		return Verdict{}, err
	}
	return *inForce, nil
}
