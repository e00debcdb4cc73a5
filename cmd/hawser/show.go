package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// showOptions are the flags of hawser show.
type showOptions struct {
	fromCluster string
	secrets     bool
}

func newShowCommand(a *app) *cobra.Command {
	var options showOptions
	cmd := &cobra.Command{
		Use:   "show POINT",
		Short: "Show what a restore point holds",
		Long: `Show what a restore point holds: its commit, a table of the volumes, the objects
by kind, and what was left out and why. No cluster is needed.

POINT is an id, the unique beginning of one, or latest: the newest point of the
catalog, or of the cluster that --from-cluster names.

With -o json or yaml the point is printed whole, as {commit, bundle}; objects
are as the API server gave them. Values of Secrets are masked unless
--show-secrets is given.`,
		Example: `  # The newest point of a cluster
  hawser show latest --from-cluster prod-eu

  # The objects in a point, as a list that kubectl understands
  hawser show 20260901-120000 -o json | jq '{apiVersion: "v1", kind: "List", items: .bundle.objects}'`,
		Args:              pointArgument,
		ValidArgsFunction: a.completePoint,
	}
	format := addOutputFlag(cmd, outputWide, outputJSON, outputYAML, outputName)
	addFromClusterFlag(a, cmd, &options.fromCluster)
	cmd.Flags().BoolVar(&options.secrets, "show-secrets", false, "print the values of Secrets with -o json and yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		point, err := a.load(cmd.Context(), cfg, options.fromCluster, args[0])
		if err != nil {
			return err
		}
		if !options.secrets {
			point.Bundle.Objects = maskSecrets(point.Bundle.Objects)
		}
		return format.print(a.stdout, showView(point))
	}
	return cmd
}

// load finds a point by what a person calls it, and reads it whole.
func (a *app) load(ctx context.Context, cfg config.Config, fromCluster, reference string) (*catalog.RestorePoint, error) {
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	uid, err := findCluster(ctx, cat, fromCluster)
	if err != nil {
		return nil, err
	}
	commit, err := cat.Find(ctx, uid, reference)
	if err != nil {
		return nil, err
	}
	return cat.Load(ctx, commit.Cluster.UID, commit.Point)
}

// wholePoint is a restore point in JSON and YAML.
type wholePoint struct {
	Commit catalog.Commit `json:"commit"`
	Bundle catalog.Bundle `json:"bundle"`
}

func showView(point *catalog.RestorePoint) view {
	return view{
		value: wholePoint{Commit: point.Commit, Bundle: point.Bundle},
		names: []string{string(point.Commit.Point)},
		human: func(w io.Writer, wide bool) error { return describePoint(w, point, wide) },
	}
}
