package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
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
	}
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
	selection, err := planSelection(plan.Select)
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
		Include:  backup.Include{Secrets: plan.Include.Secrets},
		Snapshot: snapshotPolicy(plan.Snapshot, options),
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

func planSelection(s config.Select) (backup.Selection, error) {
	selector, err := labels.Parse(s.Labels)
	if err != nil {
		return backup.Selection{}, usage(err)
	}
	named, err := parseTargets(s.Workloads)
	if err != nil {
		return backup.Selection{}, err
	}
	return backup.Selection{Namespaces: s.Namespaces, Labels: selector, Workloads: named.workloads, Claims: named.claims}, nil
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

// planText sums a plan up in one line.
func planText(p config.Plan) string {
	text := "everything"
	var parts []string
	for _, part := range []struct{ what, value string }{
		{"namespaces ", strings.Join(p.Select.Namespaces, ",")},
		{"labels ", p.Select.Labels},
		{"workloads ", strings.Join(p.Select.Workloads, ",")},
	} {
		if part.value != "" {
			parts = append(parts, part.what+part.value)
		}
	}
	if len(parts) > 0 {
		text = strings.Join(parts, "; ")
	}
	if p.Include.Secrets {
		text += "; with Secrets"
	}
	if len(p.Hooks) > 0 {
		text += "; " + plural(len(p.Hooks), "hook")
	}
	return p.Name + ": " + text
}
