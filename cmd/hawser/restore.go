package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
)

// restoreOptions are the flags of hawser restore.
type restoreOptions struct {
	fromCluster   string
	from          string
	allNamespaces bool
	ordinals      []int
	checkDisks    bool
	dryRun        bool
	ignore        []string
	planFile      string
	mapping       mappingFlags
}

func newRestoreCommand(a *app) *cobra.Command {
	options := restoreOptions{from: string(restore.FromAuto)}
	cmd := &cobra.Command{
		Use:   "restore POINT [KIND/NAME ...]",
		Short: "Bring the claims and workloads of a restore point back",
		Long: `Bring the claims and workloads of a restore point back: all of them, or those of
one namespace (-n), or those that are named.

A claim comes back on its own disk, as the disk is now (reattach), or on a new
disk made from the point's snapshot (rehydrate). --from auto asks the CSI driver
whether each disk is there, by attaching it to a node for a moment: a disk that
is there is reattached, one that is gone is replaced from its snapshot, one that
is in use elsewhere is refused. --from disks and --from snapshots do not ask.

A disk that another cluster owns, since it was migrated there, is refused too, and
the owner named; only --from snapshots makes a copy.

Nothing that exists is overwritten. If anything stands in the way the restore is
refused before it writes, with every reason and its remedy, and the exit code is
4. A restore that was interrupted is completed by running it again.

A point can come back under other names: -n and the arguments are in the point's
words, and the flags that take OLD=NEW say what becomes of them. Labels by which
GitOps tools would prune what is restored are left out.`,
		Example: `  # What would happen
  hawser restore latest --dry-run

  # Everything of the newest point
  hawser restore latest

  # One StatefulSet, of which only ordinal 0 gets its disk back
  hawser restore latest statefulset/redis -n shop --ordinals 0

  # Only what was looked at
  hawser restore latest --dry-run -o json > plan.json
  hawser restore latest --plan plan.json

  # A copy beside the original, from its snapshots
  hawser restore latest -n shop --from snapshots --map-namespace shop=shop-copy

  # The manifests, to apply by hand: in the order in which they are printed
  hawser restore latest --dry-run -o yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name a restore point: its id, a unique prefix of it, or latest")
			}
			return nil
		},
		ValidArgsFunction: a.completePoint,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	addFromClusterFlag(a, cmd, &options.fromCluster)
	options.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		request, err := a.restoreRequest(cmd, options, args[1:])
		if err != nil {
			return err
		}
		return a.restore(cmd.Context(), cfg, options, args[0], request, format)
	}
	return cmd
}

func (o *restoreOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.from, "from", o.from, "where the data comes from: auto, disks or snapshots")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "restore all namespaces of the point (the default without -n)")
	flags.IntSliceVar(&o.ordinals, "ordinals", nil, "restore only the claims of these ordinals; a set's other ordinals start with empty disks")
	flags.BoolVar(&o.checkDisks, "check-disks", true, "with --from auto, ask the driver whether each disk is there")
	flags.BoolVar(&o.dryRun, "dry-run", false, "plan only: print what would be done (-o yaml: the manifests)")
	flags.StringSliceVar(&o.ignore, "ignore-checks", nil, "what not to check: nodes, secrets, quota, pod-security, autoscaler")
	flags.StringVar(&o.planFile, "plan", "", "a `FILE` that --dry-run -o json printed: restore only if it is still what would be done")
	o.mapping.add(flags)
}

// restoreRequest turns flags and arguments into what to restore. -n restricts
// only if it is given: a point names its namespaces itself.
func (a *app) restoreRequest(cmd *cobra.Command, options restoreOptions, args []string) (restore.Request, error) {
	named, err := parseTargets(args)
	if err != nil {
		return restore.Request{}, err
	}
	request := restore.Request{
		From: restore.From(options.from), Workloads: named.workloads, Claims: named.claims,
		Ordinals: options.ordinals,
	}
	switch request.From {
	case restore.FromAuto, restore.FromDisks, restore.FromSnapshots:
	default:
		return restore.Request{}, usagef("--from %q: want auto, disks or snapshots", options.from)
	}
	for _, name := range options.ignore {
		if !slices.Contains(restore.Checks, restore.Check(name)) {
			return restore.Request{}, usagef("--ignore-checks %q: want one of %v", name, restore.Checks)
		}
		request.Ignore = append(request.Ignore, restore.Check(name))
	}
	if request.Mapping, err = options.mapping.mapping(); err != nil {
		return restore.Request{}, err
	}
	if given := cmd.Flags().Changed("namespace"); given && !options.allNamespaces {
		if flag := cmd.Flags().Lookup("namespace").Value.String(); strings.Contains(flag, "=") {
			return restore.Request{}, usagef("--namespace %s: -n says which namespace of the point is restored; --map-namespace OLD=NEW says where", flag)
		}
		namespace, err := a.namespace()
		if err != nil {
			return restore.Request{}, err
		}
		request.Namespaces = []string{namespace}
	}
	return request, nil
}

func (a *app) restore(ctx context.Context, cfg config.Config, options restoreOptions, reference string, request restore.Request, format *output) error {
	c, err := a.connect(cfg)
	if err != nil {
		return err
	}
	point, err := a.load(ctx, cfg, options.fromCluster, reference)
	if err != nil {
		return err
	}
	restorer := a.restorer(c, options, nil)
	restorer.Owners = func(ctx context.Context) (catalog.Owners, string, error) { return a.owners(ctx, cfg, c) }
	if options.dryRun {
		plan, err := restorer.Plan(ctx, point, request)
		if err != nil {
			return err
		}
		return printPlan(a.stdout, plan, format)
	}
	result, err := a.applyRestore(ctx, restorer, options, point, request)
	if err != nil {
		return err
	}
	return format.print(a.stdout, resultView(result))
}

// applyRestore plans and applies, and shows how each object fares.
func (a *app) applyRestore(ctx context.Context, restorer *restore.Restorer, options restoreOptions, point *catalog.RestorePoint, request restore.Request) (*restore.Result, error) {
	progress := a.newProgress()
	defer progress.close()
	restorer.Report = reportTo(progress)
	plan, err := restorer.Plan(ctx, point, request)
	if err != nil {
		return nil, err
	}
	if options.planFile != "" {
		agreed, err := readPlan(options.planFile)
		if err != nil {
			return nil, err
		}
		if err := restore.Moved(agreed, plan); err != nil {
			return nil, err
		}
	}
	a.printNotes(plan.Notes)
	result, err := restorer.Apply(ctx, plan)
	if err == nil {
		a.printNotes(result.Notes)
	}
	return result, err
}

// readPlan reads a plan that was printed as JSON.
func readPlan(file string) (*restore.Plan, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	plan := &restore.Plan{}
	if err := json.Unmarshal(data, plan); err != nil {
		return nil, usagef("--plan %s: it is not what --dry-run -o json prints: %v", file, err)
	}
	return plan, nil
}

// restorer restores into the cluster of c; progress may be nil.
func (a *app) restorer(c clients, options restoreOptions, progress *progress) *restore.Restorer {
	return &restore.Restorer{
		Kubernetes: c.kubernetes, Dynamic: c.dynamic, Snapshots: c.snapshots,
		Now: a.now, SkipCheck: !options.checkDisks, Log: a.log, Report: reportTo(progress),
	}
}

// reportTo shows how each object fares; progress may be nil.
func reportTo(progress *progress) func(restore.Event) {
	return func(e restore.Event) {
		if progress != nil {
			progress.report(eventID(e), e.Stage, e.Message, e.Done)
		}
	}
}

func eventID(e restore.Event) string {
	if e.Namespace == "" {
		return strings.ToLower(e.Kind) + "/" + e.Name
	}
	return e.Namespace + " " + strings.ToLower(e.Kind) + "/" + e.Name
}

// printPlan prints a plan: for people, or as JSON, or the manifests as YAML.
func printPlan(w io.Writer, plan *restore.Plan, format *output) error {
	if format.format != outputYAML {
		return format.print(w, view{value: plan, human: func(w io.Writer, _ bool) error { return planTable(w, plan) }})
	}
	for _, manifest := range plan.Manifests() {
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
		if comment := manifest.Comment; comment != "" {
			fmt.Fprintln(w, "# "+comment)
		}
		if manifest.Object == nil {
			continue
		}
		if err := printYAML(w, manifest.Object.Object); err != nil {
			return err
		}
	}
	return nil
}

// planTable shows what each claim gets, then each step.
func planTable(w io.Writer, plan *restore.Plan) error {
	volumes := table{header: []string{"CLAIM", "DECISION", "DATA", "AS OF", "BYTES", "VOLUME", "REASON"}}
	for _, v := range plan.Volumes {
		asOf := "now"
		if v.DataTime != nil {
			asOf = timeText(*v.DataTime)
		}
		volumes.add(v.Claim.String(), string(v.Decision), dataText(v), asOf, byteSize(v.Bytes), cmp.Or(v.VolumeName, "a new one"), v.Reason)
	}
	if err := volumes.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	steps := table{header: []string{"STEP", "ACTION", "KIND", "NAMESPACE", "NAME", "REASON"}}
	for i, step := range plan.Steps() {
		steps.add(fmt.Sprint(i+1), string(step.Action), step.Kind, step.Namespace, step.Name, step.Reason)
	}
	if err := steps.write(w); err != nil {
		return err
	}
	return endDryRun(w, plan.Notes)
}

// dataText says where the data of a claim comes from.
func dataText(v restore.VolumePlan) string {
	if v.Way == restore.FromSnapshot {
		return "snapshot " + v.Data
	}
	return "disk " + v.Data
}

// resultView shows what a restore did.
func resultView(result *restore.Result) view {
	return view{
		value: result,
		human: func(w io.Writer, _ bool) error {
			t := table{header: []string{"CLAIM", "STATUS", "WAY", "VOLUME", "DISK"}}
			for _, b := range result.Bound {
				t.add(b.Claim.String(), "Bound", string(b.Way), b.PersistentVolume, string(b.VolumeHandle))
			}
			for _, claim := range result.Waiting {
				t.add(claim.String(), "Pending", "rehydrate", "at the first Pod that uses it", "")
			}
			if err := t.write(w); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w, "Restored from point %s: %s created, %d patched, %d kept.\n", result.Point, plural(result.Created, "object"), result.Patched, result.Kept)
			return err
		},
	}
}
