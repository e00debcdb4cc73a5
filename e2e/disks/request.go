package disks

import (
	"math"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What requests mean. Everything here is decided from the request alone.

const (
	defaultCapacity = 1 << 30 // 1 GiB
	maxCapacity     = 1 << 46 // 64 TiB
)

// chooseCapacity returns the smallest size in bytes that satisfies the range
// and holds a content of least bytes.
func chooseCapacity(capacity *csi.CapacityRange, least int64) (int64, error) {
	required, limit := capacity.GetRequiredBytes(), capacity.GetLimitBytes()
	if required < 0 || limit < 0 {
		return 0, status.Errorf(codes.InvalidArgument, "capacity range %v: negative", capacity)
	}
	if limit == 0 {
		limit = math.MaxInt64
	}
	if required == 0 {
		required = max(least, min(limit, defaultCapacity))
	}
	switch {
	case required < least:
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are asked for, the source has %d", required, least)
	case required > limit:
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are needed, the limit is %d", required, limit)
	case required > maxCapacity:
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are needed, no disk is larger than %d", required, int64(maxCapacity))
	}
	return required, nil
}

// volumeMode returns the mode that all capabilities agree on.
func volumeMode(capabilities ...*csi.VolumeCapability) (VolumeMode, error) {
	var mode VolumeMode
	for _, capability := range capabilities {
		this := Filesystem
		switch {
		case capability.GetBlock() != nil:
			this = Block
		case capability.GetMount() == nil:
			return "", status.Error(codes.InvalidArgument, "volume capability: neither mount nor block")
		}
		if capability.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_UNKNOWN {
			return "", status.Error(codes.InvalidArgument, "volume capability: no access mode")
		}
		if mode != "" && mode != this {
			return "", status.Error(codes.InvalidArgument, "volume capabilities: mount and block at once")
		}
		mode = this
	}
	if mode == "" {
		return "", status.Error(codes.InvalidArgument, "no volume capability")
	}
	return mode, nil
}

// sourceOf returns where the request wants the first bytes from, nil for an
// empty disk.
func sourceOf(req *csi.CreateVolumeRequest) (*Source, error) {
	content := req.GetVolumeContentSource()
	if content == nil {
		return nil, nil
	}
	snapshot, disk := content.GetSnapshot().GetSnapshotId(), content.GetVolume().GetVolumeId()
	switch {
	case isHandle(snapshot, snapshotPrefix):
		return &Source{Snapshot: snapshot}, nil
	case isHandle(disk, diskPrefix):
		return &Source{Disk: disk}, nil
	case snapshot != "":
		return nil, status.Errorf(codes.NotFound, "source snapshot %q: %v", snapshot, ErrNotFound)
	case disk != "":
		return nil, status.Errorf(codes.NotFound, "source disk %q: %v", disk, ErrNotFound)
	}
	return nil, status.Error(codes.InvalidArgument, "volume content source names neither a snapshot nor a volume")
}

// TopologyKey is the label of nodes that carries their zone. Label nodes with
// it, and list it in their CSINode, when a server has a zone.
func TopologyKey(driver string) string { return "topology." + driver + "/zone" }

// zonesOf returns the zones that a requirement allows, in order of preference;
// none if there is no requirement.
func zonesOf(requirement *csi.TopologyRequirement, key string) ([]string, error) {
	var zones []string
	for _, topology := range slices.Concat(requirement.GetPreferred(), requirement.GetRequisite()) {
		if zone := topology.GetSegments()[key]; zone != "" && !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	if requirement != nil && len(zones) == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "accessibility requirements %v: none with the key %s", requirement, key)
	}
	return zones, nil
}

// topologyOf is the inverse of zonesOf for one zone; nil for none.
func topologyOf(zone, key string) *csi.Topology {
	if zone == "" {
		return nil
	}
	return &csi.Topology{Segments: map[string]string{key: zone}}
}

// mutableKeys are the parameters of a VolumeAttributesClass. They are recorded
// and change nothing.
var mutableKeys = []string{"tier", "iops", "throughput"}

func checkMutable(parameters map[string]string) error {
	for key := range parameters {
		if !slices.Contains(mutableKeys, key) {
			return status.Errorf(codes.InvalidArgument, "mutable parameter %q is unknown; known are %s", key, strings.Join(mutableKeys, ", "))
		}
	}
	return nil
}

// page cuts a sorted list of handles: what follows token, at most limit of it
// (0 is all), and the token of the next page. Tokens are handles, so that they
// hold while disks come and go.
func page(handles []string, token string, limit int32) (cut []string, next string, err error) {
	if limit < 0 {
		return nil, "", status.Errorf(codes.InvalidArgument, "max_entries is %d: negative", limit)
	}
	if token != "" {
		if !handlePattern.MatchString(token) {
			return nil, "", status.Errorf(codes.Aborted, "starting_token %q is not from an earlier answer; begin again without one", token)
		}
		at, found := slices.BinarySearch(handles, token)
		if found {
			at++
		}
		handles = handles[at:]
	}
	if limit == 0 || int(limit) >= len(handles) {
		return handles, "", nil
	}
	return handles[:limit], handles[limit-1], nil
}

// required fails with INVALID_ARGUMENT for the first of name, value pairs whose
// value is empty.
func required(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return status.Errorf(codes.InvalidArgument, "%s is empty", pairs[i])
		}
	}
	return nil
}
