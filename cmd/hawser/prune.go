package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/backup/prune"
	"hawser.dev/hawser/config"
)

// pruneOptions are the flags of hawser prune.
type pruneOptions struct {
	plan    string
	dryRun  bool
	confirm bool
}

func newPruneCommand(a *app) *cobra.Command {
	var options pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete the restore points that retention drops, and snapshots that nothing names",
		Long: `Delete the restore points that the retain settings of the plans drop, in this
cluster. A dropped point can still be restored until prune.grace is over; a later
prune then removes its snapshots and, once the storage has confirmed that, the
point. If the policy keeps the point by then, it stays.

The newest complete point of each claim that was verified always stays: its bundle
was read back, and its snapshots are in the cluster. Points of plans that are not
in the configuration, of backups without a plan, and of other clusters are never
touched. Without --plan, VolumeSnapshots of this catalog that no point names are
looked for too, and removed when they have been so for prune.grace.

Nothing is deleted if something cannot be read, if the store's clock is more than
5 minutes off, if the catalog or the cluster is emptier than it can be, or if more
than 20 % of a plan's points (and more than 3) would be dropped at once; the last
can be overridden with --confirm. The exit code is 4 then.`,
		Example: `  # What would be deleted, and why
  hawser prune --dry-run

  # One plan, after its retain settings were tightened on purpose
  hawser prune --plan databases --confirm

  # Points that are about to go, for scripts
  hawser prune --dry-run -o json | jq -r '.decisions[] | select(.verdict == "remove") | .point'`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	addConfigFlags(cmd.Flags(), "prune.grace")
	cmd.Flags().StringVar(&options.plan, "plan", "", "prune the plan of this `name` only, and look for no snapshots that nothing names")
	cmd.RegisterFlagCompletionFunc("plan", complete(a.completePlans))
	cmd.Flags().BoolVar(&options.dryRun, "dry-run", false, "only say what would be done, and why; write nothing")
	cmd.Flags().BoolVar(&options.confirm, "confirm", false, "do it even if it drops much at once")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		result, err := a.prune(cmd.Context(), cfg, options)
		if err != nil && len(result.Decisions)+len(result.Orphans) == 0 {
			return err
		}
		shown := pruneReport{Result: result, only: options.plan}
		if printed := format.print(a.stdout, shown.view()); printed != nil {
			return errors.Join(err, printed)
		}
		a.printNotes(shown.notes())
		return errors.Join(shown.partly(err), shown.stopped())
	}
	return cmd
}

// prune prunes the plans of the configuration, or one of them.
func (a *app) prune(ctx context.Context, cfg config.Config, options pruneOptions) (prune.Result, error) {
	if options.plan != "" {
		plan, err := findPlan(cfg, options.plan)
		if err != nil {
			return prune.Result{}, err
		}
		cfg.Plans = []config.Plan{plan}
	}
	plans, err := agentPlans(cfg)
	if err != nil {
		return prune.Result{}, err
	}
	c, err := a.connect(cfg)
	if err != nil {
		return prune.Result{}, err
	}
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return prune.Result{}, err
	}
	run := prune.Options{Sweep: options.plan == "", DryRun: options.dryRun, Confirm: options.confirm}
	for _, p := range plans {
		run.Policies = append(run.Policies, prune.Policy{Plan: p.Name, Retain: p.Retain, Zone: p.Zone})
	}
	pruner := &prune.Pruner{
		Kubernetes: c.kubernetes, Snapshots: c.snapshots, Catalog: cat,
		Grace: cfg.Prune.Grace, Writer: writer(), Now: a.now, Log: a.log,
	}
	return pruner.Run(ctx, run)
}

// partly marks err if the run has done some of what it should.
func (r pruneReport) partly(err error) error {
	if err == nil || r.done() == 0 {
		return err
	}
	return partial(err)
}

// stopped is the error of a run that guards stopped.
func (r pruneReport) stopped() error {
	var errs []error
	for _, stop := range r.Stops {
		what := "nothing is deleted"
		switch {
		case stop.Guard == prune.GuardOrphans:
			what = "no snapshot that nothing names is deleted"
		case stop.Plan != "":
			what = fmt.Sprintf("no point of plan %s is deleted", stop.Plan)
		}
		errs = append(errs, &stoppedError{stop: stop, what: what})
	}
	return errors.Join(errs...)
}

// stoppedError says which guard stopped pruning.
type stoppedError struct {
	stop prune.Stop
	what string
}

func (e *stoppedError) Error() string {
	return fmt.Sprintf("%s: %s; %s", e.what, e.stop.Why, e.stop.Remedy)
}
