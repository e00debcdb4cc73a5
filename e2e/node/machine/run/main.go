// Command run runs a node; see package machine.
package main

import (
	"fmt"
	"os"

	"hawser.dev/hawser/e2e/node/machine"
)

func main() {
	if err := machine.Main(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
