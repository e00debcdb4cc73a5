package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/verify"
)

// shown is what a verb prints of a result, as a table, and of its error.
func shown(t *testing.T, v view, failed error) result {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	if err := (&output{format: outputTable}).print(a.stdout, v); err != nil {
		t.Fatal(err)
	}
	a.printError(failed)
	return result{stdout: out.String(), stderr: errs.String(), exit: exitCode(failed)}
}

func TestADrillExplainsItself(t *testing.T) {
	d := catalog.Drill{
		ID: "20260903-120000-databases-0a1b2c3d", Point: "20260903-110000-databases-d3100cee", Outcome: catalog.DrillFailed, CheckedAfter: 83.25,
		Reasons: []string{"1 of 2 claims failed"},
		Claims: []catalog.DrillClaim{
			{Namespace: "shop", Name: "redis-pvc-redis-0", Outcome: catalog.DrillPassed, Stage: "done", BoundAfter: 3.1, CheckedAfter: 9.87, Output: "RDB looks OK"},
			{Namespace: "shop", Name: "redis-pvc-redis-1", Outcome: catalog.DrillFailed, Stage: "check", BoundAfter: 3.2, CheckedAfter: 83.25, Message: "the check ended with exit code 1 (Error)", Output: "[offset 20] RDB\x1b[31m ERROR DETECTED\nbad"},
		},
	}
	golden(t, "drill-failed", []string{"drill"}, shown(t, drillView(d), drillFailed(d)))
	d.Outcome, d.Claims, d.CheckedAfter = catalog.DrillPassed, d.Claims[:1], 9.87
	golden(t, "drill-passed", []string{"drill"}, shown(t, drillView(d), drillFailed(d)))
}

func TestVerifyExplainsItself(t *testing.T) {
	ok := verify.Finding{State: verify.OK}
	gone := verify.Finding{State: verify.Missing, Reason: "not in this cluster: no VolumeSnapshotContent is over snapshot snap-2; the storage may still have it"}
	report := &verify.Report{
		Points: []verify.Point{
			{Point: "20260903-100000-databases-00000000", Finding: ok, Buried: true, Claims: []verify.Claim{{Namespace: "shop", Name: "a", Finding: ok, Snapshot: &ok, Disk: ok}}},
			{Point: "20260903-110000-databases-11111111", Finding: verify.Finding{State: verify.Missing, Reason: "claim shop/a: " + gone.Reason}, Claims: []verify.Claim{{Namespace: "shop", Name: "a", Finding: gone, Snapshot: &gone, Disk: ok}, {Namespace: "shop", Name: "b", Finding: ok, Disk: ok}}},
			{Point: "20260903-120000-databases-22222222", Finding: verify.Finding{State: verify.Missing, Reason: "bundle: SHA-256 differs"}, Problems: []string{"bundle: SHA-256 differs"}},
		},
		Gaps: []string{"point 20260903-130000-databases-33333333 comes after point 20260903-125900-databases-44444444: its commit is gone, and no tombstone says why"},
	}
	golden(t, "verify-missing", []string{"verify", "--all"}, shown(t, verifyView(report), missing(report)))
}

func TestVerifyAndDrillAreToldOneThing(t *testing.T) {
	for _, args := range [][]string{
		{"verify", "latest", "--all"}, {"verify", "--all", "--plan", "p"}, {"verify", "a", "b"}, {"verify", "--offline", "--check-disks"},
		{"drill"}, {"drill", "--cleanup", "--keep"}, {"drill", "--cleanup", "--point", "latest"}, {"drill", "databases"},
	} {
		var out, errs bytes.Buffer
		a := newApp(strings.NewReader(""), &out, &errs)
		a.env = nil
		if code := a.run(t.Context(), args); code != exitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, exitUsage, errs.String())
		}
	}
}

// The evidence of a drill of which the rest could not be removed is shown, and the
// exit code is that of the failure.
func TestADrillThatLeavesSomething(t *testing.T) {
	d := catalog.Drill{ID: "20260903-120000-databases-0a1b2c3d", Outcome: catalog.DrillPassed}
	if code := exitCode(errors.Join(errors.New("clean up: forbidden"), drillFailed(d))); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if got := secondsText(0.05); got != shortDuration(50*time.Millisecond) {
		t.Errorf("0.05 s is %q", got)
	}
}
