package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// output is how a result is printed: the flag -o.
type output struct {
	format  string
	formats []string // those that the verb has
}

// The output formats. No -o is outputTable.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputYAML  = "yaml"
	outputName  = "name"
)

// addOutputFlag adds -o with the formats given, and outputTable.
func addOutputFlag(cmd *cobra.Command, formats ...string) *output {
	o := &output{format: outputTable, formats: append([]string{outputTable}, formats...)}
	cmd.Flags().VarP(o, "output", "o", "output `format`: "+strings.Join(o.formats, ", "))
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats, cobra.ShellCompDirectiveNoFileComp))
	return o
}

// String, Set and Type implement pflag.Value.
func (o *output) String() string { return o.format }
func (o *output) Type() string   { return "format" }
func (o *output) Set(format string) error {
	if !slices.Contains(o.formats, format) {
		return fmt.Errorf("want one of %s", strings.Join(o.formats, ", "))
	}
	o.format = format
	return nil
}

// view is a result in each form that -o may ask for.
type view struct {
	value any      // for json and yaml
	names []string // for name
	human func(w io.Writer, wide bool) error
}

// print writes the result in the form that was asked for.
func (o *output) print(w io.Writer, v view) error {
	switch o.format {
	case outputJSON:
		return printJSON(w, v.value)
	case outputYAML:
		return printYAML(w, v.value)
	case outputName:
		for _, name := range v.names {
			if _, err := fmt.Fprintln(w, name); err != nil {
				return err
			}
		}
		return nil
	}
	return v.human(w, o.format == outputWide)
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printYAML writes value under the names of its JSON form.
func printYAML(w io.Writer, value any) error {
	data, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// table is printed as kubectl prints tables. An empty cell shows as "-".
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t table) write(w io.Writer) error {
	tabs := printers.GetNewTabWriter(w)
	for _, row := range append([][]string{t.header}, t.rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = oneLine(cell)
		}
		fmt.Fprintln(tabs, strings.Join(cells, "\t"))
	}
	return tabs.Flush()
}

// printNotes prints what else to know of what was asked, on stderr.
func (a *app) printNotes(notes []string) {
	if a.quiet {
		return
	}
	writeNotes(a.stderr, notes)
}

func writeNotes(w io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintln(w, "note: "+oneLine(note))
	}
}

// endDryRun ends what shows a plan that is not carried out.
func endDryRun(w io.Writer, notes []string) error {
	writeNotes(w, notes)
	_, err := fmt.Fprintln(w, "\nNothing was changed (--dry-run).")
	return err
}

// oneLine makes text safe for a cell, whatever it was read from.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, unicode.IsControl), " ")
	if text == "" {
		return "-"
	}
	return text
}
