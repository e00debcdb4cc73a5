package migrate

import (
	"errors"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// mover is one that has a catalog in memory, and a source with redis in it.
func mover(t *testing.T) *Mover {
	t.Helper()
	cat, err := catalog.OpenOrCreate(t.Context(), &catalogtest.Memory{}, catalog.Limits{}, testNow)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return testNow }
	return &Mover{
		Source: &Side{Cluster: oldOne, Restorer: &restore.Restorer{Kubernetes: fake.NewClientset(redisSet()), Now: now}},
		Target: &Side{Cluster: newOne, Restorer: &restore.Restorer{Kubernetes: fake.NewClientset(), Now: now}},
		Now:    now, Catalog: cat, Process: "test",
	}
}

// begun is a run of a migration that is in the journal.
func begun(t *testing.T, m *Mover, plan *Plan, direction catalog.Direction) *run {
	t.Helper()
	if err := m.Catalog.BeginMigration(t.Context(), plan.migration); err != nil {
		t.Fatal(err)
	}
	r, err := m.newRun(t.Context(), plan, direction)
	if err != nil {
		t.Fatal(err)
	}
	r.owners, err = m.Catalog.OwnersOf(t.Context(), disksBack(plan.Volumes))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func planned(t *testing.T) *Plan {
	t.Helper()
	plan, err := NewPlan(seen(), moving())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func (m *Mover) owner(t *testing.T, n int) catalog.Ownership {
	t.Helper()
	owners, err := m.Catalog.OwnersOf(t.Context(), []catalog.Disk{disk(n)})
	if err != nil {
		t.Fatal(err)
	}
	owner, _ := owners.Of(disk(n))
	return owner
}

// Of two migrations that have seen the same world one gets all the disks, and the
// other ends without a trace.
func TestOneOfTwoMigrationsGetsTheDisks(t *testing.T) {
	m := mover(t)
	runs := []*run{begun(t, m, planned(t), catalog.Forward), begun(t, m, planned(t), catalog.Forward)}
	errs := make([]error, 2)
	var group sync.WaitGroup
	for i, r := range runs {
		group.Go(func() { errs[i] = r.lock(t.Context()) })
	}
	group.Wait()
	loser := 0
	if errs[0] == nil {
		loser = 1
	}
	refused := (*restore.RefusedError)(nil)
	if errs[1-loser] != nil || !errors.As(errs[loser], &refused) {
		t.Fatalf("one is to win, the other to be refused: %v", errs)
	}
	for n := range 2 {
		if owner := m.owner(t, n); owner.Migration != runs[1-loser].ID {
			t.Errorf("disk %d is of migration %s, want %s", n, owner.Migration, runs[1-loser].ID)
		}
	}
	state, err := m.Catalog.Migration(t.Context(), runs[loser].ID)
	if err != nil || StatusOf(&state).Stage != RolledBack {
		t.Errorf("the one that was refused is %s, want %s (%v)", StatusOf(&state).Stage, RolledBack, err)
	}
}

// A run that was overtaken by a rollback takes no disk, at whatever moment: also
// one that made sure that it was in charge just before.
func TestARunThatIsOvertakenTakesNoDisk(t *testing.T) {
	for name, late := range map[string]bool{"before its step": false, "after its step": true} {
		t.Run(name, func(t *testing.T) {
			m, plan := mover(t), planned(t)
			old := begun(t, m, plan, catalog.Forward)
			if err := old.lock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if late {
				if err := old.step(t.Context(), stepOwn, ""); err != nil {
					t.Fatal(err)
				}
			}
			back := begun(t, m, plan, catalog.Back)
			if err := back.ownBack(t.Context()); err != nil {
				t.Fatal(err)
			}
			var err error
			if late {
				err = old.take(t.Context(), old.Volumes, newOne, func(catalog.MigratedVolume) string { return "" }, false)
			} else {
				err = old.ownInTarget(t.Context())
			}
			if err == nil {
				t.Error("the run that was overtaken has seen nothing of it")
			}
			for n := range 2 {
				if owner := m.owner(t, n); owner.Cluster.UID != oldOne.UID {
					t.Errorf("disk %d is owned by %s", n, owner)
				}
			}
		})
	}
}

// A rollback takes the disks back whichever of the two was faster.
func TestARollbackTakesBackWhatWasTakenMeanwhile(t *testing.T) {
	m, plan := mover(t), planned(t)
	old := begun(t, m, plan, catalog.Forward)
	if err := old.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := begun(t, m, plan, catalog.Back) // has seen the source own them
	if err := old.take(t.Context(), old.Volumes[:1], newOne, func(catalog.MigratedVolume) string { return "" }, false); err != nil {
		t.Fatal(err)
	}
	if err := back.ownBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if owner := m.owner(t, n); owner.Cluster.UID != oldOne.UID {
			t.Errorf("disk %d is owned by %s", n, owner)
		}
	}
}

func TestARunThatIsOvertakenScalesNothing(t *testing.T) {
	m, plan := mover(t), planned(t)
	old := begun(t, m, plan, catalog.Forward)
	begun(t, m, plan, catalog.Back)
	_, err := old.change(t.Context(), m.Source, "shop", redis, stopPatch(plan.ID, old.number))
	if !errors.Is(err, catalog.ErrSuperseded) {
		t.Errorf("got %v, want %v", err, catalog.ErrSuperseded)
	}
	u, err := users.Read(t.Context(), m.Source.Kubernetes, "shop", redis)
	if err != nil || u.Replicas != 2 {
		t.Errorf("the set has %d replicas, want 2 (%v)", u.Replicas, err)
	}
}

// A migration is committed or rolled back, never both.
func TestAVerdictStands(t *testing.T) {
	t.Run("a committed one is not rolled back", func(t *testing.T) {
		m, plan := mover(t), planned(t)
		r := begun(t, m, plan, catalog.Forward)
		if err := r.commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := m.Rollback(t.Context(), plan.ID)
		if refused := (*restore.RefusedError)(nil); !errors.As(err, &refused) {
			t.Errorf("it is not refused: %v", err)
		}
	})
	t.Run("one that is rolled back is not committed", func(t *testing.T) {
		m, plan := mover(t), planned(t)
		r := begun(t, m, plan, catalog.Forward)
		if _, err := m.Catalog.Conclude(t.Context(), plan.ID, catalog.Verdict{Outcome: catalog.RolledBack, At: testNow}); err != nil {
			t.Fatal(err)
		}
		if err := r.commit(t.Context()); err == nil {
			t.Error("it is committed")
		}
	})
}
