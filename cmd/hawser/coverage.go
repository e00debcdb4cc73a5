package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

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
		covered = append(covered, backup.CoveredPlan{Name: p.Name, Select: p.Request.Select, RPO: p.RPO})
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

// drilled is when a plan of the claim was last practised with success; "" for
// never.
func (r *coverageReport) drilled(c *backup.ClaimCoverage) string {
	var newest time.Time
	for _, p := range c.Plans {
		if d, found := r.drills[p.Plan]; found && d.Ended.After(newest) {
			newest = d.Ended
		}
	}
	if newest.IsZero() {
		return ""
	}
	return duration.HumanDuration(r.now.Sub(newest)) + " ago"
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

// coverageSums count the claims.
type coverageSums struct {
	Claims      int                        `json:"claims"`
	Covered     int                        `json:"covered"`
	NotCovered  map[catalog.SkipReason]int `json:"notCovered"`
	RPO         map[backup.Promise]int     `json:"rpo"`         // of those that are covered
	Restorable  int                        `json:"restorable"`  // from a point, covered or not
	Unprotected int                        `json:"unprotected"` // covered; the disk goes with the claim
}

func (r *coverageReport) sums() coverageSums {
	s := coverageSums{Claims: len(r.claims), NotCovered: map[catalog.SkipReason]int{}, RPO: map[backup.Promise]int{}}
	for i := range r.claims {
		c := &r.claims[i]
		if c.Newest != nil {
			s.Restorable++
		}
		if !c.Covered() {
			s.NotCovered[c.Reason]++
			continue
		}
		s.Covered++
		s.RPO[c.Promise()]++
		if !c.Protected() {
			s.Unprotected++
		}
	}
	return s
}

// coveredClaim is a claim in JSON and YAML.
type coveredClaim struct {
	Namespace string               `json:"namespace"`
	Name      string               `json:"name"`
	Covered   bool                 `json:"covered"`
	Plans     []planPromise        `json:"plans"`
	Promise   backup.Promise       `json:"promise"` // the worst of the plans'
	Reason    catalog.SkipReason   `json:"reason,omitempty"`
	Why       string               `json:"why,omitempty"`
	Volume    string               `json:"persistentVolume,omitempty"`
	Reclaim   string               `json:"reclaimPolicy,omitempty"`
	Driver    string               `json:"driver,omitempty"`
	Handle    catalog.VolumeHandle `json:"volumeHandle,omitempty"`
	Point     catalog.PointID      `json:"point,omitempty"`
	Data      *time.Time           `json:"data,omitempty"` // the moment the data is of
	Age       *int64               `json:"ageSeconds,omitempty"`
	Snapshot  *bool                `json:"snapshot,omitempty"` // false: the point relies on the disk itself
}

type planPromise struct {
	Plan    string         `json:"plan"`
	RPO     string         `json:"rpo,omitempty"`
	Promise backup.Promise `json:"promise"`
	Drilled *time.Time     `json:"drilled,omitempty"` // the end of the plan's newest drill that passed
}

func (r *coverageReport) coveredClaim(c backup.ClaimCoverage) coveredClaim {
	claim := coveredClaim{
		Namespace: c.Claim.Namespace, Name: c.Claim.Name, Covered: c.Covered(), Plans: []planPromise{}, Promise: c.Promise(), Reason: c.Reason, Why: c.Why,
		Volume: c.Volume, Reclaim: string(c.Reclaim), Driver: c.Disk.Driver, Handle: c.Disk.Handle,
	}
	for _, p := range c.Plans {
		promise := planPromise{Plan: p.Plan, Promise: p.Promise}
		if p.RPO > 0 {
			promise.RPO = p.RPO.String()
		}
		if d, found := r.drills[p.Plan]; found {
			promise.Drilled = &d.Ended
		}
		claim.Plans = append(claim.Plans, promise)
	}
	if c.Newest != nil {
		age := int64(c.Age.Seconds())
		claim.Point, claim.Data, claim.Age, claim.Snapshot = c.Newest.Point, &c.Newest.Data, &age, &c.Newest.Snapshot
	}
	return claim
}

func (r *coverageReport) view() view {
	claims := []coveredClaim{} // prints as [], not null
	for _, c := range r.claims {
		claims = append(claims, r.coveredClaim(c))
	}
	return view{
		value: struct {
			Claims  []coveredClaim `json:"claims"`
			Sums    coverageSums   `json:"sums"`
			Reading backup.Reading `json:"reading"`
		}{claims, r.sums(), r.reading},
		human: func(w io.Writer, wide bool) error {
			if len(r.claims) > 0 {
				if err := r.table(wide).write(w); err != nil {
					return err
				}
				fmt.Fprintln(w)
			}
			return r.printSums(w)
		},
	}
}

func (r *coverageReport) table(wide bool) table {
	t := table{header: []string{"NAMESPACE", "CLAIM", "PLANS", "AGE", "RPO", "RECLAIM", "WHY"}}
	if wide {
		t.header = append(t.header, "DRILLED", "POINT", "VOLUME", "DRIVER", "DISK")
	}
	for _, c := range r.claims {
		var plans []string
		for _, p := range c.Plans {
			plans = append(plans, p.Plan)
		}
		age, point := "", ""
		if c.Newest != nil {
			age, point = duration.HumanDuration(c.Age), string(c.Newest.Point)
			if !c.Newest.Snapshot {
				age += " disk"
			}
		}
		why := c.Why
		if c.Reason != "" {
			why = "not covered: " + why
		}
		row := []string{c.Claim.Namespace, c.Claim.Name, strings.Join(plans, ","), age, promiseText(&c), string(c.Reclaim), why}
		if wide {
			row = append(row, r.drilled(&c), point, c.Volume, c.Disk.Driver, string(c.Disk.Handle))
		}
		t.add(row...)
	}
	return t
}

// promiseText shows the worst promise, with the shortest RPO that it is of.
func promiseText(c *backup.ClaimCoverage) string {
	worst := c.Promise()
	if worst == backup.PromiseNone {
		return ""
	}
	of := slices.DeleteFunc(slices.Clone(c.Plans), func(p backup.PlanPromise) bool { return p.Promise != worst })
	shortest := slices.MinFunc(of, func(a, b backup.PlanPromise) int { return cmp.Compare(a.RPO, b.RPO) })
	return string(worst) + " " + duration.HumanDuration(shortest.RPO)
}

func (r *coverageReport) printSums(w io.Writer) error {
	s := r.sums()
	fmt.Fprintf(w, "%s: %d covered, %d not", plural(s.Claims, "claim"), s.Covered, s.Claims-s.Covered)
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(s.NotCovered)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.NotCovered[reason], reason))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(parts, ", "))
	}
	fmt.Fprintf(w, ".\nRPO: %d met, %d broken, %d unknown, %d without one.", s.RPO[backup.PromiseMet], s.RPO[backup.PromiseBroken], s.RPO[backup.PromiseUnknown], s.RPO[backup.PromiseNone])
	if s.Unprotected > 0 {
		fmt.Fprintf(w, "\nNot Retain: the volumes of %s that plans take; such a disk goes with its claim.", plural(s.Unprotected, "claim"))
	}
	_, err := fmt.Fprintf(w, "\nOpened %d of %s.\n", r.reading.Read, plural(r.reading.Points, "point"))
	return err
}
