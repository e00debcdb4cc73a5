package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRoot assembles the command line.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "hawser VERB",
		Short: "Back up and restore Kubernetes persistent volumes",
		Long: `Hawser backs up the persistent volumes of Kubernetes workloads, with the objects
that tie them to their Pods, and brings them back: on the same disks, or from
snapshots.

A flag wins over its environment variable (--store-url, HAWSER_STORE_URL), and
that over the configuration file (store.url): the file that --config or
HAWSER_CONFIG names, else the first that exists of
$XDG_CONFIG_HOME/hawser/config.yaml and /etc/hawser/config.yaml.
'hawser config' shows what is in force, and why.`,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(
		newAgentCommand(a),
		newBackupCommand(a),
		newPlansCommand(a),
		newCoverageCommand(a),
		newPointsCommand(a),
		newShowCommand(a),
		newRestoreCommand(a),
		newRollbackCommand(a),
		newUndoCommand(a),
		newDisksCommand(a),
		newReleaseCommand(a),
		newMigrateCommand(a),
		newVerifyCommand(a),
		newDrillCommand(a),
		newPruneCommand(a),
		newConfigCommand(a),
		newVersionCommand(a),
		newCompletionCommand(a),
	)
	for _, verb := range root.Commands() {
		a.noteRunning(verb)
	}
	addGlobalFlags(a, root)
	setHelp(root)
	root.SetHelpCommand(newHelpCommand())
	return root
}

// noteRunning makes verb tell when it begins: an error before that is one of
// usage.
func (a *app) noteRunning(verb *cobra.Command) {
	do := verb.RunE
	verb.RunE = func(cmd *cobra.Command, args []string) error {
		a.running = true
		return do(cmd, args)
	}
}

// helpOrUnknown is hawser without a verb that it knows.
func helpOrUnknown(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	return unknownVerb(root, args[0])
}

func unknownVerb(root *cobra.Command, verb string) error {
	root.SuggestionsMinimumDistance = 2
	if similar := root.SuggestionsFor(verb); len(similar) > 0 {
		return fmt.Errorf("unknown verb %q; did you mean %q?", verb, similar[0])
	}
	return fmt.Errorf("unknown verb %q", verb)
}
