package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/config"
)

// coverageOptions are the flags of hawser coverage.
type coverageOptions struct {
	plan  string
	depth int
}

func newCoverageCommand(a *app) *cobra.Command {
	var options coverageOptions
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Show which claims could be brought back now, and how old their data would be",
		Long: `Show every claim of the cluster: which plans of the configuration take it, or why
none can; how old the newest data is that a restore point could bring back of
the disk that it is on now; whether that keeps the RPO of its plans; and what
becomes of its disk when the claim is deleted (RECLAIM).

AGE counts from the moment the snapshot was cut. "disk" after it says that the
point has no snapshot and relies on the disk itself. A claim whose disk was
replaced since counts as one without data; one that is younger than its RPO keeps
it. RPO is unknown if points that were not opened may hold the answer: points are
opened from the newest on, and at most --depth of each plan. -o wide tells when a
plan of the claim last passed a drill (DRILLED).

The exit code is 3 if a claim that a plan takes breaks its RPO. Claims that no
plan takes do not change it.`,
		Example: `  # Every claim of the cluster
  hawser coverage

  # One namespace, with disks and points
  hawser coverage -n shop -o wide

  # Claims that nothing backs up
  hawser coverage -o json | jq -r '.claims[] | select(.covered | not) | "\(.namespace)/\(.name): \(.why)"'`,
		Args: noArguments,
	}
	format := addOutputFlag(cmd, outputWide, outputJSON, outputYAML)
	addKubeFlags(a, cmd)
	cmd.Flags().BoolP("all-namespaces", "A", true, "show all namespaces; the default, unless -n is given")
	cmd.Flags().StringVar(&options.plan, "plan", "", "look at the plan of this `name` only: its claims, and what it promises")
	cmd.RegisterFlagCompletionFunc("plan", complete(a.completePlans))
	cmd.Flags().IntVar(&options.depth, "depth", backup.DefaultDepth, "open at most so many points of each plan; 0 for no limit")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		namespace := *a.kube.Namespace
		if namespace != "" && cmd.Flags().Changed("all-namespaces") {
			return usagef("use either -n or -A")
		}
		if options.depth < 0 {
			return usagef("--depth: want 0 or more")
		}
		cfg, err := a.config(cmd)
		if err != nil {
			return err
		}
		report, err := a.coverage(cmd.Context(), cfg, options)
		if err != nil {
			return err
		}
		report.narrow(func(c *backup.ClaimCoverage) bool {
			return (namespace == "" || c.Claim.Namespace == namespace) && (options.plan == "" || len(c.Plans) > 0)
		})
		if err := format.print(a.stdout, report.view()); err != nil {
			return err
		}
		a.printNotes(report.notes)
		return report.broken()
	}
	return cmd
}

// coverageReport is what hawser coverage has found.
type coverageReport struct {
	claims  []backup.ClaimCoverage
	reading backup.Reading
	drills  map[string]catalog.Drill // the newest good drill of each plan that has one
	notes   []string
	now     time.Time
}

// coverage looks at the cluster and at the catalog.
func (a *app) coverage(ctx context.Context, cfg config.Config, options coverageOptions) (*coverageReport, error) {
	plans, notes, err := coveredPlans(cfg, options.plan)
	if err != nil {
		return nil, err
	}
	c, err := a.connect(cfg)
	if err != nil {
		return nil, err
	}
	inv, err := backup.ObserveClaims(ctx, c.dynamic)
	if err != nil {
		return nil, err
	}
	for _, plan := range plans {
		if err := backup.CheckPlan(inv, plan); err != nil {
			notes = append(notes, err.Error())
		}
	}
	report := &coverageReport{claims: backup.Reach(inv, plans), drills: map[string]catalog.Drill{}, notes: notes, now: a.now()}
	ledger := new(backup.Ledger)
	if err := a.readLedger(ctx, cfg, inv, ledger, report, options.depth); err != nil {
		return nil, err
	}
	ledger.Judge(report.claims, report.now)
	return report, nil
}

