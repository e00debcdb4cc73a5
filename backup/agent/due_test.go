package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const uid = "0b6c8a5e-4d3f-4f4a-9c55-1f0d7c0e7a11"

// nightly runs at 02:00 UTC and catches up for three hours.
func nightly(t testing.TB) Plan {
	return Plan{Name: "nightly", Schedule: must(t, "0 2 * * *", "UTC", 0), CatchUp: 3 * time.Hour}
}

func TestDue(t *testing.T) {
	at := func(text string) time.Time { return utc(t, text) }
	jittered := nightly(t)
	jittered.Schedule = must(t, "0 2 * * *", "UTC", 10*time.Minute)
	start := at("2025-03-02T02:00").Add(jittered.Schedule.Delay(uid, "nightly"))
	hourly := Plan{Name: "hourly", Schedule: must(t, "@hourly", "UTC", 0), CatchUp: 90 * time.Minute}
	replacing := hourly
	replacing.Concurrency = Replace
	strict := nightly(t)
	strict.CatchUp = 0
	paused := nightly(t)
	paused.Paused = true

	for _, c := range []struct {
		name      string
		plan      Plan
		base, now time.Time
		running   bool
		want      Decision
	}{
		{
			"before its time nothing is due", nightly(t), at("2025-03-01T02:00"), at("2025-03-02T01:59"), false,
			Decision{Base: at("2025-03-01T02:00"), Next: at("2025-03-02T02:00")},
		},
		{
			"at its time it runs", nightly(t), at("2025-03-01T02:00"), at("2025-03-02T02:00"), false,
			Decision{Occurrence: at("2025-03-02T02:00"), Base: at("2025-03-02T02:00"), Next: at("2025-03-03T02:00")},
		},
		{
			"what has run is not due again", nightly(t), at("2025-03-02T02:00"), at("2025-03-02T02:00"), false,
			Decision{Base: at("2025-03-02T02:00"), Next: at("2025-03-03T02:00")},
		},
		{
			"a plan that is new starts nothing early", nightly(t), at("2025-03-02T02:01"), at("2025-03-02T02:01"), false,
			Decision{Base: at("2025-03-02T02:01"), Next: at("2025-03-03T02:00")},
		},
		{
			"without a base all before now is settled", nightly(t), time.Time{}, at("2025-03-02T02:00"), false,
			Decision{Base: at("2025-03-02T02:00"), Next: at("2025-03-03T02:00")},
		},
		{
			"within its delay it is not due yet", jittered, at("2025-03-01T02:00"), start.Add(-time.Second), false,
			Decision{Base: at("2025-03-01T02:00"), Next: start},
		},
		{
			"after its delay it runs, on time", jittered, at("2025-03-01T02:00"), start, false,
			Decision{Occurrence: at("2025-03-02T02:00"), Base: at("2025-03-02T02:00"), Next: start.Add(24 * time.Hour)},
		},
		{
			"a plan that is new within the delay starts nothing early", jittered, at("2025-03-02T02:01"), start, false,
			Decision{Base: at("2025-03-02T02:01"), Next: start.Add(24 * time.Hour)},
		},
		{
			"after an outage it catches up", nightly(t), at("2025-03-01T02:00"), at("2025-03-02T05:00"), false,
			Decision{Occurrence: at("2025-03-02T02:00"), CatchUp: true, Base: at("2025-03-02T02:00"), Next: at("2025-03-03T02:00")},
		},
		{
			"what is later than catchUp is skipped", nightly(t), at("2025-03-01T02:00"), at("2025-03-02T05:01"), false,
			Decision{
				Skipped: Skipped{Reason: SkipLate, Count: 1, First: at("2025-03-02T02:00"), Last: at("2025-03-02T02:00")},
				Base:    at("2025-03-02T02:00"), Next: at("2025-03-03T02:00"),
			},
		},
		{
			"of several the newest runs, once", hourly, at("2025-03-02T02:00"), at("2025-03-02T06:30"), false,
			Decision{
				Occurrence: at("2025-03-02T06:00"), CatchUp: true,
				Skipped: Skipped{Reason: SkipSuperseded, Count: 3, First: at("2025-03-02T03:00"), Last: at("2025-03-02T05:00")},
				Base:    at("2025-03-02T06:00"), Next: at("2025-03-02T07:00"),
			},
		},
		{
			"a minute late is on time, whatever catchUp says", strict, at("2025-03-01T02:00"), at("2025-03-02T02:01"), false,
			Decision{Occurrence: at("2025-03-02T02:00"), Base: at("2025-03-02T02:00"), Next: at("2025-03-03T02:00")},
		},
		{
			"an occurrence during a run is skipped", hourly, at("2025-03-02T02:00"), at("2025-03-02T03:00"), true,
			Decision{
				Skipped: Skipped{Reason: SkipRunning, Count: 1, First: at("2025-03-02T03:00"), Last: at("2025-03-02T03:00")},
				Base:    at("2025-03-02T03:00"), Next: at("2025-03-02T04:00"),
			},
		},
		{
			"or takes its place", replacing, at("2025-03-02T02:00"), at("2025-03-02T03:00"), true,
			Decision{Occurrence: at("2025-03-02T03:00"), Replace: true, Base: at("2025-03-02T03:00"), Next: at("2025-03-02T04:00")},
		},
		{
			"there is nothing to replace without a run", replacing, at("2025-03-02T02:00"), at("2025-03-02T03:00"), false,
			Decision{Occurrence: at("2025-03-02T03:00"), Base: at("2025-03-02T03:00"), Next: at("2025-03-02T04:00")},
		},
		{
			"a clock that was put back repeats nothing", hourly, at("2025-03-02T03:00"), at("2025-03-02T02:50"), false,
			Decision{Base: at("2025-03-02T03:00"), Next: at("2025-03-02T04:00")},
		},
		{
			"a paused plan has nothing to do", paused, at("2025-03-01T02:00"), at("2025-03-02T02:00"), false,
			Decision{Base: at("2025-03-01T02:00")},
		},
		{
			"nor has one without a schedule", Plan{Name: "by-hand"}, at("2025-03-01T02:00"), at("2025-03-02T02:00"), false,
			Decision{Base: at("2025-03-01T02:00")},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Due(c.plan, uid, c.base, c.now, c.running)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Ten years of minutes are not counted one by one.
func TestDueCountsALongOutageUpToALimit(t *testing.T) {
	busy := Plan{Name: "busy", Schedule: must(t, "* * * * *", "Europe/Berlin", 0), CatchUp: time.Hour}
	base, now := utc(t, "2015-01-01T00:00"), utc(t, "2025-06-01T12:00").Add(20*time.Second)
	d := Due(busy, uid, base, now, false)
	want := Decision{
		Occurrence: utc(t, "2025-06-01T12:00"),
		Skipped:    Skipped{Reason: SkipSuperseded, Count: 10_000, First: utc(t, "2015-01-01T00:01"), Last: utc(t, "2025-06-01T11:59")},
		Base:       utc(t, "2025-06-01T12:00"),
		Next:       utc(t, "2025-06-01T12:01"),
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBase(t *testing.T) {
	at := func(text string) time.Time { return utc(t, text) }
	for _, c := range []struct {
		name       string
		known      []time.Time
		since, now time.Time
		want       time.Time
	}{
		{"the plan is newer than all that is known", []time.Time{at("2025-03-01T02:00")}, at("2025-03-02T10:00"), at("2025-03-02T12:00"), at("2025-03-02T10:00")},
		{"an occurrence is newer than the plan", []time.Time{at("2025-03-02T02:00"), at("2025-03-01T02:00")}, at("2025-01-01T00:00"), at("2025-03-02T12:00"), at("2025-03-02T02:00")},
		{"nothing is known", nil, at("2025-03-01T00:00"), at("2025-03-02T12:00"), at("2025-03-01T00:00")},
		{"the clock was put back a little", []time.Time{at("2025-03-02T13:00")}, at("2025-01-01T00:00"), at("2025-03-02T12:00"), at("2025-03-02T13:00")},
		{"the clock was a year ahead", []time.Time{at("2025-03-02T02:00"), at("2026-03-02T02:00")}, at("2025-01-01T00:00"), at("2025-03-02T12:00"), at("2025-03-02T02:00")},
	} {
		if got := Base(c.known, c.since, c.now); !got.Equal(c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestNextAttempt(t *testing.T) {
	at := func(text string) time.Time { return utc(t, text) }
	hourly := Plan{Name: "hourly", Schedule: must(t, "@hourly", "UTC", 0), CatchUp: 3 * time.Hour}
	paused := nightly(t)
	paused.Paused = true
	delayed := nightly(t)
	delayed.Schedule, delayed.CatchUp = must(t, "0 2 * * *", "UTC", 10*time.Minute), 10*time.Minute
	night := at("2025-03-02T02:00")

	for _, c := range []struct {
		name     string
		plan     Plan
		run      Run
		ended    time.Time
		takeover bool
		want     Retry // of GivenUp a part
	}{
		{"after the first attempt it waits a minute", nightly(t), Run{Occurrence: night}, at("2025-03-02T02:10"), false, Retry{At: at("2025-03-02T02:11"), Attempt: 1}},
		{"after the second it waits five", nightly(t), Run{Occurrence: night, Attempt: 1}, at("2025-03-02T02:10"), false, Retry{At: at("2025-03-02T02:15"), Attempt: 2}},
		{"after the third it gives up", nightly(t), Run{Occurrence: night, Attempt: 2}, at("2025-03-02T02:10"), false, Retry{GivenUp: "3 attempts were made"}},
		{"after a takeover it does not wait", nightly(t), Run{Occurrence: night, Attempt: 1}, at("2025-03-02T02:10"), true, Retry{At: at("2025-03-02T02:10"), Attempt: 2}},
		{"a takeover gives no attempt more", nightly(t), Run{Occurrence: night, Attempt: 2}, at("2025-03-02T02:10"), true, Retry{GivenUp: "3 attempts"}},
		{"the last moment of catchUp", nightly(t), Run{Occurrence: night}, at("2025-03-02T04:59"), false, Retry{At: at("2025-03-02T05:00"), Attempt: 1}},
		{"later than catchUp it gives up", nightly(t), Run{Occurrence: night}, at("2025-03-02T05:00"), false, Retry{GivenUp: "1m0s late, and catchUp is"}},
		{"catchUp counts from the start, the delay included", delayed, Run{Occurrence: night}, at("2025-03-02T02:12"), false, Retry{At: at("2025-03-02T02:13"), Attempt: 1}},
		{"the next occurrence goes first", hourly, Run{Occurrence: night}, at("2025-03-02T02:59"), false, Retry{GivenUp: "the next occurrence"}},
		{"just before the next occurrence", hourly, Run{Occurrence: night}, at("2025-03-02T02:59").Add(-time.Second), false, Retry{At: at("2025-03-02T03:00").Add(-time.Second), Attempt: 1}},
		{"a paused plan tries nothing", paused, Run{Occurrence: night}, at("2025-03-02T02:10"), true, Retry{GivenUp: "paused"}},
	} {
		got := NextAttempt(c.plan, uid, c.run, c.ended, c.takeover)
		given := c.want.GivenUp
		if (given == "") != (got.GivenUp == "") || !strings.Contains(got.GivenUp, given) {
			t.Errorf("%s: given up %q, want %q", c.name, got.GivenUp, given)
		}
		got.GivenUp, c.want.GivenUp = "", ""
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
