package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/catalog"
)

// addFromClusterFlag adds the flag whose value findCluster resolves.
func addFromClusterFlag(a *app, cmd *cobra.Command, fromCluster *string) {
	cmd.Flags().StringVar(fromCluster, "from-cluster", "", "only points of the cluster with this `uid or name`")
	cmd.RegisterFlagCompletionFunc("from-cluster", complete(a.clusterUIDs))
}

// pointArgument checks that a verb is given one restore point.
func pointArgument(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one restore point: an id, the beginning of one, or %q; got %d arguments", catalog.Latest, len(args))
	}
	return nil
}

// findCluster resolves what a person calls a cluster, its uid or its name, to
// the uid. "" means all clusters and stays "". A name is that of the cluster's
// newest commit. It costs one listing, and one read per cluster for a name.
func findCluster(ctx context.Context, cat *catalog.Catalog, reference string) (string, error) {
	if reference == "" {
		return "", nil
	}
	survey, err := cat.Survey(ctx, "")
	if err != nil {
		return "", err
	}
	points := map[string][]catalog.Presence{}
	var uids []string
	for _, p := range slices.Backward(survey) {
		if points[p.ClusterUID] == nil {
			uids = append(uids, p.ClusterUID)
		}
		points[p.ClusterUID] = append(points[p.ClusterUID], p)
	}
	if slices.Contains(uids, reference) {
		return reference, nil
	}
	slices.Sort(uids)
	var matches, known []string
	for _, uid := range uids {
		name, err := newestName(ctx, cat, points[uid])
		if err != nil {
			return "", err
		}
		if name == reference {
			matches = append(matches, uid)
		}
		known = append(known, strings.TrimSpace(name+" "+uid))
	}
	switch len(matches) {
	case 1:
		return matches[0], nil
	case 0:
		if len(known) == 0 {
			return "", fmt.Errorf("cluster %q: %w: the catalog has none", reference, catalog.ErrNoPoint)
		}
		return "", fmt.Errorf("cluster %q: %w; the catalog has points of %s", reference, catalog.ErrNoPoint, strings.Join(known, ", "))
	}
	return "", fmt.Errorf("cluster name %q is %w: clusters %s have it; use the uid", reference, catalog.ErrAmbiguous, strings.Join(matches, ", "))
}

// newestName returns the name in the newest commit that can be understood, or
// "" if none can. points are those of one cluster, the newest first.
func newestName(ctx context.Context, cat *catalog.Catalog, points []catalog.Presence) (string, error) {
	for _, p := range points {
		if !p.Commit {
			continue
		}
		commit, err := cat.ReadCommit(ctx, p)
		switch {
		case err == nil:
			return commit.Cluster.Name, nil
		case !errors.Is(err, catalog.ErrCorrupt) && !errors.Is(err, catalog.ErrNewerFormat):
			return "", err
		}
	}
	return "", nil
}
