package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/migrate"
)

// mover connects to both clusters, or to the one that is left, and then to the
// catalog, which only a migration that is about to begin may make.
func (a *app) mover(ctx context.Context, cfg config.Config, options migrateOptions, report func(restore.Event)) (*migrate.Mover, error) {
	host, _ := os.Hostname() // for people
	mover := &migrate.Mover{Now: a.now, Report: report, Process: fmt.Sprintf("%s:%d", host, os.Getpid()), Writer: writer()}
	other := *a
	other.kube = options.target
	from, to := clusterNames(cfg, a.kube, other.kube)
	begins := options.rollback == "" && options.cleanup == ""
	var err error
	if begins && options.way == string(catalog.WayAdopt) {
		if mover.Adopted, err = a.load(ctx, cfg, options.lost, options.point); err != nil {
			return nil, err
		}
	} else if mover.Source, err = a.side(ctx, cfg, from, report); err != nil {
		err = fmt.Errorf("the source: %w", err)
		if begins {
			err = fmt.Errorf("%w\nif that cluster is gone for good, use --way adopt with --from-cluster and --confirm-source-gone in place of --from", err)
		}
		return nil, err
	}
	if !options.targetGone {
		if mover.Target, err = other.side(ctx, cfg, to, report); err != nil {
			err = fmt.Errorf("the target: %w", err)
			if options.rollback != "" {
				err = fmt.Errorf("%w\nif that cluster is gone for good, use --confirm-target-gone in place of --to", err)
			}
			return nil, err
		}
	}
	a.know(other.apiServers...)
	open := a.openCatalog
	if begins && !options.dryRun {
		open = a.createCatalog
	}
	mover.Catalog, err = open(ctx, cfg)
	return mover, err
}

// side connects to the cluster that the flags of a name.
func (a *app) side(ctx context.Context, cfg config.Config, name string, report func(restore.Event)) (*migrate.Side, error) {
	c, err := a.connect(cfg)
	if err != nil {
		return nil, err
	}
	uid, err := catalog.ClusterUID(ctx, c.kubernetes.CoreV1().Namespaces())
	if err != nil {
		return nil, errors.New(humane(err, a.apiServers...))
	}
	restorer := a.restorer(c, restoreOptions{}, nil)
	restorer.Report = report
	return &migrate.Side{Restorer: restorer, Cluster: catalog.Cluster{UID: uid, Name: name}}, nil
}

// clusterNames are what people call the source and the target: by their contexts,
// and cluster.name is that of the cluster of which nothing else is said.
func clusterNames(cfg config.Config, source, target *genericclioptions.ConfigFlags) (from, to string) {
	from, to = contextName(source), contextName(target)
	said := func(flags *genericclioptions.ConfigFlags) bool { return *flags.Context+*flags.KubeConfig != "" }
	if said(source) && !said(target) {
		return from, cmp.Or(cfg.Cluster.Name, to)
	}
	return cmp.Or(cfg.Cluster.Name, from), to
}

// contextName is the context that flags choose; "" in a Pod.
func contextName(flags *genericclioptions.ConfigFlags) string {
	if *flags.Context != "" {
		return *flags.Context
	}
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "" // who connects with them says so
	}
	return raw.CurrentContext
}
