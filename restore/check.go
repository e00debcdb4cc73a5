package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"hawser.dev/hawser/catalog"
)

// Presence is what is known of a disk.
type Presence string

const (
	DiskPresent Presence = "present"
	DiskGone    Presence = "gone"
	DiskInUse   Presence = "in-use"  // attached where this cluster cannot see it
	DiskUnknown Presence = "unknown" // it could not be checked
)

// DiskState is what a check found out about a disk, and from what.
type DiskState struct {
	Presence Presence
	Message  string
}

const (
	checkLabel = "hawser.dev/check"
	// checkTime bounds the check of all disks of one restore, and separately
	// the time that they need to come off again.
	checkTime = 60 * time.Second
)

// checkDisks finds out whether disks are there by the only means that the
// Kubernetes API has: it asks for each to be attached to a node, through a
// VolumeAttachment that holds the volume's spec inline, so that no
// PersistentVolume is needed, and takes it off again. The driver's answer says
// whether the disk exists, and whether another cluster has it attached.
//
// A disk that cannot be asked about — the driver needs no attaching, or no
// node has the driver — is DiskUnknown. The error is for failures of the
// check itself; attachments that it leaves are removed by the next check.
func (r *Restorer) checkDisks(ctx context.Context, o *lookup, volumes []catalog.Volume, pairs map[catalog.ClaimKey]Pair) error {
	if err := r.endChecks(ctx, o.Attachments); err != nil {
		return err
	}
	var nodes []corev1.Node
	if err := Collect(ctx, "nodes", r.Kubernetes.CoreV1().Nodes().List, &nodes); err != nil {
		return err
	}
	asked := map[string]catalog.Disk{}
	var attachments []*storagev1.VolumeAttachment
	for i, v := range volumes {
		key := v.Disk()
		attachment, state := o.askFor(key, pairs[v.Claim].Volume, nodes, i)
		o.Disks[key] = state
		if attachment != nil {
			asked[attachment.Name] = key
			attachments = append(attachments, attachment)
		}
	}
	if len(attachments) == 0 {
		return nil
	}
	err := r.attach(ctx, attachments)
	if err == nil {
		err = r.awaitAnswers(ctx, asked, o.Disks)
	}
	// The disks come off whatever happened, also after Ctrl-C.
	ended := r.endChecks(context.WithoutCancel(ctx), deref(attachments))
	if err != nil {
		return err
	}
	return ended
}

func deref(attachments []*storagev1.VolumeAttachment) []storagev1.VolumeAttachment {
	out := make([]storagev1.VolumeAttachment, len(attachments))
	for i, a := range attachments {
		out[i] = *a
	}
	return out
}

// askFor returns the attachment that asks about one disk, or what is known
// without asking; i spreads the disks over the nodes.
func (o *lookup) askFor(key catalog.Disk, volume corev1.PersistentVolume, nodes []corev1.Node, i int) (*storagev1.VolumeAttachment, DiskState) {
	for _, existing := range o.volumesOf(key.Driver, key.Handle) {
		if node := o.attached[existing.Name]; node != "" {
			return nil, DiskState{DiskPresent, "it is attached to node " + node}
		}
	}
	if !o.attachable(key.Driver) {
		return nil, DiskState{DiskUnknown, "driver " + key.Driver + " does not attach disks"}
	}
	reach := o.nodesFor(key.Driver, volume, nodes)
	if len(reach) == 0 {
		return nil, DiskState{DiskUnknown, "no node that can reach it has driver " + key.Driver}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", key.Driver, key.Handle))
	// What validation allows of an inline spec, which is what an attacher looks at.
	spec := &corev1.PersistentVolumeSpec{
		PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: volume.Spec.CSI.DeepCopy()},
		AccessModes:                   volume.Spec.AccessModes,
		MountOptions:                  volume.Spec.MountOptions,
		VolumeMode:                    volume.Spec.VolumeMode,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "hawser-check-" + hex.EncodeToString(sum[:10]), Labels: map[string]string{checkLabel: "true"}},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: key.Driver,
			NodeName: reach[i%len(reach)],
			Source:   storagev1.VolumeAttachmentSource{InlineVolumeSpec: spec},
		},
	}, DiskState{DiskUnknown, fmt.Sprintf("the driver did not answer within %s", checkTime)}
}

// nodesFor names the nodes that have the driver and from which volume can be
// reached.
func (o *lookup) nodesFor(driver string, volume corev1.PersistentVolume, nodes []corev1.Node) []string {
	having := sets.New(o.having[driver]...)
	var names []string
	for _, node := range nodes {
		if having.Has(node.Name) && reachable(volume, &node) {
			names = append(names, node.Name)
		}
	}
	return names
}

