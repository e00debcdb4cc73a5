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

// progress is where people look while they wait.
var progress io.Writer = os.Stderr

// build brings the binaries of tools up to date. When all of them are, it only
// reads a few small files.
func build(ctx context.Context, root string, tools []tool) error {
	need, _, err := stale(ctx, root, tools)
	if err != nil || len(need) == 0 {
		return err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(filepath.Join(bin, ".stamps"), 0o755); err != nil {
		return fmt.Errorf("make a folder for the tools: %w", err)
	}
	unlock, err := lock(ctx, bin, progress)
	if err != nil {
		return err
	}
	defer unlock()

	// Look again: while this process waited another one may have built them.
	need, stamps, err := stale(ctx, root, tools)
	if err != nil {
		return err
	}
	for i, t := range need {
		step := fmt.Sprintf("[%d/%d]", i+1, len(need))
		if err := buildOne(ctx, root, t, stamps[t.module], step); err != nil {
			return err
		}
	}
	return nil
}

// buildOne builds one tool and then, so that a crash in between only costs a
// second build, writes its stamp.
func buildOne(ctx context.Context, root string, t tool, stamp, step string) error {
	began := time.Now()
	fmt.Fprintf(progress, "%s building %s ...\n", step, t.name)
	stop := tick(30*time.Second, func() {
		fmt.Fprintf(progress, "%s building %s ... %s so far\n", step, t.name, since(began))
	})
	defer stop()

	fresh := binary(root, t) + ".new"
	output, err := goBuild(ctx, filepath.Join(root, t.module), t.pkg, fresh)
	if err != nil {
		return fmt.Errorf("build %s in %s after %s: %w\n%s", t.name, filepath.Join(root, t.module), since(began), err, output)
	}
	if err := os.Rename(fresh, binary(root, t)); err != nil {
		return fmt.Errorf("put %s in its place: %w", t.name, err)
	}
	if err := os.WriteFile(stampFile(root, t), []byte(stamp), 0o644); err != nil {
		return fmt.Errorf("write the stamp of %s: %w", t.name, err)
	}
	fmt.Fprintf(progress, "%s %s built in %s\n", step, t.name, since(began))
	return nil
}

// goBuild compiles pkg, a main package that the module in dir requires, into
// the file out, and returns what the build printed.
func goBuild(ctx context.Context, dir, pkg, out string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", out, pkg)
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
