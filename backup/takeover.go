package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
)

// TakenOver tells what became of a run that another agent had left open.
type TakenOver struct {
	Intent catalog.Intent
	Commit catalog.Commit // of the point, if it was completed
	// Err is nil if the run was completed. It wraps ErrRolledBack if it was
	// rolled back; otherwise it says why the run is still open.
	Err error
}

// TakeOver finishes what other agents have left open, as a new leader must
// before it runs anything: each run is completed if it can be, and rolled back
// if not, or if requestFor knows no plan of that name. Runs from the command
// line are left to their deadline. It fails only if the catalog cannot be read,
// or ctx ends.
func (r *Runner) TakeOver(ctx context.Context, requestFor func(plan string) (Request, bool)) ([]TakenOver, error) {
	system, err := r.Kubernetes.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("identify the cluster: %w", err)
	}
	survey, err := r.Catalog.Survey(ctx, string(system.UID))
	if err != nil {
		return nil, err
	}
	var taken []TakenOver
	for _, p := range survey {
		if !p.Journal || p.Settled || p.Commit {
			continue
		}
		intent, err := r.Catalog.Intent(ctx, p)
		if err != nil {
			r.log().Warn("a journal entry cannot be read", "point", p.Point, "error", err)
			continue
		}
		if !r.orphaned(intent) {
			continue
		}
		outcome := TakenOver{Intent: intent}
		outcome.Commit, outcome.Err = r.takeOver(ctx, requestFor, intent)
		if ctx.Err() != nil {
			return taken, context.Cause(ctx)
		}
		taken = append(taken, outcome)
	}
	closed := slices.DeleteFunc(survey, func(p catalog.Presence) bool { return !p.Commit })
	return taken, r.recover(ctx, closed)
}

func (r *Runner) takeOver(ctx context.Context, requestFor func(plan string) (Request, bool), intent catalog.Intent) (catalog.Commit, error) {
	request, known := requestFor(intent.Plan)
	if !known {
		return catalog.Commit{}, r.RollBack(ctx, intent, "the configuration has no such plan any more")
	}
	commit, err := r.Resume(ctx, request, intent)
	if err == nil || errors.Is(err, ErrRolledBack) || ctx.Err() != nil {
		return commit, err
	}
	return catalog.Commit{}, r.RollBack(ctx, intent, "it could not be completed: "+err.Error())
}
