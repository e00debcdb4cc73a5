package main

import (
	"context"
	"os"
	_ "time/tzdata" // for images without a time zone database
)

func main() {
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	os.Exit(interruptible(a.stderr, os.Exit, func(ctx context.Context) int {
		return a.run(ctx, os.Args[1:])
	}))
}
