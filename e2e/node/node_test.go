package node_test

import (
	"testing"

	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node/nodetest"
)

func TestNode(t *testing.T) {
	nodetest.Require(t)
	region, err := disks.OpenRegion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := nodetest.Start(t, lab.Options{Region: region})
	_ = l
}
