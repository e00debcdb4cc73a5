package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/rollback"
)

// rollbackOptions are the flags of hawser rollback and hawser undo.
type rollbackOptions struct {
	to          string
	fromCluster string
	ordinals    []int
	noPoint     bool
	redo        bool
	dryRun      bool
	timeout     time.Duration
	ignore      []string
}

func newRollbackCommand(a *app) *cobra.Command {
	var options rollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback KIND/NAME --to POINT",
		Short: "Turn a running workload back to a restore point; can be undone",
		Long: `Turn the claims of a StatefulSet or Deployment, or one claim (pvc/NAME), back to
a restore point while it runs: a point of what is there now is made, the workload
is scaled to 0, the disks that it is on are set aside, each claim is made again
under its name on a new disk from the point's snapshot, and the workload is scaled
back. Nothing is stopped before the driver has confirmed that the snapshots are
there. The disks that were set aside stay: hawser undo puts them back, hawser disks
lists them, hawser release lets one go.

If anything stands in the way it is refused before anything is written, with every
reason and its remedy, and the exit code is 4. A rollback that was interrupted is
finished by running the same command again, and taken back by hawser undo.`,
		Example: `  # What would happen
  hawser rollback statefulset/redis -n shop --to 20260903-060000-databases-1a2b3c4d --dry-run

  # All claims of a StatefulSet
  hawser rollback statefulset/redis -n shop --to 20260903-060000-databases-1a2b3c4d

  # Only the claims of two of its Pods; all are stopped meanwhile
  hawser rollback statefulset/redis -n shop --to latest --ordinals 1,2

  # As it was
  hawser undo statefulset/redis -n shop`,
		Args:              oneTarget,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	addFromClusterFlag(a, cmd, &options.fromCluster)
	addConfigFlags(cmd.Flags(), "cluster.name", "snapshot.timeout", "snapshot.classes")
	options.add(cmd)
	cmd.Flags().StringVar(&options.to, "to", "", "the restore `point`: its id, a unique prefix of it, or latest")
	cmd.RegisterFlagCompletionFunc("to", complete(a.pointIDs))
	cmd.Flags().BoolVar(&options.noPoint, "no-point", false, "make no point of what is there now; its disks are set aside all the same")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if options.to == "" {
			return usagef("say which restore point with --to; `hawser points` lists them")
		}
		return a.roll(cmd, options, rollback.Rollback, args[0], format)
	}
	return cmd
}

// add adds the flags that rollback and undo share.
func (o *rollbackOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntSliceVar(&o.ordinals, "ordinals", nil, "only the claims of these ordinals of a StatefulSet; the others keep their disks")
	flags.BoolVar(&o.dryRun, "dry-run", false, "plan only: print what would be done")
	flags.DurationVar(&o.timeout, "timeout", 15*time.Minute, "give up when it takes longer than this; what was done stays, and can be gone on with")
	flags.StringSliceVar(&o.ignore, "ignore-checks", nil, "what not to check: autoscaler, owners")
}

// oneTarget checks that a verb is given one KIND/NAME.
func oneTarget(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one KIND/NAME, such as statefulset/redis; got %d arguments", len(args))
	}
	return nil
}

// roll plans and does a rollback, undo or redo of what arg names.
func (a *app) roll(cmd *cobra.Command, options rollbackOptions, act rollback.Act, arg string, format *output) error {
	cfg, err := a.config(cmd)
	if err != nil {
		return err
	}
	request, err := a.rollRequest(options, act, arg)
	if err != nil {
		return err
	}
	c, err := a.connect(cfg)
	if err != nil {
		return err
	}
	var point *catalog.RestorePoint
	if act == rollback.Rollback {
		if point, err = a.load(cmd.Context(), cfg, options.fromCluster, options.to); err != nil {
			return err
		}
	}
	shown := a.newProgress()
	defer func() { shown.close() }()
	roller := &rollback.Roller{Restorer: a.restorer(c, restoreOptions{checkDisks: !options.dryRun}, nil)}
	owners, uid, err := a.owners(cmd.Context(), cfg, c)
	if err != nil {
		return err
	}
	// Half way, with claims missing, it does not wait for the store; a migration does
	// not begin meanwhile.
	roller.Owners = func(context.Context) (catalog.Owners, string, error) { return owners, uid, nil }
	roller.Restorer.Report = func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) }
	if !options.noPoint {
		roller.Fresh = func(ctx context.Context, plan *rollback.Plan) (catalog.PointID, error) {
			shown.close() // a backup shows its own
			defer func() { shown = a.newProgress() }()
			return a.freshPoint(ctx, cfg, leaving(plan))
		}
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), options.timeout, fmt.Errorf("it took longer than --timeout %s", options.timeout))
	defer cancel()
	plan, err := roller.Plan(ctx, point, request)
	if err != nil {
		return err
	}
	if options.dryRun {
		shown.close()
		return format.print(a.stdout, rollPlanView(plan))
	}
	a.printNotes(plan.Notes)
	result, err := roller.Apply(ctx, plan)
	shown.close()
	if err != nil {
		return err
	}
	a.printNotes(result.Notes[len(plan.Notes):])
	return format.print(a.stdout, rollResultView(result))
}