// coveredPlans are the plans of the configuration, or the one that is named.
func coveredPlans(cfg config.Config, name string) (covered []backup.CoveredPlan, notes []string, err error) {
	if name != "" {
		plan, err := findPlan(cfg, name)
		if err != nil {
			return nil, nil, err
		}
		cfg.Plans = []config.Plan{plan}
	}
	plans, err := agentPlans(cfg)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range plans {
		covered = append(covered, p.Covered())
		if p.Paused {
			notes = append(notes, "plan "+p.Name+" is paused; it makes no new points")
		}
	}
	if len(plans) == 0 {
		notes = append(notes, "the configuration has no plans")
	}
	return covered, notes, nil
}

// readLedger reads what the points of the cluster can bring back.
func (a *app) readLedger(ctx context.Context, cfg config.Config, inv *backup.Inventory, ledger *backup.Ledger, report *coverageReport, depth int) error {
	uid := inv.ClusterUID()
	if uid == "" {
		return fmt.Errorf("identify the cluster: it has no namespace %s", metav1.NamespaceSystem)
	}
	cat, err := a.openCatalog(ctx, cfg)
	if errors.Is(err, catalog.ErrNoCatalog) {
		report.notes = append(report.notes, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	survey, err := cat.Survey(ctx, uid)
	if err != nil {
		return err
	}
	reading, err := ledger.Read(ctx, cat, survey, backup.Wants(report.claims), depth)
	if err != nil {
		return err
	}
	report.reading = reading
	if err := report.readDrills(ctx, cat, uid); err != nil {
		return err
	}
	for _, plan := range slices.Sorted(maps.Keys(reading.Unread)) {
		report.notes = append(report.notes, fmt.Sprintf("plan %s: %s not opened, though not everything was found; use --depth 0 for all", plan, wereNot(reading.Unread[plan])))
	}
	for _, problem := range reading.Unusable {
		report.notes = append(report.notes, "a point brings nothing back: "+problem)
	}
	return nil
}

// readDrills finds the newest good drill of each plan that takes a claim.
func (r *coverageReport) readDrills(ctx context.Context, cat *catalog.Catalog, clusterUID string) error {
	ids, err := cat.Drills(ctx, clusterUID)
	if err != nil || len(ids) == 0 {
		return err
	}
	asked := map[string]bool{}
	for _, c := range r.claims {
		for _, p := range c.Plans {
			if asked[p.Plan] {
				continue
			}
			asked[p.Plan] = true
			_, passed, err := cat.LastDrills(ctx, clusterUID, p.Plan, ids)
			if err != nil {
				return err
			}
			if passed != nil {
				r.drills[p.Plan] = *passed
			}
		}
	}
	return nil
}

func wereNot(older int) string {
	if older == 1 {
		return "1 older point was"
	}
	return fmt.Sprintf("%d older points were", older)
}

// narrow leaves out the claims that are not to be shown.
func (r *coverageReport) narrow(show func(*backup.ClaimCoverage) bool) {
	r.claims = slices.DeleteFunc(r.claims, func(c backup.ClaimCoverage) bool { return !show(&c) })
}

// broken is the error of claims that break their RPO.
func (r *coverageReport) broken() error {
	var claims []string
	for _, c := range r.claims {
		if c.Promise() == backup.PromiseBroken {
			claims = append(claims, c.Claim.String())
		}
	}
	if len(claims) == 0 {
		return nil
	}
	verb := "break their"
	if len(claims) == 1 {
		verb = "breaks its"
	}
	return partial(fmt.Errorf("%s %s RPO: %s", plural(len(claims), "claim"), verb, firstOf(claims, 10)))
}

// firstOf joins at most n words.
func firstOf(words []string, n int) string {
	if len(words) <= n {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:n], ", "), len(words)-n)
}
