package disks_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"hawser.dev/hawser/e2e/disks"
)

// mounters are those that work here: a test of the node runs with each.
func mounters(t *testing.T) map[string]disks.Mounter {
	all := map[string]disks.Mounter{"links": disks.LinkMounter{}}
	if disks.CanMount() {
		all["bind mounts"] = disks.BindMounter{}
	} else {
		t.Log("without bind mounts: this process may not mount")
	}
	return all
}

// place is where kubelet wants a disk.
type place struct{ staging, target string }

// newPlace is like kubelet's: the staging folder is there, of the target only
// the parent.
func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	at := place{filepath.Join(dir, "staging"), filepath.Join(dir, "target")}
	if err := os.Mkdir(at.staging, 0o750); err != nil {
		t.Fatal(err)
	}
	return at
}

func stage(t *testing.T, c client, disk string, at place, as *csi.VolumeCapability) error {
	t.Helper()
	_, err := c.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: disk, StagingTargetPath: at.staging, VolumeCapability: as,
	})
	return err
}

func publish(t *testing.T, c client, disk string, at place, as *csi.VolumeCapability, readOnly bool) error {
	t.Helper()
	_, err := c.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: disk, StagingTargetPath: at.staging, TargetPath: at.target, VolumeCapability: as, Readonly: readOnly,
	})
	return err
}

// show attaches, stages and publishes a disk, and takes all of it back when the
// test ends.
func show(t *testing.T, c client, disk string, at place, as *csi.VolumeCapability, readOnly bool) {
	t.Helper()
	_, err := c.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{VolumeId: disk, NodeId: "node-0", VolumeCapability: as})
	if err != nil {
		t.Fatal(err)
	}
	if err := stage(t, c, disk, at, as); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hide(t, c, disk, at) })
	if err := publish(t, c, disk, at, as, readOnly); err != nil {
		t.Fatal(err)
	}
}

// hide is the way back, as far as it is left to go.
func hide(t *testing.T, c client, disk string, at place) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // also as a clean-up
	_, unpublished := c.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: disk, TargetPath: at.target})
	_, unstaged := c.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: disk, StagingTargetPath: at.staging})
	_, detached := c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: disk, NodeId: "node-0"})
	if err := errors.Join(unpublished, unstaged, detached); err != nil {
		t.Error(err)
	}
}

