package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/config"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force, and where each value came from",
		Long:  "Print the configuration in force, and where each value came from.\n\n" + keysText(config.Keys()),
		Example: `  # What would be used, with a value of the moment
  HAWSER_SNAPSHOT_TIMEOUT=30m hawser config`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		values := cfg.Values()
		return format.print(a.stdout, view{
			value: values,
			human: func(w io.Writer, _ bool) error { return valuesTable(values).write(w) },
		})
	}
	return cmd
}

// keysText lists the keys with what they are for.
func keysText(keys []config.Key) string {
	var b strings.Builder
	b.WriteString("The keys of the configuration file, which is YAML; a dot is a level. The variable\nof store.url is HAWSER_STORE_URL, and so on.\n")
	for _, k := range keys {
		fmt.Fprintf(&b, "\n  %-26s %s", k.Name, k.Usage)
		if k.Default != "" {
			fmt.Fprintf(&b, " (%s)", k.Default)
		}
	}
	return b.String()
}

func valuesTable(values []config.Value) table {
	t := table{header: []string{"KEY", "VALUE", "FROM"}}
	for _, v := range values {
		t.add(v.Key, valueText(v.Value), v.Origin.String())
	}
	return t
}

// valueText writes a value as variables and flags take it.
func valueText(value any) string {
	m, ok := value.(map[string]string)
	if !ok {
		return fmt.Sprint(value)
	}
	var items []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		items = append(items, name+"="+m[name])
	}
	return strings.Join(items, ",")
}