// rollRequest turns flags and the argument into what is to be done.
func (a *app) rollRequest(options rollbackOptions, act rollback.Act, arg string) (rollback.Options, error) {
	named, err := parseTargets([]string{arg})
	if err != nil {
		return rollback.Options{}, err
	}
	namespace, err := a.namespace()
	if err != nil {
		return rollback.Options{}, err
	}
	request := rollback.Options{Act: act, Namespace: namespace, Ordinals: options.ordinals, Now: a.now()}
	for _, name := range options.ignore {
		if !slices.Contains(rollback.Checks, rollback.Check(name)) {
			return rollback.Options{}, usagef("--ignore-checks %q: want one of %v", name, rollback.Checks)
		}
		request.Ignore = append(request.Ignore, rollback.Check(name))
	}
	if len(named.claims) == 1 {
		request.Claim = named.claims[0]
	} else if request.Workload = named.workloads[0]; request.Workload.Kind == "Pod" {
		return rollback.Options{}, usagef("%q: a Pod cannot be scaled to 0; name its StatefulSet or Deployment, or delete the Pod and name its claim (pvc/NAME)", arg)
	}
	if len(options.ordinals) > 0 && request.Workload.Kind != "StatefulSet" {
		return rollback.Options{}, usagef("--ordinals is for StatefulSets")
	}
	return request, nil
}

// leaving selects the claims of a plan, for the point of how they are now.
func leaving(plan *rollback.Plan) backup.Selection {
	selection := backup.Selection{Namespaces: []string{plan.Namespace}}
	for _, w := range plan.Workloads {
		selection.Workloads = append(selection.Workloads, w.Workload)
	}
	if len(plan.Workloads) == 0 {
		for _, c := range plan.Claims {
			selection.Claims = append(selection.Claims, c.Claim)
		}
	}
	return selection
}

// freshPoint makes a point of what is selected, as it is now, before it is taken
// away. One that is not complete is an error.
func (a *app) freshPoint(ctx context.Context, cfg config.Config, selection backup.Selection) (catalog.PointID, error) {
	commit, err := a.backup(ctx, cfg, backup.Request{
		Plan: catalog.ManualPlan, Select: selection, Snapshot: snapshotPolicy(cfg.Snapshot, backupOptions{snapshots: true}),
	})
	if err != nil {
		return "", err
	}
	if commit.Outcome != catalog.Complete {
		return "", errors.New("point " + string(commit.Point) + " is " + string(commit.Outcome) + ": " + strings.Join(commit.Reasons, "; "))
	}
	return commit.Point, nil
}

// rollPlanView shows what would be done.
func rollPlanView(plan *rollback.Plan) view {
	return view{value: plan, human: func(w io.Writer, _ bool) error {
		if plan.Resumes {
			fmt.Fprintf(w, "This goes on with %s %s, which was interrupted.\n\n", plan.Act, plan.ID)
		}
		workloads := table{header: []string{"WORKLOAD", "REPLICAS", "CLAIM RETENTION"}}
		for _, wl := range plan.Workloads {
			workloads.add(strings.ToLower(wl.Kind)+"/"+wl.Name, fmt.Sprintf("%d -> 0 -> %d", wl.Replicas, wl.Replicas), wl.Policy)
		}
		if len(plan.Workloads) > 0 {
			if err := workloads.write(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		claims := table{header: []string{"CLAIM", "STATE", "SET ASIDE", "GETS", "AS OF", "BYTES", "REASON"}}
		for _, c := range plan.Claims {
			aside, gets, asOf := "", "disk "+c.Data, "when it was set aside"
			if c.Aside != nil {
				aside = string(c.Aside.Handle)
			}
			if c.AsOf != nil {
				gets, asOf = "a new disk from snapshot "+c.Data, timeText(*c.AsOf)
			}
			claims.add(plan.Namespace+"/"+c.Claim, string(c.State), aside, gets, asOf, byteSize(c.Bytes), c.Reason)
		}
		if err := claims.write(w); err != nil {
			return err
		}
		return endDryRun(w, plan.Notes)
	}}
}

// rollResultView shows what was done.
func rollResultView(result *rollback.Result) view {
	return view{value: result, human: func(w io.Writer, _ bool) error {
		t := table{header: []string{"CLAIM", "STATUS", "WAY", "VOLUME", "DISK"}}
		for _, b := range result.Bound {
			t.add(b.Claim.String(), "Bound", string(b.Way), b.PersistentVolume, string(b.VolumeHandle))
		}
		for _, claim := range result.Waiting {
			t.add(claim.String(), "Pending", string(restore.FromSnapshot), "at the first Pod that uses it", "")
		}
		if err := t.write(w); err != nil {
			return err
		}
		done := map[rollback.Act]string{rollback.Rollback: "Rolled back to", rollback.Undo: "Undone: the rollback to", rollback.Redo: "Done again: the rollback to"}
		fmt.Fprintf(w, "%s point %s.", done[result.Act], result.Point)
		if result.Fresh != "" {
			fmt.Fprintf(w, " What was there before is in point %s.", result.Fresh)
		}
		fmt.Fprintln(w)
		for _, disk := range result.Aside {
			fmt.Fprintf(w, "Set aside: disk %s (PersistentVolume %s).\n", cmp.Or(string(disk.Handle), "?"), disk.Volume)
		}
		return nil
	}}
}
