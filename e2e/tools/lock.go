package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock takes the one lock of the bin folder, so that of several processes
// which need the same tools only one builds. The kernel lets go of it when the
// process ends, however it ends.
func lock(ctx context.Context, bin string, progress io.Writer) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(bin, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the tools' folder: %w", err)
	}
	retry := time.NewTicker(200 * time.Millisecond)
	defer retry.Stop()
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if !waiting {
			fmt.Fprintln(progress, "waiting for another process that is building tools")
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("wait for another process that is building tools: %w", context.Cause(ctx))
		}
	}
}
