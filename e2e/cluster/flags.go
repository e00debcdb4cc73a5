package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"hawser.dev/hawser/e2e/tools"
)

// The names of the components are those of their binaries.
const (
	etcd               = "etcd"
	apiServer          = "kube-apiserver"
	controllerManager  = "kube-controller-manager"
	scheduler          = "kube-scheduler"
	kwok               = "kwok"
	snapshotController = "snapshot-controller"
	csiSnapshotter     = "csi-snapshotter"
	csiProvisioner     = "csi-provisioner"
	csiAttacher        = "csi-attacher"
)

// findBinaries returns the paths of the binaries that the cluster runs, and
// builds those that are missing.
func findBinaries(ctx context.Context, o Options) (map[string]string, error) {
	names := []string{etcd, apiServer, controllerManager, scheduler}
	if o.Nodes > 0 {
		names = append(names, kwok)
	}
	if !o.SkipSnapshots {
		names = append(names, snapshotController)
	}
	if o.CSISocket != "" {
		names = append(names, csiProvisioner, csiAttacher)
		if !o.SkipSnapshots {
			names = append(names, csiSnapshotter)
		}
	}
	return tools.Paths(ctx, names...)
}

// args returns the command line of a component.
func (c *Cluster) args(name string) []string {
	switch name {
	case etcd:
		return c.etcdArgs()
	case apiServer:
		return c.apiServerArgs()
	case controllerManager:
		return append(append(c.servingArgs(c.ports.controllerManager), c.limitArgs(name)...),
			"--kubeconfig="+c.kubeconfigFile(name),
			"--leader-elect=false",
			"--use-service-account-credentials=true",
			"--service-account-private-key-file="+c.pki.serviceAccount(),
			"--root-ca-file="+c.pki.caFile(),
		)
	case scheduler:
		return append(c.servingArgs(c.ports.scheduler),
			"--kubeconfig="+c.kubeconfigFile(name),
			"--leader-elect=false",
		)
	case kwok:
		return []string{
			"--kubeconfig=" + c.kubeconfigFile(name),
			"--config=" + c.file("kwok-stages.yaml"),
			"--manage-nodes-with-annotation-selector=" + kwokAnnotation + "=fake",
			"--node-lease-duration-seconds=40",
		}
	case csiProvisioner:
		// Its default for a call to the driver is 10 s, the shortest of all.
		return append(c.sidecarArgs(name), "--extra-create-metadata", "--timeout=30s", "--feature-gates=VolumeAttributesClass=true")
	case csiSnapshotter:
		return append(c.sidecarArgs(name), "--extra-create-metadata")
	case csiAttacher:
		return c.sidecarArgs(name)
	case snapshotController:
		return append(c.limitArgs(name), "--kubeconfig="+c.kubeconfigFile(name), "-v=2")
	}
	panic("cluster: no arguments for component " + name)
}

func (c *Cluster) etcdArgs() []string {
	url := "http://" + c.ports.etcd.address()
	return []string{
		"--data-dir=" + c.file("etcd"),
		"--listen-client-urls=" + url,
		"--advertise-client-urls=" + url,
		"--listen-peer-urls=http://127.0.0.1:0", // a cluster of one
		"--socket-reuse-port",
		"--unsafe-no-fsync", // survives a kill, though not a power cut
		"--quota-backend-bytes=" + strconv.Itoa(8<<30),
		"--log-level=warn",
	}
}

func (c *Cluster) apiServerArgs() []string {
	args := append(c.servingArgs(c.ports.apiServer),
		"--etcd-servers=http://"+c.ports.etcd.address(),
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // "kubernetes" would need an address that is no loopback
		"--cert-dir="+c.file("pki"),
		"--client-ca-file="+c.pki.caFile(),
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.pki.serviceAccount(),
		"--service-account-signing-key-file="+c.pki.serviceAccount(),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP",
		// What csi-provisioner v5 reads VolumeAttributesClasses by; served until v1.37.
		"--runtime-config=storage.k8s.io/v1beta1/volumeattributesclasses=true",
		"--kubelet-client-certificate="+c.pki.kubeletCert(),
		"--kubelet-client-key="+c.pki.kubeletKey(),
		"--shutdown-send-retry-after", // a stop takes 2 s, not the minute that open watches may last
	)
	if c.opts.Audit {
		args = append(args,
			"--audit-policy-file="+c.file("audit-policy.yaml"),
			"--audit-log-path="+c.AuditLog(),
			"--audit-log-maxsize=10000", // MB: never rotated
		)
	}
	return args
}

// servingArgs are those of everything that serves with Kubernetes' own library.
// Port sharing lets a component listen on the port that we hold for it.
func (c *Cluster) servingArgs(p port) []string {
	return []string{
		"--bind-address=127.0.0.1",
		"--secure-port=" + p.String(),
		"--permit-port-sharing",
		"--tls-cert-file=" + c.pki.serverCert(),
		"--tls-private-key-file=" + c.pki.serverKey(),
		"--profiling=false",
	}
}

// sidecarArgs are those of every CSI sidecar. Topology and immediate binding
// over all nodes are on by default in the provisioner.
func (c *Cluster) sidecarArgs(name string) []string {
	return append(c.limitArgs(name),
		"--kubeconfig="+c.kubeconfigFile(name),
		"--csi-address="+c.opts.CSISocket,
		"-v=2",
	)
}

// limitArgs are those that limit a component's requests.
func (c *Cluster) limitArgs(name string) []string {
	qps, burst := c.opts.SidecarQPS, c.opts.SidecarBurst
	if limit := c.opts.Throttle[name]; limit > 0 {
		qps, burst = limit, 1
	}
	return []string{"--kube-api-qps=" + strconv.Itoa(qps), "--kube-api-burst=" + strconv.Itoa(burst)}
}

// file is the path of a file of the cluster.
func (c *Cluster) file(name string) string { return filepath.Join(c.opts.Dir, name) }

func (c *Cluster) kubeconfigFile(user string) string {
	return c.file(fmt.Sprintf("%s.kubeconfig", user))
}
