package catalog

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"time"
)

// MigrationID names a migration. Ids sort by the time at which migrations began.
type MigrationID string

var migrationPattern = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[0-9a-f]{8}$`)

// NewMigrationID makes the id of a migration. No two are the same.
func NewMigrationID(started time.Time) MigrationID {
	var random [4]byte
	rand.Read(random[:]) // never fails
	return MigrationID(started.UTC().Format(pointTime) + "-" + hex.EncodeToString(random[:]))
}

func (id MigrationID) valid() bool { return migrationPattern.MatchString(string(id)) }

// MigrationWay is how data gets to the other cluster.
type MigrationWay string

const (
	WayMove  MigrationWay = "move"  // on its own disks, which the source gives up
	WayCopy  MigrationWay = "copy"  // on new disks, from snapshots
	WayAdopt MigrationWay = "adopt" // on its own disks, of a cluster that is gone
)

// Migration is all that was decided before anything was done.
type Migration struct {
	Format    int                `json:"format"`
	ID        MigrationID        `json:"id"`
	Way       MigrationWay       `json:"way"`
	Source    Cluster            `json:"source"`
	Target    Cluster            `json:"target"`
	Workloads []MigratedWorkload `json:"workloads,omitempty"`
	Volumes   []MigratedVolume   `json:"volumes"`
	// Mapping is what the user asked to be changed on the way, as the program that
	// began the migration writes it.
	Mapping json.RawMessage `json:"mapping,omitempty"`
	Point   PointID         `json:"point,omitempty"` // "": a fresh one, which a step names
	Started time.Time       `json:"started"`
	Writer  string          `json:"writer"` // program and version
}

// MigratedWorkload is a workload as it was in the source, and its name in the
// target.
type MigratedWorkload struct {
	Kind            string `json:"kind"`
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	TargetNamespace string `json:"targetNamespace"`
	TargetName      string `json:"targetName"`
	Replicas        int32  `json:"replicas"`
	// Policy is what a StatefulSet says becomes of its claims; nil if it says nothing.
	Policy *ClaimPolicy `json:"policy,omitempty"`
}

// ClaimPolicy is a StatefulSet's persistentVolumeClaimRetentionPolicy.
type ClaimPolicy struct {
	WhenDeleted string `json:"whenDeleted,omitempty"`
	WhenScaled  string `json:"whenScaled,omitempty"`
}

// MigratedVolume is one pair of the source and its names in the target. Of a
// copy, the target's volume is not known beforehand.
type MigratedVolume struct {
	Claim        ClaimKey `json:"claim"`
	Volume       string   `json:"volume"` // PersistentVolume
	Disk         Disk     `json:"disk"`
	TargetClaim  ClaimKey `json:"targetClaim"`
	TargetVolume string   `json:"targetVolume,omitempty"`
}

// Step is the record of one step of a migration, written before it acts.
type Step struct {
	Format int       `json:"format"`
	Number int       `json:"number"` // from 1, in the order of writing
	Name   string    `json:"name"`
	Run    int       `json:"run"` // the number of the run that takes it
	At     time.Time `json:"at"`
	Point  PointID   `json:"point,omitempty"` // the restore point that it made
	Note   string    `json:"note,omitempty"`
}

// Direction is where a run leads.
type Direction string

const (
	Forward Direction = "forward"
	Back    Direction = "back"
)

// Run is one process that drives a migration. The one with the highest
// number is in charge; the others are to stop.
type Run struct {
	Format    int       `json:"format"`
	Number    int       `json:"number"` // from 1
	Direction Direction `json:"direction"`
	Started   time.Time `json:"started"`
	Process   string    `json:"process"` // host and process id
}

// Verdict says how a migration ended. Only one can be written: it is the commit
// point.
type Verdict struct {
	Format    int              `json:"format"`
	Migration MigrationID      `json:"migration"`
	Outcome   MigrationOutcome `json:"outcome"`
	Run       int              `json:"run"` // that has decided
	At        time.Time        `json:"at"`
	Notes     []string         `json:"notes,omitempty"` // what a summary of it says
}

// MigrationOutcome is how a migration ended.
type MigrationOutcome string

const (
	Committed  MigrationOutcome = "committed"   // the workload is in the target
	RolledBack MigrationOutcome = "rolled-back" // the workload is in the source
)

// MigrationState is what the catalog tells of one migration.
type MigrationState struct {
	Migration Migration
	Steps     []Step   // in order
	Runs      []Run    // in order
	Verdict   *Verdict // nil: it is under way
	Err       error    // why the migration cannot be read; only its ID is known then
}

var (
	// ErrNoMigration: the catalog has no migration of that id.
	ErrNoMigration = errors.New("no such migration")
	// ErrSuperseded: a newer run of the migration is in charge.
	ErrSuperseded = errors.New("a newer run of this migration is in charge")
)
