package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"

	"hawser.dev/hawser/backup/agent"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

const (
	// reloadPeriod is how often the configuration is read anew. A mounted
	// ConfigMap changes by a symbolic link, which a poll cannot miss.
	reloadPeriod = 5 * time.Second
	// serveTime bounds a request to the agent, and its end.
	serveTime = 10 * time.Second
)

func newAgentCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the plans of the configuration on their schedules",
		Long: `Run the plans of the configuration on their schedules, until it is stopped. The
configuration is read anew when its file changes; a new version that is wrong is
refused and reported, and the one before stays in force. Only plans and notify
can change without a restart.

Of several agents in one cluster one leads, by a Lease, and runs; another takes
over within 20 seconds, and finishes or rolls back what the first had begun. No
plan is run before its time: not when the agent starts, nor when a plan is made,
changed or no longer paused. Of what was missed, the newest occurrence is caught
up, if it is younger than the plan's catchUp.

/metrics, /healthz and /readyz are served at agent.listen. The log goes to stderr,
as JSON from level info on unless log.level and log.format say otherwise.`,
		Example: `  # In a cluster: see deploy/chart
  hawser agent --config /etc/hawser/config.yaml

  # From a terminal, alone, against the cluster of the kubeconfig
  hawser agent --config plans.yaml --agent-leader-elect=false --log-format text`,
		Args: noArguments,
	}
	addKubeFlags(a, cmd)
	addConfigFlags(cmd.Flags(), "cluster.name", "agent.listen", "agent.namespace", "agent.leaderElect", "prune.schedule", "prune.grace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		a.log = newLogger(a.stderr, agentLog(cfg))
		plans, err := agentPlans(cfg)
		if err != nil {
			return err
		}
		return a.agent(cmd.Context(), cfg, plans, func() (config.Config, error) { return a.loadConfig(cmd) })
	}
	return cmd
}

// agentLog is what an agent logs: more than a verb, unless that was set.
func agentLog(cfg config.Config) config.Log {
	log := cfg.Log
	for _, v := range cfg.Values() {
		switch {
		case v.Origin.Source != config.Default:
		case v.Key == "log.level":
			log.Level = slog.LevelInfo
		case v.Key == "log.format":
			log.Format = config.LogJSON
		}
	}
	return log
}

// agent runs the agent, and what it tells and is asked, until ctx ends.
func (a *app) agent(ctx context.Context, cfg config.Config, plans []agent.Plan, reload func() (config.Config, error)) error {
	notified := &notifications{}
	metrics := agent.NewMetrics(agent.MetricsOptions{Version: thisVersion().Version, Now: a.now, Notifications: notified.counts})
	a.transport = metrics.Count
	c, err := a.connect(cfg)
	if err != nil {
		return err
	}
	uid, err := catalog.ClusterUID(ctx, c.kubernetes.CoreV1().Namespaces())
	if err != nil {
		return err
	}
	cat, err := a.createCatalog(ctx, cfg)
	if err != nil {
		return err
	}
	p := agentParts{
		app: a, cfg: cfg, clients: c, catalog: cat, metrics: metrics,
		cluster: catalog.Cluster{UID: uid, Name: cfg.Cluster.Name}, identity: identityOf(a.env),
	}
	notifier, watch := p.assemble(ctx)
	notified.of = notifier
	listener, err := net.Listen("tcp", cfg.Agent.Listen)
	if err != nil {
		return fmt.Errorf("agent.listen: %w", err)
	}
	a.log.Info("agent started", "version", thisVersion().Version, "identity", p.identity, "plans", len(plans), "listen", listener.Addr().String(), "store", cfg.Store.URL.String())
	watch.SetPlans(plans)
	mux := http.NewServeMux()
	mux.Handle("/", watch.Handler())
	mux.Handle("GET /metrics", metrics.Handler())
	group, gctx := errgroup.WithContext(ctx)
	// What is told of the last runs comes after them.
	told, endTelling := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { notifier.Run(told); return nil })
	group.Go(func() error { return serve(gctx, listener, mux) })
	group.Go(func() error { return a.reload(gctx, cfg, reload, watch, notifier) })
	group.Go(func() error {
		defer endTelling()
		return watch.Run(gctx)
	})
	return group.Wait()
}

// identityOf names this process among the agents: its Pod, and what no other
// process of that name has had.
func identityOf(env []string) string {
	name := config.Lookup(env, podName)
	if name == "" {
		name, _ = os.Hostname() // the rest is unique by itself
	}
	return name + "_" + string(uuid.NewUUID())
}

// The variables that name the agent's Pod, by the downward API.
const (
	podName = "POD_NAME"
	podUID  = "POD_UID"
)

// serve answers requests until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: serveTime, ReadTimeout: serveTime, WriteTimeout: 3 * serveTime}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveTime)
	defer cancel()
	err := server.Shutdown(ctx)
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// reload reads the configuration from time to time, and puts what changed into
// force.
func (a *app) reload(ctx context.Context, cfg config.Config, load func() (config.Config, error), to *agent.Agent, notifier *agent.Notifier) error {
	ticker := time.NewTicker(reloadPeriod)
	defer ticker.Stop()
	refused := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		next, err := load()
		var plans []agent.Plan
		if err == nil {
			plans, err = agentPlans(next)
		}
		if err != nil {
			if err.Error() != refused {
				refused = err.Error()
				a.log.Error("the new configuration is refused; the one before stays in force", "error", err)
				to.Observer.Reloaded(err)
			}
			continue
		}
		if refused == "" && reflect.DeepEqual(next, cfg) {
			continue
		}
		a.log.Info("the configuration is read anew", "plans", len(plans))
		if !sameProcess(next, cfg) {
			a.log.Warn("a part of the configuration other than plans and notify has changed; restart the agent to use it")
		}
		refused, cfg = "", next
		to.Observer.Reloaded(nil)
		notifier.SetWebhooks(webhooks(next))
		to.SetPlans(plans)
	}
}

// sameProcess says whether two configurations differ in what can change while
// the agent runs, if at all.
func sameProcess(a, b config.Config) bool {
	return a.Cluster == b.Cluster && a.Store == b.Store && a.Catalog == b.Catalog && a.Kubernetes == b.Kubernetes &&
		a.Log == b.Log && a.Agent == b.Agent && a.Prune == b.Prune
}
