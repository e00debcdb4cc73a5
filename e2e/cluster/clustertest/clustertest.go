// Package clustertest starts clusters for tests. It stops them when the test
// ends, fails a test under which a component died, and keeps the logs of a test
// that failed, in e2e/logs/<test>/<cluster>, and names that folder.
package clustertest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/tools"
)

// timeout is for a start with all binaries built. It takes seconds; what is
// above that is for a machine that is busy with other things.
const timeout = 4 * time.Minute

// Start starts a cluster without disks, unless options name a CSI socket.
func Start(t testing.TB, options cluster.Options) *cluster.Cluster {
	t.Helper()
	ctx := prepare(t, &options)
	c, err := cluster.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, c, c.Stop) })
	return c
}

// StartLab starts a cluster with disks.
func StartLab(t testing.TB, options lab.Options) *lab.Lab {
	t.Helper()
	ctx := prepare(t, &options.Cluster)
	l, err := lab.Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, l.Cluster, l.Stop) })
	return l
}

// prepare skips the test in short mode, builds what has to be built, without a
// limit of time, and names the folder of the logs.
func prepare(t testing.TB, options *cluster.Options) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a Kubernetes control plane; run without -short")
	}
	if err := tools.Build(t.Context(), "kubernetes"); err != nil {
		t.Fatal(err)
	}
	if options.Name == "" {
		options.Name = cluster.NewName()
	}
	if options.LogDir == "" {
		dir, err := tools.Dir()
		if err != nil {
			t.Fatal(err)
		}
		test := strings.NewReplacer("/", "-", " ", "_").Replace(t.Name())
		options.LogDir = filepath.Join(filepath.Dir(dir), "logs", test, options.Name)
	}
	if err := os.RemoveAll(options.LogDir); err != nil { // of an earlier run
		t.Fatal(err)
	}
	if options.Progress == nil {
		options.Progress = logger{t}
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// finish stops the cluster and decides about its logs.
func finish(t testing.TB, c *cluster.Cluster, stop func() error) {
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("the logs of cluster %s are in %s", c.Name(), c.Logs())
		return
	}
	if err := os.RemoveAll(c.Logs()); err != nil {
		t.Error(err)
	}
	os.Remove(filepath.Dir(c.Logs())) // if it is empty now
}

// logger writes lines to the test's log.
type logger struct{ t testing.TB }

var _ io.Writer = logger{}

func (l logger) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
