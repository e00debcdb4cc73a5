package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A component is a program of the cluster that can be stopped and started again.
type component struct {
	program
	healthy func(context.Context) error // nil where there is nothing to ask

	mu      sync.Mutex
	process *process // the latest
}

// grace is how long a component that was asked to end may take.
const grace = 20 * time.Second

// start starts the component and waits until it is healthy.
func (k *component) start(ctx context.Context) error {
	process, err := k.begin()
	if err != nil {
		return err
	}
	return k.awaitHealthy(ctx, process)
}

func (k *component) begin() (*process, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != nil && k.process.running() {
		return nil, fmt.Errorf("%s is running already", k.name)
	}
	process, err := k.program.start()
	if err != nil {
		return nil, err
	}
	k.process = process
	return process, nil
}

// awaitHealthy asks every 25 ms until the component answers well.
func (k *component) awaitHealthy(ctx context.Context, process *process) error {
	if k.healthy == nil {
		return nil
	}
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		err := k.healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-process.exited:
			if died := process.died(); died != nil {
				return died
			}
			return fmt.Errorf("%s was stopped before it was healthy", k.name)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; it answers: %w; the end of %s:\n%s", k.name, context.Cause(ctx), err, k.log, tail(k.log, 15))
		}
	}
}

func (k *component) stop() { k.end(syscall.SIGTERM) }
func (k *component) kill() { k.end(syscall.SIGKILL) }

func (k *component) end(sig syscall.Signal) {
	if process := k.latest(); process != nil {
		process.stop(sig, grace)
	}
}

func (k *component) died() error {
	if process := k.latest(); process != nil {
		return process.died()
	}
	return nil
}

func (k *component) latest() *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process
}

// Components returns the names of the programs that make up the cluster.
func (c *Cluster) Components() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, k := range c.components {
		names = append(names, k.name)
	}
	return names
}

// StopComponent asks a component to end and waits until it has. Stopping
// "kube-apiserver" takes the API away from everybody; the others wait for it.
func (c *Cluster) StopComponent(name string) error {
	k, err := c.component(name)
	if err != nil {
		return err
	}
	k.stop()
	return nil
}

// KillComponent ends a component as a crash does.
func (c *Cluster) KillComponent(name string) error {
	k, err := c.component(name)
	if err != nil {
		return err
	}
	k.kill()
	return nil
}

// StartComponent starts a component that was stopped, with the same state and
// on the same port, and waits until it answers.
func (c *Cluster) StartComponent(ctx context.Context, name string) error {
	k, err := c.component(name)
	if err != nil {
		return err
	}
	return k.start(ctx)
}

// Check returns an error that names each component which has ended without
// being asked to, and shows the end of its log.
func (c *Cluster) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var dead []error
	for _, k := range c.components {
		dead = append(dead, k.died())
	}
	return errors.Join(dead...)
}

func (c *Cluster) component(name string) (*component, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.components, func(k *component) bool { return k.name == name })
	switch {
	case i < 0:
		return nil, fmt.Errorf("cluster %s has no component %q", c.opts.Name, name)
	case c.stopped:
		return nil, fmt.Errorf("%s: cluster %s is stopped", name, c.opts.Name)
	}
	return c.components[i], nil
}

// launch starts a component for the first time.
func (c *Cluster) launch(ctx context.Context, k *component) error {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return fmt.Errorf("%s: cluster %s is stopped", k.name, c.opts.Name)
	}
	c.components = append(c.components, k)
	c.mu.Unlock()
	return k.start(ctx)
}

// tail returns the last lines of a file, for an error message.
func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
