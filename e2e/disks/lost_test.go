package disks_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"hawser.dev/hawser/e2e/disks"
)

func TestDiskThatWasRemovedByHandIsNotFound(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	disk := create(t, c, createRequest("data"))
	if err := attach(t, c, disk, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(region.Dir(), "disks", disk)); err != nil {
		t.Fatal(err)
	}
	ctx, here := t.Context(), t.TempDir()
	for _, call := range []struct {
		name string
		do   func() error
		want codes.Code
	}{
		{"attach", func() error { return attach(t, c, disk, "node-0", singleWriter) }, codes.NotFound},
		{"snapshot", func() error {
			_, err := c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "cut", SourceVolumeId: disk})
			return err
		}, codes.NotFound},
		{"clone", func() error { _, err := c.CreateVolume(ctx, cloneRequest("copy", disk)); return err }, codes.NotFound},
		{"expand", func() error {
			_, err := c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
				VolumeId: disk, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib},
			})
			return err
		}, codes.NotFound},
		{"stage", func() error {
			_, err := c.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
				VolumeId: disk, StagingTargetPath: here, VolumeCapability: capability(singleWriter),
			})
			return err
		}, codes.NotFound},
		{"validate", func() error {
			_, err := c.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{
				VolumeId: disk, VolumeCapabilities: []*csi.VolumeCapability{capability(singleWriter)},
			})
			return err
		}, codes.NotFound},
		{"detach", func() error {
			_, err := c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: disk, NodeId: "node-0"})
			return err
		}, codes.OK},
		{"unstage", func() error {
			_, err := c.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: disk, StagingTargetPath: here})
			return err
		}, codes.OK},
		{"delete", func() error {
			_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: disk})
			return err
		}, codes.OK},
	} {
		t.Run(call.name, func(t *testing.T) { expectCode(t, call.do(), call.want) })
	}
	if all := must[[]disks.Disk](t)(region.Disks()); len(all) != 0 {
		t.Errorf("the region still lists %+v", all)
	}
}

func TestDestroyedDiskLeavesOthersAlone(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	lost, kept := create(t, c, createRequest("lost")), create(t, c, createRequest("kept"))
	if err := attach(t, c, lost, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	if err := region.DestroyDisk(lost); err != nil {
		t.Fatal(err)
	}
	all := must[[]disks.Disk](t)(region.Disks())
	if len(all) != 1 || all[0].Handle != kept {
		t.Errorf("the region has %+v, want only %s", all, kept)
	}
	if again := create(t, c, createRequest("lost")); again != lost {
		t.Errorf("the handle of the same name is %s, was %s", again, lost)
	}
	if disk := must[disks.Disk](t)(region.Disk(lost)); len(disk.Attachments) != 0 {
		t.Errorf("the new disk has the attachments of the lost one: %+v", disk.Attachments)
	}
}
