package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Retention says which points of one plan in one cluster are to stay. The
// zero value keeps everything.
//
// Last to Yearly count complete points. Of each hour, day, ISO week, month and
// year that has any, the newest point stands for all; so many of the newest
// such periods are kept. As long as a rule has not found as many as it asks
// for, it keeps the oldest point too, so that the history grows to its length
// (as `restic forget --keep-*` does).
type Retention struct {
	Last    int
	Hourly  int
	Daily   int
	Weekly  int
	Monthly int
	Yearly  int
	Within  time.Duration // back from the newest point, not from now
}

// History is what is known of one closed entry of the catalog when it is
// decided what stays.
type History struct {
	Presence Presence
	Commit   Commit
	// Claims are those that the point brings back as it was asked to: their
	// Volume has no Problem.
	Claims []ClaimKey
	// Verified: the bundle was read back and is what the commit says, and
	// every snapshot that it names is there.
	Verified bool
}

// Decision says of one entry whether it stays, and why.
type Decision struct {
	Point   PointID
	Keep    bool
	Reasons []string // short phrases, at least one
}

// Apply decides which entries of history stay. All must be closed and of one
// cluster and plan. zone is the plan's; in it days begin, nil is UTC. The
// decisions are in order of age, the oldest first; the order of history is of
// no account.
//
// Whatever the policy says, these stay: the newest entry; for each claim the
// newest complete and verified point that has it, or if there is none the
// newest points that have it at all; and a partial or abandoned entry that is
// newer than every complete point. A point that could not be verified counts
// as any other, but takes no verified point's place. Entries whose removal has
// begun are past keeping, and count for nothing.
func (r Retention) Apply(history []History, zone *time.Location) ([]Decision, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	history = slices.Clone(history)
	slices.SortFunc(history, newestFirst)
	if err := checkHistory(history); err != nil {
		return nil, err
	}
	if zone == nil {
		zone = time.UTC
	}
	a := &applied{history: history, reasons: make([][]string, len(history))}
	if r == (Retention{}) {
		a.keep("there is no retention policy", a.where(func(History) bool { return true })...)
		return a.decisions(), nil
	}
	complete := a.where(func(h History) bool { return h.Commit.Outcome == Complete })
	r.keepPeriods(a, complete, zone)
	r.keepPeriods(a, a.where(func(h History) bool { return h.Commit.Outcome == Complete && h.Verified }), zone)
	r.keepWithin(a)
	a.keepSafe(complete)
	return a.decisions(), nil
}

// validate refuses negative numbers, which could only be a mistake.
func (r Retention) validate() error {
	if min(r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly) < 0 || r.Within < 0 {
		return fmt.Errorf("retention %+v: a number below 0; 0 switches a rule off", r)
	}
	return nil
}

// newestFirst orders history by occurrence, and the runs of one occurrence by
// attempt.
func newestFirst(a, b History) int {
	return cmp.Or(
		b.Commit.Scheduled.Compare(a.Commit.Scheduled),
		cmp.Compare(b.Commit.Attempt, a.Commit.Attempt),
		cmp.Compare(b.Commit.Point, a.Commit.Point),
	)
}

// checkHistory refuses a history that no decision can rest on. It is sorted.
func checkHistory(history []History) error {
	seen := make(map[PointID]bool, len(history))
	for _, h := range history {
		p, c, first := h.Presence, h.Commit, history[0].Commit
		switch {
		case p.Point != c.Point || p.ClusterUID != c.Cluster.UID:
			return fmt.Errorf("point %s of cluster %s: its commit is that of point %s of cluster %s", p.Point, p.ClusterUID, c.Point, c.Cluster.UID)
		case c.Cluster.UID != first.Cluster.UID || c.Plan != first.Plan:
			return fmt.Errorf("points %s and %s are not of one cluster and plan, so no policy covers both", first.Point, c.Point)
		case c.Outcome != Complete && c.Outcome != Partial && c.Outcome != Abandoned:
			return fmt.Errorf("point %s: its outcome %q is not one that this program knows", c.Point, c.Outcome)
		case seen[c.Point]:
			return fmt.Errorf("point %s is there twice", c.Point)
		}
		seen[c.Point] = true
	}
	return nil
}

// applied gathers why each entry stays. An entry without a reason goes.
type applied struct {
	history []History // newest first
	reasons [][]string
}

// where returns the places of the entries that match, newest first, without
// those whose removal has begun.
func (a *applied) where(match func(History) bool) []int {
	var places []int
	for i, h := range a.history {
		if !h.Presence.Removing && match(h) {
			places = append(places, i)
		}
	}
	return places
}

func (a *applied) keep(reason string, places ...int) {
	for _, i := range places {
		if !slices.Contains(a.reasons[i], reason) {
			a.reasons[i] = append(a.reasons[i], reason)
		}
	}
}

// period is one rule of a Retention: what it is called, how many it keeps, and
// which period a time is in.
type period struct {
	name  string
	count int
	of    func(t time.Time) (key, label string)
}

