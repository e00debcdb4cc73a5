package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/backup/prune"
	"hawser.dev/hawser/catalog"
)

// pruned is a run that met every kind of decision.
func pruned() prune.Result {
	at := func(hours int) *time.Time { t := testNow.Add(time.Duration(hours) * time.Hour); return &t }
	decision := func(hours int, outcome catalog.Outcome, verdict prune.Verdict, reasons ...string) prune.Decision {
		return prune.Decision{
			Point: catalog.NewPointID(prod.UID, "databases", *at(hours), 0), Plan: "databases", Scheduled: *at(hours),
			Outcome: outcome, Verdict: verdict, Reasons: reasons,
		}
	}
	r := prune.Result{Cluster: prod, Plan: prune.Plan{Swept: true, Decisions: []prune.Decision{
		decision(-90, "", prune.Forget, "it is removed, and no point that is left leads to it"),
		decision(-80, "", prune.Gone, "no rule of the policy keeps it"),
		decision(-70, catalog.Complete, prune.Remove, "no rule of the policy keeps it"),
		decision(-60, catalog.Complete, prune.Remove, "no rule of the policy keeps it"),
		decision(-50, catalog.Complete, prune.Expiring, "no rule of the policy keeps it"),
		decision(-40, catalog.Partial, prune.Bury, "partial, and a complete point is newer"),
		decision(-30, catalog.Complete, prune.Exhume, "last 2 of 2"),
		decision(-20, catalog.Complete, prune.Keep, "last 1 of 2", "newest point with claim shop/data"),
		decision(-10, "", prune.Leave, "a run of it is under way, or was cut off and will be cleared up after"),
	}, Orphans: []prune.Orphan{
		{Namespace: "shop", Name: "hawser-00", Content: "snapcontent-00", Reason: "the catalog has no point 20260101-000000-databases-00000000", Since: at(-1), Until: at(23)},
		{Namespace: "shop", Name: "hawser-01", Content: "snapcontent-01", Reason: "no point names it, and its VolumeSnapshot is gone", Alone: true, Since: at(-25), Until: at(-1), Due: true},
	}}}
	r.Decisions[2].Until, r.Decisions[3].Until, r.Decisions[4].Until, r.Decisions[6].Until = at(-1), at(-1), at(1), at(2)
	return r
}

// carriedOut is the same, when it was done.
func carriedOut() prune.Result {
	r := pruned()
	for i := range r.Decisions {
		if d := &r.Decisions[i]; d.Verdict != prune.Keep && d.Verdict != prune.Expiring && d.Verdict != prune.Leave && d.Verdict != prune.Gone {
			d.Done = true
		}
	}
	r.Decisions[3].Done, r.Decisions[3].Problem = false, "1 of its 2 snapshots are still there; the next run goes on"
	r.Orphans[1].Done, r.OrphansRemoved = true, 1
	return r
}

func TestPruneExplainsEveryDecision(t *testing.T) {
	dry := pruned()
	dry.DryRun = true
	stopped := pruned()
	stopped.Stops = []prune.Stop{{Guard: prune.GuardTooMany, Plan: "databases", Why: "its policy would drop 5 of 9 points at once", Remedy: "run `hawser prune --confirm`"}}
	stopped.Stops = append(stopped.Stops, prune.Stop{Guard: prune.GuardOrphans, Why: "nothing names 4 of 9 snapshots of this catalog", Remedy: "make sure that the store has lost no points"})
	for i := range stopped.Decisions {
		if v := stopped.Decisions[i].Verdict; v == prune.Bury || v == prune.Remove {
			stopped.Decisions[i].Stopped = prune.GuardTooMany
		}
	}
	for name, r := range map[string]prune.Result{"dry-run": dry, "done": carriedOut(), "stopped": stopped} {
		for _, format := range []string{outputTable, outputYAML} {
			if format == outputYAML && name != "stopped" {
				continue // one has all fields
			}
			var out, errs bytes.Buffer
			a := newApp(strings.NewReader(""), &out, &errs)
			report := pruneReport{Result: r}
			if err := (&output{format: format}).print(a.stdout, report.view()); err != nil {
				t.Fatal(err)
			}
			a.printNotes(report.notes())
			err := report.stopped()
			a.printError(err)
			golden(t, "prune-"+name+"-"+format, []string{"prune", "-o", format}, result{stdout: out.String(), stderr: errs.String(), exit: exitCode(err)})
		}
	}
}

func TestPruneShowsOnePlanAlone(t *testing.T) {
	r := pruned()
	r.Decisions[0].Plan = "other"
	var out bytes.Buffer
	if err := (&output{format: outputTable}).print(&out, pruneReport{Result: r, only: "other"}.view()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "-databases-"); got != 2 { // its id, and that of an orphan's point
		t.Errorf("%d points are shown, want that of the plan other alone:\n%s", got, out.String())
	}
}

func TestPruneExitCodes(t *testing.T) {
	broken := errors.New("the network has a bad day")
	for _, c := range []struct {
		name   string
		result prune.Result
		err    error
		want   int
	}{
		{"all is done", carriedOut(), nil, exitDone},
		{"some is done", carriedOut(), broken, exitPartial},
		{"nothing is done", pruned(), broken, exitFailed},
		{"a guard stopped it", prune.Result{Plan: prune.Plan{Stops: []prune.Stop{{Guard: prune.GuardSkew}}}}, nil, exitRefused},
		{"a guard stopped some of it", prune.Result{Plan: prune.Plan{Stops: []prune.Stop{{Guard: prune.GuardOrphans}}}}, broken, exitRefused},
	} {
		report := pruneReport{Result: c.result}
		if got := exitCode(errors.Join(report.partly(c.err), report.stopped())); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}
