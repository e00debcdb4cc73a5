package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/backup/prune"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// agentParts are what an agent is made of.
type agentParts struct {
	*app
	cfg      config.Config
	clients  clients
	catalog  *catalog.Catalog
	metrics  *agent.Metrics
	cluster  catalog.Cluster
	identity string
}

// assemble makes the agent, and the notifier that it tells things to. What is
// recorded in the cluster is recorded until ctx ends.
func (p agentParts) assemble(ctx context.Context) (*agent.Notifier, *agent.Agent) {
	var a *agent.Agent
	notifier := agent.NewNotifier(agent.NotifierOptions{
		Webhooks: webhooks(p.cfg), Cluster: p.cluster, Log: p.log,
		Changed: func(told map[string]agent.Told) { a.Remember(context.WithoutCancel(ctx), told) },
	})
	recorder := agent.NewRecorder(ctx, agent.RecorderOptions{
		Kubernetes: p.clients.kubernetes, Namespace: p.cfg.Agent.Namespace, Pod: config.Lookup(p.env, podName), PodUID: types.UID(config.Lookup(p.env, podUID)), Log: p.log,
	})
	observers := agent.Observers{p.metrics, notifier, recorder}
	a = agent.New(agent.Options{
		Runner: agent.NewRunner(p.runner(observers)), Catalog: p.catalog, ClusterUID: p.cluster.UID, Identity: p.identity, Kubernetes: p.clients.kubernetes,
		Namespace: p.cfg.Agent.Namespace, Alone: !p.cfg.Agent.LeaderElect,
		Keeper: p.keeper(), KeepAt: p.keepAt(), Drill: agentDriller{p}, Watch: p.watch,
		Observer: observers, Notifier: notifier, Log: p.log,
	})
	return notifier, a
}

func (p agentParts) runner(observer agent.Observer) *backup.Runner {
	return &backup.Runner{
		Kubernetes: p.clients.kubernetes, Dynamic: p.clients.dynamic, Snapshots: p.clients.snapshots, Exec: p.clients.exec, Catalog: p.catalog,
		ClusterName: p.cfg.Cluster.Name, Writer: writer(), Agent: p.identity, Now: p.now, Log: p.log, Meter: p.clients.meter,
		Throttled: func(t backup.Throttling) {
			observer.Throttled(agent.Throttling{Component: t.Component, Flag: t.Flags, Waited: t.Waited, Message: t.Message})
		},
	}
}

func (p agentParts) watch() agent.Watchman {
	return &agent.ClaimWatch{Dynamic: p.clients.dynamic, Catalog: p.catalog, ClusterUID: p.cluster.UID, Now: p.now, Log: p.log}
}

// keeper prunes, unless the agent is not to.
func (p agentParts) keeper() agent.Keeper {
	if p.cfg.Prune.Schedule == "" {
		return nil
	}
	return keeper{&prune.Pruner{
		Kubernetes: p.clients.kubernetes, Snapshots: p.clients.snapshots, Catalog: p.catalog,
		Grace: p.cfg.Prune.Grace, Cache: &prune.Cache{}, Writer: writer(), Now: p.now, Log: p.log,
	}}
}

// keepAt is when the agent prunes all plans, and sweeps.
func (p agentParts) keepAt() agent.Schedule {
	if p.cfg.Prune.Schedule == "" {
		return agent.Schedule{}
	}
	schedule, err := agent.ParseSchedule(p.cfg.Prune.Schedule, time.UTC, 0)
	if err != nil {
		panic("the configuration was not checked: " + err.Error())
	}
	return schedule
}

// notifications are the counts of a notifier that comes later.
type notifications struct{ of *agent.Notifier }

func (n *notifications) counts() (delivered, dropped uint64) {
	if n.of == nil {
		return 0, 0
	}
	return n.of.Counts()
}

// webhooks are those of the configuration as the agent has them.
func webhooks(cfg config.Config) []agent.Webhook {
	var hooks []agent.Webhook
	for _, n := range cfg.Notify {
		hook := agent.Webhook{URL: string(n.URL), Format: agent.Format(n.Format)}
		for _, on := range n.On {
			hook.On = append(hook.On, agent.Occasion(on))
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

// keeper prunes for the agent.
type keeper struct{ pruner *prune.Pruner }

// Keep implements agent.Keeper.
func (k keeper) Keep(ctx context.Context, plans []agent.Plan, sweep bool) ([]agent.Pruning, *agent.Sweep) {
	var policies []prune.Policy
	for _, p := range plans {
		if p.Retain != (catalog.Retention{}) {
			policies = append(policies, prune.Policy{Plan: p.Name, Retain: p.Retain, Zone: p.Zone})
		}
	}
	if len(policies) == 0 && !sweep {
		return nil, nil
	}
	now := k.pruner.Now()
	result, err := k.pruner.Run(ctx, prune.Options{Policies: policies, Sweep: sweep})
	var prunings []agent.Pruning
	for _, policy := range policies {
		prunings = append(prunings, pruning(result, policy.Plan, now, err))
	}
	if !sweep {
		return prunings, nil
	}
	swept := agent.Sweep{At: now, Orphans: len(result.Orphans), Removed: result.OrphansRemoved, Err: result.SweepErr}
	if !result.Decided() {
		swept.Err = err
	}
	for _, stop := range result.Stops {
		if stop.Guard == prune.GuardOrphans || stop.Plan == "" {
			swept.Stopped, swept.Err = string(stop.Guard), errors.Join(swept.Err, stopError(stop))
		}
	}
	return prunings, &swept
}

// pruning is what came of one plan; err is what went wrong in the whole run, with
// whatever plan.
func pruning(result prune.Result, plan string, at time.Time, err error) agent.Pruning {
	counts := result.Counts(plan)
	p := agent.Pruning{Plan: plan, At: at, Points: map[string]int{}, Removed: counts.Done[prune.Remove]}
	for verdict, n := range counts.Points {
		p.Points[string(verdict)] = n
	}
	p.Tombstones = counts.Points[prune.Expiring] + counts.Done[prune.Bury]
	switch {
	case !result.Decided():
		p.Err = err
	case len(counts.Problems) > 0:
		p.Err = problemsError(counts.Problems)
	}
	if counts.Stopped != nil {
		p.Stopped, p.Err = string(counts.Stopped.Guard), errors.Join(p.Err, stopError(*counts.Stopped))
	}
	return p
}

// problemsError tells the first of the problems, and how many there are.
func problemsError(problems []string) error {
	if more := len(problems) - 1; more > 0 {
		return fmt.Errorf("%s; and %d more", problems[0], more)
	}
	return errors.New(problems[0])
}

func stopError(stop prune.Stop) error { return errors.New(stop.Why + "; " + stop.Remedy) }
