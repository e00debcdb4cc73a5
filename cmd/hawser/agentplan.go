package main

import (
	"fmt"
	"time"

	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// agentPlans are the plans of the configuration as the agent has them.
func agentPlans(cfg config.Config) ([]agent.Plan, error) {
	var plans []agent.Plan
	for _, p := range cfg.Plans {
		plan, err := agentPlan(p)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", p.Name, err)
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

func agentPlan(p config.Plan) (agent.Plan, error) {
	request, err := requestOf(p)
	if err != nil {
		return agent.Plan{}, err
	}
	zone, err := time.LoadLocation(p.Timezone)
	if err != nil {
		return agent.Plan{}, usage(err)
	}
	plan := agent.Plan{
		Name: p.Name, Paused: p.Paused, CatchUp: p.CatchUp, Concurrency: agent.Concurrency(p.Concurrency), RPO: p.RPO,
		Retain: retention(p.Retain), Zone: zone, Request: request,
	}
	plan.Drill = agent.DrillPlan{Image: p.Drill.Image, Command: p.Drill.Command, Timeout: p.Drill.Timeout}
	if p.Drill.Schedule != "" {
		if plan.Drill.Schedule, err = agent.ParseSchedule(p.Drill.Schedule, zone, 0); err != nil {
			return agent.Plan{}, usage(err)
		}
	}
	if p.Schedule != "" {
		if plan.Schedule, err = agent.ParseSchedule(p.Schedule, zone, p.Jitter); err != nil {
			return agent.Plan{}, usage(err)
		}
	}
	return plan, nil
}

func retention(r config.Retain) catalog.Retention {
	return catalog.Retention{
		Last: r.Last, Hourly: r.Hourly, Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, Yearly: r.Yearly, Within: r.Within,
	}
}
