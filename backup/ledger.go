package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
)

// Disk is what a claim is on.
type Disk struct {
	Driver string               `json:"driver"`
	Handle catalog.VolumeHandle `json:"volumeHandle"`
}

// Restorable is the data of one disk that a point can bring back.
type Restorable struct {
	Point catalog.PointID `json:"point"`
	Disk  Disk            `json:"disk"`
	// Data is the moment that the data is of: that of the snapshot, or of the
	// commit if the point relies on the disk itself.
	Data     time.Time `json:"data"`
	Snapshot bool      `json:"snapshot"` // false: the disk itself is all there is
}

// Ledger knows, for each claim and disk, the newest data that a committed point
// can bring back. It holds some 300 bytes for each, and is safe for concurrent
// use. The zero value knows of no point.
type Ledger struct {
	mu     sync.RWMutex
	newest map[catalog.ClaimKey][]Restorable // one for each disk, the newest first
	failed map[catalog.ClaimKey]failure      // the newest, where it is newer than the data
	words  map[string]string                 // namespaces and drivers, held once each
	unread map[string]time.Time              // by plan; see Unread
}

// failure is a record of a claim that has a problem.
type failure struct {
	point catalog.PointID
	at    time.Time
	what  string
}

// longProblem is how much of a driver's message is kept, bytes.
const longProblem = 300

// Add notes what a committed point can bring back: each disk whose record has
// no problem. It may be given points in any order, and a point again.
func (l *Ledger) Add(commit catalog.Commit, volumes []catalog.Volume) {
	l.mu.Lock()
	defer l.mu.Unlock()
	point := catalog.PointID(strings.Clone(string(commit.Point))) // one copy for all
	for _, v := range volumes {
		if v.Problem != "" {
			l.noteFailure(v.Claim, failure{point: point, at: commit.Committed, what: v.Problem})
			continue
		}
		found := Restorable{Point: point, Disk: Disk{Driver: v.Driver, Handle: v.VolumeHandle}, Data: commit.Committed}
		if v.Snapshot != nil {
			found.Data, found.Snapshot = v.Snapshot.Taken, true
		}
		l.note(v.Claim, found)
	}
}

func (l *Ledger) note(claim catalog.ClaimKey, found Restorable) {
	if l.newest == nil {
		l.newest, l.words = map[catalog.ClaimKey][]Restorable{}, map[string]string{}
	}
	known := l.newest[claim]
	same := slices.IndexFunc(known, func(r Restorable) bool { return r.Disk == found.Disk })
	if same >= 0 && !found.Data.After(known[same].Data) {
		return
	}
	found.Disk.Driver = l.once(found.Disk.Driver)
	found.Disk.Handle = catalog.VolumeHandle(strings.Clone(string(found.Disk.Handle)))
	if same >= 0 {
		known[same] = found
	} else {
		claim = catalog.ClaimKey{Namespace: l.once(claim.Namespace), Name: strings.Clone(claim.Name)}
		known = append(known, found)
	}
	slices.SortStableFunc(known, func(a, b Restorable) int { return b.Data.Compare(a.Data) })
	l.newest[claim] = known
	if l.failed[claim].at.Before(known[0].Data) {
		delete(l.failed, claim)
	}
}

func (l *Ledger) noteFailure(claim catalog.ClaimKey, f failure) {
	if known := l.newest[claim]; len(known) > 0 && f.at.Before(known[0].Data) || f.at.Before(l.failed[claim].at) {
		return
	}
	if l.failed == nil {
		l.failed = map[catalog.ClaimKey]failure{}
	}
	f.what = strings.Clone(f.what[:min(len(f.what), longProblem)])
	l.failed[claim] = f
}

// lastFailure says in which point newer than its newest data a claim has a
// problem, and which; "" if there is none.
func (l *Ledger) lastFailure(claim catalog.ClaimKey) string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if f, found := l.failed[claim]; found {
		return fmt.Sprintf("point %s: %s", f.point, f.what)
	}
	return ""
}

// once returns the one copy of a word that many entries share.
func (l *Ledger) once(word string) string {
	if kept, found := l.words[word]; found {
		return kept
	}
	word = strings.Clone(word)
	l.words[word] = word
	return word
}

// LastRestorable is the newest data of a claim, on whatever disk it was.
func (l *Ledger) LastRestorable(claim catalog.ClaimKey) (Restorable, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if known := l.newest[claim]; len(known) > 0 {
		return known[0], true
	}
	return Restorable{}, false
}

// LastOfDisk is the newest data of a claim on one disk.
func (l *Ledger) LastOfDisk(claim catalog.ClaimKey, disk Disk) (Restorable, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, r := range l.newest[claim] {
		if r.Disk == disk {
			return r, true
		}
	}
	return Restorable{}, false
}

// Forget drops what only a point that was removed could bring back. What older
// points hold of the same disks is not known any more; retention removes no
// point that is the newest to hold a disk.
func (l *Ledger) Forget(point catalog.PointID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(_ catalog.ClaimKey, r Restorable) bool { return r.Point == point })
}

// Keep drops the claims that are not among these: a Ledger of a year would hold
// all that ever were.
func (l *Ledger) Keep(claims map[catalog.ClaimKey]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(func(claim catalog.ClaimKey, _ Restorable) bool { return !claims[claim] })
}

