package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// must parses a schedule by the clock of a zone.
func must(t testing.TB, expr, zone string, jitter time.Duration) Schedule {
	t.Helper()
	s, err := ParseSchedule(expr, location(t, zone), jitter)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// utc reads 2025-03-30T02:30.
func utc(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// occurrences are those in (after, until), as the clock of zone shows them.
func occurrences(s Schedule, after, until time.Time, zone *time.Location) []string {
	var shown []string
	for at := s.Next(after); at.Before(until); at = s.Next(at) {
		shown = append(shown, at.In(zone).Format("01-02 15:04 -0700"))
	}
	return shown
}

// The days on which clocks change. Each case covers the time from one minute
// before its first day in its zone to the end of its last.
func TestOccurrencesOnDaysWhenClocksChange(t *testing.T) {
	for _, c := range []struct {
		name, zone, expr, first string
		days                    int
		want                    []string
	}{
		{
			"a time that does not exist happens when the clock jumps", "Europe/Berlin", "30 2 * * *", "2025-03-29", 3,
			[]string{"03-29 02:30 +0100", "03-30 03:00 +0200", "03-31 02:30 +0200"},
		},
		{
			"the moment of the jump itself happens once", "Europe/Berlin", "0 2,3 * * *", "2025-03-30", 1,
			[]string{"03-30 03:00 +0200"},
		},
		{
			"several times that do not exist happen once", "Europe/Berlin", "*/15 2 * * *", "2025-03-30", 1,
			[]string{"03-30 03:00 +0200"},
		},
		{
			"a time that occurs twice happens the first time", "Europe/Berlin", "30 2 * * *", "2025-10-25", 3,
			[]string{"10-25 02:30 +0200", "10-26 02:30 +0200", "10-27 02:30 +0100"},
		},
		{
			"the time at which the clock is put back happens once", "Europe/Berlin", "0 2,3 * * *", "2025-10-26", 1,
			[]string{"10-26 02:00 +0200", "10-26 03:00 +0100"},
		},
		{
			"each of several times that occur twice happens once", "Europe/Berlin", "*/20 1-3 * * *", "2025-10-26", 1,
			[]string{
				"10-26 01:00 +0200", "10-26 01:20 +0200", "10-26 01:40 +0200", "10-26 02:00 +0200", "10-26 02:20 +0200",
				"10-26 02:40 +0200", "10-26 03:00 +0100", "10-26 03:20 +0100", "10-26 03:40 +0100",
			},
		},
		{
			"every six hours by the clock, over a longer night", "Europe/Berlin", "0 */6 * * *", "2025-10-26", 1,
			[]string{"10-26 00:00 +0200", "10-26 06:00 +0100", "10-26 12:00 +0100", "10-26 18:00 +0100"},
		},
		{
			"a time that does not exist in New York", "America/New_York", "30 2 * * *", "2025-03-08", 3,
			[]string{"03-08 02:30 -0500", "03-09 03:00 -0400", "03-10 02:30 -0400"},
		},
		{
			"a time that occurs twice in New York", "America/New_York", "30 1 * * *", "2025-11-01", 3,
			[]string{"11-01 01:30 -0400", "11-02 01:30 -0400", "11-03 01:30 -0500"},
		},
		{
			"a weekly time that does not exist is not lost for a week", "America/New_York", "15 2 * * sun", "2025-03-02", 15,
			[]string{"03-02 02:15 -0500", "03-09 03:00 -0400", "03-16 02:15 -0400"},
		},
		{
			"a clock that is put forward by half an hour", "Australia/Lord_Howe", "15 2 * * *", "2025-10-04", 3,
			[]string{"10-04 02:15 +1030", "10-05 02:30 +1100", "10-06 02:15 +1100"},
		},
		{
			"after a jump of half an hour the same hour goes on", "Australia/Lord_Howe", "45 2 * * *", "2025-10-05", 1,
			[]string{"10-05 02:45 +1100"},
		},
		{
			"a clock that is put back by half an hour", "Australia/Lord_Howe", "45 1 * * *", "2025-04-05", 3,
			[]string{"04-05 01:45 +1100", "04-06 01:45 +1100", "04-07 01:45 +1030"},
		},
		{
			"midnight does not exist", "America/Sao_Paulo", "0 0 * * *", "2018-11-03", 3,
			[]string{"11-03 00:00 -0300", "11-04 01:00 -0200", "11-05 00:00 -0200"},
		},
		{
			"midnight occurs twice", "America/Havana", "30 0 * * *", "2025-11-01", 3,
			[]string{"11-01 00:30 -0400", "11-02 00:30 -0400", "11-03 00:30 -0500"},
		},
		{
			"a whole day does not exist", "Pacific/Apia", "0 12 * * *", "2011-12-29", 3,
			[]string{"12-29 12:00 -1000", "12-31 00:00 +1400", "12-31 12:00 +1400"},
		},
		{
			"a zone whose clocks do not change", "Asia/Kolkata", "30 2 * * *", "2025-03-29", 3,
			[]string{"03-29 02:30 +0530", "03-30 02:30 +0530", "03-31 02:30 +0530"},
		},
		{
			"UTC", "UTC", "30 2 * * *", "2025-10-25", 3,
			[]string{"10-25 02:30 +0000", "10-26 02:30 +0000", "10-27 02:30 +0000"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := location(t, c.zone)
			first, err := time.ParseInLocation("2006-01-02", c.first, zone)
			if err != nil {
				t.Fatal(err)
			}
			got := occurrences(must(t, c.expr, c.zone, 0), first.Add(-time.Minute), first.AddDate(0, 0, c.days), zone)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", c.expr, diff)
			}
		})
	}
}

func TestAScheduleOfEveryHourGoesThroughBothHours(t *testing.T) {
	for _, c := range []struct {
		zone, expr, from, until string
		want                    []string
	}{
		{"Europe/Berlin", "@hourly", "2025-10-25T22:30", "2025-10-26T02:30", []string{"10-26 01:00 +0200", "10-26 02:00 +0200", "10-26 02:00 +0100", "10-26 03:00 +0100"}},
		{"Europe/Berlin", "30 * * * *", "2025-10-25T23:00", "2025-10-26T03:00", []string{"10-26 01:30 +0200", "10-26 02:30 +0200", "10-26 02:30 +0100", "10-26 03:30 +0100"}},
		{"Europe/Berlin", "30 * * * *", "2025-03-30T00:00", "2025-03-30T03:00", []string{"03-30 01:30 +0100", "03-30 03:00 +0200", "03-30 03:30 +0200", "03-30 04:30 +0200"}},
		{"Australia/Lord_Howe", "45 * * * *", "2025-04-05T14:00", "2025-04-05T17:00", []string{"04-06 01:45 +1100", "04-06 01:45 +1030", "04-06 02:45 +1030"}},
	} {
		got := occurrences(must(t, c.expr, c.zone, 0), utc(t, c.from), utc(t, c.until), location(t, c.zone))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.zone, c.expr, diff)
		}
	}
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for expr, says := range map[string]string{
		"":                              "empty",
		"0 2 * *":                       "expected exactly 5 fields",
		"0 0 2 * * *":                   "expected exactly 5 fields",
		"61 * * * *":                    "above maximum",
		"* * * * mun":                   "failed to parse",
		"*/0 * * * *":                   "step of range",
		"TZ=Europe/Berlin 0 2 * * *":    "set the plan's timezone",
		" CRON_TZ=Asia/Tokyo 0 2 * * *": "set the plan's timezone",
		"TZ=0":                          "set the plan's timezone",
		"@every 1h":                     "a restart moves it",
		"@sometimes":                    "unrecognized descriptor",
		"0 0 30 2 *":                    "never run",
		"0 0 31 4,6,9,11 *":             "never run",
	} {
		if s, err := ParseSchedule(expr, time.UTC, 0); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, %v; want an error that says %q", expr, s, err, says)
		}
	}
	if _, err := ParseSchedule("0 2 * * *", time.UTC, -time.Second); err == nil {
		t.Error("a negative jitter was taken")
	}
}

