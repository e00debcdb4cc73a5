package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/migrate"
)

// migrateOptions are the flags of hawser migrate.
type migrateOptions struct {
	way        string
	all        bool
	selector   string
	secrets    bool
	noPoint    bool
	sourceGone bool
	targetGone bool
	lost       string // the cluster that is gone
	point      string // by which it is known
	dryRun     bool
	timeout    time.Duration
	ignore     []string
	mapping    mappingFlags

	status, rollback, cleanup string
	target                    *genericclioptions.ConfigFlags // which cluster is the target
}

// allMigrations is --status without an id.
const allMigrations = "all"

func newMigrateCommand(a *app) *cobra.Command {
	options := migrateOptions{way: string(catalog.WayMove), target: newKubeFlags()}
	cmd := &cobra.Command{
		Use:   "migrate [KIND/NAME ...]",
		Short: "Move workloads with their disks to another cluster",
		Long: `Move StatefulSets, Deployments and claims with their disks to another cluster
that reaches the same storage: the workloads are scaled to 0 in the source, their
disks are detached there, the catalog notes that the disks are the target's, and
volumes, claims and workloads are made in the target under the same names, or those
that the mapping flags say. What is left in the source stays at 0, marked, until
--cleanup removes it; no disk is ever deleted.

Everything that may stand in the way is looked for in both clusters before
anything is written: then the exit code is 4, with every reason. A migration that
was interrupted is finished by running the same command again, or led back with
--rollback ID until it is committed. Afterwards it is moved back by exchanging
--from and --to.

--way copy leaves the source as it is and makes new disks from fresh snapshots.
--way adopt takes the disks of a cluster that is gone over, as its newest restore
point knows them; it also finishes a move whose source is lost half way. Where the
target is lost, --rollback leads back with --confirm-target-gone.`,
		Example: `  # What would happen
  hawser migrate statefulset/redis -n shop --from old --to new --dry-run

  # A StatefulSet
  hawser migrate statefulset/redis -n shop --from old --to new

  # All that has claims in a namespace, under another name
  hawser migrate --all -n shop --from old --to new --map-namespace shop=store

  # A cluster is gone: its disks, as its newest point knows them
  hawser migrate --all -n shop --way adopt --from-cluster old --to new --confirm-source-gone

  # How far it is, and back again
  hawser migrate --status
  hawser migrate --rollback 20260903-120000-1a2b3c4d --from old --to new

  # Remove what a finished migration has left in the source; the disks stay
  hawser migrate --cleanup 20260903-120000-1a2b3c4d --from old --to new`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addConfigFlags(cmd.Flags(), "cluster.name", "snapshot.timeout", "snapshot.classes", "kubernetes.qps", "kubernetes.burst")
	options.add(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		if err := options.check(args); err != nil {
			return err
		}
		switch {
		case options.status != "":
			return a.migrationStatus(cmd.Context(), cfg, options.status, format)
		case options.rollback != "":
			return a.migrateBack(cmd.Context(), cfg, options, format)
		case options.cleanup != "":
			return a.migrationCleanup(cmd.Context(), cfg, options, format)
		}
		request, err := a.migrateRequest(options, args)
		if err != nil {
			return err
		}
		return a.migrate(cmd.Context(), cfg, options, request, format)
	}
	return cmd
}

func (o *migrateOptions) add(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(a.kube.Context, "from", "", "the `context` of the source cluster (default: the current one, or the cluster of this Pod)")
	flags.StringVar(a.kube.KubeConfig, "from-kubeconfig", "", "the kubeconfig `file` of the source")
	flags.StringVar(o.target.Context, "to", "", "the `context` of the target cluster")
	flags.StringVar(o.target.KubeConfig, "to-kubeconfig", "", "the kubeconfig `file` of the target")
	flags.StringVarP(a.kube.Namespace, "namespace", "n", "", "the namespace in the source")
	cmd.RegisterFlagCompletionFunc("namespace", complete(a.namespaces))
	flags.StringVar(&o.way, "way", o.way, "move (the same disks), copy (new disks from fresh snapshots) or adopt (the source is gone)")
	flags.BoolVar(&o.all, "all", false, "all workloads of the namespace that have claims, and their claims")
	flags.StringVarP(&o.selector, "selector", "l", "", "`label query`: claims that match, or whose workload does")
	flags.BoolVar(&o.secrets, "include-secrets", false, "create the Secrets that the Pods use in the target, too; they do not go into the catalog")
	flags.BoolVar(&o.noPoint, "no-point", false, "make no restore point before anything is stopped")
	flags.BoolVar(&o.sourceGone, "confirm-source-gone", false, "with --way adopt: nobody in the source can write to the disks any more")
	flags.BoolVar(&o.targetGone, "confirm-target-gone", false, "with --rollback: the target is gone, and nobody in it can write to the disks any more")
	addFromClusterFlag(a, cmd, &o.lost)
	flags.Lookup("from-cluster").Usage = "with --way adopt: the `uid or name` of the cluster that is gone"
	flags.StringVar(&o.point, "point", catalog.Latest, "with --way adopt: the restore `point` that knows the disks")
	flags.BoolVar(&o.dryRun, "dry-run", false, "plan only: print what would be done")
	flags.DurationVar(&o.timeout, "timeout", 15*time.Minute, "give up when it takes longer than this; what was done stays, and can be gone on with")
	flags.StringSliceVar(&o.ignore, "ignore-checks", nil, "what not to check: "+strings.Join(migrate.Checks(), ", "))
	o.mapping.add(flags)
	flags.StringVar(&o.status, "status", "", "tell of the migration with this `id`, or of all")
	flags.Lookup("status").NoOptDefVal = allMigrations
	flags.StringVar(&o.rollback, "rollback", "", "lead the migration with this `id` back")
	flags.StringVar(&o.cleanup, "cleanup", "", "remove what the finished migration with this `id` has left in the source; the disks stay")
}

// check refuses flags that do not go together.
func (o *migrateOptions) check(args []string) error {
	acts := 0
	for _, act := range []string{o.status, o.rollback, o.cleanup} {
		if act != "" {
			acts++
		}
	}
	switch {
	case acts > 1:
		return usagef("use one of --status, --rollback and --cleanup")
	case o.status == allMigrations && len(args) == 1:
		o.status = args[0]
		return nil
	case acts == 1 && (len(args) > 0 || o.all || o.selector != ""):
		return usagef("--status, --rollback and --cleanup take the id of a migration, and no workloads")
	case o.targetGone && (o.rollback == "" || *o.target.Context != "" || *o.target.KubeConfig != ""):
		return usagef("--confirm-target-gone is for --rollback without --to: where the target can be reached, it is fenced")
	case acts == 1:
		return nil
	case o.way == string(catalog.WayAdopt) && o.selector != "":
		return usagef("--way adopt goes by a restore point: name workloads, or use --all")
	case o.way != string(catalog.WayAdopt) && (o.lost != "" || o.sourceGone || o.point != catalog.Latest):
		return usagef("--from-cluster, --point and --confirm-source-gone are for --way adopt")
	case len(args) == 0 && !o.all && o.selector == "":
		return usagef("say what to migrate: KIND/NAME, --selector or --all")
	case len(args) > 0 && (o.all || o.selector != ""):
		return usagef("name workloads, or use --selector or --all")
	}
	return nil
}

// migrateRequest turns flags and arguments into what to migrate.
func (a *app) migrateRequest(options migrateOptions, args []string) (migrate.Options, error) {
	named, err := parseTargets(args)
	if err != nil {
		return migrate.Options{}, err
	}
	for _, w := range named.workloads {
		if w.Kind == "Pod" {
			return migrate.Options{}, usagef("pod/%s: a Pod cannot be scaled to 0; name its StatefulSet or Deployment, or delete the Pod and name its claim (pvc/NAME)", w.Name)
		}
	}
	request := migrate.Options{
		Way: catalog.MigrationWay(options.way), Workloads: named.workloads, Claims: named.claims,
		Secrets: options.secrets, NoPoint: options.noPoint, SourceGone: options.sourceGone, Ignore: options.ignore,
	}
	if !slices.Contains([]catalog.MigrationWay{catalog.WayMove, catalog.WayCopy, catalog.WayAdopt}, request.Way) {
		return migrate.Options{}, usagef("--way %q: want move, copy or adopt", options.way)
	}
	for _, name := range options.ignore {
		if !slices.Contains(migrate.Checks(), name) {
			return migrate.Options{}, usagef("--ignore-checks %q: want one of %v", name, migrate.Checks())
		}
	}
	if request.Namespace, err = a.namespace(); err != nil {
		return migrate.Options{}, err
	}
	if options.selector != "" {
		if request.Labels, err = labels.Parse(options.selector); err != nil {
			return migrate.Options{}, usagef("--selector: %v", err)
		}
	}
	request.Mapping, err = options.mapping.mapping()
	return request, err
}

// migrate plans a migration, carries it out, and shows how far it is.
func (a *app) migrate(ctx context.Context, cfg config.Config, options migrateOptions, request migrate.Options, format *output) error {
	shown := a.newProgress()
	defer func() { shown.close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, options.timeout, fmt.Errorf("it took longer than --timeout %s", options.timeout))
	defer cancel()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	if !request.NoPoint {
		if cfg.Cluster.Name != "" && mover.Source != nil {
			cfg.Cluster.Name = mover.Source.Name // the point is of the source
		}
		mover.Fresh = func(ctx context.Context, selection backup.Selection) (catalog.PointID, error) {
			shown.close() // a backup shows its own
			defer func() { shown = a.newProgress() }()
			return a.freshPoint(ctx, cfg, selection)
		}
	}
	plan, err := mover.Plan(ctx, request)
	if err != nil {
		return err
	}
	if options.dryRun {
		shown.close()
		return format.print(a.stdout, migrationPlanView(plan))
	}
	if err := mover.CheckDisks(ctx, plan); err != nil {
		return err
	}
	a.printNotes(plan.Notes)
	result, err := mover.Apply(ctx, plan)
	shown.close()
	if err != nil {
		return err
	}
	a.printNotes(result.Notes[len(plan.Notes):])
	return format.print(a.stdout, migrationResultView(result))
}

// migrateBack leads a migration back.
func (a *app) migrateBack(ctx context.Context, cfg config.Config, options migrateOptions, format *output) error {
	shown := a.newProgress()
	defer shown.close()
	ctx, cancel := context.WithTimeoutCause(ctx, options.timeout, fmt.Errorf("it took longer than --timeout %s", options.timeout))
	defer cancel()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	result, err := mover.Rollback(ctx, catalog.MigrationID(options.rollback))
	shown.close()
	if err != nil {
		return err
	}
	a.printNotes(result.Notes)
	return format.print(a.stdout, migrationResultView(result))
}

// migrationCleanup removes what a migration has left in the source.
func (a *app) migrationCleanup(ctx context.Context, cfg config.Config, options migrateOptions, format *output) error {
	shown := a.newProgress()
	defer shown.close()
	mover, err := a.mover(ctx, cfg, options, func(e restore.Event) { shown.report(eventID(e), e.Stage, e.Message, e.Done) })
	if err != nil {
		return err
	}
	removed, err := mover.Cleanup(ctx, catalog.MigrationID(options.cleanup))
	shown.close()
	if err != nil {
		return err
	}
	return format.print(a.stdout, cleanupView(removed))
}

// migrationStatus tells how far migrations have come.
func (a *app) migrationStatus(ctx context.Context, cfg config.Config, id string, format *output) error {
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return err
	}
	if id == allMigrations {
		all, err := migrate.List(ctx, cat)
		if err != nil {
			return err
		}
		return format.print(a.stdout, migrationsView(all))
	}
	status, err := migrate.Show(ctx, cat, catalog.MigrationID(id))
	if err != nil {
		return err
	}
	return format.print(a.stdout, migrationStatusView(status))
}

