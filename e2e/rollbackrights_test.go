package e2e_test

import (
	"testing"

	"hawser.dev/hawser/e2e/chart"
	"hawser.dev/hawser/e2e/cluster"
)

// rollbackRare are the rights that this test's rollback, undo and release can do
// without, and where they are needed.
var rollbackRare = map[string]string{
	"get deployments":              "for Deployments",
	"watch deployments":            "for Deployments",
	"patch deployments":            "for Deployments",
	"list nodes":                   "for volumes that not every node can reach",
	"create volumesnapshotclasses": "by the first backup with a driver",
	"watch volumesnapshotcontents": "to remove what a failed backup made",
}

// Rollback, undo, the list of idle disks and the release of one, and a look at
// all points, each by the ServiceAccount of the chart: they are refused nothing,
// and all that they may do they have done.
func TestARollbackAndAVerificationUseTheRightsThatTheyHoldAndNoOthers(t *testing.T) {
	w := ownWorld(t, cluster.Options{Name: "rollrights", Audit: true})
	documents := manifests(t, "hawser.yaml", "rollback.yaml")
	w.must(w.lab.Apply(w.ctx, chart.Join(documents)))
	handles := w.deployRedis(1, "disks-delete")
	points := w.generations(1)

	roller := w.account("hawser-rollback")
	roller.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0])
	w.expectWord("generation 0")
	made := w.claimVolume(redisClaim(0))
	roller.run(0, "undo", "statefulset/redis", "-n", w.namespace)
	w.expectDisks(handles)
	w.expectNoTraces("redis")
	roller.run(0, "disks", "-n", w.namespace)
	roller.run(0, "release", made, "--force-uncovered", "--yes")
	w.expectUse("system:serviceaccount:"+chart.Namespace+":hawser-rollback", grants(t, documents, "hawser-rollback"), nil, rollbackRare)

	w.account("hawser-verify").run(0, "verify", "--all")
	w.expectUse("system:serviceaccount:"+chart.Namespace+":hawser-verify", grants(t, documents, "hawser-verify"), nil, nil)
}
