package disks

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// BenchmarkCallsAmongManyDisks makes the same calls in a region of 10 disks and
// in one of 10,000, by turns, and reports for each method how long it takes in
// the small region and how many times as long in the large one (medians).
func BenchmarkCallsAmongManyDisks(b *testing.B) {
	few, many := &stopwatch{}, &stopwatch{}
	inFew, inMany := populated(b, 10, few), populated(b, 10_000, many)
	few.reset()
	many.reset()
	b.ResetTimer()
	for i := range b.N {
		callAll(b, inFew, i)
		callAll(b, inMany, i)
	}
	for method := range few.took {
		inFew, inMany := few.median(method), many.median(method)
		b.ReportMetric(float64(inFew.Microseconds()), "µs/"+method)
		b.ReportMetric(float64(inMany)/float64(inFew), "x/"+method)
	}
}

// stopwatch is a client's interceptor that notes how long calls take, by method.
type stopwatch struct{ took map[string][]time.Duration }

func (s *stopwatch) reset() { s.took = map[string][]time.Duration{} }

func (s *stopwatch) median(method string) time.Duration {
	slices.Sort(s.took[method])
	return s.took[method][len(s.took[method])/2]
}

func (s *stopwatch) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	began := time.Now()
	err := invoke(ctx, method, req, reply, conn, options...)
	s.took[path.Base(method)] = append(s.took[path.Base(method)], time.Since(began))
	return err
}

// populated serves a region with a number of disks, each with one snapshot.
func populated(b *testing.B, count int, watch *stopwatch) csi.ControllerClient {
	b.Helper()
	region, err := OpenRegion(filepath.Join(b.TempDir(), "region"))
	if err != nil {
		b.Fatal(err)
	}
	for i := range count {
		name := fmt.Sprint("disk-", i)
		disk, err := region.createDisk(diskRequest{Disk: Disk{Name: name, Mode: Filesystem}})
		if err != nil {
			b.Fatal(err)
		}
		snapshot := Snapshot{Handle: snapshotHandle(name), Name: name, Disk: disk.Handle, Mode: Filesystem}
		err = region.build(snapshot.Handle, func(dir string) error {
			if err := makeEmpty(dir, Filesystem); err != nil {
				return err
			}
			return writeRecord(filepath.Join(dir, snapshotRecord), snapshot)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	server, err := Serve(region, Options{Socket: filepath.Join(region.Dir(), "csi.sock"), Cluster: "east", Node: "node-0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix:"+filepath.Join(region.Dir(), "csi.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(watch.intercept))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return csi.NewControllerClient(conn)
}

// callAll makes each call whose cost must not depend on the number of disks.
// What it copies is old: of what has just changed a copy waits for the clock.
func callAll(b *testing.B, c csi.ControllerClient, i int) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx, name, old := b.Context(), fmt.Sprint("new-", i), fmt.Sprint("disk-", i%10)
	capability := &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
	created, err := c.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csi.VolumeCapability{capability}, VolumeContentSource: contentSource(&Source{Snapshot: snapshotHandle(old)}),
	})
	check(err)
	disk := created.GetVolume().GetVolumeId()
	_, err = c.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{VolumeId: disk, NodeId: "node-0", VolumeCapability: capability})
	check(err)
	_, err = c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: disk, NodeId: "node-0"})
	check(err)
	cut, err := c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: diskHandle(old)})
	check(err)
	_, err = c.ListSnapshots(ctx, &csi.ListSnapshotsRequest{SnapshotId: cut.GetSnapshot().GetSnapshotId()})
	check(err)
	_, err = c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: cut.GetSnapshot().GetSnapshotId()})
	check(err)
	_, err = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: disk})
	check(err)
}
