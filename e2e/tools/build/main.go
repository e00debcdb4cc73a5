// Command build builds the tools of the end-to-end tests, the demo and the
// linter: all but the rare ones, or the tools and groups that are named.
//
//	go run ./e2e/tools/build [name ...]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"hawser.dev/hawser/e2e/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := tools.Build(ctx, os.Args[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
