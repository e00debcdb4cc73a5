package disks_test

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"hawser.dev/hawser/e2e/disks"
)

func inZone(zone string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{disks.TopologyKey(disks.DefaultDriver): zone}}
}

func TestDiskIsMadeWhereItIsWanted(t *testing.T) {
	region := newRegion(t)
	_, zoned := serve(t, region, disks.Options{Cluster: "east", Zone: "zone-a"})
	_, plain := serve(t, region, disks.Options{Cluster: "west"})
	anywhere := &csi.TopologyRequirement{
		Requisite: []*csi.Topology{inZone("zone-a"), inZone("zone-b")},
		Preferred: []*csi.Topology{inZone("zone-b")},
	}
	for _, test := range []struct {
		name        string
		c           client
		requirement *csi.TopologyRequirement
		zone        string
	}{
		{"in the zone that is preferred", zoned, anywhere, "zone-b"},
		{"in the server's zone when none is asked for", zoned, nil, "zone-a"},
		{"nowhere in particular without zones", plain, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := createRequest(test.name)
			req.AccessibilityRequirements = test.requirement
			response, err := test.c.CreateVolume(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if disk := must[disks.Disk](t)(region.Disk(response.GetVolume().GetVolumeId())); disk.Zone != test.zone {
				t.Errorf("it is in zone %q, want %q", disk.Zone, test.zone)
			}
			reachable := response.GetVolume().GetAccessibleTopology()
			switch {
			case test.zone == "" && len(reachable) > 0:
				t.Errorf("it is said to be reachable only from %v", reachable)
			case test.zone != "" && (len(reachable) != 1 || !proto.Equal(reachable[0], inZone(test.zone))):
				t.Errorf("it is said to be reachable from %v, want %s", reachable, test.zone)
			}
		})
	}

	again := createRequest("in the zone that is preferred")
	again.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{inZone("zone-a")}}
	_, err := zoned.CreateVolume(t.Context(), again)
	expectCode(t, err, codes.AlreadyExists)
}
