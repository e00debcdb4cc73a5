package machine

import (
	"os"
	"text/template"

	corev1 "k8s.io/api/core/v1"
)

var kubeletConfig = template.Must(template.New("kubelet.yaml").Parse(`
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {{.Network.Node}}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: {{printf "%q" .ClientCA}}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: [{{.DNS}}]
resolvConf: {{printf "%q" .ResolvConf}}
cgroupDriver: cgroupfs
cgroupRoot: /{{.Cgroup}}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
# A volume is detached when the node's status no longer says that it is in use.
nodeStatusUpdateFrequency: 1s
# The tests' disk may be full, which is nothing to evict Pods or images for.
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
`))

func (n *inside) startKubelet() error {
	resolvConf := n.file("resolv.conf")
	if err := os.WriteFile(resolvConf, nil, 0o644); err != nil { // Pods have cluster DNS, and nothing else
		return err
	}
	config := n.file(kubeletConfig.Name())
	err := fill(kubeletConfig, config, struct {
		Config
		DNS, ResolvConf string
	}{n.Config, dnsService, resolvConf})
	if err != nil {
		return err
	}
	return n.startDaemon("kubelet", n.Kubelet,
		"--config="+config,
		"--kubeconfig="+n.KubeletKubeconfig,
		"--root-dir="+n.KubeletDir,
		"--hostname-override="+n.Name,
		"--node-ip="+n.Network.Node,
		"--node-labels="+corev1.LabelTopologyZone+"="+n.Zone,
		"-v=2",
	)
}
