package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/migrate"
)

// allMigrations is --status without an id.
const allMigrations = "all"

func newMigrateCommand(a *app) *cobra.Command {
	options := migrateOptions{way: string(catalog.WayMove), target: newKubeFlags()}
	cmd := &cobra.Command{
		Use:   "migrate [KIND/NAME ...]",
		Short: "Move workloads with their disks to another cluster",
		Long: `Move StatefulSets, Deployments and claims with their disks to another cluster
that reaches the same storage: the workloads are scaled to 0 in the source, their
disks are detached there, the catalog notes that the disks are the target's, and
volumes, claims and workloads are made in the target under the same names, or those
that the mapping flags say. What is left in the source stays at 0, marked, until
--cleanup removes it; no disk is ever deleted.

Everything that may stand in the way is looked for in both clusters before
anything is written: then the exit code is 4, with every reason. A migration that
was interrupted is finished by running the same command again, or led back with
--rollback ID until it is committed. Afterwards it is moved back by exchanging
--from and --to.

--way copy leaves the source as it is and makes new disks from fresh snapshots.
--way adopt takes the disks of a cluster that is gone over, as its newest restore
point knows them; it also finishes a move whose source is lost half way. Where the
target is lost, --rollback leads back with --confirm-target-gone.`,
		Example: `  # What would happen
  hawser migrate statefulset/redis -n shop --from old --to new --dry-run

  # A StatefulSet
  hawser migrate statefulset/redis -n shop --from old --to new

  # All that has claims in a namespace, under another name
  hawser migrate --all -n shop --from old --to new --map-namespace shop=store

  # A cluster is gone: its disks, as its newest point knows them
  hawser migrate --all -n shop --way adopt --from-cluster old --to new --confirm-source-gone

  # How far it is, and back again
  hawser migrate --status
  hawser migrate --rollback 20260903-120000-1a2b3c4d --from old --to new

  # Remove what a finished migration has left in the source; the disks stay
  hawser migrate --cleanup 20260903-120000-1a2b3c4d --from old --to new`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addConfigFlags(cmd.Flags(), "cluster.name", "snapshot.timeout", "snapshot.classes", "kubernetes.qps", "kubernetes.burst")
	options.add(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		if err := options.check(args); err != nil {
			return err
		}
		switch {
		case options.status != "":
			return a.migrationStatus(cmd.Context(), cfg, options.status, format)
		case options.rollback != "":
			return a.migrateBack(cmd.Context(), cfg, options, format)
		case options.cleanup != "":
			return a.migrationCleanup(cmd.Context(), cfg, options, format)
		}
		request, err := a.migrateRequest(options, args)
		if err != nil {
			return err
		}
		return a.migrate(cmd.Context(), cfg, options, request, format)
	}
	return cmd
}

// migrate plans a migration, carries it out, and shows how far it is.
func (a *app) migrate(ctx context.Context, cfg config.Config, options migrateOptions, request migrate.Options, format *output) error {
	shown := a.newProgress()
	defer func() { shown.close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, options.timeout, fmt.Errorf("it took longer than --timeout %s", options.timeout))
	defer cancel()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	if !request.NoPoint {
		if cfg.Cluster.Name != "" && mover.Source != nil {
			cfg.Cluster.Name = mover.Source.Name // the point is of the source
		}
		mover.Fresh = func(ctx context.Context, selection backup.Selection) (catalog.PointID, error) {
			shown.close() // a backup shows its own
			defer func() { shown = a.newProgress() }()
			return a.freshPoint(ctx, cfg, selection)
		}
	}
	plan, err := mover.Plan(ctx, request)
	if err != nil {
		return err
	}
	if options.dryRun {
		shown.close()
		return format.print(a.stdout, migrationPlanView(plan))
	}
	if err := mover.CheckDisks(ctx, plan); err != nil {
		return err
	}
	a.printNotes(plan.Notes)
	result, err := mover.Apply(ctx, plan)
	shown.close()
	if err != nil {
		return err
	}
	a.printNotes(result.Notes[len(plan.Notes):])
	return format.print(a.stdout, migrationResultView(result))
}

// migrateBack leads a migration back.
func (a *app) migrateBack(ctx context.Context, cfg config.Config, options migrateOptions, format *output) error {
	shown := a.newProgress()
	defer shown.close()
	ctx, cancel := context.WithTimeoutCause(ctx, options.timeout, fmt.Errorf("it took longer than --timeout %s", options.timeout))
	defer cancel()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	result, err := mover.Rollback(ctx, catalog.MigrationID(options.rollback))
	shown.close()
	if err != nil {
		return err
	}
	a.printNotes(result.Notes)
	return format.print(a.stdout, migrationResultView(result))
}

// migrationCleanup removes what a migration has left in the source.
func (a *app) migrationCleanup(ctx context.Context, cfg config.Config, options migrateOptions, format *output) error {
	shown := a.newProgress()
	defer shown.close()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	removed, err := mover.Cleanup(ctx, catalog.MigrationID(options.cleanup))
	shown.close()
	if err != nil {
		return err
	}
	return format.print(a.stdout, cleanupView(removed))
}

// migrationStatus tells how far migrations have come.
func (a *app) migrationStatus(ctx context.Context, cfg config.Config, id string, format *output) error {
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return err
	}
	if id == allMigrations {
		all, err := migrate.List(ctx, cat)
		if err != nil {
			return err
		}
		return format.print(a.stdout, migrationsView(all))
	}
	status, err := migrate.Show(ctx, cat, catalog.MigrationID(id))
	if err != nil {
		return err
	}
	return format.print(a.stdout, migrationStatusView(status))
}
