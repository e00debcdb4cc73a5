package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// app is what the verbs share during one call of hawser.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr *console
	env    []string // as os.Environ gives it
	now    func() time.Time
	log    *slog.Logger // as configured, once config was called

	// openBucket opens the store; tests put another in its place.
	openBucket func(context.Context, config.StoreURL) (catalog.Bucket, error)
	// transport, if set, stands between the clients of an API, "kubernetes" or
	// "store", and the network.
	transport func(api string, next http.RoundTripper) http.RoundTripper

	kube       *genericclioptions.ConfigFlags
	configFile string
	quiet      bool
	apiServers []string // the hosts that restConfig found, for messages
	running    bool     // the command line was right: a verb has begun
	cancelled  bool     // the verb was interrupted
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	console := newConsole(stderr)
	a := &app{
		stdin:  stdin,
		stdout: console.beside(stdout),
		stderr: console,
		env:    os.Environ(),
		now:    time.Now,
		log:    newLogger(console, config.Log{Level: slog.LevelWarn, Format: config.LogText}),
		kube:   newKubeFlags(),
	}
	a.openBucket = a.openStore
	return a
}

// run is hawser, less the process: it runs the command line args and returns
// the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	if args == nil {
		args = []string{} // nil would mean those of the process
	}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.running {
		err = usageHint(err, cmd)
	}
	a.cancelled = ctx.Err() != nil
	a.printError(err)
	return exitCode(err)
}

// config loads the configuration, with the flags that were given to cmd, and
// begins to log as it says. An error is one of usage.
func (a *app) config(cmd *cobra.Command) (config.Config, error) {
	cfg, err := a.loadConfig(cmd)
	if err != nil {
		return config.Config{}, err
	}
	a.log = newLogger(a.stderr, cfg.Log)
	quietKlog(a.log)
	return cfg, nil
}

// loadConfig loads the configuration, with the flags that were given to cmd.
func (a *app) loadConfig(cmd *cobra.Command) (config.Config, error) {
	flags := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if key := f.Annotations[configKey]; key != nil {
			flags[key[0]] = f.Value.String()
		}
	})
	cfg, err := config.Load(config.Source{File: a.configFile, Env: a.env, Flags: flags, Rules: planRules()})
	if err != nil {
		return config.Config{}, usage(err)
	}
	return cfg, nil
}
