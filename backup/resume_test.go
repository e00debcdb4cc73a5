package backup

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// takenOver is what one TakeOver returned.
type takenOver struct {
	runs []TakenOver
	err  error
}

// takeOver has a process of this name take over, with request for every plan.
func (s *stage) takeOver(name string, request Request) *takenOver {
	s.t.Helper()
	result := &takenOver{}
	s.start(name, func(ctx context.Context, r *Runner) {
		result.runs, result.err = r.TakeOver(ctx, func(string) (Request, bool) { return request, request.Plan != "" })
	})
	return result
}

// one is the outcome of the one run that was taken over.
func (s *stage) one(result *takenOver) TakenOver {
	s.t.Helper()
	if len(result.runs) != 1 || result.err != nil {
		s.t.Fatalf("%d runs were taken over, error %v, want one:\n%s", len(result.runs), result.err, strings.Join(s.history, "\n"))
	}
	return result.runs[0]
}

// closed are the commits of all runs that are closed.
func (s *stage) closed() []catalog.Commit {
	s.t.Helper()
	entries, err := s.Catalog.Entries(s.t.Context(), s.survey(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	var commits []catalog.Commit
	for _, e := range entries {
		if e.Err != nil {
			s.t.Fatal(e.Err)
		}
		commits = append(commits, e.Commit)
	}
	return commits
}

func onStage(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestATakenUpRunIsCompletedFromTheSnapshotsOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, pairs("shop/a", "shop/b"))
		began := time.Now()
		s.start("first", runOnce)
		s.holdAt("first: create points/")
		s.kill("first")
		time.Sleep(20 * time.Second)
		result := s.takeOver("second", occurrence(0))
		s.play(inTurn)
		outcome := s.one(result)
		if outcome.Err != nil || outcome.Intent.Agent != "first" {
			t.Errorf("run of %q taken over: %v", outcome.Intent.Agent, outcome.Err)
		}
		commit := outcome.Commit
		if commit.Outcome != catalog.Complete || commit.Counts.Snapshots != 2 || !commit.Started.Equal(began) || commit.Writer != "second" {
			t.Errorf("the point is %s with %d snapshots, started %s, by %s; want it complete with 2, started %s, by the second", commit.Outcome, commit.Counts.Snapshots, commit.Started, commit.Writer, began)
		}
		if len(commit.Notes) != 1 || !strings.Contains(commit.Notes[0], "another one completed it") {
			t.Errorf("notes %q, want one that says who completed it", commit.Notes)
		}
		for _, point := range s.points() {
			for _, v := range point.Bundle.Volumes {
				if v.Snapshot.Taken.After(began.Add(10 * time.Second)) {
					t.Errorf("the snapshot of %s was taken at %s, which is after the first agent died", v.Claim, v.Snapshot.Taken)
				}
			}
		}
		s.checkEnd()
	})
}

// A snapshot is only taken over while the one who asked for it could have had
// it; the time that is left is that of the first run.
func TestATakenUpRunHasTheTimeThatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, pairs("shop/a", "shop/b"))
		s.anyFail = true
		hurried := occurrence(0)
		hurried.Snapshot.Timeout = time.Minute
		s.start("first", func(ctx context.Context, r *Runner) { _, _ = r.Run(ctx, hurried) })
		s.holdAt("controllers: cut b")
		s.kill("first")
		time.Sleep(30 * time.Second)
		began := time.Now()
		result := s.takeOver("second", hurried)
		s.holdAt("second: create points/", "controllers: cut b")
		if took := time.Since(began); took < 25*time.Second || took > 45*time.Second {
			t.Errorf("it waited %s for a snapshot that had 1m, of which 30s had passed", took)
		}
		s.play(inTurn)
		if commit := s.one(result).Commit; commit.Outcome != catalog.Partial || !strings.Contains(commit.Reasons[0], "claim shop/b") {
			t.Errorf("the point is %s: %q, want it partial for claim shop/b", commit.Outcome, commit.Reasons)
		}
		s.checkEnd()
	})
}

