package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// planRules are what the configuration cannot know of plans.
func planRules() config.Rules {
	return config.Rules{
		PlanName: func(name string) error {
			if name == catalog.ManualPlan {
				return fmt.Errorf("%q is the plan of backups that belong to none; use another name", name)
			}
			return catalog.ValidatePlan(name)
		},
		Workload: func(reference string) error {
			_, err := parseTargets([]string{reference})
			return err
		},
		Schedule: scheduleRule,
	}
}

// scheduleRule refuses what the agent cannot run by. The reason does not name
// the expression again: the configuration does.
func scheduleRule(expression string) error {
	_, err := agent.ParseSchedule(expression, time.UTC, 0)
	if err == nil {
		return nil
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	reason, _, _ := strings.Cut(err.Error(), ": ") // cron ends with the part that it means
	return errors.New(reason)
}

// planRequest is what to back up for a plan of the configuration.
func planRequest(cmd *cobra.Command, cfg config.Config, options backupOptions, args []string) (backup.Request, error) {
	var given []string
	for _, name := range []string{"namespace", "all-namespaces", "selector", "include-secrets"} {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if given = append(given, args...); len(given) > 0 {
		return backup.Request{}, usagef("--plan says what to back up; leave out %s", strings.Join(given, ", "))
	}
	plan, err := findPlan(cfg, options.plan)
	if err != nil {
		return backup.Request{}, err
	}
	request, err := requestOf(plan)
	request.Snapshot.Skip = !options.snapshots
	return request, err
}

// requestOf is what a run of a plan takes.
func requestOf(plan config.Plan) (backup.Request, error) {
	selection, err := planSelection(plan)
	if err != nil {
		return backup.Request{}, err
	}
	hooks, err := planHooks(plan.Hooks)
	if err != nil {
		return backup.Request{}, err
	}
	return backup.Request{
		Plan:     plan.Name,
		Select:   selection,
		Include:  backup.Include{Secrets: plan.Include.Secrets, NoConfigMaps: !plan.Include.ConfigMaps},
		Protect:  backup.Protection(plan.Protect),
		Snapshot: backup.SnapshotPolicy{Timeout: plan.Snapshot.Timeout, Classes: plan.Snapshot.Classes},
		Hooks:    hooks,
	}, nil
}

func findPlan(cfg config.Config, name string) (config.Plan, error) {
	i := slices.IndexFunc(cfg.Plans, func(p config.Plan) bool { return p.Name == name })
	switch names := planNames(cfg); {
	case i >= 0:
		return cfg.Plans[i], nil
	case len(names) == 0:
		return config.Plan{}, usagef("--plan %q: the configuration has no plans", name)
	default:
		return config.Plan{}, usagef("--plan %q: there is no such plan; the plans are %s", name, strings.Join(names, ", "))
	}
}

func planNames(cfg config.Config) []string {
	var names []string
	for _, p := range cfg.Plans {
		names = append(names, p.Name)
	}
	return names
}

func planSelection(plan config.Plan) (backup.Selection, error) {
	s := plan.Select
	selector, err := labels.Parse(s.Labels)
	if err != nil {
		return backup.Selection{}, usage(err)
	}
	named, err := parseTargets(s.Workloads)
	if err != nil {
		return backup.Selection{}, err
	}
	return backup.Selection{
		Namespaces: s.Namespaces, Labels: selector, Workloads: named.workloads, Claims: named.claims,
		OptIn: plan.Name, OptInOnly: s.OptIn,
	}, nil
}

func planHooks(hooks []config.Hook) ([]backup.Hook, error) {
	var all []backup.Hook
	for _, h := range hooks {
		selector, err := labels.Parse(h.Select.Labels)
		if err != nil {
			return nil, usage(err)
		}
		all = append(all, backup.Hook{
			Select: selector, Container: h.Container, Pre: h.Pre, Post: h.Post,
			Hold: h.Hold, Timeout: h.Timeout, OnFailure: backup.OnFailure(h.OnFailure),
		})
	}
	return all, nil
}

// completePlans suggests the plans of the configuration.
func (a *app) completePlans(_ context.Context, cmd *cobra.Command) ([]string, error) {
	cfg, err := a.config(cmd)
	return planNames(cfg), err
}

// planText sums up in one line what a plan takes.
func planText(p config.Plan) string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+value)
		}
	}
	add("namespaces ", strings.Join(p.Select.Namespaces, ","))
	add("labels ", p.Select.Labels)
	add("workloads ", strings.Join(p.Select.Workloads, ","))
	switch {
	case p.Select.OptIn:
		parts = []string{"what is labelled " + backup.PlanLabel + "=" + p.Name}
	case len(parts) == 0:
		parts = []string{"everything"}
	}
	if !p.Include.ConfigMaps {
		parts = append(parts, "without ConfigMaps")
	}
	if p.Include.Secrets {
		parts = append(parts, "with Secrets")
	}
	if len(p.Hooks) > 0 {
		parts = append(parts, plural(len(p.Hooks), "hook"))
	}
	return strings.Join(parts, "; ")
}
