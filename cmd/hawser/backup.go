package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// backupOptions are the flags of hawser backup.
type backupOptions struct {
	plan           string
	allNamespaces  bool
	selector       string
	includeSecrets bool
	snapshots      bool
}

func newBackupCommand(a *app) *cobra.Command { return newBackupCommandWith(a, &backupOptions{}) }

// newBackupCommandWith reads the flags into options.
func newBackupCommandWith(a *app, options *backupOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup [KIND/NAME ...]",
		Short: "Make a restore point of claims and their workloads",
		Long: `Make a restore point of the claims of a namespace, or of those that the named
workloads use: statefulset/NAME, deployment/NAME, pod/NAME, pvc/NAME. With
--plan, of what a plan of the configuration selects, as that plan says.

The volumes of the claims become Retain and stay so; a CSI snapshot is taken of
each; the specs of claims, volumes and workloads go to the store. The point
exists when all of that is done and was read back. If some claims fail the
point is partial, the others stand, and the exit code is 3. Ctrl-C makes no
point, and removes the snapshots that were taken.

Hooks run in a Pod before the snapshots of its volumes, and as soon as they are
cut. A plan can have some, and a Pod can ask for them by the annotations
hawser.dev/pre-hook and hawser.dev/post-hook.`,
		Example: `  # Everything that has claims in namespace shop
  hawser backup -n shop

  # One StatefulSet
  hawser backup statefulset/redis -n shop

  # All namespaces, only what is labelled
  hawser backup -A -l tier=database

  # A plan of the configuration, now
  hawser backup --plan databases`,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML, outputName)
	addKubeFlags(a, cmd)
	addConfigFlags(cmd.Flags(), "cluster.name", "snapshot.timeout", "snapshot.classes")
	cmd.Flags().StringVar(&options.plan, "plan", "", "back up what the plan of this `name` says, in place of -n, -A, -l and KIND/NAME")
	cmd.RegisterFlagCompletionFunc("plan", complete(a.completePlans))
	cmd.Flags().BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "back up all namespaces")
	cmd.Flags().StringVarP(&options.selector, "selector", "l", "", "`label query`: claims that match, or whose workload does")
	cmd.Flags().BoolVar(&options.includeSecrets, "include-secrets", false, "also keep the Secrets that the Pods use; the bundle is not encrypted")
	cmd.Flags().BoolVar(&options.snapshots, "snapshots", true, "take CSI snapshots; without, the point is good for reattaching only")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		request, err := a.backupRequest(cmd, cfg, *options, args)
		if err != nil {
			return err
		}
		commit, err := a.backup(cmd.Context(), cfg, request)
		if err != nil {
			return err
		}
		a.printNotes(commit.Notes)
		if err := format.print(a.stdout, commitView(commit)); err != nil {
			return err
		}
		return partialOutcome(commit)
	}
	return cmd
}

// backupRequest turns flags and arguments into what to back up.
func (a *app) backupRequest(cmd *cobra.Command, cfg config.Config, options backupOptions, args []string) (backup.Request, error) {
	if cmd.Flags().Changed("plan") {
		return planRequest(cmd, cfg, options, args)
	}
	named, err := parseTargets(args)
	if err != nil {
		return backup.Request{}, err
	}
	selector, err := labels.Parse(options.selector)
	if err != nil {
		return backup.Request{}, usagef("--selector: %v", err)
	}
	if options.allNamespaces && len(args) > 0 {
		return backup.Request{}, usagef("name workloads within one namespace (-n), not with -A")
	}
	request := backup.Request{
		Plan:     catalog.ManualPlan,
		Select:   backup.Selection{Labels: selector, Workloads: named.workloads, Claims: named.claims},
		Include:  backup.Include{Secrets: options.includeSecrets},
		Snapshot: snapshotPolicy(cfg.Snapshot, options),
	}
	if !options.allNamespaces {
		namespace, err := a.namespace()
		if err != nil {
			return backup.Request{}, err
		}
		request.Select.Namespaces = []string{namespace}
	}
	return request, nil
}

func snapshotPolicy(s config.Snapshot, options backupOptions) backup.SnapshotPolicy {
	return backup.SnapshotPolicy{Skip: !options.snapshots, Timeout: s.Timeout, Classes: s.Classes}
}

// backup makes one point and shows how each claim fares.
func (a *app) backup(ctx context.Context, cfg config.Config, request backup.Request) (catalog.Commit, error) {
	c, err := a.connect(cfg)
	if err != nil {
		return catalog.Commit{}, err
	}
	cat, err := a.createCatalog(ctx, cfg)
	if err != nil {
		return catalog.Commit{}, err
	}
	progress := a.newProgress()
	defer progress.close()
	runner := &backup.Runner{
		Kubernetes: c.kubernetes, Dynamic: c.dynamic, Snapshots: c.snapshots, Exec: c.exec, Catalog: cat,
		ClusterName: cfg.Cluster.Name, Writer: writer(), Now: a.now, Log: a.log, Meter: c.meter,
		Report: func(e backup.Event) {
			done := e.Stage == backup.StageReady || e.Stage == backup.StageFailed || request.Snapshot.Skip
			progress.report(e.Claim.String(), string(e.Stage), e.Message, done)
		},
	}
	return runner.Run(ctx, request)
}

// commitView shows what a backup made.
func commitView(commit catalog.Commit) view {
	return view{
		value: commit,
		names: []string{string(commit.Point)},
		human: func(w io.Writer, _ bool) error {
			counts := commit.Counts
			fmt.Fprintf(w, "Point %s is %s: %s, %s, %s, %s skipped, in %s.\n", commit.Point, commit.Outcome,
				plural(counts.Claims, "claim"), plural(counts.Snapshots, "snapshot"),
				plural(counts.Protected, "volume")+" newly protected", strconv.Itoa(counts.Skipped),
				shortDuration(commit.Committed.Sub(commit.Started)))
			_, err := fmt.Fprintf(w, "See it with: hawser show %s\n", commit.Point)
			return err
		},
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// partialOutcome is the error of a point that is not complete.
func partialOutcome(commit catalog.Commit) error {
	if commit.Outcome != catalog.Partial {
		return nil
	}
	return partial(errors.New("the point is partial:\n  " + strings.Join(commit.Reasons, "\n  ")))
}
