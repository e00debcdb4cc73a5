package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/catalog"
)

// versionInfo says which hawser this is.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit
	Modified bool   `json:"modified,omitempty"`
	Format   int    `json:"format"` // newest catalog format that it reads
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which hawser this is",
		Args:  noArguments,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := thisVersion()
		return format.print(a.stdout, view{
			value: v,
			human: func(w io.Writer, _ bool) error { _, err := fmt.Fprint(w, v); return err },
		})
	}
	return cmd
}

func (v versionInfo) String() string {
	s := "hawser " + v.Version
	if v.Commit != "" {
		s += fmt.Sprintf("\ncommit %s of %s", v.Commit, v.Date)
		if v.Modified {
			s += ", modified"
		}
	}
	return s + fmt.Sprintf("\ncatalog format %d\n%s %s\n", v.Format, v.Go, v.Platform)
}

// thisVersion reads what the Go tool recorded in the binary.
func thisVersion() versionInfo {
	v := versionInfo{
		Version:  "devel",
		Format:   catalog.Format,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// writer names this program and its version, to the API server and in commits.
func writer() string { return "hawser/" + thisVersion().Version }
