package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

func newPlansCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plans",
		Short: "List the plans of the configuration, and how they fare",
		Long: `List the plans of the configuration: when each ran last in this cluster and what
came of it, when it runs next, and whether that is as it should be.

HEALTH is ok, or what is wrong: the newest run was abandoned or its point is
partial (failing, partial), the newest complete point is older than the plan's rpo
(late), there is none yet (no point). 'hawser coverage' looks at each claim.
NEXT is the start of the next occurrence, the plan's delay included, if an agent
runs this configuration.`,
		Example: `  hawser plans --config /etc/hawser/config.yaml`,
		Args:    noArguments,
	}
	format := addOutputFlag(cmd, outputWide, outputJSON, outputYAML, outputName)
	addKubeFlags(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		states, err := a.planStates(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if len(states) == 0 && !a.quiet {
			fmt.Fprintln(a.stderr, "the configuration has no plans")
		}
		return format.print(a.stdout, plansView(states, a.now()))
	}
	return cmd
}

// planState is how one plan fares.
type planState struct {
	Name     string          `json:"name"`
	Schedule string          `json:"schedule,omitempty"`
	Timezone string          `json:"timezone"`
	Paused   bool            `json:"paused,omitempty"`
	Last     *catalog.Commit `json:"last,omitempty"`         // the newest run that was closed
	Complete *time.Time      `json:"lastComplete,omitempty"` // when the newest complete point was begun
	Next     *time.Time      `json:"next,omitempty"`
	Health   string          `json:"health"`

	selects string
}

// planStates learns how the plans fare in the cluster of the kubeconfig.
func (a *app) planStates(ctx context.Context, cfg config.Config) ([]planState, error) {
	plans, err := agentPlans(cfg)
	if err != nil || len(plans) == 0 {
		return []planState{}, err
	}
	c, err := a.connect(cfg)
	if err != nil {
		return nil, err
	}
	uid, err := catalog.ClusterUID(ctx, c.kubernetes.CoreV1().Namespaces())
	if err != nil {
		return nil, err
	}
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	survey, err := cat.Survey(ctx, uid)
	if err != nil {
		return nil, err
	}
	states := []planState{} // prints as [], not null
	for i, plan := range plans {
		last, complete, err := cat.LastRuns(ctx, survey, plan.Name, 0)
		if err != nil {
			return nil, err
		}
		state := newPlanState(cfg.Plans[i], plan, uid, last, complete, a.now())
		states = append(states, state)
	}
	return states, nil
}

func newPlanState(p config.Plan, plan agent.Plan, clusterUID string, last, complete *catalog.Commit, now time.Time) planState {
	state := planState{
		Name: p.Name, Schedule: p.Schedule, Timezone: p.Timezone, Paused: p.Paused, Last: last,
		Health: planHealth(plan, last, complete, now), selects: planText(p),
	}
	if complete != nil {
		state.Complete = &complete.Started
	}
	if next := agent.Due(plan, clusterUID, now, now, false).Next; !next.IsZero() {
		state.Next = &next
	}
	return state
}

// planHealth says in a word or two how a plan fares.
func planHealth(plan agent.Plan, last, complete *catalog.Commit, now time.Time) string {
	var words []string
	switch {
	case last == nil:
		words = append(words, "no point")
	case last.Outcome == catalog.Abandoned:
		words = append(words, "failing")
	case last.Outcome == catalog.Partial:
		words = append(words, "partial")
	}
	if plan.RPO > 0 && complete != nil && now.Sub(complete.Started) > plan.RPO {
		words = append(words, "late")
	}
	if plan.Paused {
		words = append(words, "paused")
	}
	if len(words) == 0 {
		return "ok"
	}
	return strings.Join(words, ", ")
}

func plansView(states []planState, now time.Time) view {
	v := view{
		value: states,
		human: func(w io.Writer, wide bool) error {
			if len(states) == 0 {
				return nil
			}
			return plansTable(states, now, wide).write(w)
		},
	}
	for _, s := range states {
		v.names = append(v.names, s.Name)
	}
	return v
}

func plansTable(states []planState, now time.Time, wide bool) table {
	t := table{header: []string{"NAME", "SCHEDULE", "LAST", "OUTCOME", "COMPLETE", "NEXT", "HEALTH"}}
	if wide {
		t.header = append(t.header, "POINT", "SELECTS")
	}
	ago := func(at *time.Time) string {
		if at == nil {
			return ""
		}
		return duration.HumanDuration(now.Sub(*at)) + " ago"
	}
	for _, s := range states {
		schedule, next := "by hand", ""
		if s.Schedule != "" {
			schedule = s.Schedule + " " + s.Timezone
		}
		if s.Next != nil {
			next = "in " + duration.HumanDuration(s.Next.Sub(now))
		}
		last, outcome, point := "", "", ""
		if s.Last != nil {
			last, outcome, point = ago(&s.Last.Started), string(s.Last.Outcome), string(s.Last.Point)
		}
		row := []string{s.Name, schedule, last, outcome, ago(s.Complete), next, s.Health}
		if wide {
			row = append(row, point, s.selects)
		}
		t.add(row...)
	}
	return t
}
