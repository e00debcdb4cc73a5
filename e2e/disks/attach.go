package disks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Node is a machine that disks can be attached to. The same ID in two clusters
// is two nodes.
type Node struct {
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
	Zone    string `json:"zone,omitempty"`
}

// AddNode makes a node known, or replaces what is known of it. Serve does it
// for the node that it serves; kwok nodes have nobody else to do it.
func (r *Region) AddNode(node Node) error {
	if node.ID == "" || node.Cluster == "" {
		return fmt.Errorf("add node %+v: it needs an id and a cluster", node)
	}
	return writeRecord(r.nodePath(node.Cluster, node.ID), node)
}

func (r *Region) node(cluster, id string) (Node, error) {
	node, err := readRecord[Node](r.nodePath(cluster, id))
	if err != nil {
		return Node{}, fmt.Errorf("node %q of cluster %q: %w", id, cluster, err)
	}
	return node, nil
}

func (r *Region) nodePath(cluster, id string) string {
	return filepath.Join(r.dir, nodesFolder, shortHash(cluster+"\x00"+id)+".json")
}

// Attachment is one node's hold on a disk.
type Attachment struct {
	Cluster    string    `json:"cluster"`
	Node       string    `json:"node"`
	AccessMode string    `json:"accessMode"` // of the CSI specification, as SINGLE_NODE_WRITER
	ReadOnly   bool      `json:"readOnly,omitempty"`
	Since      time.Time `json:"since"`
}

func (a Attachment) String() string {
	return fmt.Sprintf("node %s of cluster %s since %s, mode %s", a.Node, a.Cluster, a.Since.Format(time.RFC3339), a.AccessMode)
}

func (a Attachment) on(cluster, node string) bool { return a.Cluster == cluster && a.Node == node }

func (a Attachment) shared() bool { return strings.HasPrefix(a.AccessMode, "MULTI_NODE_") }

// attachmentOn returns the hold that a node has on the disk.
func (d Disk) attachmentOn(cluster, node string) (Attachment, bool) {
	for _, have := range d.Attachments {
		if have.on(cluster, node) {
			return have, true
		}
	}
	return Attachment{}, false
}

// admit decides whether the disk may be attached as want says: there is room
// beside other nodes only if they and want are all of a multi-node mode. One who
// is blind does not see the nodes of other clusters.
func (d Disk) admit(want Attachment, node Node, blind bool) error {
	if d.Zone != "" && d.Zone != node.Zone {
		return status.Errorf(codes.FailedPrecondition, "attach disk %s: it is in zone %q, node %s in zone %q", d.Handle, d.Zone, node.ID, node.Zone)
	}
	for _, have := range d.Attachments {
		if blind && have.Cluster != want.Cluster {
			continue
		}
		if !have.shared() || !want.shared() {
			return status.Errorf(codes.FailedPrecondition, "attach disk %s to node %s of cluster %s: it is attached to %s; detach it there first", d.Handle, want.Node, want.Cluster, have)
		}
	}
	return nil
}

// attach attaches a disk, unless it is attached in just this way already.
func (r *Region) attach(handle string, want Attachment, blind bool) error {
	_, err := r.updateDisk(handle, func(disk *Disk) error {
		node, err := r.node(want.Cluster, want.Node)
		if err != nil {
			return fmt.Errorf("attach disk %s: %w", handle, err)
		}
		if have, ok := disk.attachmentOn(want.Cluster, want.Node); ok {
			if have.AccessMode != want.AccessMode || have.ReadOnly != want.ReadOnly {
				return status.Errorf(codes.AlreadyExists, "attach disk %s: it is attached there in another way: %s, read-only %t", handle, have, have.ReadOnly)
			}
			return nil
		}
		if err := disk.admit(want, node, blind); err != nil {
			return err
		}
		disk.Attachments = append(disk.Attachments, want)
		return r.logAttachment(eventOf(Attach, handle, want))
	})
	return err
}

// detach ends the hold of a node on a disk, or of all nodes of the cluster if
// node is "". It is no error if there is no such hold, or no such disk. The
// holds of other clusters are theirs.
func (r *Region) detach(handle, cluster, node string) error {
	_, err := r.updateDisk(handle, func(disk *Disk) error {
		var kept []Attachment
		for _, have := range disk.Attachments {
			if have.Cluster != cluster || (node != "" && have.Node != node) {
				kept = append(kept, have)
				continue
			}
			if err := r.logAttachment(eventOf(Detach, handle, have)); err != nil {
				return err
			}
		}
		disk.Attachments = kept
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Event is what an entry of the attachment log records.
type Event string

// The two events.
const (
	Attach Event = "attach"
	Detach Event = "detach"
)

// AttachmentEvent is an entry of the attachment log. The log is the judge of
// who could write to a disk: entries of one disk are in the order in which they
// happened, and each is written, under the disk's lock, before it takes effect,
// so that no hold is missing from it. A driver killed in between repeats the
// entry when the call is repeated. The loss of a disk is not an entry.
type AttachmentEvent struct {
	Time       time.Time `json:"time"`
	Event      Event     `json:"event"`
	Disk       string    `json:"disk"`
	Cluster    string    `json:"cluster"`
	Node       string    `json:"node"`
	AccessMode string    `json:"accessMode"`
	ReadOnly   bool      `json:"readOnly,omitempty"`
}

func eventOf(event Event, handle string, a Attachment) AttachmentEvent {
	return AttachmentEvent{
		Time: time.Now(), Event: event, Disk: handle,
		Cluster: a.Cluster, Node: a.Node, AccessMode: a.AccessMode, ReadOnly: a.ReadOnly,
	}
}

func (r *Region) logPath() string { return filepath.Join(r.dir, "attachments.jsonl") }

// logAttachment appends one line. The caller holds the disk's lock.
func (r *Region) logAttachment(event AttachmentEvent) error {
	line, err := json.Marshal(event)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(r.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

// Attachments returns the attachment log of the region, of all clusters and
// all time, oldest first.
func (r *Region) Attachments() ([]AttachmentEvent, error) {
	data, err := os.ReadFile(r.logPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1] // another process may be writing the last line
	var events []AttachmentEvent
	for line := range bytes.Lines(whole) {
		var event AttachmentEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", r.logPath(), len(events)+1, err)
		}
		events = append(events, event)
	}
	return events, nil
}

// PowerOff detaches all disks that nodes of the cluster hold, as a cloud does
// when the machines of a cluster are deleted.
func (r *Region) PowerOff(cluster string) error {
	disks, err := r.Disks()
	if err != nil {
		return err
	}
	for _, disk := range disks {
		if err := r.detach(disk.Handle, cluster, ""); err != nil {
			return err
		}
	}
	return nil
}
