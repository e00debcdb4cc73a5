package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore/rollback"
)

func newDisksCommand(a *app) *cobra.Command {
	var allNamespaces bool
	cmd := &cobra.Command{
		Use:   "disks",
		Short: "List the disks that are retained and that no claim uses",
		Long: `List the disks that are retained and that no claim uses: those that a rollback or
an undo has set aside, and those whose claims were deleted. Each costs what it
costs until it is released (hawser release).

COVERED BY is the newest complete restore point that holds a snapshot of the disk
which the cluster still has. It is left empty if no store is configured.`,
		Example: `  # Those that were of namespace shop
  hawser disks -n shop

  # All, with handles and points
  hawser disks -A -o wide

  # Those that no restore point covers
  hawser disks -A -o json | jq -r '.disks[] | select(.covered == null) | .persistentVolume'`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputWide, outputJSON, outputYAML, outputName)
	addKubeFlags(a, cmd)
	cmd.Flags().BoolVarP(&allNamespaces, "all-namespaces", "A", false, "list those of all namespaces, and those that were of none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		namespace := ""
		if !allNamespaces {
			if namespace, err = a.namespace(); err != nil {
				return err
			}
		}
		c, err := a.connect(cfg)
		if err != nil {
			return err
		}
		held, notes, err := a.holding(cmd.Context(), cfg, c)
		if err != nil {
			return err
		}
		idle := rollback.Disks(held, namespace)
		if err := format.print(a.stdout, disksView(idle, a.now())); err != nil {
			return err
		}
		if len(idle) == 0 && format.format == outputTable {
			fmt.Fprintln(a.stderr, "no retained disk is without a claim")
		}
		a.printNotes(notes)
		return nil
	}
	return cmd
}

// holding looks at what cluster and catalog hold of disks. Without a catalog
// nothing is known to be covered, and a note says so.
func (a *app) holding(ctx context.Context, cfg config.Config, c clients) (*rollback.Holding, []string, error) {
	h := &rollback.Holding{}
	// Volumes before claims: one that is bound meanwhile shows as used.
	volumes, err := c.kubernetes.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list persistentvolumes: %w", err)
	}
	claims, err := c.kubernetes.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list persistentvolumeclaims: %w", err)
	}
	attachments, err := c.kubernetes.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list volumeattachments: %w", err)
	}
	h.Volumes, h.Claims, h.Attachments = volumes.Items, claims.Items, attachments.Items
	if err := addRecords(ctx, c, h); err != nil {
		return nil, nil, err
	}
	if cfg.Store.URL == "" {
		return h, []string{"no store is configured, so what is covered is not known"}, nil
	}
	cat, err := a.openCatalog(ctx, cfg)
	if errors.Is(err, catalog.ErrNoCatalog) {
		return h, []string{err.Error()}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	contents, err := c.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list volumesnapshotcontents: %w", err)
	}
	h.Contents = contents.Items
	notes, err := readCovers(ctx, cat, h)
	return h, notes, err
}

// addRecords notes what rollbacks are under way.
func addRecords(ctx context.Context, c clients, h *rollback.Holding) error {
	sets, err := c.kubernetes.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list statefulsets: %w", err)
	}
	deployments, err := c.kubernetes.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	var errs []error
	for i := range sets.Items {
		errs = append(errs, h.AddRecord(&sets.Items[i]))
	}
	for i := range deployments.Items {
		errs = append(errs, h.AddRecord(&deployments.Items[i]))
	}
	return errors.Join(errs...)
}

// readCovers reads which points hold snapshots of the disks that are idle, from
// the newest on, until each is found.
func readCovers(ctx context.Context, cat *catalog.Catalog, h *rollback.Holding) ([]string, error) {
	survey, err := cat.Survey(ctx, "")
	if err != nil {
		return nil, err
	}
	var notes []string
	for _, p := range slices.Backward(survey) {
		if !slices.ContainsFunc(rollback.Disks(h, ""), func(d rollback.Idle) bool { return d.Covered == nil }) {
			break
		}
		if !p.Commit || p.Removing || p.Tombstone { // what is buried will be gone
			continue
		}
		commit, volumes, err := cat.Volumes(ctx, p.ClusterUID, p.Point)
		switch {
		case err == nil:
			h.AddCovers(commit, volumes)
		case errors.Is(err, catalog.ErrNoPoint):
		case errors.Is(err, catalog.ErrCorrupt), errors.Is(err, catalog.ErrNewerFormat), errors.Is(err, catalog.ErrTooLarge):
			notes = append(notes, "a point covers nothing: "+err.Error())
		default:
			return nil, err
		}
	}
	return notes, nil
}

func disksView(idle []rollback.Idle, now time.Time) view {
	var names []string
	for _, d := range idle {
		names = append(names, d.Volume)
	}
	value := struct {
		Disks []rollback.Idle `json:"disks"`
	}{idle}
	return view{value: value, names: names, human: func(w io.Writer, wide bool) error {
		if len(idle) == 0 {
			return nil
		}
		return disksTable(idle, wide, now).write(w)
	}}
}

func disksTable(idle []rollback.Idle, wide bool, now time.Time) table {
	t := table{header: []string{"VOLUME", "SIZE", "DRIVER", "WAS OF", "WHY", "AGE", "COVERED BY"}}
	if wide {
		t.header = append(t.header, "DISK", "STATUS", "ROLLBACK", "DATA AS OF")
	}
	for _, d := range idle {
		claim, covered, asOf := "", "", ""
		if d.Claim != nil {
			claim = d.Claim.String()
		}
		if d.Covered != nil {
			covered, asOf = string(d.Covered.Point), timeText(d.Covered.Taken)
		}
		row := []string{d.Volume, d.Size, d.Driver, claim, whyText(d), duration.HumanDuration(now.Sub(d.Since)), covered}
		if wide {
			row = append(row, string(d.Handle), string(d.Phase), d.ID, asOf)
		}
		t.add(row...)
	}
	return t
}

func whyText(d rollback.Idle) string {
	switch d.Why {
	case rollback.SetAsideByRollback, rollback.SetAsideByUndo:
		return "set aside by " + string(d.Why)
	}
	return strings.ToLower(string(d.Why))
}
