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
	return Schedule{expr: strings.TrimSpace(expr), spec: spec, zone: zone, jitter: jitter}, nil
}

func parseSpec(expr string) (*cron.SpecSchedule, error) {
	switch trimmed := strings.TrimSpace(expr); {
	case strings.HasPrefix(trimmed, "TZ="), strings.HasPrefix(trimmed, "CRON_TZ="):
		return nil, errors.New("set the plan's timezone instead of a prefix")
	case strings.HasPrefix(trimmed, "@every"):
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

// String is the expression and the zone.
func (s Schedule) String() string {
	if s.IsZero() {
		return ""
	}
	return s.expr + " " + s.zone.String()
}

// Next is the first occurrence later than after; the zero time if there is none.
func (s Schedule) Next(after time.Time) time.Time {
	if s.IsZero() {
		return time.Time{}
	}
	return s.spec.Next(after.In(s.zone))
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
