package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/clitest"
)

// journal is what the catalog's folder tells of one migration.
type journal struct {
	id      string
	steps   []string // names, in order
	verdict string   // outcome; "" while it is under way
}

// journals reads all migrations, oldest first.
func (t *twin) journals() []journal {
	t.t.Helper()
	entries, err := os.ReadDir(filepath.Join(t.folder(), "migrations"))
	if err != nil {
		return nil // none yet
	}
	var all []journal
	for _, entry := range entries {
		at := filepath.Join(t.folder(), "migrations", entry.Name())
		if _, err := os.Stat(filepath.Join(at, "begin")); err != nil {
			continue
		}
		j := journal{id: entry.Name()}
		files, err := filepath.Glob(filepath.Join(at, "step", "*"))
		t.must(err)
		for _, file := range files {
			var step catalog.Step
			t.readJSON(file, &step)
			j.steps = append(j.steps, step.Name)
		}
		if file := filepath.Join(at, "verdict"); exists(file) {
			var verdict catalog.Verdict
			t.readJSON(file, &verdict)
			j.verdict = string(verdict.Outcome)
		}
		all = append(all, j)
	}
	return all
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// underway is the migration that has no verdict, if there is one.
func (t *twin) underway() (journal, bool) {
	t.t.Helper()
	all := t.journals()
	i := slices.IndexFunc(all, func(j journal) bool { return j.verdict == "" })
	if i < 0 {
		return journal{}, false
	}
	return all[i], true
}

// countSteps counts the steps of all migrations.
func (t *twin) countSteps() int {
	files, err := filepath.Glob(filepath.Join(t.folder(), "migrations", "*", "step", "*"))
	t.must(err)
	return len(files)
}

// race is a hawser that runs while the test looks at its journal.
type race struct {
	*twin
	*clitest.Process
	ended chan clitest.Result
	began int // steps that were in the journal before
}

func (t *twin) race(args ...string) *race {
	t.t.Helper()
	r := &race{twin: t, began: t.countSteps(), ended: make(chan clitest.Result, 1)}
	r.Process = t.start(args...)
	go func() { r.ended <- r.Process.Wait() }()
	return r
}

// awaitSteps waits until the run has written n steps. It says false, with the
// result, if the run has ended before.
func (r *race) awaitSteps(n int) (clitest.Result, bool) {
	return r.await(func() bool { return r.countSteps() >= r.began+n })
}

// awaitStep waits until the run has written the step of that name.
func (r *race) awaitStep(name string) (clitest.Result, bool) {
	return r.await(func() bool {
		j, ok := r.underway()
		return ok && slices.ContainsFunc(j.steps, func(s string) bool { return strings.EqualFold(s, name) })
	})
}

// await polls, since a folder tells nobody of its changes without being asked.
func (r *race) await(come func() bool) (clitest.Result, bool) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case result := <-r.ended:
			return result, false
		case <-tick.C:
			if come() {
				return clitest.Result{}, true
			}
		}
	}
}

// kill ends the run as a crash does.
func (r *race) kill() clitest.Result {
	_ = r.Process.Kill() // it may have just ended
	return <-r.ended
}
