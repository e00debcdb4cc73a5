package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
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

// exists says whether there is a file; a folder is none.
func exists(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
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

// race is a hawser that runs while the test looks at its journal.
type race struct {
	*twin
	*clitest.Process
	ended  chan clitest.Result
	before map[string]int // how many steps the journals had before, by their ids
}

func (t *twin) race(args ...string) *race {
	t.t.Helper()
	r := &race{twin: t, before: map[string]int{}, ended: make(chan clitest.Result, 1)}
	for _, j := range t.journals() {
		r.before[j.id] = len(j.steps)
	}
	r.Process = t.start(args...)
	go func() { r.ended <- r.Process.Wait() }()
	return r
}

// steps are the names of those that were written since the run began.
func (r *race) steps() []string {
	r.t.Helper()
	var all []string
	for _, j := range r.journals() {
		all = append(all, j.steps[r.before[j.id]:]...)
	}
	return all
}

// awaitStep waits until the run has written the step of that name; "" is any. It
// says false, with the result, if the run has ended before.
func (r *race) awaitStep(name string) (clitest.Result, bool) {
	return r.await(func() bool {
		return slices.ContainsFunc(r.steps(), func(s string) bool { return name == "" || s == name })
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

// preventVerdict has a migration come to its end between its last step and the
// verdict, if it is not killed sooner: a folder is in the way of that until the
// returned function is called.
func (r *race) preventVerdict() (allow func()) {
	r.t.Helper()
	if result, come := r.awaitStep(""); !come {
		r.t.Fatalf("the migration ended before its first step: exit code %d\n%s", result.Code, result.Stderr)
	}
	j, _ := r.underway()
	folder := filepath.Join(r.folder(), "migrations", j.id, "verdict")
	r.must(os.Mkdir(folder, 0o700))
	return func() { r.must(os.Remove(folder)) }
}
