package disks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// node is the node service: it shows disks that are attached to its node.
// kubelet learns of it by Server.Register.
type node struct {
	csi.UnimplementedNodeServer
	region  *Region
	self    Node
	key     string // of the topology
	mounter Mounter
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.self.ID, AccessibleTopology: topologyOf(n.self.Zone, n.key)}, nil
}

func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	var capabilities []*csi.NodeServiceCapability
	for _, rpc := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		capabilities = append(capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: rpc}},
		})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: capabilities}, nil
}

func (n *node) NodeStageVolume(_ context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	staging := req.GetStagingTargetPath()
	if err := required("volume_id", req.GetVolumeId(), "staging_target_path", staging); err != nil {
		return nil, err
	}
	err := n.useDisk(req.GetVolumeId(), req.GetVolumeCapability(), func(disk *Disk) error {
		if disk.Mode == Block {
			_, err := n.mounter.AttachDevice(n.payload(*disk))
			return err
		}
		return n.bind(n.payload(*disk), staging, mountOptions(req.GetVolumeCapability(), false))
	})
	return &csi.NodeStageVolumeResponse{}, err
}

func (n *node) NodeUnstageVolume(_ context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	handle, staging := req.GetVolumeId(), req.GetStagingTargetPath()
	if err := required("volume_id", handle, "staging_target_path", staging); err != nil {
		return nil, err
	}
	// The disk may be gone, and its mode forgotten: end both ways of showing it.
	image := payload(n.region.folderOf(handle), Block)
	return &csi.NodeUnstageVolumeResponse{}, errors.Join(n.mounter.Unbind(staging), n.mounter.DetachDevice(image))
}

func (n *node) NodePublishVolume(_ context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "target_path", req.GetTargetPath()); err != nil {
		return nil, err
	}
	err := n.useDisk(req.GetVolumeId(), req.GetVolumeCapability(), func(disk *Disk) error { return n.publish(disk, req) })
	return &csi.NodePublishVolumeResponse{}, err
}

func (n *node) publish(disk *Disk, req *csi.NodePublishVolumeRequest) error {
	target := req.GetTargetPath()
	sole := req.GetVolumeCapability().GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	if sole && disk.SoleTarget != "" && disk.SoleTarget != target {
		if bound, err := n.mounter.Bound(disk.SoleTarget); err != nil || bound {
			return errors.Join(err, status.Errorf(codes.FailedPrecondition, "publish disk %s: its sole writer has it at %s", disk.Handle, disk.SoleTarget))
		}
	}
	source, err := n.staged(*disk, req.GetStagingTargetPath())
	if err != nil {
		return err
	}
	if err := makeTarget(target, disk.Mode); err != nil {
		return fmt.Errorf("publish disk %s: %w", disk.Handle, err)
	}
	if sole {
		disk.SoleTarget = target
	}
	return n.bind(source, target, mountOptions(req.GetVolumeCapability(), req.GetReadonly()))
}

// staged returns what NodeStageVolume has prepared of a disk.
func (n *node) staged(disk Disk, staging string) (string, error) {
	if disk.Mode == Block {
		return n.mounter.AttachDevice(n.payload(disk))
	}
	if err := required("staging_target_path", staging); err != nil {
		return "", err
	}
	bound, err := n.mounter.Bound(staging)
	if err == nil && !bound {
		err = status.Errorf(codes.FailedPrecondition, "publish disk %s: it is not staged at %s", disk.Handle, staging)
	}
	return staging, err
}

// makeTarget creates what a bind mount needs to be there: kubelet has made the
// parent.
func makeTarget(target string, mode VolumeMode) error {
	if mode == Block {
		file, err := os.OpenFile(target, os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		return file.Close()
	}
	if err := os.Mkdir(target, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (n *node) NodeUnpublishVolume(_ context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	handle, target := req.GetVolumeId(), req.GetTargetPath()
	if err := required("volume_id", handle, "target_path", target); err != nil {
		return nil, err
	}
	if err := n.mounter.Unbind(target); err != nil {
		return nil, err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unpublish disk %s: %w", handle, err)
	}
	if disk, err := n.region.Disk(handle); err != nil || disk.SoleTarget != target {
		return &csi.NodeUnpublishVolumeResponse{}, nil
	}
	_, err := n.region.updateDisk(handle, func(disk *Disk) error {
		if disk.SoleTarget == target {
			disk.SoleTarget = ""
		}
		return nil
	})
	return &csi.NodeUnpublishVolumeResponse{}, err
}

func (n *node) NodeExpandVolume(_ context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "volume_path", req.GetVolumePath()); err != nil {
		return nil, err
	}
	disk, err := n.region.Disk(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if disk.Mode == Block {
		err = n.mounter.ResizeDevice(n.payload(disk))
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: disk.CapacityBytes}, err
}

func (n *node) NodeGetVolumeStats(_ context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	handle, at := req.GetVolumeId(), req.GetVolumePath()
	if err := required("volume_id", handle, "volume_path", at); err != nil {
		return nil, err
	}
	disk, err := n.region.Disk(handle)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(at); err != nil {
		return nil, status.Errorf(codes.NotFound, "disk %s is not at %s: %v", handle, at, err)
	}
	bytes := &csi.VolumeUsage{Unit: csi.VolumeUsage_BYTES, Total: disk.CapacityBytes}
	if disk.Mode == Filesystem {
		if bytes.Used, err = usedBytes(n.payload(disk)); err != nil {
			return nil, err
		}
		bytes.Available = max(0, bytes.Total-bytes.Used)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{bytes}}, nil
}

// usedBytes is the space that the files below a folder take.
func usedBytes(folder string) (int64, error) {
	var used int64
	err := filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it vanished meanwhile
		}
		if err == nil {
			used += inodeOf(info).Blocks * 512
		}
		return err
	})
	return used, err
}

// useDisk runs use, under the disk's lock, with a disk that this node may use
// as the capability says: it has that mode, and it is attached here.
func (n *node) useDisk(handle string, capability *csi.VolumeCapability, use func(*Disk) error) error {
	mode, err := volumeMode(capability)
	if err != nil {
		return err
	}
	_, err = n.region.updateDisk(handle, func(disk *Disk) error {
		if disk.Mode != mode {
			return status.Errorf(codes.InvalidArgument, "disk %s is of mode %s, not %s", handle, disk.Mode, mode)
		}
		if _, ok := disk.attachmentOn(n.self.Cluster, n.self.ID); !ok {
			return status.Errorf(codes.FailedPrecondition, "disk %s is not attached to node %s of cluster %s", handle, n.self.ID, n.self.Cluster)
		}
		return use(disk)
	})
	return err
}

func (n *node) payload(disk Disk) string { return payload(n.region.folderOf(disk.Handle), disk.Mode) }

// bind shows source at target, unless it is there already.
func (n *node) bind(source, target string, options []string) error {
	bound, err := n.mounter.Bound(target)
	if err != nil {
		return err
	}
	if !bound {
		return n.mounter.Bind(source, target, options)
	}
	want, err := os.Stat(source)
	if err != nil {
		return err
	}
	have, err := os.Stat(target)
	if err != nil {
		return err
	}
	if !os.SameFile(want, have) {
		return status.Errorf(codes.FailedPrecondition, "%s shows something else than %s already", target, source)
	}
	return nil
}

// mountOptions are those of the volume, and ro where nobody may write.
func mountOptions(capability *csi.VolumeCapability, readOnly bool) []string {
	options := capability.GetMount().GetMountFlags()
	switch capability.GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		readOnly = true
	}
	if readOnly {
		options = append([]string{"ro"}, options...)
	}
	return options
}