func reachable(volume corev1.PersistentVolume, node *corev1.Node) bool {
	affinity := volume.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil {
		return true
	}
	match, err := nodeaffinity.NewLazyErrorNodeSelector(affinity.Required).Match(node)
	return err == nil && match
}

func (r *Restorer) attach(ctx context.Context, attachments []*storagev1.VolumeAttachment) error {
	return Each(ctx, attachments, func(ctx context.Context, a *storagev1.VolumeAttachment) error {
		_, err := r.Kubernetes.StorageV1().VolumeAttachments().Create(ctx, a, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("check disk %s: create VolumeAttachment: %w", a.Spec.Source.InlineVolumeSpec.CSI.VolumeHandle, err)
		}
		return nil
	})
}

// awaitAnswers fills in what the driver says of each disk that was asked for.
func (r *Restorer) awaitAnswers(ctx context.Context, asked map[string]catalog.Disk, disks map[catalog.Disk]DiskState) error {
	wctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := Until(wctx, r.checks(), &storagev1.VolumeAttachment{}, nil, func(event watch.Event) (bool, error) {
		a, ok := event.Object.(*storagev1.VolumeAttachment)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		key, ours := asked[a.Name]
		state, answer := answerOf(a)
		if ours && answer {
			disks[key] = state
			delete(asked, a.Name)
		}
		return len(asked) == 0, nil
	})
	if err != nil && wctx.Err() != nil && ctx.Err() == nil {
		return nil // those that did not answer stay unknown
	}
	return err
}

// answerOf reads the driver's answer from an attachment.
func answerOf(a *storagev1.VolumeAttachment) (DiskState, bool) {
	if a.Status.Attached {
		return DiskState{DiskPresent, "it could be attached to node " + a.Spec.NodeName}, true
	}
	failure := a.Status.AttachError
	if failure == nil {
		return DiskState{}, false
	}
	switch code := codeOf(failure); {
	case code == codes.NotFound && namesDisk(failure.Message, a.Spec.Source.InlineVolumeSpec.CSI.VolumeHandle):
		return DiskState{DiskGone, failure.Message}, true
	case code == codes.FailedPrecondition:
		return DiskState{DiskInUse, failure.Message}, true
	}
	return DiskState{DiskUnknown, failure.Message}, true
}

// namesDisk says whether a driver's message names the disk, by its handle or the
// last part of it, as a word of its own. NOT_FOUND may also mean that the node
// is not known (CSI specification, ControllerPublishVolume), so a word that is
// short enough to be part of a node's name says nothing.
func namesDisk(message, handle string) bool {
	handle = strings.TrimRight(handle, "/")
	name := handle[strings.LastIndex(handle, "/")+1:]
	const shortest = 6
	if len(name) < shortest {
		return false
	}
	word := regexp.MustCompile(`(^|[^A-Za-z0-9_-])` + regexp.QuoteMeta(name) + `($|[^A-Za-z0-9_-])`)
	return word.MatchString(message)
}

// codeOf is the gRPC code of the driver's error: older attachers only have it
// in the message.
func codeOf(failure *storagev1.VolumeError) codes.Code {
	if failure.ErrorCode != nil {
		return codes.Code(*failure.ErrorCode)
	}
	for _, code := range []codes.Code{codes.NotFound, codes.FailedPrecondition} {
		if strings.Contains(failure.Message, "code = "+code.String()+" ") {
			return code
		}
	}
	return codes.Unknown
}

// endChecks deletes the attachments that checks made, and waits until they are
// gone, so that no disk stays attached where its Pod does not run.
func (r *Restorer) endChecks(ctx context.Context, attachments []storagev1.VolumeAttachment) error {
	left := map[string]bool{}
	for _, a := range attachments {
		if a.Labels[checkLabel] != "" {
			left[a.Name] = true
		}
	}
	if len(left) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := r.Kubernetes.StorageV1().VolumeAttachments().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: checkLabel})
	if err != nil {
		return fmt.Errorf("end the check of disks: delete VolumeAttachments: %w", err)
	}
	none := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	seen := map[string]bool{}
	err = Until(ctx, r.checks(), &storagev1.VolumeAttachment{}, none, func(event watch.Event) (bool, error) {
		a, ok := event.Object.(*storagev1.VolumeAttachment)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		seen[a.Name] = event.Type != watch.Deleted
		for _, there := range seen {
			if there {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("end the check of disks: VolumeAttachments labelled %s do not go: %w", checkLabel, err)
	}
	return nil
}

// checks lists and watches the attachments that checks made.
func (r *Restorer) checks() cache.ListWatch {
	attachments := r.Kubernetes.StorageV1().VolumeAttachments()
	return ListWatch(attachments.List, attachments.Watch, checkLabel)
}
