// Command demo shows on a real Kubernetes control plane what Hawser is for: a
// StatefulSet is backed up, lost and brought back on the same disks; brought
// back in another cluster; and brought back after its disks were lost too. It
// runs the hawser command as a user would, checks each claim it makes by
// reading the disks, and exits with 1 if one is not so.
package main
