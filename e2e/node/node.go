package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node/machine"
)

// Options say what node to start.
type Options struct {
	// Cluster gets the node. It may have nodes of kwok too (cluster.Options.Nodes
	// is -1 for none), to which the scheduler gives Pods as well.
	Cluster *cluster.Cluster

	// Region holds the disks of the cluster's CSI driver. Nil is a node without.
	Region *disks.Region

	// Driver is the driver's name; "" is disks.DefaultDriver.
	Driver string

	// Zone of the node; "" is cluster.DefaultZone.
	Zone string

	// Images are those that the node has beside its own.
	Images []Image

	// Progress gets a line per step. Nil is silence.
	Progress io.Writer
}

// Node is a running node. Its log is node.log among the cluster's, beside those
// of its daemons and of its Pods.
type Node struct {
	cluster *cluster.Cluster
	name    string
	slot    *slot
	network machine.Network
}

// Component is the name that a cluster knows its node by: StopComponent is a
// power cut, and StartComponent has the node boot with the files that it had.
const Component = "node"

// Start adds a node to a cluster and returns when it is Ready. ctx bounds the
// start only. A cluster can have one such node. Requirements must be met;
// whatever else is missing is installed.
func Start(ctx context.Context, opts Options) (*Node, error) {
	if err := Requirements(); err != nil {
		return nil, err
	}
	if opts.Driver == "" {
		opts.Driver = disks.DefaultDriver
	}
	if opts.Zone == "" {
		opts.Zone = cluster.DefaultZone
	}
	if opts.Progress == nil {
		opts.Progress = io.Discard
	}
	parts, err := install(ctx, opts.Progress)
	if err != nil {
		return nil, fmt.Errorf("install what nodes are made of: %w", err)
	}
	began := time.Now()
	slot, err := takeSlot()
	if err != nil {
		return nil, err
	}
	n := &Node{cluster: opts.Cluster, name: opts.Cluster.Name() + "-real", slot: slot, network: slot.network()}
	if err := n.start(ctx, opts, parts); err != nil {
		return nil, errors.Join(fmt.Errorf("start node %s (logs are in %s): %w", n.name, opts.Cluster.Logs(), err), n.Stop())
	}
	fmt.Fprintf(opts.Progress, "node %s: ready (%.1fs)\n", n.name, time.Since(began).Seconds())
	return n, nil
}

func (n *Node) start(ctx context.Context, opts Options, parts parts) error {
	c := opts.Cluster
	config := machine.Config{
		Name:       n.name,
		Cluster:    c.Name(),
		Dir:        filepath.Join(c.Dir(), Component),
		Logs:       c.Logs(),
		Cgroup:     fmt.Sprintf("hawser-e2e-%d-%s", n.slot.number, c.Name()),
		KubeletDir: fmt.Sprintf("/var/lib/kubelet-%d", n.slot.number),
		Network:    n.network,
		APIServer:  fmt.Sprintf("127.0.0.1:%d", c.Port()),
		Debian:     parts.debian,
		Kubelet:    parts.tools[kubelet],
		CoreDNS:    parts.tools[coreDNS],
		Zone:       opts.Zone,
		Images:     slices.Clone(parts.images),
		Driver:     opts.Driver,
	}
	if opts.Region != nil {
		config.Region = opts.Region.Dir()
	}
	if err := visible(config.Dir, config.Logs, config.Region, config.Debian); err != nil {
		return err
	}
	if err := n.slot.record(leftovers{
		Cgroup: config.Cgroup, Dir: config.Dir, Link: n.network.Link, KubeletDir: config.KubeletDir,
	}); err != nil {
		return err
	}
	if err := os.Mkdir(config.Dir, 0o755); err != nil {
		return err
	}
	if err := writeCredentials(c, &config); err != nil {
		return err
	}
	for i, image := range opts.Images {
		path := filepath.Join(config.Dir, fmt.Sprintf("image-%d.tar", i))
		if err := image.write(path); err != nil {
			return err
		}
		config.Images = append(config.Images, path)
	}
	file, err := config.Write()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.RESTConfig("hawser-e2e"))
	if err != nil {
		return err
	}
	return c.Launch(ctx, cluster.Program{
		Name:       Component,
		Binary:     parts.machine,
		Args:       []string{file},
		Namespaces: machine.Namespaces,
		Healthy:    func(ctx context.Context) error { return n.ready(ctx, client) },
	})
}

// visible refuses folders that the node would not see.
func visible(dirs ...string) error {
	for _, dir := range dirs {
		for _, own := range machine.OwnFolders {
			if strings.HasPrefix(dir+"/", own+"/") {
				return fmt.Errorf("folder %s lies in %s, of which a node has its own; choose another one (with TMPDIR)", dir, own)
			}
		}
	}
	return nil
}

// writeCredentials makes what the node's programs identify themselves by. They
// reach the API server at the Service IP that Pods use.
func writeCredentials(c *cluster.Cluster, config *machine.Config) error {
	for _, user := range []struct {
		name, group string
		file        *string
	}{
		{"system:node:" + config.Name, "system:nodes", &config.KubeletKubeconfig},
		{coreDNS, "system:masters", &config.CoreDNSKubeconfig},
	} {
		rest, err := c.UserConfig(user.name, user.group)
		if err != nil {
			return err
		}
		*user.file = filepath.Join(config.Dir, user.group+".kubeconfig")
		err = clientcmd.WriteToFile(api.Config{
			Clusters:       map[string]*api.Cluster{"": {Server: "https://" + machine.APIService, CertificateAuthorityData: rest.CAData}},
			AuthInfos:      map[string]*api.AuthInfo{"": {ClientCertificateData: rest.CertData, ClientKeyData: rest.KeyData}},
			Contexts:       map[string]*api.Context{"": {}},
			CurrentContext: "",
		}, *user.file)
		if err != nil {
			return err
		}
		config.ClientCA = filepath.Join(config.Dir, "ca.crt")
		if err := os.WriteFile(config.ClientCA, rest.CAData, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ready says whether the node is there and is Ready, and if not, what is missing.
// The API server alone would not know: it believes for a while in a node that is
// off.
func (n *Node) ready(ctx context.Context, client kubernetes.Interface) error {
	kubelet := net.Dialer{Timeout: time.Second}
	conn, err := kubelet.DialContext(ctx, "tcp", net.JoinHostPort(n.network.Node, "10250"))
	if err != nil {
		return err
	}
	conn.Close()
	node, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if i < 0 {
		return fmt.Errorf("node %s has not said whether it is Ready", n.name)
	}
	if condition := node.Status.Conditions[i]; condition.Status != corev1.ConditionTrue {
		return fmt.Errorf("node %s is not Ready: %s", n.name, condition.Message)
	}
	return nil
}

// Name is the node's name.
func (n *Node) Name() string { return n.name }

// HostIP is the address at which Pods reach this machine: that of a server which
// listens there, or everywhere.
func (n *Node) HostIP() string { return n.network.Host }

// Stop ends the node at once, as a power cut does, and removes what is left of
// it. Its Node object and what is attached to it stay: nobody has told the
// cluster. It may be called before or after the cluster's Stop, and again.
func (n *Node) Stop() error {
	if n.slot == nil {
		return nil
	}
	n.cluster.KillComponent(Component) // fails if it was never started, and after the cluster's Stop
	if err := n.slot.release(); err != nil {
		return fmt.Errorf("stop node %s: %w", n.name, err)
	}
	n.slot = nil
	return nil
}
