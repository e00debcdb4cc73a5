package disks_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hawser.dev/hawser/e2e/disks"
)

func TestTwoClustersRaceForOneDiskAndExactlyOneNodeWins(t *testing.T) {
	const rounds, nodes = 20, 16
	region := newRegion(t)
	clients := map[string]client{}
	for _, cluster := range []string{"east", "west"} {
		_, clients[cluster] = serve(t, region, disks.Options{Cluster: cluster})
		for i := range nodes {
			addNode(t, region, cluster, nodeName(i))
		}
	}
	disk := create(t, clients["east"], createRequest("data"))
	for round := range rounds {
		winners := race(t, clients, disk, nodes)
		if len(winners) != 1 {
			t.Fatalf("round %d: attached to %v, want exactly one", round, winners)
		}
		cluster, node, _ := strings.Cut(winners[0], "/")
		detach(t, clients[cluster], disk, node)
	}
	events := must[[]disks.AttachmentEvent](t)(region.Attachments())
	if len(events) != 2*rounds {
		t.Errorf("the log has %d entries, want an attach and a detach for each of %d rounds", len(events), rounds)
	}
	if double := doubleHolds(events); len(double) > 0 {
		t.Errorf("attached while held: %+v", double)
	}
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// race attaches a disk to all nodes of all clusters at once, and returns who
// got it. The others must have been told who has it.
func race(t *testing.T, clients map[string]client, disk string, nodes int) []string {
	var mu sync.Mutex
	var winners []string
	var all sync.WaitGroup
	for cluster, c := range clients {
		for i := range nodes {
			all.Go(func() {
				err := attach(t, c, disk, nodeName(i), singleWriter)
				if err != nil {
					expectCode(t, err, codes.FailedPrecondition)
					if !strings.Contains(err.Error(), "it is attached to node ") {
						t.Errorf("the refusal names no holder: %v", err)
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				winners = append(winners, cluster+"/"+nodeName(i))
			})
		}
	}
	all.Wait()
	return winners
}

// contenderVariable makes a child process of the next test contend for a disk:
// it is "<region>|<cluster>|<handle>".
const contenderVariable = "HAWSER_DISKS_CONTENDER"

func TestProcessesRaceForOneDiskAndNeverHoldItTogether(t *testing.T) {
	if how := os.Getenv(contenderVariable); how != "" {
		parts := strings.Split(how, "|")
		contend(t, parts[0], parts[1], parts[2])
		return
	}
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east"})
	disk := create(t, c, createRequest("data"))
	var children []*exec.Cmd
	for _, cluster := range []string{"east", "west", "north"} {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), contenderVariable+"="+region.Dir()+"|"+cluster+"|"+disk)
		child.Stdout, child.Stderr = os.Stderr, os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, child)
	}
	for _, child := range children {
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}
	events := must[[]disks.AttachmentEvent](t)(region.Attachments())
	if double := doubleHolds(events); len(double) > 0 {
		t.Errorf("attached while held: %+v", double)
	}
	if len(events) < 3*2*contentions {
		t.Errorf("the log has %d entries, want at least %d", len(events), 3*2*contentions)
	}
}

// contentions is how often each process attaches and detaches the disk.
const contentions = 50

func contend(t *testing.T, dir, cluster, disk string) {
	region := must[*disks.Region](t)(disks.OpenRegion(dir))
	addNode(t, region, cluster, "node-0")
	_, c := serve(t, region, disks.Options{Cluster: cluster})
	for held := 0; held < contentions; {
		err := attach(t, c, disk, "node-0", singleWriter)
		switch status.Code(err) {
		case codes.OK:
			held++
			detach(t, c, disk, "node-0")
		case codes.FailedPrecondition:
		default:
			t.Fatal(err)
		}
	}
}

