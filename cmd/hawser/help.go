package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// setHelp gives root and its verbs help texts in kubectl's style, with the
// flags in groups.
func setHelp(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		fmt.Fprint(cmd.OutOrStdout(), helpText(cmd))
	})
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprint(cmd.OutOrStderr(), helpText(cmd))
		return err
	})
}

// newHelpCommand is cobra's own, but for a verb that is not there.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "Print the help of a verb",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				return root.Help()
			}
			verb, _, err := root.Find(args)
			if err != nil || verb == root {
				return unknownVerb(root, args[0])
			}
			return verb.Help()
		},
	}
}

func helpText(cmd *cobra.Command) string {
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	sections := []string{about}
	add := func(title, body string) {
		if body = strings.Trim(body, "\n"); body != "" {
			sections = append(sections, title+":\n"+body)
		}
	}
	if cmd.HasAvailableSubCommands() {
		add("Verbs", verbs(cmd))
	} else {
		add("Examples", cmd.Example)
	}
	add("Flags", flagUsages(cmd.NonInheritedFlags(), isOwnFlag))
	add("Flags to reach the cluster", flagUsages(cmd.NonInheritedFlags(), isKubeFlag))
	add("Flags of all verbs", flagUsages(cmd.InheritedFlags(), func(*pflag.Flag) bool { return true }))
	add("Usage", "  "+cmd.UseLine())
	sections = append(sections, exitCodes)
	return strings.Join(sections, "\n\n") + "\n"
}

func verbs(cmd *cobra.Command) string {
	var b strings.Builder
	for _, verb := range cmd.Commands() {
		if verb.IsAvailableCommand() || verb.Name() == "help" {
			fmt.Fprintf(&b, "  %-*s  %s\n", verb.NamePadding(), verb.Name(), verb.Short)
		}
	}
	return b.String()
}

func isKubeFlag(f *pflag.Flag) bool { return f.Annotations[kubeFlag] != nil }
func isOwnFlag(f *pflag.Flag) bool  { return !isKubeFlag(f) }

func flagUsages(flags *pflag.FlagSet, include func(*pflag.Flag) bool) string {
	group := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		if include(f) {
			group.AddFlag(f)
		}
	})
	return group.FlagUsages()
}
