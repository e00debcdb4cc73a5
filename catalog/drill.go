package catalog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// DrillLabel marks everything in a cluster that a drill made, with the drill's
// id as its value. What carries it goes with the drill; a backup leaves it out.
const DrillLabel = "hawser.dev/drill"

// DrillID names a drill. Ids sort by the time at which drills began.
type DrillID string

// NewDrillID makes the id of a drill of a plan. No two are the same.
func NewDrillID(plan string, started time.Time) DrillID {
	var random [4]byte
	rand.Read(random[:]) // never fails
	return DrillID(started.UTC().Format(pointTime) + "-" + plan + "-" + hex.EncodeToString(random[:]))
}

// Plan returns the plan that the drill is of, or "" if id is not a drill's.
func (id DrillID) Plan() string { return PointID(id).Plan() }

// Mark is the part of the id that tells drills apart, 8 hex digits: the names
// of what a drill makes end with it. "" if id is not a drill's.
func (id DrillID) Mark() string {
	if id.Plan() == "" {
		return ""
	}
	return string(id[strings.LastIndexByte(string(id), '-')+1:])
}

// DrillOutcome says whether data could be brought back.
type DrillOutcome string

const (
	DrillPassed DrillOutcome = "passed" // of a drill: every claim passed
	DrillFailed DrillOutcome = "failed"
)

// Drill is the evidence of one restore for practice: a point of a plan was
// brought back from its snapshots under other names, each volume was bound and
// checked, and all of it was removed again.
type Drill struct {
	Format  int       `json:"format"`
	ID      DrillID   `json:"id"`
	Cluster Cluster   `json:"cluster"` // that it was held in, and that the point is of
	Plan    string    `json:"plan"`
	Point   PointID   `json:"point"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"` // of the last check; what was made is removed after it
	// BoundAfter and CheckedAfter are the seconds from Started until the last
	// volume was bound, and until the last was checked: the time that it took to
	// have the data again. BoundAfter is 0 if some volume was not bound.
	BoundAfter   float64      `json:"boundAfter,omitempty"`
	CheckedAfter float64      `json:"checkedAfter"`
	Outcome      DrillOutcome `json:"outcome"`
	Reasons      []string     `json:"reasons,omitempty"` // why it failed, as far as that is not about one claim
	Image        string       `json:"image"`             // of the Pods that checked
	Command      []string     `json:"command,omitempty"` // the plan's; empty: each volume was read
	Claims       []DrillClaim `json:"claims"`
	Writer       string       `json:"writer"` // program and version
}

// DrillClaim is how one claim fared.
type DrillClaim struct {
	Namespace    string         `json:"namespace"` // as in the point
	Name         string         `json:"name"`
	Snapshot     SnapshotHandle `json:"snapshot,omitempty"`
	Outcome      DrillOutcome   `json:"outcome"`
	Stage        string         `json:"stage"`             // how far it came: plan, bind, start, check, or done
	Message      string         `json:"message,omitempty"` // why it failed
	BoundAfter   float64        `json:"boundAfter,omitempty"`
	CheckedAfter float64        `json:"checkedAfter,omitempty"`
	Output       string         `json:"output,omitempty"` // the end of what the check printed
}

// drillText bounds each text of a drill's evidence, in bytes.
const drillText = 4096

func drillsPrefix(clusterUID string) string { return clusterPrefix(clusterUID) + "drills/" }

func drillKey(clusterUID string, id DrillID) string { return drillsPrefix(clusterUID) + string(id) }

// RecordDrill writes the evidence of a drill. Long texts are cut: of Output the
// end is kept, of the others the beginning. It fails with ErrExist if there is
// evidence of the drill already. It costs one write.
func (c *Catalog) RecordDrill(ctx context.Context, d Drill) error {
	if err := validateClusterUID(d.Cluster.UID); err != nil {
		return err
	}
	if d.ID.Plan() != d.Plan || d.Plan == "" {
		return fmt.Errorf("record drill %q: it is not the id of a drill of plan %q", d.ID, d.Plan)
	}
	d.Format, d.Reasons, d.Claims = Format, firstReasons(d.Reasons), slices.Clone(d.Claims)
	for i := range d.Claims {
		claim := &d.Claims[i]
		claim.Message = strings.ToValidUTF8(claim.Message[:min(len(claim.Message), drillText)], "")
		claim.Output = strings.ToValidUTF8(claim.Output[max(0, len(claim.Output)-drillText):], string(utf8.RuneError))
	}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := c.bucket.Create(ctx, drillKey(d.Cluster.UID, d.ID), data); err != nil {
		return fmt.Errorf("record drill %s: %w", d.ID, err)
	}
	return nil
}

// Drills lists the ids of the drills of a cluster that there is evidence of, in
// order. It costs one listing.
func (c *Catalog) Drills(ctx context.Context, clusterUID string) ([]DrillID, error) {
	if err := validateClusterUID(clusterUID); err != nil {
		return nil, err
	}
	prefix := drillsPrefix(clusterUID)
	var ids []DrillID
	for object, err := range c.bucket.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list drills: %w", err)
		}
		if id := DrillID(strings.TrimPrefix(object.Key, prefix)); id.Plan() != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Drill reads the evidence of one drill. It fails with ErrNotExist if there is
// none. It costs one read.
func (c *Catalog) Drill(ctx context.Context, clusterUID string, id DrillID) (Drill, error) {
	data, err := c.bucket.Get(ctx, drillKey(clusterUID, id), c.limits.Compressed)
	if err != nil {
		return Drill{}, fmt.Errorf("read drill %s: %w", id, err)
	}
	var d Drill
	if err := decodeJSON(data, &d); err != nil {
		return Drill{}, fmt.Errorf("drill %s: %w", id, err)
	}
	if d.ID != id || d.Cluster.UID != clusterUID || d.Plan != id.Plan() {
		return Drill{}, fmt.Errorf("drill %s: %w: it is drill %s of plan %s of cluster %s", id, ErrCorrupt, d.ID, d.Plan, d.Cluster.UID)
	}
	return d, nil
}

// drillDepth is how many drills of a plan are read at most to find a good one.
const drillDepth = 50

// LastDrills reads the newest drill of a plan among ids, as Drills gives them,
// and the newest that passed, if it is among its 50 newest; nil for none.
// Evidence that cannot be understood is passed over, and proves nothing. It
// costs one read if the newest has passed.
func (c *Catalog) LastDrills(ctx context.Context, clusterUID, plan string, ids []DrillID) (last, passed *Drill, err error) {
	read := 0
	for _, id := range slices.Backward(ids) {
		if id.Plan() != plan {
			continue
		}
		if read++; read > drillDepth {
			break
		}
		d, err := c.Drill(ctx, clusterUID, id)
		if errors.Is(err, ErrNotExist) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewerFormat) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if last == nil {
			last = &d
		}
		if d.Outcome == DrillPassed {
			return last, &d, nil
		}
	}
	return last, nil, nil
}