func (r Retention) periods() []period {
	layout := func(key, label string) func(time.Time) (string, string) {
		return func(t time.Time) (string, string) { return t.Format(key), t.Format(label) }
	}
	return []period{
		// The hour that a clock put back repeats is two hours.
		{"hourly", r.Hourly, layout("2006-01-02 15 -0700", "2006-01-02 15:00")},
		{"daily", r.Daily, layout("2006-01-02", "2006-01-02")},
		{"weekly", r.Weekly, func(t time.Time) (string, string) {
			year, week := t.ISOWeek()
			label := fmt.Sprintf("%d-W%02d", year, week)
			return label, label
		}},
		{"monthly", r.Monthly, layout("2006-01", "2006-01")},
		{"yearly", r.Yearly, layout("2006", "2006")},
	}
}

// keepPeriods keeps what Last to Yearly ask for among places, newest first.
func (r Retention) keepPeriods(a *applied, places []int, zone *time.Location) {
	for n, i := range places[:min(r.Last, len(places))] {
		a.keep(fmt.Sprintf("last %d of %d", n+1, r.Last), i)
	}
	for _, p := range r.periods() {
		left, before := p.count, ""
		for n, i := range places {
			if left == 0 {
				break
			}
			key, label := p.of(a.history[i].Commit.Scheduled.In(zone))
			switch {
			case key != before:
				a.keep(p.name+" "+label, i)
				before = key
				left--
			case n == len(places)-1:
				a.keep("oldest, while there are fewer than "+fmt.Sprint(p.count)+" "+p.name, i)
			}
		}
	}
}

// keepWithin keeps the points, complete or partial, that are no older than the
// newest of them by more than Within.
func (r Retention) keepWithin(a *applied) {
	points := a.where(func(h History) bool { return h.Commit.Outcome != Abandoned })
	if r.Within == 0 || len(points) == 0 {
		return
	}
	limit := a.history[points[0]].Commit.Scheduled.Add(-r.Within)
	for _, i := range points {
		if !a.history[i].Commit.Scheduled.Before(limit) {
			a.keep("within "+spell(r.Within)+" of the newest point", i)
		}
	}
}

// keepSafe keeps what no policy may drop.
func (a *applied) keepSafe(complete []int) {
	if all := a.where(func(History) bool { return true }); len(all) > 0 {
		a.keep("newest of its plan", all[0])
	}
	for _, i := range a.where(func(h History) bool { return h.Commit.Outcome != Complete }) {
		if len(complete) == 0 || i < complete[0] {
			a.keep(fmt.Sprintf("%s, and no complete point is newer", a.history[i].Commit.Outcome), i)
		}
	}
	good := a.newestWith(func(h History) bool { return h.Commit.Outcome == Complete && h.Verified })
	a.keepClaims("newest point with", good, nil)
	for _, usable := range []func(History) bool{
		func(h History) bool { return h.Commit.Outcome != Abandoned && h.Verified },
		func(h History) bool { return h.Commit.Outcome != Abandoned },
	} {
		a.keepClaims("no complete and verified point has", a.newestWith(usable), good)
	}
}

// keepClaims keeps the place of each claim in newest that is not in but, for a
// reason that begins as given and ends with its claims.
func (a *applied) keepClaims(reason string, newest, but map[ClaimKey]int) {
	claims := map[int][]string{}
	for claim, i := range newest {
		if _, ok := but[claim]; !ok {
			claims[i] = append(claims[i], claim.String())
		}
	}
	for i, names := range claims {
		slices.Sort(names)
		noun := " claim "
		if len(names) > 1 {
			noun = " claims "
		}
		a.keep(reason+noun+enumerate(names, 3), i)
	}
}

// newestWith returns for each claim the place of the newest entry that matches
// and has it.
func (a *applied) newestWith(match func(History) bool) map[ClaimKey]int {
	newest := map[ClaimKey]int{}
	for _, i := range a.where(match) {
		for _, claim := range a.history[i].Claims {
			if _, ok := newest[claim]; !ok {
				newest[claim] = i
			}
		}
	}
	return newest
}

func (a *applied) decisions() []Decision {
	decisions := make([]Decision, 0, len(a.history))
	for i, h := range slices.Backward(a.history) {
		d := Decision{Point: h.Commit.Point, Keep: len(a.reasons[i]) > 0, Reasons: a.reasons[i]}
		if !d.Keep {
			d.Reasons = []string{whyNot(h)}
		}
		slices.Sort(d.Reasons)
		decisions = append(decisions, d)
	}
	return decisions
}

func whyNot(h History) string {
	switch {
	case h.Presence.Removing:
		return "its removal has begun"
	case h.Commit.Outcome == Complete:
		return "no rule of the policy keeps it"
	default:
		return fmt.Sprintf("%s, and a complete point is newer", h.Commit.Outcome)
	}
}

// spell writes d in days if it is whole days.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
