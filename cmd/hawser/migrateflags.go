package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"hawser.dev/hawser/catalog"
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
