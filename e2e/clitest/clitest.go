// Package clitest runs the hawser command in tests, as a user would, built with
// the race detector.
package clitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Build builds hawser into dir and returns the path of the program.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "hawser")
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "-o", binary, "hawser.dev/hawser/cmd/hawser")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hawser: %w\n%s", err, out)
	}
	return binary, nil
}

// CLI is a built hawser and the environment that it runs in beside the test's.
type CLI struct {
	Binary string
	Env    []string
}

// Command is one call of hawser. It reads no configuration of the machine.
func (c CLI) Command(ctx context.Context, t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, c.Binary, args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir())
	cmd.Env = append(cmd.Env, c.Env...)
	return cmd
}

// Result is what a call left.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Do runs hawser to its end.
func (c CLI) Do(ctx context.Context, t testing.TB, args ...string) Result {
	t.Helper()
	p := c.Start(ctx, t, args...)
	return p.Wait()
}

// Run runs hawser, and fails the test unless it exits with code.
func (c CLI) Run(ctx context.Context, t testing.TB, code int, args ...string) Result {
	t.Helper()
	r := c.Do(ctx, t, args...)
	if r.Code != code {
		t.Fatalf("hawser %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Says fails the test unless the messages contain every part.
func (r Result) Says(t testing.TB, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("the message lacks %q:\n%s", part, r.Stderr)
		}
	}
}

// Process is a hawser that runs.
type Process struct {
	*os.Process
	t      testing.TB
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	log    string // the file that stderr goes to; "" if to the buffer
}

// Start starts hawser. The caller waits for its end.
func (c CLI) Start(ctx context.Context, t testing.TB, args ...string) *Process {
	t.Helper()
	return c.start(ctx, t, nil, args...)
}

// StartLogged is Start with what hawser says on stderr in a file, which can be
// read while it runs.
func (c CLI) StartLogged(ctx context.Context, t testing.TB, log string, args ...string) *Process {
	t.Helper()
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return c.start(ctx, t, file, args...)
}

func (c CLI) start(ctx context.Context, t testing.TB, log *os.File, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: c.Command(ctx, t, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if log != nil {
		p.cmd.Stderr, p.log = log, log.Name()
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.Process = p.cmd.Process
	return p
}

// Wait waits for the end, and fails the test if a race was detected. That the
// process was killed because the test has ended is its end as well.
func (p *Process) Wait() Result {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		p.t.Fatalf("%s: %v", p.cmd, err)
	}
	r := Result{Code: p.cmd.ProcessState.ExitCode(), Stdout: p.stdout.String(), Stderr: p.stderr.String()}
	if p.log != "" {
		data, err := os.ReadFile(p.log)
		if err != nil {
			p.t.Fatal(err)
		}
		r.Stderr = string(data)
	}
	if strings.Contains(r.Stderr, "DATA RACE") {
		p.t.Errorf("%s:\n%s", p.cmd, r.Stderr)
	}
	return r
}
