// Package machine is what runs as a node of a test cluster: a machine of its
// own, as far as Linux can make one of namespaces.
//
//	process 1          holds the process and mount namespaces; stays in the network of the host
//	└─ inside          in a network namespace of its own, joined to the host by one veth pair
//	   ├─ containerd ─ shims, containers
//	   ├─ kubelet
//	   ├─ coredns      at the Service IP of cluster DNS
//	   └─ (itself)     the CSI driver's node service; the API server's Service IP
//
// What it promises: whatever ends process 1, the kernel ends all others, and
// with them vanish every mount and network interface of the node. The host keeps
// its network, its mounts and its sysctls as they are. What is left behind is
// files, in Config.Dir and Config.Logs, empty cgroups, named Config.Cgroup, and
// loop devices of kubelet, which begin with Config.KubeletDir.
//
// The node sees the host's file system, apart from /run, /var/lib and /var/log,
// which are its own: so all daemons run with their usual paths.
//
// There is no kube-proxy. Two Service IPs work: that of the API server, which is
// passed on to the host's loopback, and that of DNS. Headless Services need none.
package machine
