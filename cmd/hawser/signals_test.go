package main

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lockedBuilder is a strings.Builder for several goroutines.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestTheFirstSignalCancelsAndTheSecondExits(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			var stderr lockedBuilder
			exited := make(chan int, 1)
			code := interruptible(&stderr, func(code int) { exited <- code }, func(ctx context.Context) int {
				send(t, signal)
				await(t, ctx.Done(), "the first signal does not cancel the context")
				send(t, signal)
				select {
				case code := <-exited:
					return code
				case <-time.After(5 * time.Second):
					t.Error("the second signal does not exit")
					return 0
				}
			})
			if code != exitInterrupted {
				t.Errorf("exit code %d, want %d", code, exitInterrupted)
			}
			if want := "interrupted: cleaning up; press Ctrl-C again to stop at once\n"; stderr.String() != want {
				t.Errorf("stderr %q, want %q", stderr.String(), want)
			}
		})
	}
}

func TestAnInterruptedVerbCanEndByItself(t *testing.T) {
	code := interruptible(&lockedBuilder{}, func(int) { t.Error("exit was called") }, func(ctx context.Context) int {
		send(t, syscall.SIGINT)
		await(t, ctx.Done(), "the signal does not cancel the context")
		return exitFailed
	})
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
}

func send(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), signal); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, done <-chan struct{}, problem string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error(problem)
	}
}
