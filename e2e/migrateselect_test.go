package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/e2e/disks"
)

// besides is what is in a namespace beside the set: a Deployment, and one that is not
// running and has a claim in common with it.
const besides = filesClaim + `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %[1]s, labels: {tier: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web, volumeMounts: [{name: files, mountPath: /files}]}]
      volumes: [{name: files, persistentVolumeClaim: {claimName: files}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: report, namespace: %[1]s, labels: {tier: office}}
spec:
  replicas: 0
  selector: {matchLabels: {app: report}}
  template:
    metadata: {labels: {app: report}}
    spec:
      containers: [{name: report, image: report, volumeMounts: [{name: files, mountPath: /files}]}]
      volumes: [{name: files, persistentVolumeClaim: {claimName: files}}]
`

// A label query takes what matches; the rest stays. One that matches nothing is
// refused, as is one of two workloads that share a claim, by its name or its label.
func TestMigrateWhatMatchesLabels(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.must(w.lab.Apply(w.ctx, fmt.Appendf(nil, besides, w.namespace)))
	w.await(deploymentsResource, "web", hasReadyReplica)
	files := w.disks()["files"]
	taking := func(what ...string) []string {
		return slices.Concat([]string{"migrate", "-n", w.namespace, "--no-point"}, w.route(here), what)
	}

	w.run(2, taking("-l", "tier==,")...).Says(t, "--selector")
	w.run(4, taking("-l", "tier=nothing")...).Says(t, "no claim matches")
	w.run(4, taking("deployment/web")...).Says(t, "report", "files")
	w.run(4, taking("-l", "tier=web")...).Says(t, "report", "files")
	if len(w.journals()) > 0 || len(w.chains()) > 0 {
		t.Errorf("the catalog was written to: %v, %v", w.journals(), w.chains())
	}
	for _, v := range w.volumes() {
		if policy := v.Spec.PersistentVolumeReclaimPolicy; policy != "Delete" {
			t.Errorf("PersistentVolume %s is %s", v.Name, policy)
		}
	}

	w.run(0, taking("-l", "tier=database")...)
	other := w.in[there]
	other.awaitReady(2)
	other.expectDisks(w.handles)
	if owner := w.owner(); owner != w.uids[there] {
		t.Errorf("the disks of what matches are owned by cluster %q", owner)
	}
	if chain := w.chains()[files]; len(chain) > 0 {
		t.Errorf("the disk of what does not match is owned by %s", chain[0])
	}
	deployments, err := other.client.AppsV1().Deployments(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	if len(deployments.Items) > 0 {
		t.Errorf("%d Deployments that do not match went along", len(deployments.Items))
	}
	w.await(deploymentsResource, "web", hasReadyReplica)
	disk, err := w.region.Disk(files)
	w.must(err)
	if !slices.ContainsFunc(disk.Attachments, func(a disks.Attachment) bool { return a.Cluster == w.lab.Name() }) {
		t.Errorf("the disk of what does not match is attached to %v", disk.Attachments)
	}
}
