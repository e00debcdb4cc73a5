package restore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

func TestCodeOf(t *testing.T) {
	const rpc = "rpc error: code = %s desc = volume disk-0 %s"
	tests := []struct {
		name    string
		failure storagev1.VolumeError
		want    codes.Code
	}{
		{"the attacher gives the code", storagev1.VolumeError{ErrorCode: ptr.To(int32(codes.NotFound))}, codes.NotFound},
		{"the attacher's code counts, not the message", storagev1.VolumeError{ErrorCode: ptr.To(int32(codes.Internal)), Message: fmt.Sprintf(rpc, "NotFound", "not found")}, codes.Internal},
		{"an older attacher has NOT_FOUND in the message", storagev1.VolumeError{Message: fmt.Sprintf(rpc, "NotFound", "not found")}, codes.NotFound},
		{"an older attacher has FAILED_PRECONDITION in the message", storagev1.VolumeError{Message: fmt.Sprintf(rpc, "FailedPrecondition", "is attached to node-9")}, codes.FailedPrecondition},
		{"another code in the message", storagev1.VolumeError{Message: fmt.Sprintf(rpc, "Internal", "says no")}, codes.Unknown},
		{"the words of a code elsewhere in the message", storagev1.VolumeError{Message: "driver is NotFound"}, codes.Unknown},
		{"no message", storagev1.VolumeError{}, codes.Unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := codeOf(&test.failure); got != test.want {
				t.Errorf("code %s, want %s", got, test.want)
			}
		})
	}
}

func TestAnswerOf(t *testing.T) {
	failed := func(code codes.Code, message string) storagev1.VolumeAttachmentStatus {
		return storagev1.VolumeAttachmentStatus{AttachError: &storagev1.VolumeError{ErrorCode: ptr.To(int32(code)), Message: message}}
	}
	tests := []struct {
		name   string
		handle string
		status storagev1.VolumeAttachmentStatus
		want   Presence // "" for no answer yet
	}{
		{"attached: it is there", "vol-1a2b", storagev1.VolumeAttachmentStatus{Attached: true}, DiskPresent},
		{"attached at last, after an error", "vol-1a2b", storagev1.VolumeAttachmentStatus{Attached: true, AttachError: &storagev1.VolumeError{Message: "timeout"}}, DiskPresent},
		{"nothing said yet", "vol-1a2b", storagev1.VolumeAttachmentStatus{}, ""},
		{"a detach error is no answer", "vol-1a2b", storagev1.VolumeAttachmentStatus{DetachError: &storagev1.VolumeError{Message: "rpc error: code = NotFound desc = vol-1a2b"}}, ""},
		{"NOT_FOUND that names the disk: it is gone", "vol-1a2b", failed(codes.NotFound, "volume vol-1a2b not found"), DiskGone},
		{"NOT_FOUND of a node whose name holds the handle: not known", "vol-1a2b", failed(codes.NotFound, "node vol-1a2b-7 not found"), DiskUnknown},
		{"NOT_FOUND that may name a node or the disk: not known", "1", failed(codes.NotFound, "node 1 not found"), DiskUnknown},
		{"NOT_FOUND that names the end of a long handle: it is gone", "projects/p/zones/z/disks/pvc-1a2b", failed(codes.NotFound, "disk pvc-1a2b was not found"), DiskGone},
		{"NOT_FOUND of the node: nothing is known of the disk", "vol-1a2b", failed(codes.NotFound, "node node-1 not found"), DiskUnknown},
		{"NOT_FOUND of the node, and a handle that ends with a slash: nothing is known of the disk", "shares/vol-1a2b/", failed(codes.NotFound, "node node-1 not found"), DiskUnknown},
		{"NOT_FOUND of a disk whose handle ends with a slash: it is gone", "shares/vol-1a2b/", failed(codes.NotFound, "share vol-1a2b not found"), DiskGone},
		{"FAILED_PRECONDITION: it is attached elsewhere", "vol-1a2b", failed(codes.FailedPrecondition, "volume vol-1a2b is attached to node-9"), DiskInUse},
		{"any other error: nothing is known of the disk", "vol-1a2b", failed(codes.Internal, "volume vol-1a2b not found"), DiskUnknown},
		{"a timeout", "vol-1a2b", failed(codes.DeadlineExceeded, "context deadline exceeded"), DiskUnknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			attachment := &storagev1.VolumeAttachment{
				Spec: storagev1.VolumeAttachmentSpec{NodeName: "node-1", Source: storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{
					PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: shopDriver, VolumeHandle: test.handle}},
				}}},
				Status: test.status,
			}
			state, answer := answerOf(attachment)
			if answer != (test.want != "") || state.Presence != test.want {
				t.Fatalf("answer %v, %+v, want %q", answer, state, test.want)
			}
			if failure := test.status.AttachError; answer && !test.status.Attached && state.Message != failure.Message {
				t.Errorf("message %q, want the driver's own: %q", state.Message, failure.Message)
			}
		})
	}
}

func inZone(zone string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
	}}}}
}

