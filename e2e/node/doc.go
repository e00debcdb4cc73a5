// Package node adds nodes to test clusters that run Pods in containers, where
// those of kwok only say so: a kubelet with containerd, cluster DNS, mounted
// disks of package e2e/disks, and images of Redis and MariaDB.
//
// A node needs root on Debian, and little of it: nothing is installed. The
// Debian packages that a node runs, and that its images are made of, are
// downloaded by apt-get and unpacked into e2e/tools/bin, which git ignores.
// Nothing is pulled from a registry.
//
// What it promises:
//
//   - Start returns when the node is Ready and has its images, or says what is
//     missing or has died, and where the logs are.
//   - Two nodes of two clusters do not meet, unless in a region of disks.
//   - After Stop nothing of the node is left. If this process is killed instead,
//     the kernel ends the node; the files, empty cgroups and loop devices that
//     it does not remove are removed by the next Start of anybody here.
//   - What the node runs can't be seen from the host's network and mounts, except
//     for one network interface, by which the API server reaches kubelet.
//
// Package machine says how the node itself is made. Linux only.
package node
