package tools

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A builder builds the modules in folder root (e2e/tools) into root/bin, and
// tells people who wait how far it is.
type builder struct {
	root     string
	progress io.Writer
}

// build brings the binaries of tools up to date. When all of them are, it only
// reads a few small files.
func (b builder) build(ctx context.Context, tools []tool) error {
	jobs, err := b.stale(ctx, tools)
	if err != nil || len(jobs) == 0 {
		return err
	}
	bin := filepath.Join(b.root, "bin")
	if err := os.MkdirAll(filepath.Join(bin, ".stamps"), 0o755); err != nil {
		return fmt.Errorf("make a folder for the tools: %w", err)
	}
	unlock, err := lock(ctx, bin, b.progress)
	if err != nil {
		return err
	}
	defer unlock()

	// Look again: while this process waited another one may have built them.
	jobs, err = b.stale(ctx, tools)
	if err != nil {
		return err
	}
	for i, job := range jobs {
		if err := b.buildOne(ctx, job, fmt.Sprintf("[%d/%d]", i+1, len(jobs))); err != nil {
			return err
		}
	}
	return nil
}

// buildOne builds one tool and then, so that a crash in between only costs a
// second build, writes its stamp.
func (b builder) buildOne(ctx context.Context, job job, step string) error {
	began := time.Now()
	fmt.Fprintf(b.progress, "%s building %s ...\n", step, job.name)
	stop := tick(30*time.Second, func() {
		fmt.Fprintf(b.progress, "%s building %s ... %s so far\n", step, job.name, since(began))
	})
	defer stop()

	module := filepath.Join(b.root, job.module)
	fresh := b.binary(job.tool) + ".new"
	output, err := goBuild(ctx, module, job.tool, fresh)
	if err != nil {
		return fmt.Errorf("build %s in %s: %w after %s\n%s", job.name, module, err, since(began), output)
	}
	if err := os.Rename(fresh, b.binary(job.tool)); err != nil {
		return fmt.Errorf("put %s in its place: %w", job.name, err)
	}
	if err := os.WriteFile(b.stampFile(job.tool), []byte(job.stamp), 0o644); err != nil {
		return fmt.Errorf("write the stamp of %s: %w", job.name, err)
	}
	fmt.Fprintf(b.progress, "%s %s built in %s\n", step, job.name, since(began))
	return nil
}

func (b builder) binary(t tool) string { return filepath.Join(b.root, "bin", t.name) }

// goBuild compiles t, which the module in dir requires, into the file out, and
// returns what the build printed.
func goBuild(ctx context.Context, dir string, t tool, out string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags="+t.flags, "-o", out, t.pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// In a process group of its own the compilers end with the go command.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return output.Bytes(), err
}

// tick calls f every d until the returned function is called.
func tick(d time.Duration, f func()) (stop func()) {
	ticker, done := time.NewTicker(d), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
	}
}

func since(began time.Time) time.Duration { return time.Since(began).Round(time.Second) }
