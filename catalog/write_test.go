package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

var errBroken = errors.New("broken")

// steps tells calls in words, with the keys' common beginning left out.
func steps(calls []catalogtest.Call) []string {
	var all []string
	for _, c := range calls {
		all = append(all, fmt.Sprintf("%s %s", c.Method, strings.TrimPrefix(c.Key, "clusters/"+clusterA+"/")))
	}
	return all
}

func TestARunAsksLittleOfTheStoreAndCommitsLast(t *testing.T) {
	s := newStore(t)
	previous := s.add(t, clusterA, "databases", 0).Point
	before := len(s.Calls())
	reads, writes := s.Reads(), s.Writes()

	cat, err := catalog.OpenOrCreate(t.Context(), s.Faulty, catalog.Limits{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	id := store{Catalog: cat, Faulty: s.Faulty}.add(t, clusterA, "databases", 1).Point

	wantDiff(t, "calls", []string{
		"Get hawser.json",
		"List disks/",
		"List ",
		"Create journal/" + string(id),
		"Create points/" + string(id) + "/bundle",
		"Get points/" + string(id) + "/bundle",
		"Get points/" + string(previous) + "/commit",
		"Create points/" + string(id) + "/commit",
		"Create journal/" + string(id) + ".settled",
	}, steps(s.Calls()[before:]))
	if r, w := s.Reads()-reads, s.Writes()-writes; r > 5 || w > 4 {
		t.Errorf("%d reads and %d writes, want at most 5 and 4", r, w)
	}
}

func TestWhatWasCommittedIsLoaded(t *testing.T) {
	s := newStore(t)
	commit := s.add(t, clusterA, "databases", 0)
	point, err := s.Load(t.Context(), clusterA, commit.Point)
	if err != nil {
		t.Fatal(err)
	}
	want := newBundle()
	want.Format, want.Point = catalog.Format, commit.Point
	wantDiff(t, "point", &catalog.RestorePoint{Commit: commit, Bundle: want}, point)
}

// forgetful says yes to every Create of a key with this ending, and keeps nothing.
type forgetful struct {
	catalog.Bucket
	ending string
}

func (f forgetful) Create(ctx context.Context, key string, data []byte) error {
	if strings.HasSuffix(key, f.ending) {
		return nil
	}
	return f.Bucket.Create(ctx, key, data)
}

func TestAStoreThatFailsOrLiesMakesNoPoint(t *testing.T) {
	onBundle := func(change func([]byte) []byte) func(*catalogtest.Faulty) {
		return func(f *catalogtest.Faulty) {
			f.Read = func(call catalogtest.Call, data []byte) []byte {
				if strings.HasSuffix(call.Key, "/bundle") {
					return change(data)
				}
				return data
			}
		}
	}
	for _, c := range []struct {
		name string
		hook func(f *catalogtest.Faulty)
		want error
	}{
		{"the bundle comes back with a byte changed", onBundle(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), catalog.ErrCorrupt},
		{"the bundle comes back short", onBundle(func(b []byte) []byte { return b[:len(b)-1] }), catalog.ErrCorrupt},
		{"the bundle comes back longer", onBundle(func(b []byte) []byte { return append(b, 0) }), catalog.ErrCorrupt},
		{"the bundle comes back empty", onBundle(func([]byte) []byte { return nil }), catalog.ErrCorrupt},
		{"the bundle cannot be read back", func(f *catalogtest.Faulty) {
			f.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, "/bundle"), errBroken)
		}, errBroken},
		{"the bundle was never stored", func(f *catalogtest.Faulty) { f.Bucket = forgetful{f.Bucket, "/bundle"} }, catalog.ErrNotExist},
		{"the bundle is refused", func(f *catalogtest.Faulty) {
			f.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, "/bundle"), errBroken)
		}, errBroken},
		{"the bundle is stored and nobody is told", func(f *catalogtest.Faulty) {
			f.After = catalogtest.Lose(catalogtest.KeyEnds(catalogtest.Create, "/bundle"), errBroken)
		}, errBroken},
		{"the previous commit cannot be read", func(f *catalogtest.Faulty) {
			f.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, "/commit"), errBroken)
		}, errBroken},
		{"the commit is refused", func(f *catalogtest.Faulty) {
			f.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, "/commit"), errBroken)
		}, errBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			good := s.add(t, clusterA, "databases", 0)
			survey, intent := s.survey(t, clusterA), newIntent(clusterA, "databases", 1)
			if err := s.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			memory := s.Bucket
			c.hook(s.Faulty)
			commit, err := s.Commit(t.Context(), newCommit(clusterA, "databases", 1), newBundle(), survey)
			if !errors.Is(err, c.want) {
				t.Errorf("Commit: %v, want %v", err, c.want)
			}
			wantDiff(t, "commit returned with the error", catalog.Commit{}, commit)

			s.Bucket, s.Before, s.After, s.Read = memory, nil, nil, nil
			found, err := s.Find(t.Context(), clusterA, catalog.Latest)
			if err != nil {
				t.Fatal(err)
			}
			wantDiff(t, "latest point", good, found)
			if err := s.Abandon(t.Context(), intent, catalog.Commit{}, survey); err != nil {
				t.Errorf("Abandon after it: %v", err)
			}
		})
	}
}

