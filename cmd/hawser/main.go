package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(interruptible(os.Stderr, os.Exit, func(ctx context.Context) int {
		return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}))
}
