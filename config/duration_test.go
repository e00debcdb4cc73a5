package config

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestDurationsAsPeopleWriteThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", 2 * time.Hour: "2h", 90 * time.Minute: "1h30m", 30 * time.Second: "30s",
		time.Hour + time.Second: "1h0m1s", 100 * time.Millisecond: "100ms", day: "24h", 2 * day: "2d", 30 * day: "30d", 2*day + time.Hour: "49h",
	} {
		got := durationText(d)
		if got != want {
			t.Errorf("durationText(%v) = %q, want %q", d, got, want)
		}
		if again, err := parseDuration(got, ""); err != nil && d != 0 || again != d {
			t.Errorf("%q is read as %v, %v; it was written for %v", got, again, err, d)
		}
	}
}

func TestDurationsWithDaysAndWeeks(t *testing.T) {
	const wrong = -1
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "2w": 14 * day, "1w1d": 8 * day, "1d12h": 36 * time.Hour, "1d90m": day + 90*time.Minute, "0d": 0, "36h": 36 * time.Hour, "1.5h": 90 * time.Minute,
		"": wrong, "d": wrong, "30": wrong, "30D": wrong, "30 d": wrong, "1d1w": wrong, "1d1d": wrong, "12h1d": wrong, "1.5d": wrong,
		"1d-1h": wrong, "1d+1h": wrong, "99999w": wrong, "9999w": 9999 * 7 * day, "9999w9999d9999999h": wrong,
	} {
		got, err := parseDuration(text, "1h")
		if err != nil {
			got = wrong
			if want := quoted(text) + " is not a duration; write it as 1h"; err.Error() != want {
				t.Errorf("%q: error %q, want %q", text, err, want)
			}
		}
		if got != want {
			t.Errorf("%q is read as %v, want %v", text, got, want)
		}
	}
}

func quoted(text string) string { return `"` + text + `"` }
