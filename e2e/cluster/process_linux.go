package cluster

import "syscall"

// dieWithParent has the kernel kill the child when its parent dies, however
// that happens.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// enterNamespaces has the child begin in new namespaces.
func enterNamespaces(attr *syscall.SysProcAttr, namespaces uintptr) error {
	attr.Cloneflags = namespaces
	return nil
}
