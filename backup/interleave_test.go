package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	for attempt := 0; attempt < 5 && ctx.Err() == nil; attempt++ {
		if _, err := r.Run(ctx, occurrence(attempt)); err == nil {
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

// chance lets any actor act; now and then it lets time pass.
func chance(random *rand.Rand, event func()) func([]*cue) *cue {
	return func(cues []*cue) *cue {
		event()
		if random.IntN(40) == 0 {
			time.Sleep(time.Duration(random.IntN(15)) * time.Second)
			return nil
		}
		return cues[random.IntN(len(cues))]
	}
}

// Whatever the moments at which one agent after another dies, the last makes
// the point, and leaves nothing else.
func TestAgentsThatDieOneAfterAnother(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				s := theatre(t, random)
				do := runOnce
				for n := range 1 + random.IntN(3) {
					name := fmt.Sprint("agent-", n)
					s.start(name, do)
					steps, death := 0, random.IntN(60)
					s.play(chance(random, func() {
						if steps++; steps == death {
							s.kill(name)
						}
					}))
					do = lead
				}
				s.start("the last", lead)
				s.play(inTurn)
				s.play(inTurn)
				s.checkEnd()
			})
		})
	}
}