func TestSchedulesThatAreTaken(t *testing.T) {
	after := utc(t, "2025-01-01T12:00") // a Wednesday
	for expr, want := range map[string]string{
		"0 0 29 2 *":    "2028-02-29T00:00",
		"@yearly":       "2026-01-01T00:00",
		"@monthly":      "2025-02-01T00:00",
		"@weekly":       "2025-01-05T00:00",
		" @daily ":      "2025-01-02T00:00",
		"@hourly":       "2025-01-01T13:00",
		"0 12 * * *":    "2025-01-02T12:00", // not again at the very time
		"0 9 13 * fri":  "2025-01-03T09:00", // the 13th or a Friday, as cron has it
		"0  9\t* * sun": "2025-01-05T09:00",
	} {
		if got := must(t, expr, "UTC", 0).Next(after); !got.Equal(utc(t, want)) {
			t.Errorf("%q: next is %s, want %s", expr, got, want)
		}
	}
}

func TestTheZeroScheduleHasNoOccurrences(t *testing.T) {
	var s Schedule
	if next := s.Next(time.Now()); !s.IsZero() || !next.IsZero() || s.Delay("uid", "plan") != 0 || s.String() != "" {
		t.Errorf("zero schedule: next %s, delay %s, text %q", next, s.Delay("uid", "plan"), s)
	}
}

