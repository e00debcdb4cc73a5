package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
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

  # The same for a program; each plan is as the file could have it
  hawser config -o yaml`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		return format.print(a.stdout, view{
			value: cfg.Values(),
			human: func(w io.Writer, _ bool) error { return valuesTable(cfg.Flat()).write(w) },
		})
	}
	return cmd
}

// keysText lists the keys with what they are for.
func keysText(keys []config.Key) string {
	var b strings.Builder
	b.WriteString("The keys of the configuration file, which is YAML; a dot is a level. The variable\nof store.url is HAWSER_STORE_URL, and so on.\n")
	for _, k := range keys {
		b.WriteString(keyLine(k.Name, k.Usage, k.Default))
	}
	b.WriteString("\n\nLists have no variable and no flag. [] stands for each of their items:\n")
	for _, k := range config.FileKeys() {
		b.WriteString(keyLine(k.Name, k.Usage, k.Default))
	}
	return b.String()
}

// keyLine is a line about one key; a default that is empty goes without saying.
func keyLine(name, usage, byDefault string) string {
	line := fmt.Sprintf("\n  %-29s  %s", name, usage)
	if byDefault != "" {
		line += " (" + byDefault + ")"
	}
	return line
}

// valuesTable shows values, long ones in part.
func valuesTable(values []config.Value) table {
	t := table{header: []string{"KEY", "VALUE", "FROM"}}
	for _, v := range values {
		t.add(v.Key, cut(valueText(v.Value), 80), v.Origin.String())
	}
	return t
}

// valueText writes a value as variables and flags take it, and a list as the
// file has it.
func valueText(value any) string {
	var items []string
	switch v := value.(type) {
	case map[string]string:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			items = append(items, name+"="+v[name])
		}
		return strings.Join(items, ",")
	case []string:
		for _, item := range v {
			if !plainWord.MatchString(item) {
				item = strconv.Quote(item)
			}
			items = append(items, item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// plainWord matches what needs no quotes in a list.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)
