package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/rollback"
)

// releaseOptions are the flags of hawser release.
type releaseOptions struct {
	yes       bool
	uncovered bool
	timeout   time.Duration
}

func newReleaseCommand(a *app) *cobra.Command {
	var options releaseOptions
	cmd := &cobra.Command{
		Use:   "release VOLUME ...",
		Short: "Delete disks that are retained and that no claim uses",
		Long: `Delete the disks of PersistentVolumes that no claim uses (hawser disks lists them).
Without --yes it only says what would be deleted, and which restore point covers it.

A disk is deleted by making its PersistentVolume Delete, upon which the driver's
provisioner deletes the disk and then the object; the end of both is awaited. It is
refused, and the exit code is 4, while a claim uses or reserves the volume, while it
is attached, while another PersistentVolume names the same disk, and unless a
complete restore point holds a snapshot of the disk that the cluster still has, and
while another cluster owns the disk. The point is named, and if its snapshot may be
older than the last write to the disk, from when on writes may be lost.`,
		Example: `  # What would be deleted
  hawser release pvc-0ce6c6a4-7ae5-4b7e-a2a2-ecf9d2e5c1ad

  # Delete it
  hawser release pvc-0ce6c6a4-7ae5-4b7e-a2a2-ecf9d2e5c1ad --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the PersistentVolumes; `hawser disks` lists them")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	cmd.Flags().BoolVar(&options.yes, "yes", false, "delete them; without, only say what would be deleted")
	cmd.Flags().BoolVar(&options.uncovered, "force-uncovered", false, "also those whose data no restore point holds")
	cmd.Flags().DurationVar(&options.timeout, "timeout", 5*time.Minute, "how long to wait until the disks are gone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		c, err := a.connect(cfg)
		if err != nil {
			return err
		}
		held, notes, err := a.holding(cmd.Context(), cfg, c)
		if err != nil {
			return err
		}
		if held.Owners, held.ClusterUID, err = a.owners(cmd.Context(), cfg, c); err != nil {
			return err
		}
		a.printNotes(notes)
		release, err := rollback.NewRelease(held, args, options.uncovered)
		if err != nil {
			return err
		}
		a.printNotes(release.Notes)
		if !options.yes {
			return format.print(a.stdout, releaseView(release, nil, a.now()))
		}
		released, err := a.release(cmd.Context(), c, release, options.timeout)
		if err != nil && len(released) > 0 {
			err = partial(err)
		}
		return errors.Join(format.print(a.stdout, releaseView(release, released, a.now())), err)
	}
	return cmd
}

// release deletes the disks and shows how each fares.
func (a *app) release(ctx context.Context, c clients, release *rollback.Release, timeout time.Duration) ([]catalog.VolumeHandle, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than --timeout %s", timeout))
	defer cancel()
	progress := a.newProgress()
	defer progress.close()
	return release.Apply(ctx, c.kubernetes, func(d rollback.Idle) {
		progress.report("persistentvolume/"+d.Volume, "released", "disk "+string(d.Handle), true)
	})
}

// releaseView shows what was deleted or, with nil, would be.
func releaseView(release *rollback.Release, released []catalog.VolumeHandle, now time.Time) view {
	value := struct {
		*rollback.Release
		Released []catalog.VolumeHandle `json:"released"`
	}{release, released}
	return view{value: value, human: func(w io.Writer, _ bool) error {
		if err := disksTable(release.Disks, false, now).write(w); err != nil {
			return err
		}
		if released == nil {
			_, err := fmt.Fprintln(w, "\nNothing was deleted; --yes deletes these disks.")
			return err
		}
		_, err := fmt.Fprintf(w, "\n%d of %s deleted.\n", len(released), plural(len(release.Disks), "disk"))
		return err
	}}
}
