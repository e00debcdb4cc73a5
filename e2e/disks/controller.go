package disks

import (
	"context"
	"maps"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// controller is the controller service: what sidecars ask for on behalf of a
// cluster. It turns requests into acts of the region, which take the decisions.
type controller struct {
	csi.UnimplementedControllerServer
	region  *Region
	cluster string
	zone    string // of disks that are asked for without a requirement
	key     string // of the topology
	blind   bool   // does not see what other clusters have
	faults  *Faults
}

func (c *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	// Without LIST_VOLUMES_PUBLISHED_NODES: it makes csi-attacher poll.
	var capabilities []*csi.ControllerServiceCapability
	for _, rpc := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_READONLY,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
	} {
		capabilities = append(capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: rpc}},
		})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: capabilities}, nil
}

func (c *controller) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	want, err := c.diskRequest(req)
	if err != nil {
		return nil, err
	}
	disk, err := c.region.createDisk(want)
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: c.volume(disk)}, nil
}

func (c *controller) diskRequest(req *csi.CreateVolumeRequest) (diskRequest, error) {
	if err := required("name", req.GetName()); err != nil {
		return diskRequest{}, err
	}
	mode, err := volumeMode(req.GetVolumeCapabilities()...)
	if err != nil {
		return diskRequest{}, err
	}
	if err := checkMutable(req.GetMutableParameters()); err != nil {
		return diskRequest{}, err
	}
	source, err := sourceOf(req)
	if err != nil {
		return diskRequest{}, err
	}
	zones, err := zonesOf(req.GetAccessibilityRequirements(), c.key)
	if err != nil {
		return diskRequest{}, err
	}
	zone := c.zone
	if len(zones) > 0 {
		zone = zones[0]
	}
	return diskRequest{
		Disk: Disk{
			Name: req.GetName(), Mode: mode, Zone: zone, Cluster: c.cluster, Source: source,
			Parameters: req.GetParameters(), MutableParameters: req.GetMutableParameters(),
			Created: time.Now(),
		},
		capacity: req.GetCapacityRange(),
		zones:    zones,
	}, nil
}

// volume is a disk in CSI's terms.
func (c *controller) volume(disk Disk) *csi.Volume {
	volume := &csi.Volume{
		VolumeId:      disk.Handle,
		CapacityBytes: disk.CapacityBytes,
		VolumeContext: map[string]string{"name": disk.Name},
		ContentSource: contentSource(disk.Source),
	}
	if topology := topologyOf(disk.Zone, c.key); topology != nil {
		volume.AccessibleTopology = []*csi.Topology{topology}
	}
	return volume
}

func contentSource(source *Source) *csi.VolumeContentSource {
	switch {
	case source == nil:
		return nil
	case source.Snapshot != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: source.Snapshot},
		}}
	}
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.Disk},
	}}
}

func (c *controller) DeleteVolume(_ context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, c.region.deleteDisk(req.GetVolumeId())
}

func (c *controller) ControllerPublishVolume(_ context.Context, req *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId(), "node_id", req.GetNodeId()); err != nil {
		return nil, err
	}
	if _, err := volumeMode(req.GetVolumeCapability()); err != nil {
		return nil, err
	}
	return &csi.ControllerPublishVolumeResponse{}, c.region.attach(req.GetVolumeId(), Attachment{
		Cluster:    c.cluster,
		Node:       req.GetNodeId(),
		AccessMode: req.GetVolumeCapability().GetAccessMode().GetMode().String(),
		ReadOnly:   req.GetReadonly(),
		Since:      time.Now(),
	}, c.blind)
}

func (c *controller) ControllerUnpublishVolume(_ context.Context, req *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	return &csi.ControllerUnpublishVolumeResponse{}, c.region.detach(req.GetVolumeId(), c.cluster, req.GetNodeId())
}

func (c *controller) ValidateVolumeCapabilities(_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	mode, err := volumeMode(req.GetVolumeCapabilities()...)
	if err != nil {
		return nil, err
	}
	disk, err := c.region.Disk(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if disk.Mode != mode {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: "the disk is of mode " + string(disk.Mode)}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
			VolumeContext:      req.GetVolumeContext(),
			VolumeCapabilities: req.GetVolumeCapabilities(),
			Parameters:         req.GetParameters(),
			MutableParameters:  req.GetMutableParameters(),
		},
	}, nil
}

func (c *controller) ListVolumes(_ context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	handles, err := c.region.handles(disksFolder, diskPrefix)
	if err != nil {
		return nil, err
	}
	handles, next, err := page(handles, req.GetStartingToken(), req.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	disks, err := readAll(handles, c.region.Disk)
	if err != nil {
		return nil, err
	}
	response := &csi.ListVolumesResponse{NextToken: next}
	for _, disk := range disks {
		response.Entries = append(response.Entries, &csi.ListVolumesResponse_Entry{Volume: c.volume(disk)})
	}
	return response, nil
}

// GetCapacity says that a region never fills up: to count would be to list.
func (c *controller) GetCapacity(context.Context, *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	return &csi.GetCapacityResponse{AvailableCapacity: maxCapacity}, nil
}

func (c *controller) ControllerExpandVolume(_ context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	if req.GetCapacityRange() == nil {
		return nil, required("capacity_range", "")
	}
	disk, err := c.region.expandDisk(req.GetVolumeId(), req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{
		CapacityBytes:         disk.CapacityBytes,
		NodeExpansionRequired: disk.Mode == Block,
	}, nil
}

func (c *controller) ControllerModifyVolume(_ context.Context, req *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	if err := required("volume_id", req.GetVolumeId()); err != nil {
		return nil, err
	}
	_, err := c.region.updateDisk(req.GetVolumeId(), func(disk *Disk) error {
		if disk.MutableParameters == nil {
			disk.MutableParameters = map[string]string{}
		}
		maps.Copy(disk.MutableParameters, req.GetMutableParameters())
		return checkMutable(req.GetMutableParameters())
	})
	return &csi.ControllerModifyVolumeResponse{}, err
}
