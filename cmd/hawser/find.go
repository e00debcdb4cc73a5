package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"hawser.dev/hawser/catalog"
)

// findCluster resolves what a person calls a cluster, its uid or its name, to
// the uid. "" means all clusters and stays "". A name is that of the cluster's
// newest commit. It costs one listing, and one read per cluster for a name.
func (a *app) findCluster(ctx context.Context, cat *catalog.Catalog, reference string) (string, error) {
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
		name := newestName(ctx, cat, points[uid])
		if name == reference {
			matches = append(matches, uid)
		}
		known = append(known, strings.TrimSpace(name+" "+uid))
	}
	switch len(matches) {
	case 1:
		return matches[0], ctx.Err()
	case 0:
		if len(known) == 0 {
			return "", fmt.Errorf("cluster %q: %w: the catalog has none", reference, catalog.ErrNoPoint)
		}
		return "", fmt.Errorf("cluster %q: %w; the catalog has points of %s", reference, catalog.ErrNoPoint, strings.Join(known, ", "))
	}
	return "", fmt.Errorf("cluster name %q is %w: clusters %s have it; use the uid", reference, catalog.ErrAmbiguous, strings.Join(matches, ", "))
}

// newestName returns the name in the newest commit that can be read, or "".
// points are those of one cluster, the newest first.
func newestName(ctx context.Context, cat *catalog.Catalog, points []catalog.Presence) string {
	for _, p := range points {
		if !p.Commit {
			continue
		}
		entries, err := cat.Entries(ctx, []catalog.Presence{p})
		if err == nil && len(entries) == 1 && entries[0].Err == nil {
			return entries[0].Commit.Cluster.Name
		}
	}
	return ""
}