// What can be known of a disk without asking the driver, and which node it is
// asked for on.
func TestAskFor(t *testing.T) {
	node := func(name, zone string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": zone}}}
	}
	hasDriver := func(name string) storagev1.CSINode {
		return storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: shopDriver}}}}
	}
	nodes := []corev1.Node{node("node-1", "a"), node("node-2", "b"), node("node-3", "a")}
	attached := func(o *Observed, volume string, attached bool) {
		o.Attachments = append(o.Attachments, storagev1.VolumeAttachment{
			Spec:   storagev1.VolumeAttachmentSpec{NodeName: "node-7", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
			Status: storagev1.VolumeAttachmentStatus{Attached: attached},
		})
	}
	tests := []struct {
		name     string
		given    func(*Observed)
		volume   func(*corev1.PersistentVolume)
		index    int
		node     string // that it is asked for on; "" if it is not asked for
		presence Presence
		message  string
	}{
		{name: "it is asked for on the first node", node: "node-1", presence: DiskUnknown, message: "did not answer within 1m0s"},
		{name: "the next disk is asked for on the next node", index: 1, node: "node-3", presence: DiskUnknown, message: "did not answer"},
		{name: "and the third on the first again", index: 2, node: "node-1", presence: DiskUnknown, message: "did not answer"},
		{name: "it is asked for on a node that can reach it", volume: func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = inZone("a") }, index: 1, node: "node-3", presence: DiskUnknown, message: "did not answer"},
		{name: "no node that can reach it has the driver", volume: func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = inZone("b") }, presence: DiskUnknown, message: "no node that can reach it has driver " + shopDriver},
		{name: "no node has the driver", given: func(o *Observed) { o.Nodes = nil }, presence: DiskUnknown, message: "no node"},
		{name: "the driver does not attach disks", given: func(o *Observed) { o.Drivers[0].Spec.AttachRequired = ptr.To(false) }, presence: DiskUnknown, message: "does not attach disks"},
		{name: "a driver without a CSIDriver attaches disks", given: func(o *Observed) { o.Drivers = nil }, node: "node-1", presence: DiskUnknown, message: "did not answer"},
		{name: "it is attached in this cluster", given: func(o *Observed) {
			o.haveVolume(0, corev1.VolumeReleased)
			attached(o, "pv-redis-0", true)
		}, presence: DiskPresent, message: "it is attached to node node-7"},
		{name: "it is about to be attached in this cluster: that says nothing", given: func(o *Observed) {
			o.haveVolume(0, corev1.VolumeReleased)
			attached(o, "pv-redis-0", false)
		}, node: "node-1", presence: DiskUnknown, message: "did not answer"},
		{name: "another disk is attached in this cluster", given: func(o *Observed) {
			o.haveVolume(1, corev1.VolumeReleased)
			attached(o, "pv-redis-1", true)
		}, node: "node-1", presence: DiskUnknown, message: "did not answer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := emptyCluster()
			observed.Nodes = []storagev1.CSINode{hasDriver("node-1"), hasDriver("node-3")}
			if test.given != nil {
				test.given(observed)
			}
			volume := redisVolume(0)
			volume.Spec.MountOptions = []string{"noatime"}
			if test.volume != nil {
				test.volume(&volume)
			}
			attachment, state := newLookup(observed).askFor(catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}, volume, nodes, test.index)
			if state.Presence != test.presence || !strings.Contains(state.Message, test.message) {
				t.Errorf("state %+v, want %s and a message that says %q", state, test.presence, test.message)
			}
			if test.node == "" {
				if attachment != nil {
					t.Errorf("it is asked for on node %s", attachment.Spec.NodeName)
				}
				return
			}
			if attachment == nil {
				t.Fatal("it is not asked for")
			}
			want := storagev1.VolumeAttachmentSpec{
				Attacher: shopDriver, NodeName: test.node,
				Source: storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{
					PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: volume.Spec.CSI},
					AccessModes:            volume.Spec.AccessModes, MountOptions: []string{"noatime"}, VolumeMode: volume.Spec.VolumeMode,
					PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				}},
			}
			if diff := cmp.Diff(want, attachment.Spec); diff != "" {
				t.Errorf("VolumeAttachment (-want +got):\n%s", diff)
			}
			if attachment.Labels[checkLabel] == "" {
				t.Error("without its label the next check cannot remove it")
			}
		})
	}
}

func TestChecksOfDifferentDisksHaveDifferentNames(t *testing.T) {
	names := map[string]catalog.Disk{}
	nodes := []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}}
	observed := emptyCluster()
	observed.Nodes[0].Spec.Drivers = append(observed.Nodes[0].Spec.Drivers, storagev1.CSINodeDriver{Name: "other.example.com"})
	for _, key := range []catalog.Disk{{Driver: shopDriver, Handle: "disk-0"}, {Driver: shopDriver, Handle: "disk-1"}, {Driver: "other.example.com", Handle: "disk-0"}} {
		for range 2 {
			attachment, _ := newLookup(observed).askFor(key, redisVolume(0), nodes, 0)
			if other, taken := names[attachment.Name]; taken && other != key {
				t.Errorf("%v and %v are asked for under one name", other, key)
			}
			names[attachment.Name] = key
		}
	}
	if len(names) != 3 {
		t.Errorf("%d names for 3 disks: a name must not change from one run to the next", len(names))
	}
}
