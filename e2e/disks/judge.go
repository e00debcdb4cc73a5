package disks

import (
	"errors"
	"fmt"
)

// Overlap is a disk that two clusters had at once.
type Overlap struct {
	Disk string
	Held AttachmentEvent // by which the first cluster had got it
	Came AttachmentEvent // by which the other got it too
}

func (o Overlap) Error() string {
	return fmt.Sprintf("disk %s was attached to node %s of cluster %s at %s while node %s of cluster %s had it since %s",
		o.Disk, o.Came.Node, o.Came.Cluster, o.Came.Time.Format(logTime), o.Held.Node, o.Held.Cluster, o.Held.Time.Format(logTime))
}

// logTime shows the order of two events of a busy second.
const logTime = "15:04:05.000000"

// Overlaps judges an attachment log: it returns every attach of a disk in one
// cluster while another cluster had it, in whatever mode. Several nodes of one
// cluster are no overlap, nor is a repeated entry.
func Overlaps(events []AttachmentEvent) []Overlap {
	type holder struct{ cluster, node string }
	holds := map[string]map[holder]AttachmentEvent{} // by disk
	var overlaps []Overlap
	for _, event := range events {
		held, by := holds[event.Disk], holder{event.Cluster, event.Node}
		if event.Event == Detach {
			delete(held, by)
			continue
		}
		for other, since := range held {
			if other.cluster != by.cluster {
				overlaps = append(overlaps, Overlap{Disk: event.Disk, Held: since, Came: event})
			}
		}
		if held == nil {
			held = map[holder]AttachmentEvent{}
			holds[event.Disk] = held
		}
		if _, again := held[by]; !again {
			held[by] = event
		}
	}
	return overlaps
}

// Judge fails if, at any moment since the region was made, a disk was attached
// in two clusters at once. To mean something it wants drivers that do not
// prevent that by themselves: Options.Blind.
func (r *Region) Judge() error {
	events, err := r.Attachments()
	if err != nil {
		return err
	}
	var found []error
	for _, overlap := range Overlaps(events) {
		found = append(found, overlap)
	}
	return errors.Join(found...)
}
