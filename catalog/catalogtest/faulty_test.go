package catalogtest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/catalog"
)

var errBroken = errors.New("broken")

func TestFaulty(t *testing.T) {
	for _, c := range []struct {
		name string
		hook func(f *Faulty)
		run  func(t *testing.T, f *Faulty)
	}{
		{
			"the n-th call fails and never arrives",
			func(f *Faulty) { f.Before = Fail(Nth(Create, 2), errBroken) },
			func(t *testing.T, f *Faulty) {
				mustCreate(t, f, "a", nil)
				if err := f.Create(t.Context(), "b", nil); !errors.Is(err, errBroken) {
					t.Errorf("second Create: %v", err)
				}
				mustCreate(t, f, "b", nil)
			},
		},
		{
			"the calls of one kind of key fail",
			func(f *Faulty) { f.Before = Fail(KeyEnds(Create, "/commit"), errBroken) },
			func(t *testing.T, f *Faulty) {
				mustCreate(t, f, "p/bundle", nil)
				if err := f.Create(t.Context(), "p/commit", nil); !errors.Is(err, errBroken) {
					t.Errorf("Create of a commit: %v", err)
				}
			},
		},
		{
			"an answer is lost after the work was done",
			func(f *Faulty) { f.After = Lose(Nth(Create, 1), errBroken) },
			func(t *testing.T, f *Faulty) {
				if err := f.Create(t.Context(), "a", []byte("data")); !errors.Is(err, errBroken) {
					t.Errorf("Create: %v", err)
				}
				want(t, f, "a", []byte("data"))
			},
		},
		{
			"a read lies",
			func(f *Faulty) { f.Read = func(_ Call, data []byte) []byte { return data[:1] } },
			func(t *testing.T, f *Faulty) {
				mustCreate(t, f, "a", []byte("data"))
				if got, err := f.Get(t.Context(), "a", 100); err != nil || string(got) != "d" {
					t.Errorf("Get = %q, %v, want the lie", got, err)
				}
			},
		},
		{
			"a call hangs until it is cancelled",
			func(f *Faulty) { f.Before = Hang(Nth(Get, 1)) },
			func(t *testing.T, f *Faulty) {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				_, err := f.Get(ctx, "a", 1)
				wantError(t, "Get", err, context.Canceled)
			},
		},
		{
			"a listing breaks in the middle",
			func(f *Faulty) {
				f.Listed = func(_ Call, i int, _ catalog.Object) error {
					if i == 1 {
						return errBroken
					}
					return nil
				}
			},
			func(t *testing.T, f *Faulty) {
				createAll(t, f, []string{"a", "b", "c"})
				objects, err := collect(f.List(t.Context(), ""))
				if len(objects) != 1 || !errors.Is(err, errBroken) {
					t.Errorf("List = %v, %v", objects, err)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &Faulty{Bucket: new(Memory)}
			c.hook(f)
			c.run(t, f)
		})
	}
}

func TestFaultyCountsCalls(t *testing.T) {
	f := &Faulty{Bucket: new(Memory)}
	mustCreate(t, f, "a", nil)
	mustCreate(t, f, "b", nil)
	want(t, f, "a", nil)
	wantKeys(t, f, "b", "b")
	if err := f.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	calls := []Call{{Create, "a", 1}, {Create, "b", 2}, {Get, "a", 1}, {List, "b", 1}, {Delete, "b", 1}}
	if diff := cmp.Diff(calls, f.Calls()); diff != "" {
		t.Errorf("Calls (-want +got):\n%s", diff)
	}
	if f.Reads() != 2 || f.Writes() != 3 {
		t.Errorf("%d reads and %d writes, want 2 and 3", f.Reads(), f.Writes())
	}
}
