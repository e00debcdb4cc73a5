package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
)

// completeWithin bounds how long a shell waits for suggestions.
const completeWithin = 2 * time.Second

// completionFunc suggests words. An error means no suggestions.
type completionFunc func(ctx context.Context, cmd *cobra.Command) ([]string, error)

// complete makes cobra's function of ours: bounded in time, silent, no files.
func complete(suggest completionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completeWithin)
		defer cancel()
		words, err := suggest(ctx, cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePoint suggests restore points for the first argument of a verb.
func (a *app) completePoint(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return complete(a.pointIDs)(cmd, args, word)
}

// pointIDs lists the points, the newest first, without reading any.
func (a *app) pointIDs(ctx context.Context, cmd *cobra.Command) ([]string, error) {
	_, survey, err := a.survey(ctx, cmd)
	if err != nil {
		return nil, err
	}
	words := []string{catalog.Latest}
	for _, p := range slices.Backward(survey) {
		if p.Commit && !p.Removing {
			words = append(words, string(p.Point))
		}
	}
	return words, nil
}

// clusterUIDs lists the clusters that the catalog has points of.
func (a *app) clusterUIDs(ctx context.Context, cmd *cobra.Command) ([]string, error) {
	_, survey, err := a.survey(ctx, cmd)
	if err != nil {
		return nil, err
	}
	var uids []string
	for _, p := range survey {
		uids = append(uids, p.ClusterUID)
	}
	slices.Sort(uids)
	return slices.Compact(uids), nil
}

func (a *app) survey(ctx context.Context, cmd *cobra.Command) (*catalog.Catalog, []catalog.Presence, error) {
	cfg, err := a.config(cmd)
	if err != nil {
		return nil, nil, err
	}
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	survey, err := cat.Survey(ctx, "")
	return cat, survey, err
}

// completeKubeFlags suggests namespaces, asked of the cluster, and contexts.
func completeKubeFlags(a *app, cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("namespace", complete(a.namespaces))
	cmd.RegisterFlagCompletionFunc("context", complete(func(context.Context, *cobra.Command) ([]string, error) {
		raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, err
		}
		var names []string
		for name := range raw.Contexts {
			names = append(names, name)
		}
		slices.Sort(names)
		return names, nil
	}))
}

func (a *app) namespaces(ctx context.Context, cmd *cobra.Command) ([]string, error) {
	cfg, err := a.config(cmd)
	if err != nil {
		return nil, err
	}
	rc, err := a.restConfig(cfg)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, namespace := range list.Items {
		names = append(names, namespace.Name)
	}
	return names, nil
}
