package node_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node/nodetest"
)

// prebound is a pair over a disk that is there already.
const prebound = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: notes}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: default, name: notes}
  csi: {driver: disks.hawser.dev, volumeHandle: %s}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: notes}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: notes
  resources: {requests: {storage: 1Gi}}
`

func TestTwoClustersShareARegion(t *testing.T) {
	nodetest.Require(t)
	region := newRegion(t)
	a, b := start(t, region), start(t, region)
	if a.lab.Node.Name() == b.lab.Node.Name() {
		t.Fatalf("both nodes are called %s", a.lab.Node.Name())
	}

	a.part("both run Pods of one name", func(f fixture) {
		b := fixture{f.T, f.ctx, b.lab, region}
		f.apply(writer)
		f.apply(client)
		b.apply(client)
		var both errgroup.Group
		both.Go(func() error { return f.lab.Await(f.ctx, pods, "default", "client", isReady) })
		both.Go(func() error { return b.lab.Await(f.ctx, pods, "default", "client", isReady) })
		f.must(both.Wait())
		f.awaitReady("writer")
		f.exec("client", "bash", "-c", "echo a > /tmp/who")
		b.exec("client", "bash", "-c", "echo b > /tmp/who")
		f.expect("a", "client", "cat", "/tmp/who")
		b.expect("b", "client", "cat", "/tmp/who")
	})

	a.part("a disk goes from one to the other", func(f fixture) {
		b := fixture{f.T, f.ctx, b.lab, region}
		f.exec("writer", "bash", "-c", "echo Canberra > /notes/capital")
		disk := f.diskOf("notes").Handle

		// While the first cluster has it the second one waits.
		_, pod, _ := strings.Cut(writer, "---")
		b.apply(prebound, disk)
		b.apply("%s", pod)
		b.awaitRefusal(disk)
		f.expect("Canberra", "writer", "cat", "/notes/capital")

		f.must(f.lab.Delete(f.ctx, []byte(pod)))
		b.awaitReady("writer")
		b.expect("Canberra", "writer", "cat", "/notes/capital")
		b.exec("writer", "bash", "-c", "echo Sydney > /notes/capital")
		b.expect("Sydney", "writer", "cat", "/notes/capital")
	})

	a.part("one ends, and the other does not notice", func(f fixture) {
		b := fixture{f.T, f.ctx, b.lab, region}
		f.must(f.lab.Node.Stop())
		b.expect("Sydney", "writer", "cat", "/notes/capital")
		b.exec("client", "bash", "-c", "exec 3<>/dev/tcp/kubernetes.default/443")
	})
	if err := neverTwice(region); err != nil {
		t.Error(err)
	}
}

// awaitRefusal waits until the attachment of a disk has failed, since another
// cluster has it.
func (f fixture) awaitRefusal(disk string) {
	f.Helper()
	f.must(f.lab.AwaitAll(f.ctx, attachments, "", "", func(all []*unstructured.Unstructured) bool {
		for _, attachment := range all {
			message, _, _ := unstructured.NestedString(attachment.Object, "status", "attachError", "message")
			if strings.Contains(message, "is attached to node") && strings.Contains(message, disk) {
				return true
			}
		}
		return false
	}))
}

// neverTwice fails if two nodes had a disk at a time.
func neverTwice(region *disks.Region) error {
	events, err := region.Attachments()
	if err != nil {
		return err
	}
	holder := map[string]string{}
	for _, event := range events {
		by := event.Cluster + "/" + event.Node
		switch {
		case event.Event == disks.Detach:
			delete(holder, event.Disk)
		case holder[event.Disk] != "" && holder[event.Disk] != by:
			return fmt.Errorf("disk %s was attached to %s while %s had it", event.Disk, by, holder[event.Disk])
		default:
			holder[event.Disk] = by
		}
	}
	return nil
}
