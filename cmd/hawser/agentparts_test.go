package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/backup/prune"
)

// Of what went wrong each plan is told what is about it.
func TestAnErrorOfOnePlanIsNotAllPlans(t *testing.T) {
	whole := errors.New("the whole run")
	result := pruned()
	result.Decisions[2].Problem = "1 of its 2 snapshots are still there"
	result.Decisions[5].Problem = "denied"
	result.Decisions = append(result.Decisions, prune.Decision{Point: "p", Plan: "web", Verdict: prune.Keep})
	result.Stops = []prune.Stop{{Guard: prune.GuardTooMany, Plan: "mail", Why: "much", Remedy: "confirm"}}
	said := func(p agent.Pruning) string { return fmt.Sprintf("%s: %s %v", p.Plan, p.Stopped, p.Err) }
	var got []string
	for _, plan := range []string{"databases", "web", "mail"} {
		got = append(got, said(pruning(result, plan, testNow, whole)))
	}
	got = append(got, said(pruning(prune.Result{}, "web", testNow, whole)))
	want := []string{
		"databases:  point " + string(result.Decisions[2].Point) + ": 1 of its 2 snapshots are still there; and 1 more",
		"web:  <nil>", "mail: too-many much; confirm", "web:  the whole run",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