func TestATakenUpRunIsRolledBack(t *testing.T) {
	narrowed := occurrence(0)
	narrowed.Select.Claims = []string{"a"}
	misspelt := occurrence(0)
	misspelt.Select.Claims = []string{"c"}
	empty := occurrence(0)
	empty.Select.Labels = selectLabels(t, "no=such")
	without := occurrence(0)
	without.Snapshot.Skip = true
	terminating := func(s *stage) {
		snapshots := s.snapshots.SnapshotV1().VolumeSnapshots("shop")
		list, err := snapshots.List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		one := list.Items[0]
		one.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		if _, err := snapshots.Update(s.t.Context(), &one, metav1.UpdateOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		dies     string // before this
		request  Request
		meantime func(s *stage)
		says     string
	}{
		{"since a snapshot had not been requested", "first: create snapshot of b", occurrence(0), nil, "had not been requested"},
		{"since a snapshot is being deleted", "first: create points/", occurrence(0), terminating, "had not been requested"},
		{"since its bundle is there", "first: answer to create points/", occurrence(0), nil, "its bundle was written but not committed"},
		{"since its deadline has passed", "first: create points/", occurrence(0), func(*stage) { time.Sleep(20 * time.Minute) }, "its deadline has passed"},
		{"since its plan selects fewer claims", "first: create points/", narrowed, nil, "snapshots of other claims would be taken now"},
		{"since its plan takes no snapshots any more", "first: create points/", without, nil, "snapshots of other claims would be taken now"},
		{"since its plan selects what is not there", "first: create points/", misspelt, nil, "not found in the cluster: persistentvolumeclaim/c"},
		{"since its plan selects nothing", "first: create points/", empty, nil, "nothing to back up"},
		{"since its plan is gone", "first: create points/", Request{}, nil, "the configuration has no such plan"},
		{"since the cluster cannot be listed", "first: create points/", occurrence(0), func(s *stage) { forbid(&s.dynamic.Fake, "list", "pods") }, "it could not be completed: list pods"},
		{"since the store lies", "first: create points/", occurrence(0), func(s *stage) { s.lie() }, "gives back other than was written"},
	} {
		onStage(t, c.name, func(t *testing.T) {
			s := newStage(t, pairs("shop/a", "shop/b"))
			s.start("first", runOnce)
			s.holdAt(c.dies)
			s.kill("first")
			if c.meantime != nil {
				c.meantime(s)
			}
			result := s.takeOver("second", c.request)
			s.play(inTurn)
			if outcome := s.one(result); !errors.Is(outcome.Err, ErrRolledBack) || !strings.Contains(outcome.Err.Error(), c.says) || outcome.Commit.Outcome != "" {
				t.Errorf("error %v, commit %q; want %v that says %q, and no commit", outcome.Err, outcome.Commit.Outcome, ErrRolledBack, c.says)
			}
			commits := s.closed()
			if len(commits) != 1 || commits[0].Outcome != catalog.Abandoned || !strings.Contains(commits[0].Reasons[0], c.says) {
				t.Errorf("the catalog has %+v, want one abandoned run whose reason says %q", commits, c.says)
			}
			if !s.survey(t)[0].Settled {
				t.Error("its journal entry is open")
			}
			wantDiff(t, "left in the cluster", []string(nil), s.left(t))
		})
	}
}

// lie has the store give a bundle back other than it was written.
func (s *stage) lie() {
	s.bucket.Read = func(call catalogtest.Call, data []byte) []byte {
		if strings.HasSuffix(call.Key, "/bundle") {
			return data[1:]
		}
		return data
	}
}

func TestRunsThatAreNotAnotherAgentsAreNotTakenOver(t *testing.T) {
	for _, agent := range []string{"", "second"} {
		onStage(t, "agent "+agent, func(t *testing.T) {
			s := newStage(t, pairs("shop/a", "shop/b"))
			intent := earlier(time.Now().Add(time.Minute), "ours")
			intent.Agent = agent
			if err := s.Catalog.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			result := s.takeOver("second", occurrence(0))
			s.play(inTurn)
			if len(result.runs) != 0 || result.err != nil || s.survey(t)[0].Commit {
				t.Errorf("%d runs were taken over, error %v, survey %+v", len(result.runs), result.err, s.survey(t))
			}
		})
	}
}

func TestWhatAnotherProcessCommitsMeanwhileStands(t *testing.T) {
	for _, c := range []struct {
		name    string
		held    string // where the second waits while the first commits
		request Request
	}{
		{"when it would be resumed", "second: list snapshots", occurrence(0)},
		{"when it is about to be committed", "second: create points/", occurrence(0)},
		{"when it is about to be rolled back", "second: create points/", Request{}},
	} {
		onStage(t, c.name, func(t *testing.T) {
			s := newStage(t, pairs("shop/a", "shop/b"))
			s.start("first", runOnce)
			s.holdAt("first: create points/")
			result := s.takeOver("second", c.request)
			s.holdAt(c.held, "first: ")
			s.holdAt("first: create journal/20260903-120000-databases-10792870.settled", "second: ")
			s.play(inTurn)
			outcome := s.one(result)
			if outcome.Err != nil || outcome.Commit.Outcome != catalog.Complete || outcome.Commit.Writer != "first" {
				t.Errorf("it is %q by %q, error %v; want the complete point of the first", outcome.Commit.Outcome, outcome.Commit.Writer, outcome.Err)
			}
			s.checkEnd()
		})
	}
}

// The first gives up on a snapshot that the second finds ready: whoever commits,
// it is not removed while the other may.
func TestASnapshotThatFailedForOneIsKeptWhileTheOtherMayCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, pairs("shop/a", "shop/b"))
		s.start("first", runOnce)
		s.holdAt("first: create points/", "controllers: cut b") // without b
		result := s.takeOver("second", occurrence(0))
		s.holdAt("second: answer to create points/20260903-120000-databases-10792870/commit", "first: ") // with b
		s.play(inTurn)
		if outcome := s.one(result); outcome.Commit.Outcome != catalog.Complete || outcome.Commit.Counts.Snapshots != 2 {
			t.Errorf("the point is %q with %d snapshots, error %v, want it complete with 2", outcome.Commit.Outcome, outcome.Commit.Counts.Snapshots, outcome.Err)
		}
		s.checkEnd()
	})
}

