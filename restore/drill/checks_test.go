package drill

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

func TestTheVolumeIsReadWithoutACheck(t *testing.T) {
	read := func(dir string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", readScript, "sh", dir).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	dir := t.TempDir()
	for _, name := range []string{"dump.rdb", ".hidden", "..odd", "with space", "deep/er/file", "deep/.also"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if out, err := read(dir); err != nil || !strings.HasPrefix(out, "6 files were read, 0 files") {
		t.Errorf("of 6 files it says %q (%v)", out, err)
	}
	if out, err := read(t.TempDir()); err != nil || !strings.HasPrefix(out, "0 files were read") {
		t.Errorf("of an empty volume it says %q (%v)", out, err)
	}
	if out, err := read(filepath.Join(dir, "absent")); err == nil || !strings.Contains(out, "no volume") {
		t.Errorf("without a volume it says %q (%v)", out, err)
	}
	// What opens and cannot be read is a failure.
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "head"), []byte("#!/bin/sh\necho input/output error >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", readScript, "sh", dir)
	cmd.Env = []string{"PATH=" + broken + ":" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot be read") {
		t.Errorf("with a read that fails it says %q (%v)", out, err)
	}
}

func TestJudgeAPod(t *testing.T) {
	ended := func(phase corev1.PodPhase, exit int32, reason string) *corev1.Pod {
		p := &corev1.Pod{}
		p.Status.Phase = phase
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Reason: reason}}}}
		return p
	}
	evicted := &corev1.Pod{}
	evicted.Status.Phase, evicted.Status.Reason, evicted.Status.Message = corev1.PodFailed, "Evicted", "the node was low on memory"
	for name, c := range map[string]struct {
		pod     *corev1.Pod
		deleted bool
		passed  bool
		says    string
	}{
		"success":                  {ended(corev1.PodSucceeded, 0, "Completed"), false, true, ""},
		"a check that says no":     {ended(corev1.PodFailed, 3, "Error"), false, false, "exit code 3 (Error)"},
		"a check that was killed":  {ended(corev1.PodFailed, 137, "OOMKilled"), false, false, "exit code 137 (OOMKilled)"},
		"a Pod that was evicted":   {evicted, false, false, "Evicted the node was low on memory"},
		"a Pod that was taken off": {&corev1.Pod{}, true, false, "deleted while it checked"},
	} {
		passed, message := judge(c.pod, c.deleted)
		if passed != c.passed || !strings.Contains(message, c.says) || (message == "") != c.passed {
			t.Errorf("%s: %v, %q; want %v, %q", name, passed, message, c.passed, c.says)
		}
	}
}

// What the API server or the network says is no verdict on a point.
func TestWhatIsAVerdict(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "p", errors.New("no"))
	for _, c := range []struct {
		err     error
		verdict bool
	}{
		{&restore.RefusedError{Refusals: []restore.Refusal{{Problem: "no class"}}}, true},
		{errors.New("snapshot snap-1 is gone"), true},
		{fmt.Errorf("make a Pod: %w", forbidden), false},
		{fmt.Errorf("list: %w", &url.Error{Op: "Get", URL: "https://x", Err: errors.New("connection refused")}), false},
	} {
		if got := isVerdict(c.err); got != c.verdict {
			t.Errorf("%v: a verdict is %v, want %v", c.err, got, c.verdict)
		}
	}
}

func TestWhatBecomesOfADrill(t *testing.T) {
	started := time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)
	claims := []catalog.ClaimKey{{Namespace: "shop", Name: "data-redis-0"}, {Namespace: "billing", Name: "books"}, {Namespace: "shop", Name: "raw"}}
	pass := func(t *tally, n int) {
		t.noteBound(claims[n], started.Add(time.Duration(n+1)*time.Second))
		t.noteBound(claims[n], started.Add(time.Hour)) // seen again
		t.change(claims[n], func(c *catalog.DrillClaim) {
			c.Outcome, c.Stage, c.CheckedAfter = catalog.DrillPassed, stageDone, t.after(started.Add(time.Duration(n+10)*time.Second))
		})
	}
	conclude := func(problem error, act func(*tally)) catalog.Drill {
		tally := newTally(shop(t), started)
		act(tally)
		d := catalog.Drill{Started: started, Ended: started.Add(time.Minute)}
		tally.conclude(&d, problem, time.Minute)
		return d
	}
	good := conclude(nil, func(t *tally) { pass(t, 0); pass(t, 1); pass(t, 2) })
	if good.Outcome != catalog.DrillPassed || good.BoundAfter != 3 || good.CheckedAfter != 12 || len(good.Reasons) > 0 || good.Claims[1].Snapshot != "snap-books" {
		t.Errorf("a good drill: %+v", good)
	}
	late := conclude(fmt.Errorf("%w: watch ended", errTime), func(t *tally) {
		t.stage(stageBind)
		pass(t, 0)
		t.change(claims[1], func(c *catalog.DrillClaim) { c.Stage, c.Message = stageStart, "ImagePullBackOff: no such image" })
	})
	if late.Outcome != catalog.DrillFailed || late.BoundAfter != 0 || late.CheckedAfter != 60 || late.Claims[0].Outcome != catalog.DrillPassed {
		t.Errorf("a late drill: %+v", late)
	}
	if m := late.Claims[1].Message; m != "bound, and its Pod had not started when the time of 1m0s was over: ImagePullBackOff: no such image" {
		t.Errorf("of a Pod that does not start it says %q", m)
	}
	if m := late.Claims[2].Message; m != "not bound when the time of 1m0s was over" {
		t.Errorf("of a claim that is not bound it says %q", m)
	}
	refused := conclude(&restore.RefusedError{Refusals: []restore.Refusal{{Kind: "StorageClass", Name: "fast", Problem: "it does not exist", Remedy: "choose another"}}}, func(*tally) {})
	if refused.Outcome != catalog.DrillFailed || len(refused.Reasons) != 2 || !strings.Contains(refused.Reasons[0], "would be refused: StorageClass fast: it does not exist") || refused.Claims[0].Stage != stagePlan {
		t.Errorf("a drill that a restore refuses: %+v", refused)
	}
}
