package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Options say what cluster to start. The zero value is a cluster of three nodes
// without storage.
type Options struct {
	// Name begins the names of nodes (<name>-node-0) and of lines of progress.
	// Clusters whose CSI drivers share a region need different names. Empty is
	// a random name.
	Name string

	// Dir holds all state: certificates, kubeconfigs, etcd's data. It must not
	// hold another cluster. Empty is a temporary folder that Stop removes.
	Dir string

	// LogDir holds one log per component, and the audit log. Empty is Dir/logs.
	LogDir string

	// Nodes is the number of nodes; 0 is three, negative is none.
	Nodes int

	// Zones are given to the nodes in turn. Empty is DefaultZone for all.
	Zones []string

	// CSISocket is the unix socket of a CSI driver that is being served, and
	// CSIDriver its name; "" is disks.hawser.dev. Nodes carry their zone under
	// the label topology.<driver>/zone. Without a socket there are no sidecars
	// and no classes.
	CSISocket string
	CSIDriver string

	// SidecarQPS and SidecarBurst limit the requests per second of each
	// sidecar, of the snapshot controller and of the controller manager; 0 is
	// 200 and 400, where the components' own defaults are between 5 and 30.
	SidecarQPS   int
	SidecarBurst int

	// Throttle limits one of those further: so many requests per second, one at
	// a time, by the name of the component.
	Throttle map[string]int

	// Audit has the API server log every request; see Cluster.Requests.
	Audit bool

	// SkipSnapshots leaves out the snapshot API, its controller and sidecar:
	// a cluster whose driver cannot snapshot.
	SkipSnapshots bool

	// SkipClasses leaves out the StorageClasses disks-delete (the default),
	// disks-retain and disks-wffc and the VolumeSnapshotClass disks-snap.
	SkipClasses bool

	// Progress gets a line per step. Nil is silence.
	Progress io.Writer
}

// DefaultZone is the zone of all nodes when Options name none.
const DefaultZone = "zone-a"

// NewName returns a name that no other cluster has.
func NewName() string { return "c-" + strings.ToLower(rand.Text()[:5]) }

// maxSocketPath is what a unix socket's address has room for.
const maxSocketPath = 107

// complete fills in defaults and refuses what cannot work.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = NewName()
	}
	if problems := validation.IsDNS1123Label(o.Name); len(problems) > 0 {
		return o, fmt.Errorf("cluster name %q: %s", o.Name, strings.Join(problems, "; "))
	}
	switch {
	case o.Nodes == 0:
		o.Nodes = 3
	case o.Nodes < 0:
		o.Nodes = 0
	}
	if len(o.Zones) == 0 {
		o.Zones = []string{DefaultZone}
	}
	if len(o.CSISocket) > maxSocketPath {
		return o, fmt.Errorf("the path of CSI socket %s has %d bytes, and a unix socket's may have %d; put it into a folder with a shorter path", o.CSISocket, len(o.CSISocket), maxSocketPath)
	}
	if o.CSIDriver == "" {
		o.CSIDriver = "disks.hawser.dev"
	}
	if o.SidecarQPS == 0 {
		o.SidecarQPS = 200
	}
	if o.SidecarBurst == 0 {
		o.SidecarBurst = 2 * o.SidecarQPS
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, nil
}

// dialCSI sees whether the CSI driver is being served. A sidecar would wait for
// it for ever.
func (o Options) dialCSI(ctx context.Context) error {
	if o.CSISocket == "" {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", o.CSISocket)
	if err != nil {
		return fmt.Errorf("no CSI driver is served for cluster %s: %w; serve it before the start", o.Name, err)
	}
	return conn.Close()
}

// makeFolders makes the folders of the cluster and returns the options with
// their paths made absolute, since components run in one of them. temporary
// tells that Dir was made here.
func (o Options) makeFolders() (_ Options, temporary bool, err error) {
	if o.Dir == "" {
		temporary = true
		if o.Dir, err = os.MkdirTemp("", "hawser-"+o.Name+"-"); err != nil {
			return o, false, fmt.Errorf("make a folder for cluster %s: %w", o.Name, err)
		}
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(o.Dir, "logs")
	}
	for _, dir := range []*string{&o.Dir, &o.LogDir} {
		if *dir, err = filepath.Abs(*dir); err == nil {
			err = os.MkdirAll(*dir, 0o755)
		}
		if err != nil {
			return o, temporary, fmt.Errorf("make a folder for cluster %s: %w", o.Name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "etcd")); !errors.Is(err, os.ErrNotExist) {
		return o, temporary, fmt.Errorf("%s holds a cluster already; remove it or choose another folder", o.Dir)
	}
	return o, temporary, nil
}