func TestPublishedDiskIsTheDisk(t *testing.T) {
	for name, mounter := range mounters(t) {
		t.Run(name, func(t *testing.T) {
			region := newRegion(t)
			_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0", Mounter: mounter})
			disk, at := create(t, c, createRequest("data")), newPlace(t)
			show(t, c, disk, at, capability(singleWriter), false)
			if err := os.WriteFile(filepath.Join(at.target, "capital"), []byte("Canberra"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := read(t, region, disk, "capital"); got != "Canberra" {
				t.Errorf("the disk says %q", got)
			}
			hide(t, c, disk, at)
			if _, err := os.Lstat(at.target); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the target is left behind: %v", err)
			}
			if entries := must[[]os.DirEntry](t)(os.ReadDir(at.staging)); len(entries) > 0 {
				t.Errorf("something is left in the staging folder: %v", entries)
			}
			if got := read(t, region, disk, "capital"); got != "Canberra" {
				t.Errorf("after all the disk says %q", got)
			}
		})
	}
}

func TestReadOnlyPublishTakesNoWrites(t *testing.T) {
	if !disks.CanMount() {
		t.Skip("this process may not mount, and links can't be read-only")
	}
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	disk, at := create(t, c, createRequest("data")), newPlace(t)
	show(t, c, disk, at, capability(singleWriter), true)
	if err := os.WriteFile(filepath.Join(at.target, "capital"), nil, 0o600); err == nil {
		t.Error("it takes a write")
	}
	write(t, region, disk, "capital", "Canberra")
}

func TestNodeRefusesWhatIsNotItsToShow(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0", Mounter: disks.LinkMounter{}})
	_, other := serve(t, region, disks.Options{Cluster: "west", Node: "node-0", Mounter: disks.LinkMounter{}})
	disk, at := create(t, c, createRequest("data")), newPlace(t)
	mount := capability(singleWriter)

	expectCode(t, stage(t, c, disk, at, mount), codes.FailedPrecondition) // not attached
	if err := attach(t, other, disk, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	expectCode(t, stage(t, c, disk, at, mount), codes.FailedPrecondition) // attached elsewhere
	detach(t, other, disk, "node-0")
	if err := attach(t, c, disk, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	expectCode(t, publish(t, c, disk, at, mount, false), codes.FailedPrecondition) // not staged
	expectCode(t, stage(t, c, disk, at, blockCapability()), codes.InvalidArgument) // of another mode

	odd := capability(singleWriter)
	odd.GetMount().MountFlags = []string{"noatime", "sugar"}
	expectCode(t, stage(t, c, disk, at, odd), codes.InvalidArgument)
	odd.GetMount().MountFlags = []string{"noatime"}
	expectCode(t, stage(t, c, disk, at, odd), codes.OK)
	hide(t, c, disk, at)
}

func TestRawBlockDiskKeepsBytesAndGrows(t *testing.T) {
	for name, mounter := range mounters(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/dev/loop-control"); err != nil && mounter == (disks.BindMounter{}) {
				t.Skipf("no loop devices here: %v", err)
			}
			region := newRegion(t)
			_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0", Mounter: mounter})
			req := createRequest("data")
			req.VolumeCapabilities = []*csi.VolumeCapability{blockCapability()}
			disk, at := create(t, c, req), newPlace(t)
			show(t, c, disk, at, blockCapability(), false)
			writeDevice(t, at.target, "Canberra", gib-512)

			_, err := c.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
				VolumeId: disk, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib},
			})
			expectCode(t, err, codes.OK)
			_, err = c.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: disk, VolumePath: at.target})
			expectCode(t, err, codes.OK)
			writeDevice(t, at.target, "Sydney", 2*gib-512)
			hide(t, c, disk, at)

			cut := snapshot(t, c, "cut", disk)
			restore := restoreRequest("restored", cut.GetSnapshotId(), 2*gib)
			restore.VolumeCapabilities = req.VolumeCapabilities
			restored, there := create(t, c, restore), newPlace(t)
			show(t, c, restored, there, blockCapability(), false)
			for text, offset := range map[string]int64{"Canberra": gib - 512, "Sydney": 2*gib - 512} {
				if got := readDevice(t, there.target, len(text), offset); got != text {
					t.Errorf("at %d the restored disk says %q, want %q", offset, got, text)
				}
			}
		})
	}
}

func writeDevice(t *testing.T, path, text string, offset int64) {
	t.Helper()
	device, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = device.WriteAt([]byte(text), offset)
	if err := errors.Join(err, device.Sync(), device.Close()); err != nil {
		t.Fatal(err)
	}
}

func readDevice(t *testing.T, path string, length int, offset int64) string {
	t.Helper()
	device := must[*os.File](t)(os.Open(path))
	defer device.Close()
	bytes := make([]byte, length)
	if _, err := device.ReadAt(bytes, offset); err != nil {
		t.Fatal(err)
	}
	return string(bytes)
}

func TestStatsTellHowFullADiskIs(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0", Mounter: disks.LinkMounter{}})
	disk, at := create(t, c, createRequest("data")), newPlace(t)
	show(t, c, disk, at, capability(singleWriter), false)
	write(t, region, disk, "capital", string(make([]byte, 1<<20)))
	response, err := c.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: disk, VolumePath: at.target})
	if err != nil {
		t.Fatal(err)
	}
	usage := response.GetUsage()[0]
	if usage.GetTotal() != gib || usage.GetUsed() < 1<<20 || usage.GetAvailable() != gib-usage.GetUsed() {
		t.Errorf("usage is %v", usage)
	}
}
