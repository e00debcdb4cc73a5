package disks

import (
	"fmt"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const gib = 1 << 30

func TestChooseCapacity(t *testing.T) {
	for _, test := range []struct {
		name            string
		required, limit int64
		least           int64
		want            int64
		code            codes.Code
	}{
		{"nothing asked for is the default", 0, 0, 0, defaultCapacity, codes.OK},
		{"what is required is given to the byte", gib + 1, 0, 0, gib + 1, codes.OK},
		{"the limit caps the default", 0, gib / 2, 0, gib / 2, codes.OK},
		{"the source's size is the default", 0, 0, 5 * gib, 5 * gib, codes.OK},
		{"more than the source is given", 6 * gib, 0, 5 * gib, 6 * gib, codes.OK},
		{"less than the source is refused", 4 * gib, 0, 5 * gib, 0, codes.OutOfRange},
		{"a limit below the source is refused", 0, 4 * gib, 5 * gib, 0, codes.OutOfRange},
		{"a limit below what is required is refused", 2 * gib, gib, 0, 0, codes.OutOfRange},
		{"more than there is is refused", maxCapacity + 1, 0, 0, 0, codes.OutOfRange},
		{"less than nothing is refused", -1, 0, 0, 0, codes.InvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := chooseCapacity(&csi.CapacityRange{RequiredBytes: test.required, LimitBytes: test.limit}, test.least)
			if got != test.want || status.Code(err) != test.code {
				t.Errorf("%d, %v; want %d, %s", got, err, test.want, test.code)
			}
		})
	}
}

func TestRequestIsSatisfiedBy(t *testing.T) {
	have := Disk{Name: "data", CapacityBytes: 2 * gib, Mode: Filesystem, Zone: "a", Source: &Source{Snapshot: "snap-1"}}
	same := diskRequest{Disk: Disk{Name: "data", Mode: Filesystem, Source: &Source{Snapshot: "snap-1"}}}
	for _, test := range []struct {
		name string
		want func(*diskRequest)
		code codes.Code
	}{
		{"the same request", func(*diskRequest) {}, codes.OK},
		{"a smaller size", func(r *diskRequest) { r.capacity = &csi.CapacityRange{RequiredBytes: gib} }, codes.OK},
		{"a larger size", func(r *diskRequest) { r.capacity = &csi.CapacityRange{RequiredBytes: 3 * gib} }, codes.AlreadyExists},
		{"a lower limit", func(r *diskRequest) { r.capacity = &csi.CapacityRange{LimitBytes: gib} }, codes.AlreadyExists},
		{"another mode", func(r *diskRequest) { r.Mode = Block }, codes.AlreadyExists},
		{"another source", func(r *diskRequest) { r.Source = &Source{Disk: "vol-1"} }, codes.AlreadyExists},
		{"no source", func(r *diskRequest) { r.Source = nil }, codes.AlreadyExists},
		{"a zone that is one of several", func(r *diskRequest) { r.zones = []string{"b", "a"} }, codes.OK},
		{"another zone", func(r *diskRequest) { r.zones = []string{"b"} }, codes.AlreadyExists},
		{"another name of the same hash", func(r *diskRequest) { r.Name = "other" }, codes.AlreadyExists},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := same
			test.want(&want)
			if err := want.satisfiedBy(have); status.Code(err) != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
}

func TestZonesOf(t *testing.T) {
	const key = "topology.disks.hawser.dev/zone"
	in := func(zones ...string) (topologies []*csi.Topology) {
		for _, zone := range zones {
			topologies = append(topologies, topologyOf(zone, key))
		}
		return topologies
	}
	for _, test := range []struct {
		name        string
		requirement *csi.TopologyRequirement
		want        []string
		code        codes.Code
	}{
		{"no requirement allows any", nil, nil, codes.OK},
		{"the preferred come first", &csi.TopologyRequirement{Requisite: in("a", "b", "c"), Preferred: in("b")}, []string{"b", "a", "c"}, codes.OK},
		{"a requirement without the key is refused", &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"rack": "1"}}}}, nil, codes.InvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := zonesOf(test.requirement, key)
			if diff := cmp.Diff(test.want, got); diff != "" || status.Code(err) != test.code {
				t.Errorf("%v, want %s\n%s", err, test.code, diff)
			}
		})
	}
}

func TestVolumeMode(t *testing.T) {
	access := &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}
	mount := &csi.VolumeCapability{AccessMode: access, AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}}
	block := &csi.VolumeCapability{AccessMode: access, AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}
	for _, test := range []struct {
		name         string
		capabilities []*csi.VolumeCapability
		want         VolumeMode
		code         codes.Code
	}{
		{"mount", []*csi.VolumeCapability{mount, mount}, Filesystem, codes.OK},
		{"block", []*csi.VolumeCapability{block}, Block, codes.OK},
		{"both are refused", []*csi.VolumeCapability{mount, block}, "", codes.InvalidArgument},
		{"none is refused", nil, "", codes.InvalidArgument},
		{"one without type is refused", []*csi.VolumeCapability{{AccessMode: access}}, "", codes.InvalidArgument},
		{"one without access mode is refused", []*csi.VolumeCapability{{AccessType: mount.GetAccessType()}}, "", codes.InvalidArgument},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := volumeMode(test.capabilities...); got != test.want || status.Code(err) != test.code {
				t.Errorf("%q, %v; want %q, %s", got, err, test.want, test.code)
			}
		})
	}
}

func TestPagesTogetherAreTheListAlsoWhenDisksGoAway(t *testing.T) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf("vol-%016x", i))
	}
	for limit := int32(0); limit < 12; limit++ {
		var got []string
		left := slices.Clone(all)
		for token := ""; ; {
			cut, next, err := page(left, token, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, cut...)
			if token = next; token == "" {
				break
			}
			left = slices.DeleteFunc(left, func(handle string) bool { return handle == token })
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("in pages of %d:\n%s", limit, diff)
		}
	}
	if _, _, err := page(all, "next", 0); status.Code(err) != codes.Aborted {
		t.Errorf("a token of somebody else's: %v", err)
	}
}
