package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"
)

// Objects of a catalog, as patterns of their files. Each is created on the
// condition that it is not there yet.
const (
	beginFile   = "migrations/*/begin"
	runFile     = "migrations/*/run/*"
	stepFile    = "migrations/*/step/*"
	verdictFile = "migrations/*/verdict"
	ownerFile   = "disks/*/*/*"
)

// The store does what it is asked, and its answer is lost: nobody takes what he
// has written himself for another's, be it that he asks again at once, ...
func TestTheStoreLosesAnswersDuringAMigration(t *testing.T) {
	l := newLoser(t)
	run := l.race(l.move(here, "--no-point")...)
	l.lose(run, beginFile)
	l.lose(run, runFile)
	l.lose(run, stepFile)
	l.lose(run, ownerFile) // locked
	l.mend()
	l.reach(run, "fence")
	l.lose(run, stepFile)
	l.lose(run, ownerFile) // taken for the target
	l.mend()
	l.reach(run, "start")
	l.lose(run, verdictFile)
	l.mend()
	if r := <-run.ended; r.Code != 0 {
		t.Fatalf("exit code %d\n%s", r.Code, r.Stderr)
	}
	l.expectAt(there)
	l.mark()

	// ... in a later run, ...
	l.loseAndEnd(l.move(there, "--no-point"), "", beginFile)
	l.loseAndEnd(l.move(there, "--no-point"), "fence", ownerFile)
	l.loseAndEnd(l.move(there, "--no-point"), "start", verdictFile)
	all := l.journals()
	id := all[len(all)-1].id
	if len(all) != 2 {
		t.Errorf("%d migrations are in the catalog, want 2: a re-run has begun another", len(all))
	}
	l.run(4, l.rollBack(there, id)...) // it was decided
	l.run(0, l.move(there, "--no-point")...)
	l.expectAt(here)
	l.mark()

	// ... or on the way back.
	l.loseAndEnd(l.move(here, "--no-point"), "fence", ownerFile)
	j, _ := l.underway()
	l.loseAndEnd(l.rollBack(here, j.id), "", verdictFile)
	l.run(4, l.move(here, "--no-point")...) // it was decided
	l.loseAndEnd(l.rollBack(here, j.id), "back", ownerFile)
	l.run(0, l.rollBack(here, j.id)...)
	l.expectAt(here)
	t.Logf("%d of %d answers were lost", l.lost, l.tried)
	if l.lost == 0 {
		t.Error("the machine was too slow for this test to prove anything")
	}
}

// loser is a twin whose store loses answers.
type loser struct {
	*proxy
	tried, lost int
}

func newLoser(t *testing.T) *loser {
	t.Helper()
	w := newTwin(t)
	l := &loser{proxy: w.moveCatalogToServer()}
	w.deploy(2, "disks-delete")
	w.point()
	return l
}

// held is how long each answer is held back, so that it can be lost.
const held = 200 * time.Millisecond

// hold has the answers held back, until mend.
func (l *loser) hold() {
	l.t.Helper()
	toxics, err := l.toxic.Toxics()
	l.must(err)
	if len(toxics) == 0 {
		l.fail(fault{"latency", "downstream", toxiproxy.Attributes{"latency": held.Milliseconds()}})
	}
}

// files are those of a pattern, with the times of their creation.
func (l *loser) files(pattern string) map[string]time.Time {
	l.t.Helper()
	names, err := filepath.Glob(filepath.Join(l.folder(), pattern))
	l.must(err)
	files := map[string]time.Time{}
	for _, name := range names {
		info, err := os.Stat(name)
		l.must(err)
		files[name] = info.ModTime()
	}
	return files
}

// cut breaks all connections as soon as a run has created an object of the
// pattern, before it is told.
func (l *loser) cut(run *race, pattern string) {
	l.t.Helper()
	before := l.files(pattern)
	l.hold()
	var created time.Time
	r, come := run.await(func() bool {
		for name, at := range l.files(pattern) {
			if _, known := before[name]; !known {
				created = at
			}
		}
		return !created.IsZero()
	})
	if !come {
		l.t.Fatalf("the run ended before it created %s: exit code %d\n%s", pattern, r.Code, r.Stderr)
	}
	l.fail(fault{})
	l.tried++
	if time.Since(created) < held {
		l.lost++
	}
}

// lose has the answer to the creation of an object lost, and the connection mended
// at once.
func (l *loser) lose(run *race, pattern string) {
	l.t.Helper()
	l.cut(run, pattern)
	l.must(l.toxic.Enable())
}

// reach waits until a run has come to a step.
func (l *loser) reach(run *race, step string) {
	l.t.Helper()
	if r, come := run.awaitStep(step); !come {
		l.t.Fatalf("the run ended before its step %s: exit code %d\n%s", step, r.Code, r.Stderr)
	}
}

// loseAndEnd runs hawser, lets the answer to the creation of an object be lost
// after some step, and nothing come through any more until it has ended.
func (l *loser) loseAndEnd(args []string, after, pattern string) {
	l.t.Helper()
	run := l.race(args...)
	if after != "" {
		l.reach(run, after)
	}
	l.cut(run, pattern)
	r := <-run.ended
	l.mend()
	if r.Code == 0 || r.Code == 4 {
		l.t.Errorf("hawser %s, cut off from its store: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
}
