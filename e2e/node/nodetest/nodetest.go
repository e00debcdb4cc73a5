// Package nodetest starts clusters with a node that runs Pods, for tests. What
// package clustertest promises holds here too.
package nodetest

import (
	"context"
	"os"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster/clustertest"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/node"
)

// timeout is for the start of a node with everything installed. It takes
// seconds; what is above that is for a machine that is busy with other things.
const timeout = 3 * time.Minute

// Variable is the environment variable that has these tests run: they need root
// and take long. `make e2e` sets it to 1.
const Variable = "HAWSER_E2E"

// Lab is a cluster with disks and a node that runs Pods.
type Lab struct {
	*lab.Lab
	Node *node.Node
}

// Require skips the test unless it is asked for, and fails it if this machine
// can't run it.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv(Variable) != "1" {
		t.Skipf("runs Pods in containers, which needs root on Debian; set %s=1, as make e2e does", Variable)
	}
	if err := node.Requirements(); err != nil {
		t.Fatal(err)
	}
	if err := node.Install(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
}

// Start starts a cluster with a node that runs Pods, and has these images beside
// its own. It is the only node unless the options say how many of kwok's there
// are to be beside it.
func Start(t testing.TB, options lab.Options, images ...node.Image) *Lab {
	t.Helper()
	Require(t)
	if options.Cluster.Nodes == 0 {
		options.Cluster.Nodes = -1
	}
	l := &Lab{Lab: clustertest.StartLab(t, options)}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	zone := ""
	if len(options.Cluster.Zones) > 0 {
		zone = options.Cluster.Zones[0]
	}
	n, err := node.Start(ctx, node.Options{
		Cluster: l.Cluster, Region: options.Region, Driver: options.Cluster.CSIDriver, Zone: zone, Images: images, Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Node = n
	t.Cleanup(func() {
		if err := l.Check(); err != nil { // before the node's end is wanted
			t.Error(err)
		}
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}
