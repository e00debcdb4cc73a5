package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// newMigration is the n-th migration, with every field set.
func newMigration(n int) catalog.Migration {
	return catalog.Migration{
		Format: catalog.Format, ID: migrationID(n), Way: catalog.WayMove,
		Source: catalog.Cluster{UID: clusterA, Name: "prod-a"}, Target: catalog.Cluster{UID: clusterB, Name: "prod-b"},
		Workloads: []catalog.MigratedWorkload{{
			Kind: "StatefulSet", Namespace: "shop", Name: "redis", TargetNamespace: "store", TargetName: "redis-2",
			Replicas: 3, Policy: &catalog.ClaimPolicy{WhenDeleted: "Delete", WhenScaled: "Retain"},
		}},
		Volumes: []catalog.MigratedVolume{{
			Claim: catalog.ClaimKey{Namespace: "shop", Name: "redis-pvc-redis-0"}, Volume: "pvc-1", Disk: disk1,
			TargetClaim: catalog.ClaimKey{Namespace: "store", Name: "redis-pvc-redis-2-0"}, TargetVolume: "moved-1",
		}},
		Mapping: json.RawMessage(`{"Namespaces":{"shop":"store"}}`),
		Point:   "20260903-110000-manual-0a1b2c3d", Started: hour(n), Writer: "hawser v0.1.0",
	}
}

func newRun(direction catalog.Direction) catalog.Run {
	return catalog.Run{Direction: direction, Started: hour(1), Process: "laptop:4711"}
}

func newStep(name string, run int) catalog.Step {
	return catalog.Step{Name: name, Run: run, At: hour(2), Point: "20260903-140000-manual-0a1b2c3d", Note: "3 claims"}
}

func newVerdict(outcome catalog.MigrationOutcome) catalog.Verdict {
	return catalog.Verdict{Outcome: outcome, Run: 1, At: hour(3), Notes: []string{"statefulset/redis was down for 41 s"}}
}

// migrate writes the n-th migration up to its second step.
func (s store) migrate(t *testing.T, n int) catalog.MigrationID {
	t.Helper()
	m := newMigration(n)
	_, err := s.BeginRun(t.Context(), m.ID, newRun(catalog.Forward))
	for _, err := range []error{
		s.BeginMigration(t.Context(), m), err,
		s.RecordStep(t.Context(), m.ID, newStep("guard", 1)), s.RecordStep(t.Context(), m.ID, newStep("point", 1)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m.ID
}

func (s store) migration(t *testing.T, id catalog.MigrationID) catalog.MigrationState {
	t.Helper()
	state, err := s.Migration(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestFormatOfAMigration(t *testing.T) {
	s := newStore(t)
	id := s.migrate(t, 0)
	if _, err := s.Conclude(t.Context(), id, newVerdict(catalog.Committed)); err != nil {
		t.Fatal(err)
	}
	folder := "migrations/" + string(id) + "/"
	wantDiff(t, "keys", []string{folder + "begin", folder + "run/0001", folder + "step/0001", folder + "step/0002", folder + "verdict"}, s.keys(t, "migrations/"))
	for object, file := range map[string]string{"begin": "migration", "run/0001": "migration-run", "step/0001": "migration-step", "verdict": "migration-verdict"} {
		golden(t, file+".json", indent(t, s.object(t, folder+object)))
	}
}

func TestAMigrationIsReadBack(t *testing.T) {
	s := newStore(t)
	id := s.migrate(t, 0)
	step := func(number int, name string, run int) catalog.Step {
		step := newStep(name, run)
		step.Format, step.Number = catalog.Format, number
		return step
	}
	run := func(number int, direction catalog.Direction) catalog.Run {
		run := newRun(direction)
		run.Format, run.Number = catalog.Format, number
		return run
	}
	want := catalog.MigrationState{
		Migration: newMigration(0), Runs: []catalog.Run{run(1, catalog.Forward)},
		Steps: []catalog.Step{step(1, "guard", 1), step(2, "point", 1)},
	}
	wantDiff(t, "while it is under way", want, s.migration(t, id))

	if _, err := s.BeginRun(t.Context(), id, newRun(catalog.Back)); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordStep(t.Context(), id, newStep("stop", 1)); !errors.Is(err, catalog.ErrSuperseded) {
		t.Errorf("a step of the older run: %v, want %v", err, catalog.ErrSuperseded)
	}
	if err := s.RecordStep(t.Context(), id, newStep("return", 2)); err != nil {
		t.Error(err)
	}
	newest, err := s.NewestRun(t.Context(), id)
	if err != nil {
		t.Error(err)
	}
	wantDiff(t, "the run in charge", run(2, catalog.Back), newest)
	if _, err := s.Conclude(t.Context(), id, newVerdict(catalog.RolledBack)); err != nil {
		t.Error(err)
	}
	verdict := newVerdict(catalog.RolledBack)
	verdict.Format, verdict.Migration = catalog.Format, id
	want.Runs, want.Steps, want.Verdict = append(want.Runs, newest), append(want.Steps, step(3, "return", 2)), &verdict
	wantDiff(t, "after its end", want, s.migration(t, id))

	other := s.migrate(t, 1)
	all, err := s.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "all migrations", []catalog.MigrationState{{Migration: newMigration(0), Verdict: &verdict}, {Migration: newMigration(1)}}, all)
	s.replace(t, "migrations/"+string(other)+"/begin", []byte("{"))
	if all, err = s.Migrations(t.Context()); err != nil || len(all) != 2 || all[0].Err != nil || all[1].Migration.ID != other || !errors.Is(all[1].Err, catalog.ErrCorrupt) {
		t.Errorf("one that cannot be read: %v, error %v", all, err)
	}
}

func TestABeginningIsWrittenOnce(t *testing.T) {
	s := newStore(t)
	lost := errors.New("connection reset")
	s.After = catalogtest.Lose(catalogtest.KeyEnds(catalogtest.Create, "/begin"), lost)
	m := newMigration(0)
	if err := s.BeginMigration(t.Context(), m); !errors.Is(err, lost) {
		t.Errorf("the first time: %v, want %v", err, lost)
	}
	if err := s.BeginMigration(t.Context(), m); err != nil {
		t.Errorf("again, since the answer was lost: %v", err)
	}
	m.Way = catalog.WayCopy
	if err := s.BeginMigration(t.Context(), m); !errors.Is(err, catalog.ErrExist) {
		t.Errorf("another of that id: %v, want %v", err, catalog.ErrExist)
	}
	wantDiff(t, "what is there", newMigration(0), s.migration(t, m.ID).Migration)
}

func TestWhatIsNoMigration(t *testing.T) {
	s := newStore(t)
	for _, id := range []catalog.MigrationID{"", "..", "latest", "20260903-120000-web-0a1b2c3d", migrationID(9)} {
		if _, err := s.Migration(t.Context(), id); !errors.Is(err, catalog.ErrNoMigration) {
			t.Errorf("migration %q: %v, want %v", id, err, catalog.ErrNoMigration)
		}
	}
	m := newMigration(0)
	m.ID = "../x"
	if err := s.BeginMigration(t.Context(), m); err == nil {
		t.Error("one with an id that is none was begun")
	}
	if _, err := s.Conclude(t.Context(), migrationID(0), catalog.Verdict{Outcome: "perhaps"}); err == nil {
		t.Error("a verdict that is none was written")
	}
	if id := catalog.NewMigrationID(noon); !strings.HasPrefix(string(id), "20260903-120000-") || id == catalog.NewMigrationID(noon) {
		t.Errorf("id %s", id)
	}
	wantDiff(t, "keys", 0, len(s.keys(t, "migrations/")))
}

func TestAMigrationHasOneVerdict(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			for n := range map[string]int{"memory": 300, "folder": 50}[name] {
				verdicts := make([]catalog.Verdict, 2)
				conclude := func(i int, outcome catalog.MigrationOutcome) func() error {
					return func() (err error) {
						verdicts[i], err = s.Conclude(t.Context(), migrationID(n), newVerdict(outcome))
						return err
					}
				}
				if errs := together(conclude(0, catalog.Committed), conclude(1, catalog.RolledBack)); errs[0] != nil || errs[1] != nil {
					t.Fatal(errs)
				}
				wantDiff(t, "what the two were told", verdicts[0], verdicts[1])
			}
		})
	}
}

