package disks_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"hawser.dev/hawser/e2e/disks"
)

const gib = 1 << 30

// client speaks to one server, as sidecars and kubelet do.
type client struct {
	csi.ControllerClient
	csi.NodeClient
}

// newSocket returns a path for a socket: it must be short, and the folder of a
// test has the test's name.
func newSocket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "csi.sock")
}

func newRegion(t testing.TB) *disks.Region {
	t.Helper()
	region, err := disks.OpenRegion(filepath.Join(t.TempDir(), "region"))
	if err != nil {
		t.Fatal(err)
	}
	return region
}

// serve starts a server with options, less the socket, for as long as the test
// runs.
func serve(t testing.TB, region *disks.Region, options disks.Options) (*disks.Server, client) {
	t.Helper()
	options.Socket = newSocket(t)
	server, err := disks.Serve(region, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server, dial(t, options.Socket)
}

func dial(t testing.TB, socket string) client {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{csi.NewControllerClient(conn), csi.NewNodeClient(conn)}
}

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
}

func blockCapability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
}

const (
	singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	manyReaders  = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

// createRequest asks for an empty disk of 1 GiB.
func createRequest(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:               name,
		VolumeCapabilities: []*csi.VolumeCapability{capability(singleWriter)},
		CapacityRange:      &csi.CapacityRange{RequiredBytes: gib},
	}
}

// restoreRequest asks for a disk of size bytes with the content of a snapshot.
func restoreRequest(name, snapshot string, size int64) *csi.CreateVolumeRequest {
	req := createRequest(name)
	req.CapacityRange.RequiredBytes = size
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
	}}
	return req
}

// cloneRequest asks for a disk with the content of another.
func cloneRequest(name, disk string) *csi.CreateVolumeRequest {
	req := createRequest(name)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: disk},
	}}
	return req
}

func create(t testing.TB, c client, req *csi.CreateVolumeRequest) string {
	t.Helper()
	response, err := c.CreateVolume(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return response.GetVolume().GetVolumeId()
}

func snapshot(t testing.TB, c client, name, disk string) *csi.Snapshot {
	t.Helper()
	response, err := c.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: disk})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetSnapshot()
}

func attach(t testing.TB, c client, disk, node string, mode csi.VolumeCapability_AccessMode_Mode) error {
	t.Helper()
	_, err := c.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{
		VolumeId: disk, NodeId: node, VolumeCapability: capability(mode),
	})
	return err
}

func detach(t testing.TB, c client, disk, node string) {
	t.Helper()
	_, err := c.ControllerUnpublishVolume(t.Context(), &csi.ControllerUnpublishVolumeRequest{VolumeId: disk, NodeId: node})
	if err != nil {
		t.Error(err)
	}
}

func addNode(t testing.TB, region *disks.Region, cluster, id string) {
	t.Helper()
	if err := region.AddNode(disks.Node{ID: id, Cluster: cluster}); err != nil {
		t.Fatal(err)
	}
}

func expectCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("the call ended with %s, want %s: %v", got, want, err)
	}
}

// must returns a value that was to be had without error.
func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// doubleHolds reads an attachment log as a judge: it returns the attaches of
// single-node disks that happened while somebody else held the disk.
func doubleHolds(events []disks.AttachmentEvent) []disks.AttachmentEvent {
	type holder struct{ cluster, node string }
	holds := map[string]holder{}
	var double []disks.AttachmentEvent
	for _, event := range events {
		by := holder{event.Cluster, event.Node}
		have, held := holds[event.Disk]
		switch {
		case event.Event == disks.Attach && held && have != by:
			double = append(double, event)
		case event.Event == disks.Attach:
			holds[event.Disk] = by
		case have == by:
			delete(holds, event.Disk)
		}
	}
	return double
}

func TestServeRefusesWhatCannotWork(t *testing.T) {
	region := newRegion(t)
	socket := newSocket(t)
	server, err := disks.Serve(region, disks.Options{Socket: socket, Cluster: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	for name, options := range map[string]disks.Options{
		"a socket that another server has": {Socket: socket, Cluster: "b"},
		"a socket path that is too long":   {Socket: filepath.Join(region.Dir(), fmt.Sprintf("%0108d", 0)), Cluster: "b"},
		"no socket":                        {Cluster: "b"},
		"no cluster":                       {Socket: socket + "2"},
	} {
		if other, err := disks.Serve(region, options); err == nil {
			other.Stop()
			t.Errorf("it serves with %s", name)
		}
	}
}

func TestServerTakesTheSocketOfAKilledOne(t *testing.T) {
	region := newRegion(t)
	socket := newSocket(t)
	leaveDeadSocket(t, socket)
	server, err := disks.Serve(region, disks.Options{Socket: socket, Cluster: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	create(t, dial(t, socket), createRequest("data"))
}

// leaveDeadSocket leaves a socket file behind on which nobody listens, as a
// killed process does.
func leaveDeadSocket(t *testing.T, socket string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestUnknownHandlesAreNeverUsedAsPaths(t *testing.T) {
	region := newRegion(t)
	for _, handle := range []string{"", ".", "..", "../disks", "vol-", "vol-0123456789abcdef/..", "vol-0123456789ABCDEF"} {
		if _, err := region.Disk(handle); !errors.Is(err, disks.ErrNotFound) {
			t.Errorf("Disk(%q) = %v", handle, err)
		}
		if err := region.DestroyDisk(handle); err == nil {
			t.Errorf("DestroyDisk(%q) does something", handle)
		}
	}
}
