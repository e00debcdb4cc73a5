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
  HAWSER_SNAPSHOT_TIMEOUT=30m hawser config

  # The plans in full
  hawser config -o yaml`,
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
	b.WriteString(`

The list plans has no variable and no flag. Each plan has these keys:

  name                       what backup --plan calls it; required
  select.namespaces          list of namespaces; all if left out
  select.labels              claims that match, or whose workload does
  select.workloads           list of KIND/NAME
  snapshot.timeout, .classes in place of those for all plans
  include.secrets            also keep the Secrets that the Pods use (false)
  hooks                      list of commands to run in Pods around the snapshots; of each:
    select.labels            which Pods; required
    container                which container (the Pod's default)
    pre, post                command before and after, as a list of strings
    hold                     keep pre running until the snapshots are cut (false)
    timeout                  of each command (30s)
    onFailure                of pre: abort or continue (abort)`)
	return b.String()
}

func valuesTable(values []config.Value) table {
	t := table{header: []string{"KEY", "VALUE", "FROM"}}
	for _, v := range values {
		t.add(v.Key, valueText(v.Value), v.Origin.String())
	}
	return t
}

// valueText writes a value as variables and flags take it; a plan in short.
func valueText(value any) string {
	if p, ok := value.(config.Plan); ok {
		return planText(p)
	}
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