func TestAttach(t *testing.T) {
	for _, test := range []struct {
		name  string
		first csi.VolumeCapability_AccessMode_Mode // on node-0 of cluster east
		then  csi.VolumeCapability_AccessMode_Mode
		in    string // cluster/node
		want  codes.Code
	}{
		{"again on the same node changes nothing", singleWriter, singleWriter, "east/node-0", codes.OK},
		{"in another mode on the same node is refused", singleWriter, manyReaders, "east/node-0", codes.AlreadyExists},
		{"on another node is refused", singleWriter, singleWriter, "east/node-1", codes.FailedPrecondition},
		{"on a node of the same name in another cluster is refused", singleWriter, singleWriter, "west/node-0", codes.FailedPrecondition},
		{"on another node in a multi-node mode is done", manyReaders, manyReaders, "east/node-1", codes.OK},
		{"in another cluster in a multi-node mode is done", manyReaders, manyReaders, "west/node-0", codes.OK},
		{"by a single writer beside many readers is refused", manyReaders, singleWriter, "east/node-1", codes.FailedPrecondition},
		{"by a reader beside a single writer is refused", singleWriter, manyReaders, "east/node-1", codes.FailedPrecondition},
		{"to a node that is not known is not found", singleWriter, singleWriter, "east/node-7", codes.NotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			region := newRegion(t)
			clients := map[string]client{}
			for _, cluster := range []string{"east", "west"} {
				_, clients[cluster] = serve(t, region, disks.Options{Cluster: cluster})
				addNode(t, region, cluster, "node-0")
				addNode(t, region, cluster, "node-1")
			}
			disk := create(t, clients["east"], createRequest("data"))
			if err := attach(t, clients["east"], disk, "node-0", test.first); err != nil {
				t.Fatal(err)
			}
			cluster, node, _ := strings.Cut(test.in, "/")
			expectCode(t, attach(t, clients[cluster], disk, node, test.then), test.want)
		})
	}
}

func TestAttachAcrossZonesIsRefused(t *testing.T) {
	region := newRegion(t)
	_, a := serve(t, region, disks.Options{Cluster: "east", Node: "node-a", Zone: "zone-a"})
	_, b := serve(t, region, disks.Options{Cluster: "east", Node: "node-b", Zone: "zone-b"})
	disk := create(t, a, createRequest("data"))
	expectCode(t, attach(t, b, disk, "node-b", singleWriter), codes.FailedPrecondition)
	expectCode(t, attach(t, b, disk, "node-a", singleWriter), codes.OK)
}

func TestDetachLeavesTheHoldsOfOtherClusters(t *testing.T) {
	region := newRegion(t)
	_, east := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	_, west := serve(t, region, disks.Options{Cluster: "west", Node: "node-0"})
	disk := create(t, east, createRequest("data"))
	if err := attach(t, east, disk, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	detach(t, west, disk, "node-0")
	detach(t, west, disk, "")
	expectCode(t, attach(t, west, disk, "node-0", singleWriter), codes.FailedPrecondition)
	detach(t, east, disk, "")
	expectCode(t, attach(t, west, disk, "node-0", singleWriter), codes.OK)
}

func TestAttachmentsAreLoggedInOrder(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	disk := create(t, c, createRequest("data"))
	for range 2 {
		if err := attach(t, c, disk, "node-0", singleWriter); err != nil {
			t.Fatal(err)
		}
		detach(t, c, disk, "node-0")
	}
	var got []string
	for _, event := range must[[]disks.AttachmentEvent](t)(region.Attachments()) {
		got = append(got, fmt.Sprint(event.Event, " ", event.Disk == disk, " ", event.Cluster, "/", event.Node))
	}
	want := []string{
		"attach true east/node-0", "detach true east/node-0",
		"attach true east/node-0", "detach true east/node-0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteOfAnAttachedDiskIsRefused(t *testing.T) {
	region := newRegion(t)
	_, c := serve(t, region, disks.Options{Cluster: "east", Node: "node-0"})
	disk := create(t, c, createRequest("data"))
	if err := attach(t, c, disk, "node-0", singleWriter); err != nil {
		t.Fatal(err)
	}
	_, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: disk})
	expectCode(t, err, codes.FailedPrecondition)
	if _, err := region.Disk(disk); err != nil {
		t.Error(err)
	}
	detach(t, c, disk, "node-0")
	_, err = c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: disk})
	expectCode(t, err, codes.OK)
	expectEmpty(t, region)
}