func (l *Ledger) drop(gone func(catalog.ClaimKey, Restorable) bool) {
	for claim, known := range l.newest {
		known = slices.DeleteFunc(known, func(r Restorable) bool { return gone(claim, r) })
		if len(known) == 0 {
			delete(l.newest, claim)
		} else {
			l.newest[claim] = known
		}
	}
	maps.DeleteFunc(l.failed, func(claim catalog.ClaimKey, f failure) bool { return gone(claim, Restorable{Point: f.point}) })
}

// Unread is the time up to which points were left unread: what the Ledger does
// not know of may be in one as old as that. False: it knows of every point.
func (l *Ledger) Unread() (time.Time, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var newest time.Time
	for _, at := range l.unread {
		if at.After(newest) {
			newest = at
		}
	}
	return newest, len(l.unread) > 0
}

// PointReader is the part of the catalog that a Ledger is read from.
type PointReader interface {
	Volumes(ctx context.Context, clusterUID string, id catalog.PointID) (catalog.Commit, []catalog.Volume, error)
}

// Wanted is a claim on a disk for which the newest data is looked for.
type Wanted struct {
	Claim catalog.ClaimKey
	Disk  Disk
}

// Reading says what a Ledger was read from.
type Reading struct {
	Points int `json:"points"` // that there are, by the survey
	Read   int `json:"read"`   // of them, the bundles that were read
	// Unread counts, for each plan, older points that were left unread though
	// something was still looked for.
	Unread map[string]int `json:"unread,omitempty"`
	// Unusable says which points cannot be read, and so bring nothing back.
	Unusable []string `json:"unusable,omitempty"`
}

// DefaultDepth is how many points of each plan Read opens at most. The newest
// holds all that is well; the others are for what has failed since.
const DefaultDepth = 10

// Read walks the points of each plan from the newest to the oldest, until what
// is wanted of it is found, and at most depth of them (0 for no limit). wanted
// has what each plan takes; what it has under "" is looked for in the points of
// all other plans. It fails if the store does: only a point that is known to
// be useless is passed over.
func (l *Ledger) Read(ctx context.Context, points PointReader, survey []catalog.Presence, wanted map[string][]Wanted, depth int) (Reading, error) {
	var reading Reading
	byPlan := map[string][]catalog.Presence{}
	for _, p := range slices.Backward(survey) {
		if p.Commit && !p.Removing {
			byPlan[p.Point.Plan()] = append(byPlan[p.Point.Plan()], p)
			reading.Points++
		}
	}
	// The plans that take something come first: what they hold need not be
	// looked for in the points of others.
	plans := slices.SortedFunc(maps.Keys(byPlan), func(a, b string) int {
		_, takesA := wanted[a]
		_, takesB := wanted[b]
		switch {
		case takesA != takesB && takesA:
			return -1
		case takesA != takesB:
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, plan := range plans {
		looked, takes := wanted[plan]
		if !takes {
			looked = wanted[""]
		}
		if err := l.readPlan(ctx, points, plan, byPlan[plan], looked, depth, &reading); err != nil {
			return reading, err
		}
	}
	return reading, nil
}

// readPlan reads the points of one plan, which are given from the newest on.
func (l *Ledger) readPlan(ctx context.Context, points PointReader, plan string, newestFirst []catalog.Presence, wanted []Wanted, depth int, reading *Reading) error {
	l.setUnread(plan, time.Time{})
	read := 0
	for i, p := range newestFirst {
		if !l.mayBeNewer(p.Point, wanted) {
			return nil
		}
		if depth > 0 && read == depth {
			l.setUnread(plan, p.Point.Scheduled())
			if reading.Unread == nil {
				reading.Unread = map[string]int{}
			}
			reading.Unread[plan] = len(newestFirst) - i
			return nil
		}
		commit, volumes, err := points.Volumes(ctx, p.ClusterUID, p.Point)
		switch {
		case err == nil:
			read++
			reading.Read++
			l.Add(commit, volumes)
		case errors.Is(err, catalog.ErrNoPoint): // abandoned, or removed since the survey
		case errors.Is(err, catalog.ErrCorrupt), errors.Is(err, catalog.ErrNewerFormat), errors.Is(err, catalog.ErrTooLarge):
			reading.Unusable = append(reading.Unusable, err.Error())
		default:
			return fmt.Errorf("read the newest restorable data: %w", err)
		}
	}
	return nil
}

// mayBeNewer says whether a point may hold newer data than is known of
// something that is wanted. A run starts no earlier than it is scheduled.
func (l *Ledger) mayBeNewer(point catalog.PointID, wanted []Wanted) bool {
	return slices.ContainsFunc(wanted, func(w Wanted) bool {
		known, found := l.LastOfDisk(w.Claim, w.Disk)
		return !found || known.Data.Before(point.Scheduled())
	})
}

func (l *Ledger) setUnread(plan string, upTo time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if upTo.IsZero() {
		delete(l.unread, plan)
		return
	}
	if l.unread == nil {
		l.unread = map[string]time.Time{}
	}
	l.unread[plan] = upTo
}
