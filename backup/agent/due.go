package agent

import (
	"fmt"
	"time"
)

const (
	// punctual is how late a start still counts as on time: what a takeover
	// or a busy moment costs.
	punctual = time.Minute
	// believable is how far ahead of the clock a known occurrence may be.
	believable = time.Hour
	// countLimit bounds the counting of occurrences that were missed.
	countLimit = 10_000
)

// Base is the time up to which the occurrences of a plan are settled: the later
// of the newest that the catalog knows of, whatever its outcome, and since, the
// time since which the plan is in force as it is now.
//
// Occurrences more than an hour ahead of now were made by a clock that was
// wrong, and are not counted: the plan would sleep until then. Should one of
// them come up again, the journal refuses it, which is no failure. since must
// not be later than now.
func Base(known []time.Time, since, now time.Time) time.Time {
	base := since
	for _, occurrence := range known {
		if !occurrence.After(now.Add(believable)) {
			base = later(base, occurrence)
		}
	}
	return base
}

// Decision is what is to be done about a plan at a moment.
type Decision struct {
	Occurrence time.Time // to run now; the zero time if none is
	CatchUp    bool      // Occurrence starts late
	Replace    bool      // a run of the plan is under way, and is to be stopped first
	Skipped    Skipped   // what will not run
	// Base is the base for the next decision, once this one is carried out.
	Base time.Time
	// Next is when to decide again: the start of the next occurrence, its delay
	// included; the zero time is never.
	Next time.Time
}

// SkipReason is a stable word for why an occurrence does not run.
type SkipReason string

const (
	SkipSuperseded SkipReason = "superseded" // a newer one was due as well, and runs
	SkipLate       SkipReason = "late"       // it could not start within catchUp
	SkipRunning    SkipReason = "running"    // the run before it was still under way
)

// skipReasons are all there are.
var skipReasons = [...]SkipReason{SkipSuperseded, SkipLate, SkipRunning}

// Skipped are occurrences that do not run, all for one reason.
type Skipped struct {
	Reason      SkipReason
	Count       int // 0 for none; 10,000 stands for more as well
	First, Last time.Time
}

// Due decides what a plan of the cluster is to do at now. base is what Base
// says, or the Base of the decision before; the zero time settles everything
// up to now, and so does one more than an hour ahead of now: the clock was wrong
// when it was made. running says whether a run of the plan is under way.
//
// An occurrence starts at its time plus the plan's delay, and is late by what
// has passed since then. Of those in (base, now] that could have started, the
// newest runs, if it is no later than catchUp (and up to a minute in any case);
// none of the others ever does.
func Due(plan Plan, clusterUID string, base, now time.Time, running bool) Decision {
	if base.IsZero() || base.After(now.Add(believable)) {
		base = now
	}
	if plan.Paused || plan.Schedule.IsZero() {
		return Decision{Base: base}
	}
	delay := plan.Schedule.Delay(clusterUID, plan.Name)
	missed := plan.Schedule.between(base, now.Add(-delay))
	if missed.Count == 0 {
		return Decision{Base: base, Next: plan.start(clusterUID, plan.Schedule.Next(base))}
	}
	newest := missed.Last
	decision := Decision{Base: newest, Next: plan.start(clusterUID, plan.Schedule.Next(newest))}
	late := now.Sub(newest.Add(delay))
	switch {
	case late > max(plan.CatchUp, punctual):
		missed.Reason = SkipLate
	case running && plan.Concurrency != Replace:
		missed.Reason = SkipRunning
	default:
		missed = plan.Schedule.between(base, newest.Add(-time.Nanosecond))
		missed.Reason = SkipSuperseded
		decision.Occurrence, decision.CatchUp, decision.Replace = newest, late > punctual, running
	}
	if missed.Count > 0 {
		decision.Skipped = missed
	}
	return decision
}

// start is when an occurrence starts; the zero time for none.
func (p Plan) start(clusterUID string, occurrence time.Time) time.Time {
	if occurrence.IsZero() {
		return time.Time{}
	}
	return occurrence.Add(p.Schedule.Delay(clusterUID, p.Name))
}

// between counts the occurrences in (after, until].
func (s Schedule) between(after, until time.Time) Skipped {
	var found Skipped
	t := s.Next(after)
	for ; !t.IsZero() && !t.After(until); t = s.Next(t) {
		if found.Count == countLimit {
			found.Last = s.newest(found.Last, until)
			break
		}
		if found.Count == 0 {
			found.First = t
		}
		found.Last = t
		found.Count++
	}
	return found
}

// newest is the newest occurrence that is not later than until. oldest is one.
// It looks back further and further, as there may be very many.
func (s Schedule) newest(oldest, until time.Time) time.Time {
	for window := time.Hour; ; window *= 2 {
		from, found := later(oldest, until.Add(-window)), oldest
		for t := s.Next(from); !t.IsZero() && !t.After(until); t = s.Next(t) {
			found = t
		}
		if found.After(oldest) || from.Equal(oldest) {
			return found
		}
	}
}

// maxAttempts is how often an occurrence is tried.
const maxAttempts = 3

// retryAfter is how long after the end of each attempt the next one starts.
var retryAfter = [maxAttempts - 1]time.Duration{time.Minute, 5 * time.Minute}

// Retry says whether an occurrence is tried again.
type Retry struct {
	At      time.Time // the zero time if it is not
	Attempt int
	GivenUp string // why it is not; for people
}

// NextAttempt decides whether the occurrence of a run that was abandoned at
// ended is tried again: three attempts at most, after one and five minutes, or at
// once if the run was another process's. Each starts within catchUp, and before
// the next occurrence does.
func NextAttempt(plan Plan, clusterUID string, run Run, ended time.Time, takeover bool) Retry {
	giveUp := func(format string, args ...any) Retry { return Retry{GivenUp: fmt.Sprintf(format, args...)} }
	switch {
	case plan.Paused:
		return giveUp("the plan is paused")
	case run.Attempt+1 >= maxAttempts:
		return giveUp("%d attempts were made", maxAttempts)
	}
	at := ended
	if !takeover {
		at = ended.Add(retryAfter[run.Attempt])
	}
	if late := at.Sub(plan.start(clusterUID, run.Occurrence)); late > plan.CatchUp {
		return giveUp("the next attempt would be %s late, and catchUp is %s", late.Round(time.Second), plan.CatchUp)
	}
	if next := plan.start(clusterUID, plan.Schedule.Next(run.Occurrence)); !next.IsZero() && !at.Before(next) {
		return giveUp("the next occurrence starts before another attempt would")
	}
	return Retry{At: at, Attempt: run.Attempt + 1}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
