package disks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"hawser.dev/hawser/e2e/disks"
)

func TestOverlaps(t *testing.T) {
	for _, test := range []struct {
		name string
		log  string // + attach, - detach, of disk:cluster/node
		want []string
	}{
		{"nothing happened", "", nil},
		{"one cluster after the other", "+d:east/1 -d:east/1 +d:west/1 -d:west/1 +d:east/2", nil},
		{"two clusters at once", "+d:east/1 +d:west/1", []string{"d west/1 while east/1"}},
		{"nodes of one name in two clusters", "+d:east/1 +d:west/1 -d:west/1", []string{"d west/1 while east/1"}},
		{"a detach by the other cluster ends nothing", "+d:east/1 -d:west/1 +d:west/1", []string{"d west/1 while east/1"}},
		{"a detach from another node ends nothing", "+d:east/1 -d:east/2 +d:west/1", []string{"d west/1 while east/1"}},
		{"two nodes of one cluster", "+d:east/1 +d:east/2 -d:east/1 -d:east/2 +d:west/1", nil},
		{"one of two nodes still has it", "+d:east/1 +d:east/2 -d:east/1 +d:west/1", []string{"d west/1 while east/2"}},
		{"a repeated entry", "+d:east/1 +d:east/1 -d:east/1 -d:east/1 +d:west/1", nil},
		{"two disks", "+d:east/1 +e:west/1", nil},
		{"it comes back while the other has it", "+d:east/1 -d:east/1 +d:west/1 +d:east/1", []string{"d east/1 while west/1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var events []disks.AttachmentEvent
			for _, entry := range strings.Fields(test.log) {
				disk, by, _ := strings.Cut(entry[1:], ":")
				cluster, node, _ := strings.Cut(by, "/")
				kind := map[byte]disks.Event{'+': disks.Attach, '-': disks.Detach}[entry[0]]
				events = append(events, disks.AttachmentEvent{Event: kind, Disk: disk, Cluster: cluster, Node: node})
			}
			var got []string
			for _, o := range disks.Overlaps(events) {
				got = append(got, fmt.Sprintf("%s %s/%s while %s/%s", o.Disk, o.Came.Cluster, o.Came.Node, o.Held.Cluster, o.Held.Node))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A blind driver lets two clusters have a disk, as storage without a lock does:
// then the judge is the only one who notices.
func TestTheJudgeCatchesWhatABlindDriverAllows(t *testing.T) {
	region := newRegion(t)
	clients := map[string]client{}
	for _, cluster := range []string{"east", "west"} {
		_, clients[cluster] = serve(t, region, disks.Options{Cluster: cluster, Node: "node-0", Blind: true})
		addNode(t, region, cluster, "node-1")
	}
	disk := create(t, clients["east"], createRequest("data"))
	for _, cluster := range []string{"east", "west"} { // one after the other
		if err := attach(t, clients[cluster], disk, "node-0", singleWriter); err != nil {
			t.Fatal(err)
		}
		expectCode(t, attach(t, clients[cluster], disk, "node-1", singleWriter), codes.FailedPrecondition)
		if err := region.Judge(); err != nil {
			t.Errorf("there was no overlap yet: %v", err)
		}
		detach(t, clients[cluster], disk, "node-0")
	}
	for _, cluster := range []string{"east", "west"} { // both at once
		if err := attach(t, clients[cluster], disk, "node-0", singleWriter); err != nil {
			t.Fatal(err)
		}
	}
	detach(t, clients["east"], disk, "node-0")
	err := region.Judge()
	if err == nil || !strings.Contains(err.Error(), "cluster west") || !strings.Contains(err.Error(), "cluster east had it") {
		t.Errorf("the judge says %v of a disk that two clusters had", err)
	}
}