// Each of those who begin a run, or write a step, at the same moment has a number
// of its own, and none is left out.
func TestRunsAndStepsAreNumbered(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			const n = 12
			if err := s.BeginMigration(t.Context(), newMigration(0)); err != nil {
				t.Fatal(err)
			}
			id, numbers := migrationID(0), make([]int, n)
			all := func(do func(i int) error) {
				t.Helper()
				calls := make([]func() error, n)
				for i := range calls {
					calls[i] = func() error { return do(i) }
				}
				if err := errors.Join(together(calls...)...); err != nil {
					t.Fatal(err)
				}
			}
			all(func(i int) (err error) {
				numbers[i], err = s.BeginRun(t.Context(), id, newRun(catalog.Forward))
				return err
			})
			slices.Sort(numbers)
			wantDiff(t, "numbers of runs", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, numbers)
			all(func(i int) error { return s.RecordStep(t.Context(), id, newStep(fmt.Sprint(i), n)) })
			names := map[string]bool{}
			for i, step := range s.migration(t, id).Steps {
				names[step.Name] = true
				if step.Number != i+1 {
					t.Errorf("step %d has number %d", i+1, step.Number)
				}
			}
			wantDiff(t, "steps", n, len(names))
		})
	}
}

var migrations = rapid.Custom(func(t *rapid.T) catalog.Migration {
	var m catalog.Migration
	fill(t, reflect.ValueOf(&m).Elem())
	m.Format, m.ID, m.Mapping = catalog.Format, migrationID(rapid.IntRange(0, 9).Draw(t, "id")), json.RawMessage(`{"a":1}`)
	m.Source.UID, m.Target.UID = uids.Draw(t, "source"), uids.Draw(t, "target")
	return m
})

// fill draws a value for every text and number of a struct, as deep as it goes.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(texts.Draw(t, "text"))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, "number")))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		if v.Type() != reflect.TypeFor[json.RawMessage]() {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(t, v.Index(0))
			fill(t, v.Index(1))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeOf(noon) {
			v.Set(reflect.ValueOf(times.Draw(t, "time")))
			return
		}
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	}
}

func TestAnyMigrationIsReadBackAsItWas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, m := newStore(t), migrations.Draw(rt, "migration")
		if err := s.BeginMigration(t.Context(), m); err != nil {
			rt.Fatal(err)
		}
		wantDiff(t, "migration", m, s.migration(t, m.ID).Migration)
	})
}
