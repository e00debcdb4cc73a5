// Command write brings deploy/manifests up to date with the chart.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"hawser.dev/hawser/e2e/chart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := chart.WriteManifests(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
