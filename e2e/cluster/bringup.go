package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// bringUp starts the API server, then all that live off it side by side, each
// as soon as what it needs is there.
func (c *Cluster) bringUp(ctx context.Context, binaries map[string]string) error {
	run := func(ctx context.Context, name string) error {
		k := c.newComponent(name, binaries[name], c.args(name))
		k.healthy = c.healthCheck(name)
		return c.launch(ctx, k)
	}
	if err := run(ctx, etcd); err != nil {
		return err
	}
	if err := run(ctx, apiServer); err != nil {
		return err
	}
	c.progress("API server is ready at https://%s", c.ports.apiServer.address())

	all, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{controllerManager, scheduler, kwok, csiProvisioner, csiAttacher} {
		if binaries[name] != "" {
			all.Go(func() error { return run(ctx, name) })
		}
	}
	all.Go(func() error { return c.bringUpStorage(ctx, run) })
	all.Go(func() error { return c.createNodes(ctx) })
	all.Go(func() error {
		return c.Await(ctx, serviceAccounts, "default", "default", func(account *unstructured.Unstructured) bool { return account != nil })
	})
	if err := all.Wait(); err != nil {
		return err
	}
	return c.Check()
}

// bringUpStorage installs the snapshot API and starts its controllers, which
// end if they find it missing; and then the driver and its classes.
func (c *Cluster) bringUpStorage(ctx context.Context, run func(ctx context.Context, name string) error) error {
	snapshots, driver, classes := !c.opts.SkipSnapshots, c.opts.CSISocket != "", !c.opts.SkipClasses
	for _, step := range []struct {
		wanted bool
		act    func() error
	}{
		{driver, func() error { return c.Apply(ctx, forDriver("csi-driver.yaml", c.opts.CSIDriver)) }},
		{driver && classes, func() error { return c.Apply(ctx, forDriver("classes.yaml", c.opts.CSIDriver)) }},
		{snapshots, func() error { return c.Apply(ctx, embedded("snapshot-crds.yaml")) }},
		{snapshots, func() error { return run(ctx, snapshotController) }},
		{snapshots && driver, func() error { return run(ctx, csiSnapshotter) }},
		{snapshots && driver && classes, func() error { return c.Apply(ctx, forDriver("snapshot-class.yaml", c.opts.CSIDriver)) }},
	} {
		if !step.wanted {
			continue
		}
		if err := step.act(); err != nil {
			return err
		}
	}
	return nil
}

// newComponent describes a component of this cluster. Its home is the cluster's
// folder, so that no file of the user's changes what it does.
func (c *Cluster) newComponent(name, binary string, args []string) *component {
	return &component{program: program{
		name:   name,
		binary: binary,
		args:   args,
		dir:    c.opts.Dir,
		env:    []string{"HOME=" + c.opts.Dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()},
		log:    filepath.Join(c.opts.LogDir, name+".log"),
	}}
}

// healthCheck returns how to ask a component whether it is well. kwok is well
// when nodes become Ready; the sidecars have nothing to ask, they end when
// something is wrong.
func (c *Cluster) healthCheck(name string) func(context.Context) error {
	switch name {
	case etcd:
		return c.get("http://" + c.ports.etcd.address() + "/readyz")
	case apiServer:
		return c.get("https://" + c.ports.apiServer.address() + "/readyz")
	case controllerManager:
		return c.get("https://" + c.ports.controllerManager.address() + "/healthz")
	case scheduler:
		return c.get("https://" + c.ports.scheduler.address() + "/readyz")
	}
	return nil
}

// get returns a function that asks url and is content with status 200. The
// servers all show the cluster's certificate; only the API server looks at ours.
func (c *Cluster) get(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := rest.HTTPClientFor(c.admin)
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %w: %s", url, errors.New(response.Status), body)
		}
		return nil
	}
}