func TestACommitWhoseAnswerIsLostIsStillOne(t *testing.T) {
	s := newStore(t)
	intent := newIntent(clusterA, "databases", 0)
	s.After = catalogtest.Lose(catalogtest.KeyEnds(catalogtest.Create, "/commit"), errBroken)
	if _, err := s.Commit(t.Context(), newCommit(clusterA, "databases", 0), newBundle(), nil); !errors.Is(err, errBroken) {
		t.Fatalf("Commit: %v, want %v", err, errBroken)
	}
	s.After = nil
	if err := s.Abandon(t.Context(), intent, catalog.Commit{}, nil); !errors.Is(err, catalog.ErrFenced) {
		t.Errorf("Abandon: %v, want %v: its snapshots belong to a point", err, catalog.ErrFenced)
	}
	if _, err := s.Load(t.Context(), clusterA, intent.Point); err != nil {
		t.Error(err)
	}
}

func TestAnAbandonedRunIsNoPoint(t *testing.T) {
	s := newStore(t)
	id := s.abandon(t, clusterA, "databases", 0)
	if _, err := s.Load(t.Context(), clusterA, id); !errors.Is(err, catalog.ErrNoPoint) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Load: %v, want %v and the reason", err, catalog.ErrNoPoint)
	}
	if _, err := s.Commit(t.Context(), newCommit(clusterA, "databases", 0), newBundle(), nil); !errors.Is(err, catalog.ErrFenced) {
		t.Errorf("Commit: %v, want %v", err, catalog.ErrFenced)
	}
	commit, err := s.ReadCommit(t.Context(), catalog.Presence{ClusterUID: clusterA, Point: id})
	if err != nil {
		t.Fatal(err)
	}
	intent := newIntent(clusterA, "databases", 0)
	wantDiff(t, "its commit", catalog.Commit{
		Point: id, Cluster: intent.Cluster, Plan: "databases", Scheduled: intent.Scheduled, Started: intent.Started,
		Committed: commit.Committed, Outcome: catalog.Abandoned, Reasons: []string{"interrupted"}, Writer: "hawser v0.1.0",
	}, commit)
}

func TestBeginKeepsTheIntent(t *testing.T) {
	s := newStore(t)
	want := newIntent(clusterA, "databases", 0)
	if err := s.Begin(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	presence := catalog.Presence{ClusterUID: clusterA, Point: want.Point, Journal: true}
	got, err := s.Intent(t.Context(), presence)
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "intent", want, got)
	wantDiff(t, "survey", []catalog.Presence{presence}, s.survey(t, clusterA))
	for range 2 { // as two runs may
		if err := s.Settle(t.Context(), clusterA, want.Point); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
	presence.Settled = true
	wantDiff(t, "survey", []catalog.Presence{presence}, s.survey(t, clusterA))
}

func TestBeginRefusesAClusterThatIsNone(t *testing.T) {
	for _, uid := range []string{"", ".", "..", "a/b", "-", "a b", strings.Repeat("a", 64)} {
		s := newStore(t)
		writes := s.Writes()
		if err := s.Begin(t.Context(), newIntent(uid, "databases", 0)); err == nil || s.Writes() != writes {
			t.Errorf("cluster uid %q: error %v, %d writes", uid, err, s.Writes()-writes)
		}
	}
}

// together runs each of do at the same time and returns their errors.
func together(do ...func() error) []error {
	errs := make([]error, len(do))
	var ready, done sync.WaitGroup
	ready.Add(len(do))
	for i, f := range do {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = f()
		})
	}
	done.Wait()
	return errs
}

// oneWinner returns which of errs is nil, and fails the test unless the other
// one is loser.
func oneWinner(t *testing.T, errs []error, loser error) int {
	t.Helper()
	winner := slices.Index(errs, nil)
	if winner < 0 || !errors.Is(errs[1-winner], loser) {
		t.Fatalf("errors %v, want one nil and one %q", errs, loser)
	}
	return winner
}