// mover connects to both clusters and the catalog.
func (a *app) mover(ctx context.Context, cfg config.Config, options migrateOptions, report func(restore.Event)) (*migrate.Mover, error) {
	cat, err := a.createCatalog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	other := *a
	other.kube = options.target
	from, to := clusterNames(cfg, a.kube, other.kube)
	var source *migrate.Side
	var adopted *catalog.RestorePoint
	if acts := options.rollback + options.cleanup; options.way == string(catalog.WayAdopt) && acts == "" {
		adopted, err = a.load(ctx, cfg, options.lost, options.point)
	} else if source, err = a.side(ctx, cfg, from, report); err != nil {
		err = fmt.Errorf("the source: %w", err)
		if acts == "" {
			err = fmt.Errorf("%w\nif that cluster is gone for good, use --way adopt with --from-cluster and --confirm-source-gone in place of --from", err)
		}
	}
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // for people
	mover := &migrate.Mover{
		Source: source, Adopted: adopted, Catalog: cat, Now: a.now, Report: report,
		Process: fmt.Sprintf("%s:%d", host, os.Getpid()), Writer: writer(),
	}
	if options.targetGone {
		return mover, nil
	}
	if mover.Target, err = other.side(ctx, cfg, to, report); err != nil {
		err = fmt.Errorf("the target: %w", err)
		if options.rollback != "" {
			err = fmt.Errorf("%w\nif that cluster is gone for good, use --confirm-target-gone in place of --to", err)
		}
		return nil, err
	}
	return mover, nil
}

