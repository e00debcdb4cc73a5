package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Cluster is a running Kubernetes.
type Cluster struct {
	opts      Options // complete
	temporary bool    // opts.Dir is ours to remove
	began     time.Time
	pki       *pki
	ports     ports
	admin     *rest.Config
	typed     kubernetes.Interface
	dynamic   dynamic.Interface
	mapper    mapper
	audit     auditLog

	mu         sync.Mutex
	components []*component // in the order in which they were started
	stopped    bool
}

// Start starts a cluster and returns when it is ready: its API answers, its
// controllers run, its nodes are Ready, and namespace default can run Pods.
// Binaries that are missing are built first, which may take minutes.
//
// ctx bounds the start only. The cluster runs until Stop, or until this process
// ends. A start that fails stops what it had started and keeps the logs.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if err := opts.dialCSI(ctx); err != nil {
		return nil, err
	}
	binaries, err := findBinaries(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start cluster %s: %w", opts.Name, err)
	}
	opts, temporary, err := opts.makeFolders()
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, temporary: temporary, began: time.Now()}
	if err := c.start(ctx, binaries); err != nil {
		c.temporary = false // whoever reads the error wants the logs
		return nil, errors.Join(fmt.Errorf("start cluster %s (logs are in %s): %w", opts.Name, opts.LogDir, err), c.Stop())
	}
	c.progress("ready")
	return c, nil
}

// start prepares files and ports, then brings the components up.
func (c *Cluster) start(ctx context.Context, binaries map[string]string) (err error) {
	if c.pki, err = newPKI(filepath.Join(c.opts.Dir, "pki")); err != nil {
		return err
	}
	if err = c.ports.reserve(); err != nil {
		return err
	}
	if err = c.prepareClients(); err != nil {
		return err
	}
	if err = c.writeConfiguration(); err != nil {
		return err
	}
	if c.opts.Audit { // the server would go on with that of an earlier cluster
		if err = os.Remove(c.AuditLog()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old audit log: %w", err)
		}
	}
	return c.bringUp(ctx, binaries)
}

// Stop ends all processes of the cluster, at once and hard, since nothing of it
// is to be kept, and removes its folder if it was a temporary one. It may be
// called again.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	for i := range c.components {
		c.components[len(c.components)-1-i].kill() // users of the API before the API
	}
	c.ports.release()
	c.progress("stopped")
	if c.temporary {
		if err := os.RemoveAll(c.opts.Dir); err != nil {
			return fmt.Errorf("stop cluster %s: %w", c.opts.Name, err)
		}
	}
	return nil
}

// Name is the cluster's name, which begins the names of its nodes.
func (c *Cluster) Name() string { return c.opts.Name }

// Dir is the folder that holds the cluster's state.
func (c *Cluster) Dir() string { return c.opts.Dir }

// Logs is the folder with one log per component.
func (c *Cluster) Logs() string { return c.opts.LogDir }

// progress tells people what has just been reached.
func (c *Cluster) progress(format string, args ...any) {
	fmt.Fprintf(c.opts.Progress, "cluster %s: %s (%.1fs)\n", c.opts.Name, fmt.Sprintf(format, args...), time.Since(c.began).Seconds())
}
