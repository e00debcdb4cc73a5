package cluster

import "context"

// Program is a program that the caller adds to a cluster.
type Program struct {
	Name   string // of the component
	Binary string
	Args   []string

	// Namespaces are those of Linux that it begins in, as CLONE_NEWPID.
	Namespaces uintptr

	// Healthy returns an error for as long as the program is not ready. Nil is
	// for a program that has nothing to be asked.
	Healthy func(context.Context) error
}

// Launch starts a program as a component of the cluster and waits until it is
// healthy: it logs beside the others, Check reports its death, StopComponent and
// StartComponent know it, and Stop ends it before those that were there before.
func (c *Cluster) Launch(ctx context.Context, p Program) error {
	k := c.newComponent(p.Name, p.Binary, p.Args)
	k.namespaces, k.healthy = p.Namespaces, p.Healthy
	return c.launch(ctx, k)
}

// Port returns the port of the API server on the loopback of this machine.
func (c *Cluster) Port() int { return c.ports.apiServer.number }
