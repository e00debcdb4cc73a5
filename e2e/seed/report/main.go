// Command report runs the tests that need nodes which run Pods, shows each as
// it ends, and prints which test shows which part of the book's chapter. It
// fails if a test fails, or if a part of the chapter was not shown.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"hawser.dev/hawser/e2e/node/nodetest"
	"hawser.dev/hawser/e2e/seed"
)

// packages hold the tests.
var packages = []string{"hawser.dev/hawser/e2e/node/...", "hawser.dev/hawser/e2e/seed"}

func main() {
	outcomes, err := run()
	table := seedTable(os.Stdout, outcomes)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if table != nil {
		fmt.Fprintln(os.Stderr, table)
		os.Exit(1)
	}
}

// outcome is how a test ended.
type outcome struct {
	action  string // pass, fail or skip
	elapsed float64
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// run runs the tests and returns the outcomes of those of package seed.
func run() (map[string]outcome, error) {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout=45m", "-p=1"}, packages...)...)
	cmd.Env = append(os.Environ(), nodetest.Variable+"=1")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	outcomes := follow(stdout)
	if err := cmd.Wait(); err != nil {
		return outcomes, fmt.Errorf("go test: %w", err)
	}
	return outcomes, nil
}

// follow prints each test as it ends, with its output if it failed.
func follow(stdout io.Reader) map[string]outcome {
	outcomes, output := map[string]outcome{}, map[string]*strings.Builder{}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text()) // what the build says
			continue
		}
		id := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			if output[id] == nil {
				output[id] = &strings.Builder{}
			}
			output[id].WriteString(e.Output)
		case "build-output":
			fmt.Print(e.Output)
		case "pass", "fail", "skip":
			show(e, output[id])
			if strings.HasSuffix(e.Package, "/e2e/seed") && e.Test != "" {
				outcomes[e.Test] = outcome{e.Action, e.Elapsed}
			}
		}
	}
	return outcomes
}

func show(e event, output *strings.Builder) {
	word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "skip"}[e.Action]
	name := strings.TrimPrefix(e.Package, "hawser.dev/hawser/")
	if e.Test != "" {
		name += "." + e.Test
	}
	fmt.Printf("%s\t%s\t%.1fs\n", word, name, e.Elapsed)
	if e.Action == "fail" && output != nil {
		fmt.Print(output.String())
	}
}

// seedTable prints the parts of the chapter, and says which were not shown.
func seedTable(w io.Writer, outcomes map[string]outcome) error {
	fmt.Fprintln(w)
	tabs := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tabs, "THE CHAPTER\tSHOWN BY\tRESULT\tTIME")
	passed, failed := 0, 0
	for _, row := range seed.Rows {
		for _, test := range row.Tests {
			got, ran := outcomes[test]
			result := "not run"
			if ran {
				result = got.action
			}
			if result == "pass" {
				passed++
			} else {
				failed++
			}
			fmt.Fprintf(tabs, "%s\t%s\t%s\t%.0fs\n", row.Part, test, result, got.elapsed)
		}
	}
	tabs.Flush()
	fmt.Fprintf(w, "\n%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%d parts of the chapter were not shown", failed)
	}
	return nil
}
