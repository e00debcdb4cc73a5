package backup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser.dev/hawser/catalog"
)

// occurrence is what the processes of the tests below are to make a point of.
func occurrence(attempt int) Request {
	return Request{Plan: "databases", Scheduled: noon, Attempt: attempt, Snapshot: SnapshotPolicy{Timeout: time.Minute}}
}

func databases(plan string) (Request, bool) { return occurrence(0), plan == "databases" }

// runOnce is an agent that comes to the occurrence.
func runOnce(ctx context.Context, r *Runner) { _, _ = r.Run(ctx, occurrence(0)) }

// lead is an agent that comes to lead while the occurrence is due: it takes over
// and, if no point came of it, tries until one does.
func lead(ctx context.Context, r *Runner) {
	if _, err := r.TakeOver(ctx, databases); err != nil {
		return
	}
	for attempt := 0; attempt < 30 && ctx.Err() == nil; attempt++ {
		request := occurrence(attempt)
		request.Snapshot.Timeout = time.Hour // also while others have its turn
		if _, err := r.Run(ctx, request); err == nil {
			return
		}
		id := catalog.NewPointID(clusterUID, "databases", noon, attempt)
		commit, err := r.Catalog.ReadCommit(ctx, catalog.Presence{ClusterUID: clusterUID, Point: id})
		if err == nil && commit.Outcome != catalog.Abandoned || errors.Is(err, catalog.ErrNoPoint) {
			return
		}
	}
}

// theatre is a stage with two claims, and what the seed says goes wrong.
func theatre(t *testing.T, random *rand.Rand) *stage {
	s := newStage(t, pairs("shop/a", "shop/b"))
	if random.IntN(3) == 0 {
		s.failing = "b"
	}
	return s
}

// byChance lets any actor act; now and then it lets time pass, and before each
// step something may happen. fail, if not 0, is how seldom a request fails.
func (s *stage) byChance(random *rand.Rand, fail int, happen func(step int)) {
	s.t.Helper()
	step := 0
	s.play(func(cues []*cue) *cue {
		happen(step)
		step++
		if random.IntN(40) == 0 {
			time.Sleep(time.Duration(random.IntN(15)) * time.Second)
			return nil
		}
		c := cues[random.IntN(len(cues))]
		if late := slices.IndexFunc(cues, func(c *cue) bool { return strings.HasPrefix(c.what, "make ") }); late >= 0 {
			c = cues[late] // see TestAContentThatIsMadeLateIsFoundByTheNextRun
		}
		if fail > 0 && c.actor != controllers && random.IntN(fail) == 0 {
			c.err = errors.New("the network has a bad day")
		}
		return c
	})
}

// last has an agent lead that nothing happens to, and fails the test unless the
// occurrence then has its point, and nothing else is left.
func (s *stage) last() {
	s.t.Helper()
	s.start("the last", lead)
	s.play(inTurn)
	s.checkEnd()
}

var times = flag.Uint64("times", 1, "how many times as many seeds the tests of agents by chance take")

// seeds runs a test with each of n seeds.
func seeds(t *testing.T, n uint64, test func(t *testing.T, random *rand.Rand)) {
	for seed := range n * *times {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

// Whatever the moments at which one agent after another dies, the last makes
// the point, and leaves nothing else.
func TestAgentsThatDieOneAfterAnother(t *testing.T) {
	seeds(t, 60, func(t *testing.T, random *rand.Rand) {
		s := theatre(t, random)
		do := runOnce
		for n := range 1 + random.IntN(3) {
			name, death := fmt.Sprint("agent-", n), random.IntN(70)
			s.start(name, do)
			s.byChance(random, 0, func(step int) {
				if step == death {
					s.kill(name)
				}
			})
			do = lead
		}
		s.last()
	})
}

// The same where requests fail: before they were carried out, or their answers.
func TestAgentsWhoseRequestsFail(t *testing.T) {
	seeds(t, 60, func(t *testing.T, random *rand.Rand) {
		s := theatre(t, random)
		s.anyFail = true
		do := runOnce
		for n := range 1 + random.IntN(3) {
			s.start(fmt.Sprint("agent-", n), do)
			s.byChance(random, 15, func(int) {})
			do = lead
		}
		s.last()
	})
}

// Agents that all believe they lead, at one occurrence side by side, in any
// order of their steps; some are told to stop. No committed point ever relies
// on a snapshot that one of them removes, and there is one.
func TestAgentsThatAllBelieveTheyLead(t *testing.T) {
	seeds(t, 80, func(t *testing.T, random *rand.Rand) {
		s := theatre(t, random)
		s.start("agent-0", runOnce)
		begins := map[int]string{random.IntN(40): "agent-1"}
		if random.IntN(2) == 0 {
			begins[random.IntN(80)] = "agent-2"
		}
		stops := map[int]string{}
		for n := range 3 {
			if random.IntN(3) == 0 {
				stops[random.IntN(100)] = fmt.Sprint("agent-", n)
			}
		}
		s.byChance(random, 0, func(step int) {
			if name := begins[step]; name != "" {
				s.start(name, lead)
			}
			if name := stops[step]; name != "" {
				s.stop(name)
			}
		})
		s.last()
	})
}

// The first agent stops before each of its writes, the second before each of
// its own, and then the first goes on and the second after it: every order of
// who commits, abandons and removes first.
func TestTwoAgentsAtOneRunInEveryOrder(t *testing.T) {
	for _, failing := range []string{"", "b"} {
		for i, more := 0, true; more; i++ {
			more = false
			for j, further := 0, true; further; j++ {
				further = false
				name := fmt.Sprintf("the first after %d, the second after %d, failing %q", i, j, failing)
				onStage(t, name, func(t *testing.T) {
					s := newStage(t, pairs("shop/a", "shop/b"))
					s.failing = failing
					s.start("first", runOnce)
					more = s.writes("first", i)
					s.start("second", lead)
					further = s.writes("second", j)
					s.writes("first", 1000)
					s.play(inTurn)
					s.last()
				})
			}
		}
	}
}

// writes lets one process and the controllers act until the process has had n
// cues to write, and says whether it has not ended by then.
func (s *stage) writes(name string, n int) bool {
	s.t.Helper()
	for {
		if s.process(name).ended {
			return false
		}
		cues := slices.DeleteFunc(s.cues(), func(c *cue) bool { return c.actor != name && c.actor != controllers })
		if len(cues) == 0 {
			time.Sleep(time.Second)
			continue
		}
		if next := cues[0]; next.actor == name && next.writes() && !strings.HasPrefix(next.what, "answer ") {
			if n == 0 {
				return true
			}
			n--
		}
		s.give(cues[0])
		synctest.Wait()
		s.checkPoints()
	}
}
