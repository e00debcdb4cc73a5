package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeout reads a duration of seconds to hours: more than 0.
func timeout(s string) (time.Duration, error) { return positive(s, "90s, 10m or 1h30m") }

// period reads a duration of hours to years: more than 0.
func period(s string) (time.Duration, error) { return positive(s, "90m, 12h, 30d or 2w") }

func positive(s, examples string) (time.Duration, error) {
	d, err := parseDuration(s, examples)
	if err == nil && d <= 0 {
		return 0, fmt.Errorf("%q: want more than 0", s)
	}
	return d, err
}

// latitude reads a duration of minutes to days that may be 0.
func latitude(s string) (time.Duration, error) {
	d, err := parseDuration(s, "90s, 10m, 12h or 2d")
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%q: want 0 or more", s)
	}
	return d, err
}

// longUnits are the units that time.ParseDuration does not have.
var longUnits = regexp.MustCompile(`^([0-9]{1,4})([wd])`)

// parseDuration reads a duration as Go does, with weeks and days before the
// rest: 2w, 1d12h. A day has 24 hours.
func parseDuration(s, examples string) (time.Duration, error) {
	var long time.Duration
	rest := s
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		m := longUnits.FindStringSubmatch(rest)
		if m == nil || m[2] != unit.letter {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		long += time.Duration(n) * unit.length
		rest = rest[len(m[0]):]
	}
	if rest == "" && s != "" {
		return long, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || rest != s && (rest[0] == '-' || rest[0] == '+') {
		return 0, fmt.Errorf("%q is not a duration; write it as %s", s, examples)
	}
	return long + d, nil
}

// durationText writes a duration as people do: 10m, not 10m0s; 30d, not 720h;
// "" for none.
func durationText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return ""
	case d >= 2*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