// side connects to the cluster that the flags of a name.
func (a *app) side(ctx context.Context, cfg config.Config, name string, report func(restore.Event)) (*migrate.Side, error) {
	c, err := a.connect(cfg)
	if err != nil {
		return nil, err
	}
	uid, err := catalog.ClusterUID(ctx, c.kubernetes.CoreV1().Namespaces())
	if err != nil {
		return nil, errors.New(humane(err, a.apiServer))
	}
	restorer := a.restorer(c, restoreOptions{}, nil)
	restorer.Report = report
	return &migrate.Side{Restorer: restorer, Cluster: catalog.Cluster{UID: uid, Name: name}}, nil
}

// clusterNames are what people call the source and the target: by their contexts,
// and cluster.name is that of the cluster of which nothing else is said.
func clusterNames(cfg config.Config, source, target *genericclioptions.ConfigFlags) (from, to string) {
	from, to = contextName(source), contextName(target)
	said := func(flags *genericclioptions.ConfigFlags) bool { return *flags.Context+*flags.KubeConfig != "" }
	if said(source) && !said(target) {
		return from, cmp.Or(cfg.Cluster.Name, to)
	}
	return cmp.Or(cfg.Cluster.Name, from), to
}

// contextName is the context that flags choose; "" in a Pod.
func contextName(flags *genericclioptions.ConfigFlags) string {
	if *flags.Context != "" {
		return *flags.Context
	}
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "" // who connects with them says so
	}
	return raw.CurrentContext
}
