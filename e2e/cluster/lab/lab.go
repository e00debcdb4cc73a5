// Package lab starts a cluster together with disks: a CSI driver that is served
// by this process from a region, which clusters may share.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/disks"
)

// Options say what lab to start.
type Options struct {
	Cluster cluster.Options // CSISocket is filled in
	Region  *disks.Region
	Blind   bool          // the driver does not see which disks other clusters have
	Faults  *disks.Faults // injected into the cluster's calls to the driver; nil is none
}

// Lab is a cluster and the driver that gives it disks.
type Lab struct {
	*cluster.Cluster
	Disks *disks.Server
	dir   string // of the socket
}

// Start serves the region to a new cluster and returns when both are ready. Its
// nodes are known to the region. See cluster.Start for the rest.
func Start(ctx context.Context, options Options) (*Lab, error) {
	if options.Cluster.Name == "" {
		options.Cluster.Name = cluster.NewName()
	}
	if len(options.Cluster.Zones) == 0 {
		options.Cluster.Zones = []string{cluster.DefaultZone}
	}
	// A folder of its own: the path of a socket must be short.
	dir, err := os.MkdirTemp("", "csi-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the CSI socket: %w", err)
	}
	l := &Lab{dir: dir}
	if err := l.start(ctx, options); err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, options Options) (err error) {
	options.Cluster.CSISocket = filepath.Join(l.dir, "csi.sock")
	l.Disks, err = disks.Serve(options.Region, disks.Options{
		Socket:  options.Cluster.CSISocket,
		Cluster: options.Cluster.Name,
		Driver:  options.Cluster.CSIDriver,
		Zone:    options.Cluster.Zones[0],
		Blind:   options.Blind,
		Faults:  options.Faults,
	})
	if err != nil {
		return err
	}
	if l.Cluster, err = cluster.Start(ctx, options.Cluster); err != nil {
		return err
	}
	for i, node := range l.Nodes() {
		if err := options.Region.AddNode(disks.Node{ID: node, Cluster: l.Name(), Zone: l.Zone(i)}); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops the cluster, then the driver. The region stays as it is.
func (l *Lab) Stop() error {
	var err error
	if l.Cluster != nil {
		err = l.Cluster.Stop()
	}
	if l.Disks != nil {
		l.Disks.Stop()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}
