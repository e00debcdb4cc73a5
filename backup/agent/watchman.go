package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// surveyPeriod is the time between two looks at which points there are. What
// this agent makes it knows of; others are made from the command line.
const surveyPeriod = 2 * time.Hour

// ClaimWatch is the Watchman of one cluster. Its fields but Log are required.
type ClaimWatch struct {
	Dynamic    dynamic.Interface
	Catalog    *catalog.Catalog
	ClusterUID string
	Now        func() time.Time
	Log        *slog.Logger // nil for none

	mu       sync.Mutex
	ledger   backup.Ledger
	claims   []backup.ClaimCoverage // as last seen; nil before the first look
	surveyed time.Time
}

// Look sees which claims there are, and what has been made of them since the
// last look. It costs six lists, and one read for each of the points made.
func (w *ClaimWatch) Look(ctx context.Context, plans []Plan, made []catalog.Commit) error {
	inv, err := backup.ObserveClaims(ctx, w.Dynamic)
	if err != nil {
		return err
	}
	claims := backup.Reach(inv, coveredPlans(plans))
	for _, commit := range made {
		_, volumes, err := w.Catalog.Volumes(ctx, w.ClusterUID, commit.Point)
		switch {
		case err == nil:
			w.ledger.Add(commit, volumes)
		case errors.Is(err, catalog.ErrNoPoint): // it was removed meanwhile
		case catalog.Unreadable(err):
			w.warn(err.Error())
		default:
			return fmt.Errorf("read what point %s has: %w", commit.Point, err)
		}
	}
	if now := w.Now(); now.Sub(w.surveyed).Abs() >= surveyPeriod { // a clock may be put back
		if err := w.survey(ctx, claims); err != nil {
			return err
		}
		w.surveyed = now
	}
	there := map[catalog.ClaimKey]bool{}
	for _, c := range claims {
		there[c.Claim] = true
	}
	w.ledger.Keep(there)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claims = claims
	return nil
}

// survey looks in the whole catalog for the newest data of claims.
func (w *ClaimWatch) survey(ctx context.Context, claims []backup.ClaimCoverage) error {
	survey, err := w.Catalog.Survey(ctx, w.ClusterUID)
	if err != nil {
		return err
	}
	reading, err := w.ledger.Read(ctx, w.Catalog, survey, backup.Wants(claims), backup.DefaultDepth)
	for _, why := range reading.Unusable {
		w.warn(why)
	}
	return err
}

// warn tells of a point that cannot be used.
func (w *ClaimWatch) warn(why string) {
	if w.Log != nil {
		w.Log.Error("a point is damaged, and brings nothing back", "error", why)
	}
}

// States tells how the claims that were seen last stand at now.
func (w *ClaimWatch) States(now time.Time) ([]ClaimState, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.claims == nil {
		return nil, false
	}
	w.ledger.Judge(w.claims, now)
	states := make([]ClaimState, 0, len(w.claims))
	for i := range w.claims {
		c := &w.claims[i]
		state := ClaimState{Claim: c.Claim, UID: c.UID, Protected: c.Protected(), Why: c.Why}
		if c.Newest != nil {
			state.Restorable = c.Newest.Data
		}
		if !c.Covered() {
			states = append(states, state)
			continue
		}
		for _, p := range c.Plans {
			state.Plan, state.Breach = p.Plan, p.Promise == backup.PromiseBroken
			states = append(states, state)
		}
	}
	return states, true
}

// coveredPlans are the plans that promise anything: one that is paused does not.
func coveredPlans(plans []Plan) []backup.CoveredPlan {
	var covered []backup.CoveredPlan
	for _, p := range plans {
		if !p.Paused {
			covered = append(covered, p.Covered())
		}
	}
	return covered
}
