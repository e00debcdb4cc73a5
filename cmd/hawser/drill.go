package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/drill"
)

// drillOptions are the flags of hawser drill.
type drillOptions struct {
	plan    string
	point   string
	keep    bool
	cleanup bool
}

func newDrillCommand(a *app) *cobra.Command {
	var options drillOptions
	cmd := &cobra.Command{
		Use:   "drill --plan NAME",
		Short: "Bring a plan's newest point back for practice, check it, and clean up",
		Long: `Bring the newest complete point of a plan back for practice: its claims alone, on
new disks made from the snapshots, in scratch namespaces. One Pod for each volume
then runs the plan's check (drill.image, drill.command), with the volume read-only
at /data, or as a device there, and HAWSER_NAMESPACE and HAWSER_CLAIM saying whose
it is. Without a check the beginning of every file is read. No workload and no
Service is made, and nothing that is in use is touched.

What came of it, with the time it took until all data was there again, is written
to the catalog as evidence, and everything that was made is removed: also after
Ctrl-C, or at the next drill after a kill. The exit code is 3 if a volume could
not be brought back or its check failed.`,
		Example: `  # The newest complete point of a plan
  hawser drill --plan databases

  # Another point; leave what was made, look at it, and remove it
  hawser drill --plan databases --point 20260903-120000-databases-10792870 --keep
  hawser drill --cleanup`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	namespace := cmd.Flags().Lookup("namespace")
	namespace.Usage = "what the names of the scratch namespaces begin with (default " + drill.DefaultPrefix + ")"
	cmd.Flags().StringVar(&options.plan, "plan", "", "hold a drill of the plan of this `name`")
	cmd.RegisterFlagCompletionFunc("plan", complete(a.completePlans))
	cmd.Flags().StringVar(&options.point, "point", "", "bring back this `point`: an id, or a unique prefix of one")
	cmd.RegisterFlagCompletionFunc("point", complete(a.pointIDs))
	cmd.Flags().BoolVar(&options.keep, "keep", false, "leave what was made, until --cleanup")
	cmd.Flags().BoolVar(&options.cleanup, "cleanup", false, "remove what drills have left that were killed or kept, of all plans or of --plan; hold none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if options.plan == "" && !options.cleanup || options.cleanup && (options.point != "" || options.keep) {
			return usagef("say --plan NAME to hold a drill, or --cleanup [--plan NAME] to remove what drills have left")
		}
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		if options.cleanup {
			return a.cleanUpDrills(cmd.Context(), cfg, options, format)
		}
		held, err := a.drill(cmd.Context(), cfg, options)
		if held.ID == "" {
			return err
		}
		if printed := format.print(a.stdout, drillView(held)); printed != nil {
			return errors.Join(err, printed)
		}
		return errors.Join(err, drillFailed(held))
	}
	return cmd
}

// driller holds drills in the cluster of c; cat and progress may be nil.
func (a *app) driller(c clients, cat *catalog.Catalog, progress *progress) *drill.Driller {
	d := &drill.Driller{
		Kubernetes: c.kubernetes, Dynamic: c.dynamic, Snapshots: c.snapshots, Catalog: cat,
		Writer: writer(), Now: a.now, Log: a.log,
	}
	if progress != nil {
		d.Report = func(e restore.Event) { progress.report(eventID(e), e.Stage, e.Message, e.Done) }
	}
	return d
}

// drill holds one drill, and shows how each claim fares.
func (a *app) drill(ctx context.Context, cfg config.Config, options drillOptions) (catalog.Drill, error) {
	plan, err := findPlan(cfg, options.plan)
	if err != nil {
		return catalog.Drill{}, err
	}
	c, err := a.connect(cfg)
	if err != nil {
		return catalog.Drill{}, err
	}
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return catalog.Drill{}, err
	}
	o := drill.Options{Plan: plan.Name, Prefix: *a.kube.Namespace, Check: drillCheck(plan), Keep: options.keep}
	if options.point != "" {
		commit, err := cat.Find(ctx, "", options.point)
		if err != nil {
			return catalog.Drill{}, err
		}
		o.Point = commit.Point
	}
	progress := a.newProgress()
	defer progress.close()
	return a.driller(c, cat, progress).Run(ctx, o)
}

// agentDriller holds drills for an agent.
type agentDriller struct{ agentParts }

// Drill implements agent.Driller.
func (d agentDriller) Drill(ctx context.Context, plan agent.Plan) (catalog.Drill, error) {
	check := drill.Check{Image: plan.Drill.Image, Command: plan.Drill.Command, Timeout: plan.Drill.Timeout}
	return d.driller(d.clients, d.catalog, nil).Run(ctx, drill.Options{Plan: plan.Name, Check: check})
}

// drillCheck is how the volumes of a plan's drills are checked.
func drillCheck(plan config.Plan) drill.Check {
	return drill.Check{Image: plan.Drill.Image, Command: plan.Drill.Command, Timeout: plan.Drill.Timeout}
}

// cleanUpDrills removes what drills have left.
func (a *app) cleanUpDrills(ctx context.Context, cfg config.Config, options drillOptions, format *output) error {
	c, err := a.connect(cfg)
	if err != nil {
		return err
	}
	cleaned, err := a.driller(c, nil, nil).CleanUp(ctx, options.plan, true)
	printed := format.print(a.stdout, view{value: cleaned, human: func(w io.Writer, _ bool) error {
		for _, id := range cleaned.UnderWay {
			fmt.Fprintf(w, "Drill %s is under way, and is left alone.\n", id)
		}
		_, err := fmt.Fprintf(w, "Removed what %s had left: %s, %s.\n", plural(len(cleaned.Drills), "drill"), plural(cleaned.Namespaces, "namespace"), plural(cleaned.Disks, "disk"))
		return err
	}})
	return errors.Join(err, printed)
}

// drillFailed is the error of a drill that failed.
func drillFailed(d catalog.Drill) error {
	if d.Outcome == catalog.DrillPassed {
		return nil
	}
	return partial(errors.New("the drill failed:\n  " + strings.Join(d.Reasons, "\n  ")))
}

// drillView shows what came of a drill.
func drillView(d catalog.Drill) view {
	return view{value: d, human: func(w io.Writer, _ bool) error {
		t := table{header: []string{"CLAIM", "OUTCOME", "STAGE", "BOUND", "CHECKED", "MESSAGE"}}
		for _, c := range d.Claims {
			t.add(c.Namespace+"/"+c.Name, string(c.Outcome), c.Stage, secondsText(c.BoundAfter), secondsText(c.CheckedAfter), c.Message)
		}
		if err := t.write(w); err != nil {
			return err
		}
		for _, c := range d.Claims {
			if c.Outcome == catalog.DrillFailed && c.Output != "" {
				fmt.Fprintf(w, "\n%s/%s printed:\n", c.Namespace, c.Name)
				for line := range strings.Lines(c.Output) {
					fmt.Fprintln(w, "  "+oneLine(strings.TrimSpace(line)))
				}
			}
		}
		sum := "passed: all data was there and checked"
		if d.Outcome == catalog.DrillFailed {
			sum = "failed"
		}
		_, err := fmt.Fprintf(w, "\nDrill %s of point %s %s after %s.\n", d.ID, d.Point, sum, secondsText(d.CheckedAfter))
		return err
	}}
}

// secondsText writes seconds as people read them; "" for none.
func secondsText(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return shortDuration(time.Duration(seconds * float64(time.Second)))
}
