package disks

import (
	"context"
	"errors"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (c *controller) CreateSnapshot(_ context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if err := required("name", req.GetName(), "source_volume_id", req.GetSourceVolumeId()); err != nil {
		return nil, err
	}
	snapshot, err := c.region.createSnapshot(req.GetName(), req.GetSourceVolumeId(), c.cluster, c.faults.readyAfter(req))
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: csiSnapshot(snapshot)}, nil
}

func (c *controller) DeleteSnapshot(_ context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	handle := req.GetSnapshotId()
	if err := required("snapshot_id", handle); err != nil {
		return nil, err
	}
	if _, err := c.region.Snapshot(handle); errors.Is(err, ErrNotFound) {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	return &csi.DeleteSnapshotResponse{}, c.region.DestroySnapshot(handle)
}

func (c *controller) GetSnapshot(_ context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	if err := required("snapshot_id", req.GetSnapshotId()); err != nil {
		return nil, err
	}
	snapshot, err := c.region.Snapshot(req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	return &csi.GetSnapshotResponse{Snapshot: csiSnapshot(snapshot)}, nil
}

// ListSnapshots answers for one snapshot by its path; for one disk or for all
// it reads every record from the token on.
func (c *controller) ListSnapshots(_ context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	snapshots, err := c.snapshotsOf(req)
	if err != nil {
		return nil, err
	}
	byHandle := map[string]Snapshot{}
	var handles []string
	for _, snapshot := range snapshots {
		if source := req.GetSourceVolumeId(); source == "" || source == snapshot.Disk {
			byHandle[snapshot.Handle] = snapshot
			handles = append(handles, snapshot.Handle)
		}
	}
	handles, next, err := page(handles, req.GetStartingToken(), req.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	response := &csi.ListSnapshotsResponse{NextToken: next}
	for _, handle := range handles {
		response.Entries = append(response.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: csiSnapshot(byHandle[handle])})
	}
	return response, nil
}

// snapshotsOf returns the one snapshot that the request names, or all.
func (c *controller) snapshotsOf(req *csi.ListSnapshotsRequest) ([]Snapshot, error) {
	if handle := req.GetSnapshotId(); handle != "" {
		return readAll([]string{handle}, c.region.Snapshot)
	}
	return c.region.Snapshots()
}

// csiSnapshot is a snapshot in CSI's terms.
func csiSnapshot(snapshot Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:     snapshot.Handle,
		SourceVolumeId: snapshot.Disk,
		SizeBytes:      snapshot.SizeBytes,
		CreationTime:   timestamppb.New(snapshot.Created),
		ReadyToUse:     snapshot.Ready(time.Now()),
	}
}
