package backup

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

// cuedExec waits for a cue before each command.
type cuedExec struct {
	s    *stage
	name string
}

func (e cuedExec) Exec(_ context.Context, _, pod, _ string, command []string, _ io.Reader, _, _ io.Writer) error {
	return e.s.act(e.name, "exec "+command[0]+" "+pod)
}

// A killed run may leave Pods quiet. Who takes it over lets them go, but not
// before it is certain that the killed one, if it is not, makes no point of a
// snapshot that is not cut yet.
func TestPodsThatAKilledRunLeftQuietAreReleased(t *testing.T) {
	quietly := occurrence(0)
	quietly.Hooks = []Hook{{Select: labels.Everything(), Pre: []string{"lock"}, Post: []string{"unlock"}}}
	const fenced, unlock = "create points/20260903-120000-databases-10792870/commit", "exec unlock pod-0"
	for _, c := range []struct {
		name  string
		dies  string // the first, before this
		again string // the second, before this; "" if it does not
	}{
		{"before the first snapshot", "first: create snapshot of", ""},
		{"after the last, which may be cut later", "first: create points/", ""},
		{"and the next dies when the run is fenced", "first: create snapshot of", "second: answer to " + fenced},
		{"and the next dies before it releases them", "first: create snapshot of", "second: " + unlock},
	} {
		onStage(t, c.name, func(t *testing.T) {
			s := newStage(t, pairs("shop/a", "shop/b"), pod("shop/pod-0", "", "a")+"\nstatus: {phase: Running}")
			s.start("first", func(ctx context.Context, r *Runner) {
				r.Exec = cuedExec{s, "first"}
				_, _ = r.Run(ctx, quietly)
			})
			s.holdAt(c.dies)
			s.kill("first")
			var err error
			takeOver := func(name string) {
				s.start(name, func(ctx context.Context, r *Runner) {
					r.Exec = cuedExec{s, name}
					var taken []TakenOver
					if taken, err = r.TakeOver(ctx, func(string) (Request, bool) { return quietly, true }); len(taken) == 1 {
						err = taken[0].Err
					}
				})
			}
			last := "second"
			takeOver("second")
			if c.again != "" {
				s.holdAt(c.again)
				s.kill("second")
				last = "third"
				takeOver("third")
			}
			s.play(inTurn)
			if c.again == "" && (!errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), "hooks kept its Pods quiet") && !strings.Contains(err.Error(), "had not been requested")) {
				t.Errorf("error %v, want %v, for hooks", err, ErrRolledBack)
			}
			at := slices.Index(s.history, last+": "+unlock)
			fence := slices.IndexFunc(s.history, func(line string) bool { return strings.HasSuffix(line, ": "+fenced) })
			if fence < 0 || at < fence {
				t.Errorf("it unlocks at %d and fences at %d:\n%s", at, fence, strings.Join(s.history, "\n"))
			}
			wantDiff(t, "left in the cluster", []string(nil), s.left(t))
		})
	}
}
