package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// pointsOptions are the flags of hawser points.
type pointsOptions struct {
	fromCluster string
	all         bool
}

func newPointsCommand(a *app) *cobra.Command {
	var options pointsOptions
	cmd := &cobra.Command{
		Use:   "points",
		Short: "List the restore points of a catalog",
		Long: `List the restore points of a catalog, of all clusters, the newest last. No
cluster is needed.

SIZE is what a point takes in the store; its snapshots stay with the storage
that made them. A point whose commit cannot be read is listed as unreadable,
and the exit code is 1. With -o json or yaml the commits themselves are printed.`,
		Example: `  # All restore points
  hawser points

  # Those of one cluster, by name or uid
  hawser points --from-cluster prod-eu

  # Ids only, for scripts
  hawser points -o name`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputWide, outputJSON, outputYAML, outputName)
	addFromClusterFlag(a, cmd, &options.fromCluster)
	cmd.Flags().BoolVar(&options.all, "all", false, "also list runs that were abandoned, which are no restore points")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		entries, err := a.entries(cmd.Context(), cfg, options)
		if err != nil {
			return err
		}
		if err := format.print(a.stdout, pointsView(entries, a.now())); err != nil {
			return err
		}
		if len(entries) == 0 && !a.quiet {
			fmt.Fprintln(a.stderr, "no restore points found")
		}
		return unreadable(entries)
	}
	return cmd
}

// entries reads the commits that the options ask for.
func (a *app) entries(ctx context.Context, cfg config.Config, options pointsOptions) ([]catalog.Entry, error) {
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	uid, err := findCluster(ctx, cat, options.fromCluster)
	if err != nil {
		return nil, err
	}
	survey, err := cat.Survey(ctx, uid)
	if err != nil {
		return nil, err
	}
	entries, err := cat.Entries(ctx, survey)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e catalog.Entry) bool {
		return e.Commit.Outcome == catalog.Abandoned && !options.all
	}), nil
}

// unreadable joins the errors of the entries.
func unreadable(entries []catalog.Entry) error {
	var errs []error
	for _, e := range entries {
		errs = append(errs, e.Err)
	}
	return errors.Join(errs...)
}

func pointsView(entries []catalog.Entry, now time.Time) view {
	v := view{
		value: commits(entries),
		human: func(w io.Writer, wide bool) error {
			if len(entries) == 0 {
				return nil
			}
			return pointsTable(entries, now, wide).write(w)
		},
	}
	for _, e := range entries {
		v.names = append(v.names, string(e.Point))
	}
	return v
}

// unreadableCommit takes the place of a commit in JSON and YAML.
type unreadableCommit struct {
	Point   catalog.PointID `json:"point"`
	Cluster catalog.Cluster `json:"cluster"`
	Error   string          `json:"error"`
}

func commits(entries []catalog.Entry) []any {
	list := []any{} // prints as [], not null
	for _, e := range entries {
		if e.Err != nil {
			list = append(list, unreadableCommit{Point: e.Point, Cluster: catalog.Cluster{UID: e.ClusterUID}, Error: e.Err.Error()})
			continue
		}
		list = append(list, e.Commit)
	}
	return list
}

func pointsTable(entries []catalog.Entry, now time.Time, wide bool) table {
	t := table{header: []string{"ID", "CLUSTER", "PLAN", "AGE", "OUTCOME", "CLAIMS", "SNAPSHOTS", "SIZE"}}
	if wide {
		t.header = append(t.header, "SKIPPED", "STARTED", "COMMITTED", "CLUSTER UID", "WRITER")
	}
	labels := clusterLabels(entries)
	for _, e := range entries {
		row := []string{string(e.Point), labels[e.ClusterUID], e.Point.Plan()}
		if e.Err != nil {
			row = append(row, "", "unreadable", "", "", "")
			if wide {
				row = append(row, "", "", "", e.ClusterUID, "")
			}
			t.add(row...)
			continue
		}
		c := e.Commit
		row = append(row, duration.HumanDuration(now.Sub(c.Started)), string(c.Outcome),
			strconv.Itoa(c.Counts.Claims), strconv.Itoa(c.Counts.Snapshots), bundleSize(c.Bundle))
		if wide {
			row = append(row, strconv.Itoa(c.Counts.Skipped), timeText(c.Started), timeText(c.Committed), c.Cluster.UID, c.Writer)
		}
		t.add(row...)
	}
	return t
}

// clusterLabels names each cluster by uid as people know it: by the name in
// its newest entry, with the uid if it has none or shares it.
func clusterLabels(entries []catalog.Entry) map[string]string {
	names := map[string]string{}
	for _, e := range entries { // the newest is last
		if e.Err == nil || names[e.ClusterUID] == "" {
			names[e.ClusterUID] = e.Commit.Cluster.Name // "" of an unreadable one
		}
	}
	shared := map[string]int{}
	for _, name := range names {
		shared[name]++
	}
	labels := map[string]string{}
	for uid, name := range names {
		switch {
		case name == "":
			labels[uid] = uid
		case shared[name] > 1:
			labels[uid] = name + " " + uid
		default:
			labels[uid] = name
		}
	}
	return labels
}

func bundleSize(ref *catalog.BundleRef) string {
	if ref == nil {
		return ""
	}
	return byteSize(ref.Size)
}
