package main

import "github.com/spf13/cobra"

func newShowCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "show POINT", Short: "Show what a restore point holds", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return nil }}
}
