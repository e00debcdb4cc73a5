package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// beforeTheAgent is the last commit without an agent: what it wrote is what
// users have.
const beforeTheAgent = "1c161b7ba5ca"

// An upgrade loses nothing: points of the version before are restored, the
// chain of its plan goes on, and retention counts them; and who goes back to
// the version before can read what the new one made.
func TestAnUpgradeLosesNothing(t *testing.T) {
	w := newWorld(t)
	before := w.cli()
	before.Binary = buildCommit(t, beforeTheAgent)
	handles := w.deployRedis(2, "disks-delete")
	selects := fmt.Sprintf("plans:\n- name: daily\n  select: {namespaces: [%s]}\n", w.namespace)
	old := w.configure(filepath.Join(t.TempDir(), "old.yaml"), selects)
	next := w.configure(filepath.Join(t.TempDir(), "new.yaml"), selects+"  schedule: \"* * * * *\"\n  retain: {last: 1}\n")
	first := strings.TrimSpace(before.Run(w.ctx, t, 0, "backup", "--plan", "daily", "--config", old, "-o", "name").Stdout)

	a := w.startAgent("one", next, "--agent-leader-elect=false")
	w.eventually("a point by the agent", 80*time.Second, func() bool { return len(w.commits("daily")) > 1 })
	a.stop()
	commits := w.commits("daily")
	if second := commits[1]; second.Previous == nil || second.Previous.Point != catalog.PointID(first) {
		t.Errorf("the agent's first point names %v as the one before, want %s", second.Previous, first)
	}
	w.run(0, "restore", first, "--dry-run")
	r := w.run(0, "prune", "--config", next, "--dry-run", "-o", "json")
	var pruned struct {
		Decisions []struct {
			Point   catalog.PointID
			Verdict string
		}
	}
	w.must(json.Unmarshal([]byte(r.Stdout), &pruned))
	found := false
	for _, d := range pruned.Decisions {
		// The agent has buried it, or was stopped before it came to that.
		found = found || string(d.Point) == first && (d.Verdict == "expiring" || d.Verdict == "bury")
	}
	if !found {
		t.Errorf("last: 1 did not drop the old version's point %s: %+v", first, pruned.Decisions)
	}

	newest := string(commits[len(commits)-1].Point)
	if listed := before.Run(w.ctx, t, 0, "points", "-o", "name").Stdout; !strings.Contains(listed, newest) {
		t.Errorf("the version before does not list %s:\n%s", newest, listed)
	}
	before.Run(w.ctx, t, 0, "show", newest)

	w.loseEverything()
	w.run(0, "restore", first, "--from", "disks")
	w.awaitReady(2)
	for claim, handle := range handles {
		w.expectFile(handle, "first", claim)
	}
}

// buildCommit builds the command as it was at a commit of this repository.
func buildCommit(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	archive := exec.CommandContext(t.Context(), "git", "archive", commit)
	archive.Dir = ".."
	var stderr bytes.Buffer
	archive.Stderr = &stderr
	sources, err := archive.Output()
	if err != nil {
		t.Skipf("this clone does not have the commit %s: %v\n%s", commit, err, &stderr)
	}
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(sources)
	binary := filepath.Join(dir, "hawser-before")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "./cmd/hawser")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{unpack, build} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build commit %s: %v\n%s", commit, err, out)
		}
	}
	return binary
}
