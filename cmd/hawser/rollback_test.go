package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/rollback"
)

func TestUsageOfRollbackAndItsKin(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no target", []string{"rollback", "--to", "x"}, "want one KIND/NAME, such as statefulset/redis; got 0 arguments"},
		{"two targets", []string{"undo", "statefulset/a", "statefulset/b"}, "got 2 arguments"},
		{"no point", []string{"rollback", "statefulset/redis"}, "say which restore point with --to"},
		{"no kind", []string{"rollback", "redis", "--to", "x"}, "want KIND/NAME"},
		{"a Pod", []string{"rollback", "pod/redis-0", "--to", "x"}, "a Pod cannot be scaled to 0"},
		{"ordinals of a Deployment", []string{"undo", "deployment/web", "--ordinals", "1"}, "--ordinals is for StatefulSets"},
		{"a check that is none", []string{"undo", "statefulset/redis", "--ignore-checks", "luck"}, "want one of [autoscaler owners]"},
		{"no disk", []string{"release"}, "name the PersistentVolumes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := hawser(t, nil, append(test.args, "--kubeconfig", "/dev/null")...)
			if r.exit != exitUsage || !strings.Contains(r.stderr, test.want) || r.stdout != "" {
				t.Errorf("exit code %d, stderr %q; want %d and %q", r.exit, r.stderr, exitUsage, test.want)
			}
		})
	}
}

// What ended a rollback half way is no refusal, whatever it was: much was
// written.
func TestExitCodeOfARollbackThatEndsHalfWay(t *testing.T) {
	plan := &rollback.Plan{Act: rollback.Rollback}
	refused := &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "PersistentVolume", Name: "pv", Problem: "gone", Remedy: "look"}}}
	for _, err := range []error{refused, errors.New("failed"), context.DeadlineExceeded} {
		halfway := &rollback.HalfwayError{Plan: plan, Err: err}
		if code := exitCode(halfway); code != exitFailed {
			t.Errorf("%v: exit code %d, want %d", err, code, exitFailed)
		}
		if text := halfway.Error(); strings.Contains(text, "nothing was changed") || !strings.Contains(text, "hawser undo") {
			t.Errorf("it says %q", text)
		}
	}
	if code := exitCode(fmt.Errorf("plan: %w", refused)); code != exitRefused {
		t.Errorf("a refusal has exit code %d", code)
	}
}

func TestWhatARollbackShows(t *testing.T) {
	asOf := testNow.Add(-6 * time.Hour)
	plan := &rollback.Plan{
		ID: "20260903-120000-0a1b2c3d", Act: rollback.Rollback, Point: "20260903-060000-databases-1a2b3c4d", Namespace: "shop", Resumes: true,
		Workloads: []rollback.WorkloadPlan{{Workload: catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Replicas: 2, Policy: "it keeps its claims"}},
		Claims: []rollback.ClaimPlan{
			{Claim: "data-redis-0", State: rollback.Untouched, Aside: &rollback.Disk{Handle: "disk-0"}, Data: "snap-0", AsOf: &asOf, Bytes: 1 << 30},
			{Claim: "data-redis-1", State: rollback.Missing, Aside: &rollback.Disk{Handle: "disk-1"}, Data: "disk-9", Bytes: 1 << 30, Reason: "an earlier run has set its disk aside"},
		},
		Notes: []string{"a note"},
	}
	result := &rollback.Result{
		Act: rollback.Undo, Point: plan.Point, Fresh: "20260903-120000-manual-5e6f7a8b",
		Bound:   []restore.BoundClaim{{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data-redis-0"}, PersistentVolume: "pv-0", VolumeHandle: "disk-0", Way: restore.Reattach}},
		Waiting: []catalog.ClaimKey{{Namespace: "shop", Name: "data-redis-7"}},
		Aside:   []rollback.Disk{{Volume: "pv-9", Handle: "disk-9"}},
	}
	idle := []rollback.Idle{{
		Volume: "pv-9", Driver: "disks.example.com", Handle: "disk-9", Size: "1Gi", Claim: &catalog.ClaimKey{Namespace: "shop", Name: "data-redis-0"},
		Why: rollback.SetAsideByRollback, Since: testNow.Add(-time.Hour), Covered: &rollback.Cover{Point: plan.Point},
	}}
	tests := []struct {
		name string
		view view
		want []string
	}{
		{"a plan", rollPlanView(plan), []string{
			"This goes on with rollback 20260903-120000-0a1b2c3d, which was interrupted.",
			"WORKLOAD REPLICAS CLAIM RETENTION statefulset/redis 2 -> 0 -> 2 it keeps its claims",
			"shop/data-redis-0 untouched disk-0 a new disk from snapshot snap-0 2026-09-03T06:00:00Z 1.0 GiB -",
			"shop/data-redis-1 missing disk-1 disk disk-9 when it was set aside 1.0 GiB an earlier run has set its disk aside",
			"note: a note", "Nothing was changed (--dry-run).",
		}},
		{"a result", rollResultView(result), []string{
			"shop/data-redis-0 Bound reattach pv-0 disk-0", "shop/data-redis-7 Pending rehydrate at the first Pod that uses it",
			"Undone: the rollback to point 20260903-060000-databases-1a2b3c4d. What was there before is in point 20260903-120000-manual-5e6f7a8b.",
			"Set aside: disk disk-9 (PersistentVolume pv-9).",
		}},
		{"disks", disksView(idle, testNow), []string{"pv-9 1Gi disks.example.com shop/data-redis-0 set aside by rollback 60m 20260903-060000-databases-1a2b3c4d"}},
		{"a release", releaseView(&rollback.Release{Disks: idle}, nil, testNow), []string{"pv-9", "Nothing was deleted; --yes deletes these disks."}},
		{"a release that is done", releaseView(&rollback.Release{Disks: idle}, []catalog.VolumeHandle{"disk-9"}, testNow), []string{"1 of 1 disk deleted."}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := test.view.human(&out, false); err != nil {
				t.Fatal(err)
			}
			text := strings.Join(strings.Fields(out.String()), " ") // however wide the columns are
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
	if diff := cmp.Diff([]string{"pv-9"}, disksView(idle, testNow).names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
