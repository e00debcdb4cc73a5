package backup

import (
	"errors"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

var errLost = errors.New("the connection broke")

// attempt asks for a point without snapshots of the occurrence at noon.
func attempt(n int) Request {
	request := reattachable(Selection{})
	request.Plan, request.Scheduled, request.Attempt = "databases", noon, n
	return request
}

func TestACommitWhoseAnswerIsLostStands(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	l.bucket.After = catalogtest.Lose(catalogtest.KeyEnds(catalogtest.Create, "/commit"), errLost)
	commit, err := l.Run(t.Context(), attempt(0))
	if err != nil || commit.Outcome != catalog.Complete {
		t.Errorf("%q, error %v, want the complete point that was made", commit.Outcome, err)
	}
	if !l.survey(t)[0].Settled {
		t.Error("its journal entry is open")
	}
}

func TestAFurtherAttempt(t *testing.T) {
	first, second := catalog.NewPointID(clusterUID, "databases", noon, 0), catalog.NewPointID(clusterUID, "databases", noon, 1)
	for _, c := range []struct {
		name   string
		before func(t *testing.T, l *lab) // what became of the first
		point  catalog.PointID            // that comes of a run with Attempt 1
		closed int                        // points and abandoned runs then
	}{
		{"takes the place of one that never began", func(*testing.T, *lab) {}, first, 1},
		{"follows one that was abandoned", func(t *testing.T, l *lab) {
			l.bucket.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, "/bundle"), errLost)
			_, err := l.Run(t.Context(), attempt(0))
			if !errors.Is(err, errLost) {
				t.Fatal(err)
			}
		}, second, 2},
		{"closes one of this process that could not be closed", func(t *testing.T, l *lab) {
			l.bucket.Before = catalogtest.Fail(func(call catalogtest.Call) bool { return strings.Contains(call.Key, "/points/") }, errLost)
			_, err := l.Run(t.Context(), attempt(0))
			if !errors.Is(err, errLost) || !strings.Contains(err.Error(), "a run after 12:15") && !strings.Contains(err.Error(), "12:15:00Z removes them") {
				t.Fatal(err)
			}
		}, second, 2},
		{"closes one whose beginning was not confirmed", func(t *testing.T, l *lab) {
			l.bucket.After = catalogtest.Lose(catalogtest.Nth(catalogtest.Create, 2), errLost) // after hawser.json
			if _, err := l.Run(t.Context(), attempt(0)); !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			l.bucket.After = nil
		}, second, 2},
		{"is needless after one that made the point", func(t *testing.T, l *lab) {
			if _, err := l.Run(t.Context(), attempt(0)); err != nil {
				t.Fatal(err)
			}
		}, first, 1},
		{"is needless after one that made the point and could not know", func(t *testing.T, l *lab) {
			l.bucket.After = func(call catalogtest.Call, err error) error {
				if strings.HasSuffix(call.Key, "/commit") {
					l.bucket.Before = catalogtest.Fail(func(catalogtest.Call) bool { return true }, errLost)
					return errLost
				}
				return err
			}
			if _, err := l.Run(t.Context(), attempt(0)); !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			l.bucket.After = nil
		}, first, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			l.Agent = "agent"
			c.before(t, l)
			l.bucket.Before = nil
			commit, err := l.Run(t.Context(), attempt(1))
			if err != nil || commit.Point != c.point || commit.Outcome != catalog.Complete {
				t.Errorf("point %s is %q, error %v, want %s complete", commit.Point, commit.Outcome, err, c.point)
			}
			closed := 0
			for _, p := range l.survey(t) {
				if !p.Settled {
					t.Errorf("the journal entry of %s is open", p.Point)
				}
				if p.Commit {
					closed++
				}
			}
			if closed != c.closed {
				t.Errorf("%d runs are closed, want %d", closed, c.closed)
			}
		})
	}
}

// A run that cannot learn what became of the one before it must not begin: the
// occurrence could have two points.
func TestAFurtherAttemptWaitsForTheOneBefore(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	l.bucket.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Create, "/bundle"), errLost)
	if _, err := l.Run(t.Context(), attempt(0)); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	l.bucket.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.Get, "/commit"), errLost)
	if _, err := l.Run(t.Context(), attempt(1)); !errors.Is(err, errLost) {
		t.Errorf("error %v, want %v", err, errLost)
	}
	if n := len(l.survey(t)); n != 1 {
		t.Errorf("%d runs have begun, want one", n)
	}
}
