//go:build unix && !linux

package cluster

import (
	"errors"
	"syscall"
)

// dieWithParent does nothing: only Linux can do this. Elsewhere the cluster
// outlives a parent that is killed before it could call Stop.
func dieWithParent(*syscall.SysProcAttr) {}

// enterNamespaces fails: only Linux has namespaces.
func enterNamespaces(*syscall.SysProcAttr, uintptr) error {
	return errors.New("only Linux has namespaces")
}
