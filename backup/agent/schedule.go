package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when a plan has its occurrences. The zero value has none.
type Schedule struct {
	expr   string
	spec   *cron.SpecSchedule
	zone   *time.Location
	jitter time.Duration
}

// ParseSchedule reads a cron expression of five fields, or one of @hourly,
// @daily, @weekly, @monthly, @yearly, by the clock of zone (nil is UTC). jitter
// bounds Delay. It refuses what can never fire.
func ParseSchedule(expr string, zone *time.Location, jitter time.Duration) (Schedule, error) {
	expr = strings.Join(strings.Fields(expr), " ")
	spec, err := parseSpec(expr)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", expr, err)
	}
	if jitter < 0 {
		return Schedule{}, fmt.Errorf("schedule %q: jitter %s is negative", expr, jitter)
	}
	if zone == nil {
		zone = time.UTC
	}
	return Schedule{expr: expr, spec: spec, zone: zone, jitter: jitter}, nil
}

func parseSpec(expr string) (*cron.SpecSchedule, error) {
	switch {
	case strings.HasPrefix(expr, "TZ="), strings.HasPrefix(expr, "CRON_TZ="):
		return nil, errors.New("set the plan's timezone instead of a prefix")
	case strings.HasPrefix(expr, "@every"):
		return nil, errors.New("@every counts from the start of the process, so that a restart moves it; use five fields, for instance \"0 */6 * * *\"")
	}
	parsed, err := cron.ParseStandard(expr)
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("use the five fields of cron, or @daily and its like")
	}
	if spec.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, errors.New("there is no such day in any year; it would never run")
	}
	return spec, nil
}

// IsZero says whether there are no occurrences.
func (s Schedule) IsZero() bool { return s.spec == nil }

// String is the expression, the zone and the jitter: schedules that differ in
// what they do differ in it. "" is the zero value.
func (s Schedule) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.jitter == 0:
		return s.expr + " " + s.zone.String()
	}
	return s.expr + " " + s.zone.String() + " jitter " + s.jitter.String()
}

// Next is the first occurrence later than after, in UTC; the zero time if there
// is none.
//
// The expression is met by what a clock on the wall shows. When the clock is
// put forward, what it skips happens at the moment it jumps, once. When it is
// put back, what it shows twice happens the first time only, except that a
// schedule of every hour goes on through both hours. So no day loses its
// occurrence, none has it twice, and an hourly schedule never pauses for two
// hours.
func (s Schedule) Next(after time.Time) time.Time {
	if s.IsZero() {
		return time.Time{}
	}
	// From t the clock runs evenly until the zone's next change at end.
	t := after.In(s.zone)
	shown := wall(t)
	for {
		start, end := t.ZoneBounds()
		from := shown
		if !s.everyHour() && !start.IsZero() {
			from = later(from, wallBefore(start).Add(-time.Second))
		}
		next := s.spec.Next(from)
		if next.IsZero() {
			return next
		}
		at := t.Add(next.Sub(wall(t)))
		switch {
		case end.IsZero(), at.Before(end):
			return at.UTC()
		case !next.After(wall(end)):
			return end.UTC()
		}
		t, shown = end, wall(end).Add(-time.Second)
	}
}

// everyHour says whether the schedule names no hour of the day.
func (s Schedule) everyHour() bool {
	const all = 1<<24 - 1
	return s.spec.Hour&all == all
}

// wall is what a clock on the wall shows at t, as if it were in UTC, where the
// clock runs evenly.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// wallBefore is what the clock would show at change, the moment at which the
// zone changed it, had it not.
func wallBefore(change time.Time) time.Time {
	return wall(change.Add(-time.Second)).Add(time.Second)
}

// Delay is how much later than its occurrences a plan starts, so that plans of
// one time, and clusters of one store, do not all start at once: less than the
// jitter, and always the same for a plan of a cluster.
func (s Schedule) Delay(clusterUID, plan string) time.Duration {
	if s.jitter <= 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(clusterUID + "/" + plan))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(s.jitter)).Truncate(time.Second)
}
