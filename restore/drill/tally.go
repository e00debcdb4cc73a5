package drill

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// tally notes how the claims of a drill fare.
type tally struct {
	started time.Time

	mu     sync.Mutex
	claims []catalog.DrillClaim // in the order of the point
}

// The stages of a claim, one after the other.
const (
	stagePlan  = "plan"
	stageBind  = "bind"
	stageStart = "start"
	stageCheck = "check"
	stageDone  = "done"
)

func newTally(point *catalog.RestorePoint, started time.Time) *tally {
	t := &tally{started: started}
	for _, v := range point.Bundle.Volumes {
		claim := catalog.DrillClaim{Namespace: v.Claim.Namespace, Name: v.Claim.Name, Outcome: catalog.DrillFailed, Stage: stagePlan}
		if v.Snapshot != nil {
			claim.Snapshot = v.Snapshot.Handle
		}
		t.claims = append(t.claims, claim)
	}
	return t
}

// stage moves all claims on.
func (t *tally) stage(stage string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.claims {
		t.claims[i].Stage = stage
	}
}

// change notes something of one claim.
func (t *tally) change(claim catalog.ClaimKey, change func(*catalog.DrillClaim)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.claims {
		if c := &t.claims[i]; c.Namespace == claim.Namespace && c.Name == claim.Name {
			change(c)
		}
	}
}

// after is the time since the drill began, in seconds, to the millisecond.
func (t *tally) after(at time.Time) float64 {
	return math.Round(at.Sub(t.started).Seconds()*1000) / 1000
}

// noteBound notes that a claim is bound; once is enough.
func (t *tally) noteBound(claim catalog.ClaimKey, at time.Time) {
	t.change(claim, func(c *catalog.DrillClaim) {
		if c.BoundAfter == 0 {
			c.BoundAfter = t.after(at)
		}
	})
}

// conclude fills in what came of the drill. problem is what ended it early, if
// anything did.
func (t *tally) conclude(drill *catalog.Drill, problem error, timeout time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed := 0
	allBound := true
	for i := range t.claims {
		c := &t.claims[i]
		if c.Outcome == catalog.DrillFailed {
			failed++
			if c.CheckedAfter == 0 {
				c.Message = unfinished(c, problem, timeout)
			}
		}
		allBound = allBound && c.BoundAfter > 0
		drill.BoundAfter = max(drill.BoundAfter, c.BoundAfter)
		drill.CheckedAfter = max(drill.CheckedAfter, c.CheckedAfter)
	}
	if !allBound {
		drill.BoundAfter = 0
	}
	drill.Claims, drill.Outcome = t.claims, catalog.DrillPassed
	if failed > 0 || problem != nil {
		drill.Outcome = catalog.DrillFailed
		drill.Reasons = reasons(problem, failed, len(t.claims))
		drill.CheckedAfter = t.after(drill.Ended)
	}
}

// reasons say why a drill failed.
func reasons(problem error, failed, of int) []string {
	var refused *restore.RefusedError
	var texts []string
	switch {
	case errors.As(problem, &refused):
		for _, r := range refused.Refusals {
			texts = append(texts, "a restore would be refused: "+r.String())
		}
	case problem != nil:
		texts = append(texts, problem.Error())
	}
	return append(texts, fmt.Sprintf("%d of %d claims failed", failed, of))
}

// unfinished says why a claim has not come to its end.
func unfinished(c *catalog.DrillClaim, problem error, timeout time.Duration) string {
	if problem != nil && !errors.Is(problem, errTime) {
		return "the restore came to nothing"
	}
	what := map[string]string{
		stagePlan: "not planned", stageBind: "not bound", stageStart: "bound, and its Pod had not started", stageCheck: "being checked",
	}[c.Stage]
	text := fmt.Sprintf("%s when the time of %s was over", what, timeout)
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}
