package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/verify"
)

// verifyOptions are the flags of hawser verify.
type verifyOptions struct {
	fromCluster string
	plan        string
	all         bool
	offline     bool
	checkDisks  bool
}

func newVerifyCommand(a *app) *cobra.Command {
	var options verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [POINT | --plan NAME | --all]",
		Short: "Say whether restore points are whole, and their snapshots and disks still there",
		Long: `Say whether a restore point, by default the newest, could be brought back. Each of
its objects is read back from the store, compared with its digest and decoded, and
the chain of its plan is followed: a point that was removed or changed behind
Hawser's back shows there. The cluster is asked for a VolumeSnapshotContent of each
snapshot and a PersistentVolume of each disk, unless --offline is given; with
--check-disks the drivers are asked about the disks, which attaches each to a node
for a moment. Else nothing is written, anywhere.

A point and each of its claims is ok; or missing: the snapshot is, or of a claim
without a snapshot the disk is; or unknown: it could not be looked at, as in
another cluster than the point's. A disk that is gone does not matter to a claim
whose snapshot is there. The exit code is 3 if something is missing or damaged, 1
if the store or the cluster cannot be read.`,
		Example: `  # The newest point
  hawser verify

  # All points of a plan, and their disks by the drivers' own word
  hawser verify --plan databases --check-disks

  # All points of all clusters, without any cluster
  hawser verify --all --offline -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("want one restore point at most, got %d arguments", len(args))
			}
			return nil
		},
		ValidArgsFunction: a.completePoint,
	}
	format := addOutputFlag(cmd, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	addFromClusterFlag(a, cmd, &options.fromCluster)
	cmd.Flags().StringVar(&options.plan, "plan", "", "verify all points of the plan of this `name`")
	cmd.RegisterFlagCompletionFunc("plan", complete(a.completePlans))
	cmd.Flags().BoolVar(&options.all, "all", false, "verify all points")
	cmd.Flags().BoolVar(&options.offline, "offline", false, "ask no cluster")
	cmd.Flags().BoolVar(&options.checkDisks, "check-disks", false, "ask the drivers whether the disks are there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := options.check(args); err != nil {
			return err
		}
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		report, err := a.verify(cmd.Context(), cfg, options, strings.Join(args, ""))
		if err != nil {
			return err
		}
		if err := format.print(a.stdout, verifyView(report)); err != nil {
			return err
		}
		return missing(report)
	}
	return cmd
}

func (o verifyOptions) check(args []string) error {
	ways := len(args)
	if o.plan != "" {
		ways++
	}
	if o.all {
		ways++
	}
	switch {
	case ways > 1:
		return usagef("name a point, or use --plan, or --all: one of them")
	case o.offline && o.checkDisks:
		return usagef("use either --offline or --check-disks")
	}
	return nil
}

func (a *app) verify(ctx context.Context, cfg config.Config, options verifyOptions, reference string) (*verify.Report, error) {
	cat, err := a.openCatalog(ctx, cfg)
	if err != nil {
		return nil, err
	}
	verifier := &verify.Verifier{Catalog: cat}
	if !options.offline {
		c, err := a.connect(cfg)
		if err != nil {
			return nil, err
		}
		verifier.Kubernetes, verifier.Snapshots = c.kubernetes, c.snapshots
		if options.checkDisks {
			verifier.Disks = &restore.Restorer{Kubernetes: c.kubernetes, Dynamic: c.dynamic, Snapshots: c.snapshots, Now: a.now, Log: a.log}
		}
	}
	which := verify.Which{Plan: options.plan}
	if which.ClusterUID, err = findCluster(ctx, cat, options.fromCluster); err != nil {
		return nil, err
	}
	if options.plan == "" && !options.all {
		if which, err = pointToVerify(ctx, cat, which, reference); err != nil {
			return nil, err
		}
	}
	return verifier.Verify(ctx, which)
}

// pointToVerify finds the point that is meant. One whose commit is damaged is
// found by its whole id: that it is damaged is what verify is to say.
func pointToVerify(ctx context.Context, cat *catalog.Catalog, which verify.Which, reference string) (verify.Which, error) {
	if reference == "" {
		reference = catalog.Latest
	}
	commit, err := cat.Find(ctx, which.ClusterUID, reference)
	damaged := errors.Is(err, catalog.ErrCorrupt) || errors.Is(err, catalog.ErrNewerFormat)
	switch id := catalog.PointID(reference); {
	case damaged && id.Plan() != "":
		which.Point = id
	case err != nil:
		return which, err
	default:
		which.ClusterUID, which.Point = commit.Cluster.UID, commit.Point
	}
	return which, nil
}

// missing is the error of points of which something is missing.
func missing(report *verify.Report) error {
	n := report.Missing()
	if n == 0 {
		return nil
	}
	var points []string
	for _, p := range report.Points {
		if p.State == verify.Missing {
			points = append(points, string(p.Point)+" ("+p.Reason+")")
		}
	}
	points = append(points, report.Gaps...)
	return partial(fmt.Errorf("something is missing or damaged: %s", firstOf(points, 5)))
}

func verifyView(report *verify.Report) view {
	return view{value: report, human: func(w io.Writer, _ bool) error {
		if len(report.Points) > 0 {
			if err := verifyTable(report).write(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		for _, gap := range report.Gaps {
			fmt.Fprintln(w, "the chain is broken: "+oneLine(gap))
		}
		_, err := fmt.Fprintln(w, verifySummary(report))
		return err
	}}
}

// verifyTable has a row for each point, and below it one for each claim.
func verifyTable(report *verify.Report) table {
	t := table{header: []string{"POINT", "CLAIM", "STATE", "SNAPSHOT", "DISK", "REASON"}}
	for _, p := range report.Points {
		reasons := p.Problems
		if p.Buried {
			reasons = append([]string{"it is to be removed"}, reasons...)
		}
		t.add(string(p.Point), "", string(p.State), "", "", strings.Join(reasons, "; "))
		for _, c := range p.Claims {
			snapshot := "none"
			if c.Snapshot != nil {
				snapshot = string(c.Snapshot.State)
			}
			t.add("", c.Namespace+"/"+c.Name, string(c.State), snapshot, string(c.Disk.State), c.Reason)
		}
	}
	return t
}

// verifySummary counts in one line.
func verifySummary(report *verify.Report) string {
	states := map[verify.State]int{}
	claims := 0
	for _, p := range report.Points {
		states[p.State]++
		claims += len(p.Claims)
	}
	return fmt.Sprintf("%s with %s: %d ok, %d missing, %d unknown.", plural(len(report.Points), "point"), plural(claims, "claim"), states[verify.OK], states[verify.Missing], states[verify.Unknown])
}
