// Package cluster runs a real Kubernetes for tests and the demo: etcd, the API
// server, the controller manager, the scheduler, the CSI sidecars and kwok, as
// processes of this machine, on free ports of its loopback, without root.
//
// The control plane is the real one: claims are bound by the volume binder,
// disks are made, attached and snapshotted through CSI, Pods are created by the
// StatefulSet controller and placed by the scheduler. Only the nodes are made
// up: kwok reports their Pods as running without starting a container.
//
// What it promises:
//
//   - Start returns when all of it answers, or says which part does not and
//     shows the end of its log.
//   - Stop ends exactly the processes that Start started. If this process
//     crashes or is killed, the kernel ends them.
//   - Clusters started at the same time, by one process or by several, do not
//     meet: each has its own folder, ports and certificates.
//
// The CSI driver is the caller's: it serves a unix socket (package e2e/disks
// does) before Start and until after Stop. Without one the cluster has no
// sidecars and no storage classes.
package cluster
