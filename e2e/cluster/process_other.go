//go:build unix && !linux

package cluster

import "syscall"

// dieWithParent does nothing: only Linux can do this. Elsewhere the cluster
// outlives a parent that is killed before it could call Stop.
func dieWithParent(*syscall.SysProcAttr) {}