func TestOfTwoRunsOfOneOccurrenceOneBegins(t *testing.T) {
	s := newStore(t)
	for n := range 1000 {
		begin := func(writer string) func() error {
			intent := newIntent(clusterA, "databases", n)
			intent.Writer = writer
			return func() error { return s.Begin(t.Context(), intent) }
		}
		winner := oneWinner(t, together(begin("0"), begin("1")), catalog.ErrExist)
		intent, err := s.Intent(t.Context(), catalog.Presence{ClusterUID: clusterA, Point: catalog.NewPointID(clusterA, "databases", hour(n), 0)})
		if err != nil || intent.Writer != fmt.Sprint(winner) {
			t.Fatalf("run %d began, and the journal has run %s, error %v", winner, intent.Writer, err)
		}
	}
}

func TestARunIsCommittedOrAbandonedNeverBoth(t *testing.T) {
	s := newStore(t)
	won := map[catalog.Outcome]int{}
	for n := range 1000 {
		intent, commit := newIntent(clusterA, "databases", n), newCommit(clusterA, "databases", n)
		winner := oneWinner(t, together(
			func() error { _, err := s.Commit(t.Context(), commit, newBundle(), nil); return err },
			func() error {
				// A later run that looks while the first is about anywhere in its commit.
				for range n % 8 {
					s.survey(t, clusterB)
				}
				return s.Abandon(t.Context(), intent, catalog.Commit{}, nil)
			},
		), catalog.ErrFenced)
		want := []catalog.Outcome{catalog.Complete, catalog.Abandoned}[winner]
		got, err := s.ReadCommit(t.Context(), catalog.Presence{ClusterUID: clusterA, Point: intent.Point})
		if err != nil || got.Outcome != want {
			t.Fatalf("the winner makes it %s, the catalog says %s, error %v", want, got.Outcome, err)
		}
		won[want]++
	}
	t.Logf("%v", won)
}

func TestACancelledContextWritesNothing(t *testing.T) {
	s := newStore(t)
	good := s.add(t, clusterA, "databases", 0)
	presence := catalog.Presence{ClusterUID: clusterA, Point: good.Point, Commit: true}
	survey := s.survey(t, clusterA)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, do := range map[string]func() error{
		"Open":         func() error { _, err := catalog.Open(ctx, s.Faulty, catalog.Limits{}); return err },
		"OpenOrCreate": func() error { _, err := catalog.OpenOrCreate(ctx, s.Faulty, catalog.Limits{}, noon); return err },
		"Survey":       func() error { _, err := s.Survey(ctx, ""); return err },
		"Entries":      func() error { _, err := s.Entries(ctx, survey); return err },
		"ReadCommit":   func() error { _, err := s.ReadCommit(ctx, presence); return err },
		"Load":         func() error { _, err := s.Load(ctx, clusterA, good.Point); return err },
		"Find":         func() error { _, err := s.Find(ctx, "", catalog.Latest); return err },
		"Intent":       func() error { _, err := s.Intent(ctx, presence); return err },
		"Begin":        func() error { return s.Begin(ctx, newIntent(clusterA, "databases", 1)) },
		"Settle":       func() error { return s.Settle(ctx, clusterA, catalog.NewPointID(clusterA, "databases", hour(1), 0)) },
		"Abandon":      func() error { return s.Abandon(ctx, newIntent(clusterA, "databases", 1), catalog.Commit{}, survey) },
		"Commit": func() error {
			_, err := s.Commit(ctx, newCommit(clusterA, "databases", 1), newBundle(), survey)
			return err
		},
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	wantDiff(t, "survey after it", survey, s.survey(t, clusterA))
}

func TestACommitStopsWhenItIsCancelledMidway(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Before = func(_ context.Context, call catalogtest.Call) error {
		if call.Method == catalogtest.Get && strings.HasSuffix(call.Key, "/bundle") {
			cancel()
		}
		return nil
	}
	if _, err := s.Commit(ctx, newCommit(clusterA, "databases", 0), newBundle(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v, want %v", err, context.Canceled)
	}
	want := []catalog.Presence{{ClusterUID: clusterA, Point: catalog.NewPointID(clusterA, "databases", noon, 0), Bundle: true}}
	if diff := cmp.Diff(want, s.survey(t, clusterA)); diff != "" {
		t.Errorf("survey (-want +got):\n%s", diff)
	}
}
