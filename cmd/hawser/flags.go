package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"hawser.dev/hawser/config"
)

// Annotations of flags.
const (
	configKey = "hawser.dev/config-key" // the key that the flag overrides
	kubeFlag  = "hawser.dev/kube-flag"  // the flag is one of kubectl's
)

// addGlobalFlags adds the flags that every verb has.
func addGlobalFlags(a *app, root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "configuration `file`")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print no progress")
	addConfigFlags(flags, "store.url", "log.level", "log.format")
	root.MarkPersistentFlagFilename("config", "yaml", "yml")
}

// addConfigFlags adds the flags that override the named configuration keys.
// What they are given is checked when the configuration is loaded.
func addConfigFlags(flags *pflag.FlagSet, names ...string) {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, k := range config.Keys() {
		if !wanted[k.Name] {
			continue
		}
		delete(wanted, k.Name)
		usage := k.Usage
		if k.Default != "" {
			usage += fmt.Sprintf(" (default %s)", k.Default)
		}
		flags.Var(&configFlag{kind: k.Kind()}, k.Flag(), usage)
		flags.SetAnnotation(k.Flag(), configKey, []string{k.Name})
	}
	for name := range wanted {
		panic("no configuration key " + name)
	}
}

// noArguments checks that a verb is given none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("want no arguments, got %q", args[0])
	}
	return nil
}

// configFlag is a flag whose value package config checks.
type configFlag struct{ value, kind string }

func (f *configFlag) String() string         { return f.value }
func (f *configFlag) Set(value string) error { f.value = value; return nil }
func (f *configFlag) Type() string           { return f.kind }

// newKubeFlags returns the flags of kubectl that say which cluster and as whom.
func newKubeFlags() *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	flags.CacheDir, flags.DisableCompression = nil, nil
	return flags
}

// addKubeFlags adds kubectl's flags to a verb that talks to a cluster.
func addKubeFlags(a *app, cmd *cobra.Command) {
	set := pflag.NewFlagSet("kubernetes", pflag.ContinueOnError)
	a.kube.AddFlags(set)
	set.VisitAll(func(f *pflag.Flag) {
		f.Annotations = map[string][]string{kubeFlag: {"true"}}
	})
	cmd.Flags().AddFlagSet(set)
	completeKubeFlags(a, cmd)
}