func TestSchedulesThatDifferHaveDifferentTexts(t *testing.T) {
	texts := []string{
		must(t, "0 2 * * *", "UTC", 0).String(),
		must(t, "0 3 * * *", "UTC", 0).String(),
		must(t, "0 2 * * *", "Europe/Berlin", 0).String(),
		must(t, "0 2 * * *", "UTC", time.Minute).String(),
	}
	slices.Sort(texts)
	if len(slices.Compact(slices.Clone(texts))) != len(texts) {
		t.Errorf("not all different: %q", texts)
	}
	if again := must(t, " 0  2 * * * ", "UTC", 0).String(); !slices.Contains(texts, again) {
		t.Errorf("%q is no other schedule for its spaces: %q", again, texts)
	}
}

func TestDelayIsSpreadAndStaysTheSame(t *testing.T) {
	s := must(t, "0 2 * * *", "UTC", 10*time.Minute)
	seen := map[time.Duration]bool{}
	var early int
	for i := range 1000 {
		plan := fmt.Sprint("plan-", i)
		delay := s.Delay("uid", plan)
		if delay < 0 || delay >= 10*time.Minute {
			t.Fatalf("delay of %s is %s", plan, delay)
		}
		if again := s.Delay("uid", plan); again != delay {
			t.Fatalf("delay of %s was %s and is %s", plan, delay, again)
		}
		seen[delay] = true
		if delay < 5*time.Minute {
			early++
		}
	}
	if len(seen) < 400 || early < 400 || early > 600 {
		t.Errorf("1000 plans have %d different delays, %d of them in the first half", len(seen), early)
	}
	if a, b := s.Delay("uid-a", "plan"), s.Delay("uid-b", "plan"); a == b {
		t.Errorf("two clusters have the delay %s", a)
	}
	// Agents of two versions must agree.
	if got := s.Delay("0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11", "databases"); got != 3*time.Minute+41*time.Second {
		t.Errorf("the delay of a known plan has changed to %s", got)
	}
}

// expressions draws cron expressions that fire at least once a year.
func expressions() *rapid.Generator[string] {
	field := func(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join([]string{
			field("0", "30", "59", "*/15", "7,37", "*").Draw(t, "minute"),
			field("*", "0", "1", "2", "3", "23", "*/6", "1-3", "0,12", "0-23").Draw(t, "hour"),
			field("*", "*", "*", "1", "15", "*/10").Draw(t, "day"),
			field("*", "*", "*", "3,10", "*/2").Draw(t, "month"),
			field("*", "*", "*", "sun", "1-5").Draw(t, "weekday"),
		}, " ")
	})
}

