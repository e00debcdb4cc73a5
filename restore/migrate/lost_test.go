package migrate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// Whoever waits for what may never come hears of the run that has overtaken it.
func TestARunThatWaitsIsToldThatItIsOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, plan := mover(t), planned(t)
		old := begun(t, m, plan, catalog.Forward)
		waited := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		go func() {
			waited <- old.whileInCharge(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		}()
		time.Sleep(3 * overtakenAfter) // by the clock of the test, which stands still while anybody works
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("it does not wait though it is in charge: %v", err)
		default:
		}
		begun(t, m, plan, catalog.Back)
		if err := <-waited; !errors.Is(err, catalog.ErrSuperseded) {
			t.Errorf("got %v, want %v", err, catalog.ErrSuperseded)
		}
	})
}

// What a move has stopped in a source that is gone is marked when it comes back,
// if nothing runs there; until then the migration is not done.
func TestAMoveIsFinishedWithoutItsSource(t *testing.T) {
	m := mover(t)
	plan := planned(t)
	stopped := begun(t, m, plan, catalog.Forward)
	if err := stopped.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := m.Source
	m.Source = nil
	plan.Way = catalog.WayAdopt
	alone := begun(t, m, plan, catalog.Forward)
	for _, step := range []func(context.Context) error{alone.commit, alone.mark, alone.done} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := alone.result.Notes; len(got) != 1 || !strings.Contains(got[0], "is not marked as moved") {
		t.Errorf("the notes are %q", got)
	}
	expectStage(t, m, plan.ID, Committed)

	m.Source, plan.Way = source, catalog.WayMove
	scaled := func(replicas int32) {
		_, err := users.Change(t.Context(), source.Kubernetes, "shop", redis, func(users.User) ([]byte, error) {
			return []byte(users.Encode(map[string]any{"spec": map[string]any{"replicas": replicas}})), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	scaled(2)
	back := begun(t, m, plan, catalog.Forward)
	if err := back.mark(t.Context()); err == nil || !strings.Contains(err.Error(), "scale it to 0") {
		t.Errorf("what runs in the source is marked: %v", err)
	}
	scaled(0)
	for _, step := range []func(context.Context) error{back.mark, back.done} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expectStage(t, m, plan.ID, Done)
	u, err := users.Read(t.Context(), source.Kubernetes, "shop", redis)
	if err != nil {
		t.Fatal(err)
	}
	if moved, err := movedOf(u.Object); err != nil || moved == nil || moved.To != newOne {
		t.Errorf("the set in the source says that it went to %+v (%v)", moved, err)
	}
}

// What is left in the source may have been deleted before it was marked.
func TestWhatIsGoneFromTheSourceIsNotMarked(t *testing.T) {
	m, plan := mover(t), planned(t)
	m.Source.Kubernetes = fake.NewClientset()
	r := begun(t, m, plan, catalog.Forward)
	if err := r.mark(t.Context()); err != nil {
		t.Error(err)
	}
}

func expectStage(t *testing.T, m *Mover, id catalog.MigrationID, want Stage) {
	t.Helper()
	state, err := m.Catalog.Migration(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := StatusOf(&state).Stage; got != want {
		t.Errorf("the migration is %s, want %s", got, want)
	}
}
