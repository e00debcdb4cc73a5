package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// script plays the containers: it notes each command that hooks run, and the
// driver's cuts among them. kwok's Pods have none; e2e/seed runs hooks for real.
type script struct {
	mu     sync.Mutex
	events []string
	fail   map[string]error // by "COMMAND POD"
}

func (s *script) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *script) index(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Index(s.events, event)
}

// Exec implements backup.Executor. The command "hold" speaks and then reads its
// input to the end, as a database client does.
func (s *script) Exec(ctx context.Context, _, pod, container string, command []string, stdin io.Reader, stdout, _ io.Writer) error {
	what := command[0] + " " + pod
	s.note("%s", what)
	if container != "redis-container" {
		return fmt.Errorf("container %q", container)
	}
	if command[0] == "hold" {
		fmt.Fprintln(stdout, "locked")
		_, err := io.Copy(io.Discard, stdin)
		s.note("let go %s", pod)
		return errors.Join(err, s.fail[what])
	}
	return s.fail[what]
}

// quietBackup makes a backup in this process whose hooks s plays.
func (w *world) quietBackup(ctx context.Context, s *script, hook backup.Hook, events func(backup.Event)) (catalog.Commit, error) {
	w.t.Helper()
	runner := w.runner(0)
	runner.Exec, runner.Report = s, events
	hook.Select = labels.SelectorFromSet(labels.Set{"app": "redis-sts"})
	return runner.Run(ctx, backup.Request{
		Plan: catalog.ManualPlan, Select: backup.Selection{Namespaces: []string{w.namespace}}, Hooks: []backup.Hook{hook},
	})
}

// noteCuts has s note when the driver cuts a snapshot of one of the disks.
func (w *world) noteCuts(s *script, handles map[string]string) {
	w.faults.Hook(func(_ context.Context, method string, request any) error {
		if r, ok := request.(*csi.CreateSnapshotRequest); ok && method == "CreateSnapshot" {
			for claim, handle := range handles {
				if handle == r.SourceVolumeId {
					s.note("cut %s", claim)
				}
			}
		}
		return nil
	})
}

func TestHooksHoldDuringTheCutAndNoLonger(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	s := &script{}
	w.noteCuts(s, handles)
	w.faults.SnapshotsReadyAfter(3*time.Second, handles[redisClaim(0)]) // cut at once, ready later
	commit, err := w.quietBackup(w.ctx, s, backup.Hook{Pre: []string{"hold"}, Hold: true, Post: []string{"unlock"}}, func(e backup.Event) {
		if e.Stage == backup.StageReady {
			s.note("ready %s", e.Claim.Name)
		}
	})
	w.must(err)
	if commit.Outcome != catalog.Complete || commit.Counts.Snapshots != 2 {
		t.Errorf("the point is %s with %d snapshots: %v", commit.Outcome, commit.Counts.Snapshots, commit.Reasons)
	}
	for _, order := range [][]string{
		{"hold redis-0", "cut " + redisClaim(0), "let go redis-0", "unlock redis-0", "ready " + redisClaim(0)},
		{"hold redis-1", "cut " + redisClaim(0), "let go redis-1", "unlock redis-1"},
		{"hold redis-0", "cut " + redisClaim(1), "let go redis-0"},
	} {
		last := -1
		for _, event := range order {
			at := s.index(event)
			if at <= last {
				t.Errorf("want %q in this order, got %q", order, s.events)
				break
			}
			last = at
		}
	}
}

func TestAPreHookThatFails(t *testing.T) {
	t.Parallel()
	for _, policy := range []backup.OnFailure{backup.Abort, backup.Continue} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t)
			w.deployRedis(2, "disks-delete")
			s := &script{fail: map[string]error{"lock redis-1": errors.New("exit code 1")}}
			commit, err := w.quietBackup(w.ctx, s, backup.Hook{Pre: []string{"lock"}, Post: []string{"unlock"}, OnFailure: policy}, nil)
			w.must(err)
			switch policy {
			case backup.Abort:
				if commit.Outcome != catalog.Partial || commit.Counts.Snapshots != 1 || !strings.Contains(strings.Join(commit.Reasons, " "), "pre hook of Pod "+w.namespace+"/redis-1") {
					t.Errorf("the point is %s with %d snapshots, want partial with 1: %q", commit.Outcome, commit.Counts.Snapshots, commit.Reasons)
				}
			case backup.Continue:
				if commit.Outcome != catalog.Complete || commit.Counts.Snapshots != 2 || len(commit.Notes) != 1 {
					t.Errorf("the point is %s with %d snapshots and notes %q, want complete with 2 and one note", commit.Outcome, commit.Counts.Snapshots, commit.Notes)
				}
			}
			for _, pod := range []string{"redis-0", "redis-1"} {
				if s.index("unlock "+pod) < 0 {
					t.Errorf("the post hook did not run in %s: %q", pod, s.events)
				}
			}
		})
	}
}

func TestPostHooksRunWhenTheSnapshotFails(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	w.faults.Fail("CreateSnapshot", 0, codes.Internal, handles[redisClaim(0)])
	s := &script{}
	commit, err := w.quietBackup(w.ctx, s, backup.Hook{Pre: []string{"lock"}, Post: []string{"unlock"}}, nil)
	w.must(err)
	if commit.Outcome != catalog.Partial || s.index("unlock redis-0") < 0 {
		t.Errorf("the point is %s, commands %q; want partial, and unlock", commit.Outcome, s.events)
	}
}

func TestPostHooksRunWhenTheBackupIsInterrupted(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	arrived, release := w.faults.Block("CreateSnapshot", handles[redisClaim(0)])
	defer release()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	s := &script{}
	go func() { <-arrived; cancel(); release() }()
	_, err := w.quietBackup(ctx, s, backup.Hook{Pre: []string{"hold"}, Hold: true, Post: []string{"unlock"}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that it was cancelled", err)
	}
	if s.index("let go redis-0") < 0 || s.index("unlock redis-0") < 0 {
		t.Errorf("the Pod was not released: %q", s.events)
	}
	w.expectNoSnapshots()
}

func TestAPostHookThatFailsMakesThePointPartial(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	s := &script{fail: map[string]error{"unlock redis-0": errors.New("exit code 1")}}
	commit, err := w.quietBackup(w.ctx, s, backup.Hook{Post: []string{"unlock"}}, nil)
	w.must(err)
	if commit.Outcome != catalog.Partial || commit.Counts.Snapshots != 1 || !strings.Contains(strings.Join(commit.Reasons, " "), "may still be quiesced") {
		t.Errorf("the point is %s with %d snapshots: %q", commit.Outcome, commit.Counts.Snapshots, commit.Reasons)
	}
}