// snapshot-controller may be about to make a content for a VolumeSnapshot that
// is deleted: the journal keeps the run until a later one has looked again.
func TestAContentThatIsMadeLateIsFoundByTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, pairs("shop/a", "shop/b"))
		s.start("first", runOnce)
		s.holdAt("controllers: make the content of a")
		s.stop("first")
		s.play(holding("controllers: make the content of a"))
		if commits := s.closed(); len(commits) != 1 || commits[0].Outcome != catalog.Abandoned || s.survey(t)[0].Settled {
			t.Fatalf("the catalog has %+v, settled %t; want one abandoned run that is not", commits, s.survey(t)[0].Settled)
		}
		s.give(s.cues()[0])
		synctest.Wait()
		if left := s.left(t); len(left) != 1 || !strings.HasPrefix(left[0], "content-of-") {
			t.Fatalf("left in the cluster: %q, want the one content that was made late", left)
		}
		s.last()
	})
}

// The API server may have carried out a request whose answer got lost, and the
// client have sent it again.
func TestASnapshotThatExistsAlreadyIsTheRunsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, pairs("shop/a", "shop/b"))
		s.start("first", runOnce)
		s.holdAt("first: create snapshot of a")
		own := newSnapshot(catalog.NewPointID(clusterUID, "databases", noon, 0), catalog.ClaimKey{Namespace: "shop", Name: "a"}, "class", s.Catalog.Repository().ID)
		if _, err := s.snapshots.SnapshotV1().VolumeSnapshots("shop").Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		others := holding("controllers: cut a") // a is the last to become ready
		for c := others(s.cues()); c != nil; c = others(s.cues()) {
			s.give(c)
		}
		s.play(inTurn)
		s.checkEnd()
	})
}