func zones() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia", "America/Havana"})
}

// moments draws times around those at which the clocks of zone change.
func moments(zone *time.Location) *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 25*365*24*3600).Draw(t, "second")) * time.Second)
		if _, end := at.In(zone).ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "at a change") {
			at = end.UTC().Add(time.Duration(rapid.Int64Range(-3*3600, 3*3600).Draw(t, "from the change")) * time.Second)
		}
		return at
	})
}

// The rule of Next, written down a second time: go through all minutes of the
// wall clock, each being the first moment that shows it, or the end of the gap.
func TestNextAgreesWithGoingThroughAllMinutes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := zones().Draw(rt, "zone")
		zone := location(t, name)
		s := must(t, expressions().Draw(rt, "expression"), name, 0)
		after := moments(zone).Draw(rt, "after")
		next := s.Next(after)
		if !next.After(after) {
			rt.Fatalf("next of %s is %s", after, next)
		}
		limit := after.Add(3 * time.Hour)
		var want time.Time
		for at := after.Truncate(time.Minute).Add(time.Minute); !at.After(limit) && want.IsZero(); at = at.Add(time.Minute) {
			if occursAt(s, at) {
				want = at
			}
		}
		if next.After(limit) {
			next = time.Time{}
		}
		if !next.Equal(want) {
			rt.Fatalf("%s: after %s comes %s, want %s", s, after.In(zone), next.In(zone), want.In(zone))
		}
	})
}

// occursAt says whether at, a whole minute, is an occurrence.
func occursAt(s Schedule, at time.Time) bool {
	matches := func(shown time.Time) bool { return s.spec.Next(shown.Add(-time.Second)).Equal(shown) }
	now, before := wall(at.In(s.zone)), wall(at.Add(-time.Minute).In(s.zone))
	for skipped := before.Add(time.Minute); skipped.Before(now); skipped = skipped.Add(time.Minute) {
		if matches(skipped) {
			return true
		}
	}
	if !matches(now) {
		return false
	}
	for back := time.Minute; back <= 2*time.Hour && !s.everyHour(); back += time.Minute {
		if wall(at.Add(-back).In(s.zone)).Equal(now) {
			return false // the clock has shown it before
		}
	}
	return true
}

func TestNextSkipsNothingOfADailySchedule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := zones().Draw(rt, "zone")
		zone := location(t, name)
		hour, minute := rapid.IntRange(0, 23).Draw(rt, "hour"), rapid.IntRange(0, 59).Draw(rt, "minute")
		s := must(t, fmt.Sprintf("%d %d * * *", minute, hour), name, 0)
		at := s.Next(moments(zone).Draw(rt, "after"))
		for range 3 {
			next := s.Next(at)
			// Apia once skipped a day; elsewhere a change is of an hour at most.
			if gap := next.Sub(at); gap > 25*time.Hour || gap < 22*time.Hour && name != "Pacific/Apia" {
				rt.Fatalf("%s: %s and then %s", s, at.In(zone), next.In(zone))
			}
			at = next
		}
	})
}

func FuzzParseSchedule(f *testing.F) {
	for _, seed := range []string{"0 2 * * *", "@daily", "*/5 1-3 1,15 jan-mar sun", "TZ=", "@every 1s", "? ? ? ? ?", "0 0 29 2 *", "1/2 * * * *"} {
		f.Add(seed)
	}
	after := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expr string) {
		s, err := ParseSchedule(expr, time.UTC, 0)
		if err != nil {
			return
		}
		if next := s.Next(after); !next.After(after) {
			t.Errorf("%q was taken, and its next occurrence after %s is %s", expr, after, next)
		}
	})
}
