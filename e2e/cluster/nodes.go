package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// kwokAnnotation marks the nodes that kwok plays.
	kwokAnnotation = "kwok.x-k8s.io/node"
	// attachAnnotation has the attach-detach controller act for a node, which
	// kubelet asks for by default.
	attachAnnotation = "volumes.kubernetes.io/controller-managed-attach-detach"
)

// Nodes returns the names of the cluster's nodes, which are also their node IDs
// for the CSI driver.
func (c *Cluster) Nodes() []string {
	names := make([]string, c.opts.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("%s-node-%d", c.opts.Name, i)
	}
	return names
}

// Zone returns the zone of the i-th node.
func (c *Cluster) Zone(i int) string { return c.opts.Zones[i%len(c.opts.Zones)] }

// TopologyKey is the label of nodes by which the CSI driver knows their zone.
func (c *Cluster) TopologyKey() string { return "topology." + c.opts.CSIDriver + "/zone" }

// createNodes makes the nodes and waits until kwok has made them Ready.
func (c *Cluster) createNodes(ctx context.Context) error {
	for i, name := range c.Nodes() {
		node, err := c.typed.CoreV1().Nodes().Create(ctx, c.node(name, c.Zone(i)), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create node %s: %w", name, err)
		}
		if c.opts.CSISocket == "" {
			continue
		}
		if _, err := c.typed.StorageV1().CSINodes().Create(ctx, c.csiNode(node), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create CSINode %s: %w", name, err)
		}
	}
	return c.AwaitAll(ctx, nodes, "", "", func(nodes []*unstructured.Unstructured) bool {
		ready := 0
		for _, node := range nodes {
			if hasCondition(node, "Ready") {
				ready++
			}
		}
		return ready == c.opts.Nodes
	})
}

func (c *Cluster) node(name, zone string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Annotations: map[string]string{
			kwokAnnotation:   "fake",
			attachAnnotation: "true",
		},
		Labels: map[string]string{
			corev1.LabelHostname:     name,
			corev1.LabelOSStable:     "linux",
			corev1.LabelArchStable:   "amd64",
			corev1.LabelTopologyZone: zone,
			c.TopologyKey():          zone,
			"type":                   "kwok",
		},
	}}
}

// csiNode says of a node what kubelet would, once the driver had registered
// there.
func (c *Cluster) csiNode(node *corev1.Node) *storagev1.CSINode {
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID,
			}},
		},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
			Name:         c.opts.CSIDriver,
			NodeID:       node.Name,
			TopologyKeys: []string{c.TopologyKey()},
		}}},
	}
}
