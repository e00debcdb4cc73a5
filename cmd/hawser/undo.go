package main

import (
	"github.com/spf13/cobra"

	"hawser.dev/hawser/restore/rollback"
)

func newUndoCommand(a *app) *cobra.Command {
	var options rollbackOptions
	cmd := &cobra.Command{
		Use:   "undo KIND/NAME",
		Short: "Put the disks back that the last rollback has set aside",
		Long: `Put the disks back that the last rollback of a StatefulSet, Deployment or claim
has set aside, with all that was written to them until then. The disks that it is on
now are set aside in turn, so that the undo can be taken back with --redo. Run
once more, it undoes the rollback before that.

A rollback that was interrupted is led back to where it was. The driver is asked
whether it still has the disks: if one is gone, or in use elsewhere, the undo is
refused before anything is stopped, and the exit code is 4. So it is if another
cluster owns a disk by now. No catalog is needed, but one that is configured is asked.`,
		Example: `  # What would happen
  hawser undo statefulset/redis -n shop --dry-run

  # As it was before the rollback
  hawser undo statefulset/redis -n shop

  # And forth again, on the disks that the rollback made
  hawser undo statefulset/redis -n shop --redo`,
		Args:              oneTarget,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	options.add(cmd)
	cmd.Flags().BoolVar(&options.redo, "redo", false, "put the disks back that the last undo has set aside")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		act := rollback.Undo
		if options.redo {
			act = rollback.Redo
		}
		options.noPoint = true // what is there now is set aside whole
		return a.roll(cmd, options, act, args[0], format)
	}
	return cmd
}
