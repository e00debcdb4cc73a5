package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// exitInterrupted is the code of a process that a second Ctrl-C ended, by the
// shells' custom of 128 + SIGINT.
const exitInterrupted = 130

// interruptible calls do with a context that the first SIGINT or SIGTERM
// cancels, so that do can clean up. A second one calls exit at once.
func interruptible(stderr io.Writer, exit func(int), do func(context.Context) int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		fmt.Fprintln(stderr, "interrupted: cleaning up; press Ctrl-C again to stop at once")
		cancel()
		<-signals
		exit(exitInterrupted)
	}()
	return do(ctx)
}
