package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// simulation runs one plan by a clock that jumps from event to event. What it
// decides it decides as the agent does: by Base, Due and NextAttempt.
type simulation struct {
	plan    Plan
	outages [][2]time.Time // in order
	// takes says how long a run takes, and whether a point comes of it.
	takes func(Run) (time.Duration, bool)

	now, base, until, ends time.Time
	running                *Run
	made                   bool // whether running makes a point
	retry                  Retry
	retried                time.Time // the occurrence that retry is about
	log                    []string
}

// simulate returns what happened from since, when the plan comes into force, to
// until.
func simulate(s simulation, since, until time.Time) []string {
	if s.takes == nil {
		s.takes = func(Run) (time.Duration, bool) { return time.Minute, true }
	}
	s.now, s.base, s.until = since, Base(nil, since, since), until
	for s.now.Before(until) {
		s.step()
	}
	return s.log
}

func (s *simulation) step() {
	if s.running != nil && !s.now.Before(s.ends) {
		s.end(false)
	}
	d := Due(s.plan, uid, s.base, s.now, s.running != nil)
	s.base = d.Base
	if n := d.Skipped.Count; n > 0 {
		s.note("%d %s: %s to %s", n, d.Skipped.Reason, d.Skipped.First.Format("15:04"), d.Skipped.Last.Format("15:04"))
	}
	switch {
	case !d.Occurrence.IsZero():
		if d.Replace {
			s.note("%s stopped", s.running.Occurrence.Format("15:04"))
		}
		s.start(Run{Occurrence: d.Occurrence, CatchUp: d.CatchUp})
	case !s.retry.At.IsZero() && !s.now.Before(s.retry.At):
		s.start(Run{Occurrence: s.retried, Attempt: s.retry.Attempt})
	}
	s.advance(d.Next)
}

func (s *simulation) start(run Run) {
	took, made := s.takes(run)
	s.running, s.made, s.ends, s.retry = &run, made, s.now.Add(took), Retry{}
	word := "runs"
	if run.CatchUp {
		word = "catches up"
	}
	if run.Attempt > 0 {
		word = fmt.Sprint("attempt ", run.Attempt)
	}
	s.note("%s %s", run.Occurrence.Format("15:04"), word)
}

// end ends the run under way; lost says that its process died.
func (s *simulation) end(lost bool) {
	if run := *s.running; !s.made || lost {
		s.retried, s.retry = run.Occurrence, NextAttempt(s.plan, uid, run, s.now, lost)
		if s.retry.GivenUp != "" {
			s.note("%s given up", run.Occurrence.Format("15:04"))
		}
	}
	s.running = nil
}

// advance goes to the next event, or to the end of the outage that comes first.
func (s *simulation) advance(next time.Time) {
	if next.IsZero() {
		next = s.until
	}
	if s.running != nil && s.ends.Before(next) {
		next = s.ends
	}
	if !s.retry.At.IsZero() && s.retry.At.Before(next) {
		next = s.retry.At
	}
	s.now = next
	if len(s.outages) > 0 && !next.Before(s.outages[0][0]) {
		s.now = s.outages[0][1] // when an agent looks first
		s.outages = s.outages[1:]
		if s.running != nil {
			s.end(true)
		}
	}
}

func (s *simulation) note(format string, args ...any) {
	s.log = append(s.log, s.now.Format("15:04")+" "+fmt.Sprintf(format, args...))
}

// A day of several plans, by an accelerated clock.
func TestADay(t *testing.T) {
	at := func(text string) time.Time { return utc(t, "2025-03-04T"+text) } // a Tuesday
	lasting := func(d time.Duration) func(Run) (time.Duration, bool) {
		return func(Run) (time.Duration, bool) { return d, true }
	}
	every := func(expr string, catchUp time.Duration) Plan {
		return Plan{Name: "plan", Schedule: must(t, expr, "UTC", 0), CatchUp: catchUp}
	}
	replacing := every("0 */6 * * *", time.Hour)
	replacing.Concurrency = Replace
	jittered := every("0 */6 * * *", time.Hour)
	jittered.Schedule = must(t, "0 */6 * * *", "Europe/Berlin", 10*time.Minute) // this plan's delay is 6m and some seconds
	for _, c := range []struct {
		name string
		simulation
		want []string
	}{
		{
			"every six hours", simulation{plan: every("0 */6 * * *", time.Hour)},
			[]string{"06:00 06:00 runs", "12:00 12:00 runs", "18:00 18:00 runs"},
		},
		{
			"every six hours in Berlin, with jitter", simulation{plan: jittered},
			[]string{"05:06 05:00 runs", "11:06 11:00 runs", "17:06 17:00 runs", "23:06 23:00 runs"},
		},
		{
			"in office hours", simulation{plan: every("*/30 9-11 * * 1-5", time.Hour)},
			[]string{"09:00 09:00 runs", "09:30 09:30 runs", "10:00 10:00 runs", "10:30 10:30 runs", "11:00 11:00 runs", "11:30 11:30 runs"},
		},
		{
			"after a short outage one run catches up", simulation{plan: every("0 */2 * * *", time.Hour), outages: [][2]time.Time{{at("05:00"), at("12:30")}, {at("13:00"), at("20:00").Add(30 * time.Second)}}},
			[]string{"02:00 02:00 runs", "04:00 04:00 runs", "12:30 3 superseded: 06:00 to 10:00", "12:30 12:00 catches up", "20:00 3 superseded: 14:00 to 18:00", "20:00 20:00 runs", "22:00 22:00 runs"},
		},
		{
			"after a long outage nothing does", simulation{plan: every("0 */6 * * *", time.Hour), outages: [][2]time.Time{{at("05:00"), at("13:30")}}},
			[]string{"13:30 2 late: 06:00 to 12:00", "18:00 18:00 runs"},
		},
		{
			"runs that take too long", simulation{plan: every("0 */6 * * *", time.Hour), takes: lasting(7 * time.Hour)},
			[]string{"06:00 06:00 runs", "12:00 1 running: 12:00 to 12:00", "18:00 18:00 runs"},
		},
		{
			"runs that take too long and are replaced", simulation{plan: replacing, takes: lasting(7 * time.Hour)},
			[]string{"06:00 06:00 runs", "12:00 06:00 stopped", "12:00 12:00 runs", "18:00 12:00 stopped", "18:00 18:00 runs"},
		},
		{
			"the first attempt at noon fails", simulation{plan: every("0 */12 * * *", time.Hour), takes: func(r Run) (time.Duration, bool) { return 10 * time.Minute, r.Attempt == 1 }},
			[]string{"12:00 12:00 runs", "12:11 12:00 attempt 1"},
		},
		{
			"all attempts at noon fail", simulation{plan: every("0 */12 * * *", time.Hour), takes: func(Run) (time.Duration, bool) { return 10 * time.Minute, false }},
			[]string{"12:00 12:00 runs", "12:11 12:00 attempt 1", "12:26 12:00 attempt 2", "12:36 12:00 given up"},
		},
		{
			"attempts that would be later than catchUp", simulation{plan: every("0 */12 * * *", time.Hour), takes: func(Run) (time.Duration, bool) { return 58 * time.Minute, false }},
			[]string{"12:00 12:00 runs", "12:59 12:00 attempt 1", "13:57 12:00 given up"},
		},
		{
			"the agent dies in a run, and the next one tries again at once", simulation{plan: every("0 */12 * * *", time.Hour), takes: lasting(time.Hour), outages: [][2]time.Time{{at("12:30"), at("12:30").Add(20 * time.Second)}}},
			[]string{"12:00 12:00 runs", "12:30 12:00 attempt 1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := simulate(c.simulation, at("00:00"), at("00:00").Add(24*time.Hour))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A year of one run each night, the two odd nights included.
func TestAYear(t *testing.T) {
	berlin := location(t, "Europe/Berlin")
	plan := Plan{Name: "nightly", Schedule: must(t, "30 2 * * *", "Europe/Berlin", 0), CatchUp: time.Hour}
	var want []time.Time
	for day := range 365 {
		want = append(want, time.Date(2025, 1, 1+day, 2, 30, 0, 0, berlin).UTC())
	}
	want[31+28+29] = time.Date(2025, 3, 30, 1, 0, 0, 0, time.UTC)      // 03:00 summer time; there is no 02:30
	want[365-31-30-6] = time.Date(2025, 10, 26, 0, 30, 0, 0, time.UTC) // 02:30 summer time, the first of two

	var got []time.Time
	takes := func(run Run) (time.Duration, bool) {
		got = append(got, run.Occurrence)
		return time.Hour, true
	}
	simulate(simulation{plan: plan, takes: takes}, time.Date(2025, 1, 1, 0, 0, 0, 0, berlin), time.Date(2026, 1, 1, 0, 0, 0, 0, berlin))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An agent that is asked at any moment, dies, and whose clock is put back by up
// to an hour.
func TestDueWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		zone := zones().Draw(rt, "zone")
		plan := Plan{
			Name:        "plan",
			Schedule:    must(t, expressions().Draw(rt, "expression"), zone, rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, 3 * time.Hour}).Draw(rt, "jitter")),
			CatchUp:     rapid.SampledFrom([]time.Duration{0, time.Hour, 12 * time.Hour, 100 * 24 * time.Hour}).Draw(rt, "catchUp"),
			Concurrency: rapid.SampledFrom([]Concurrency{"", Forbid, Replace}).Draw(rt, "concurrency"),
		}
		delay := plan.Schedule.Delay(uid, plan.Name)
		since := moments(location(t, zone)).Draw(rt, "since")
		now, newest, base := since, since, Base(nil, since, since)
		ran := map[time.Time]bool{}
		var known []time.Time
		settled, restarted := 0, false
		for range rapid.IntRange(1, 40).Draw(rt, "looks") {
			running := rapid.Bool().Draw(rt, "running")
			d := Due(plan, uid, base, now, running)
			if d.Base.Before(base) {
				rt.Fatalf("the base went back from %s to %s", base, d.Base)
			}
			base = d.Base
			settled += d.Skipped.Count
			if o := d.Occurrence; !o.IsZero() {
				late := now.Sub(o.Add(delay))
				switch {
				case ran[o]:
					rt.Fatalf("%s runs twice", o)
				case late < 0:
					rt.Fatalf("%s runs %s early", o, -late)
				case late > max(plan.CatchUp, punctual):
					rt.Fatalf("%s runs %s late, catchUp is %s", o, late, plan.CatchUp)
				case d.CatchUp != (late > punctual):
					rt.Fatalf("%s runs %s late; catches up: %t", o, late, d.CatchUp)
				case !plan.Schedule.Next(o.Add(-time.Nanosecond)).Equal(o):
					rt.Fatalf("%s is no occurrence of %s", o, plan.Schedule)
				case !o.After(since):
					rt.Fatalf("%s runs, and the plan is in force since %s", o, since)
				case running && plan.Concurrency != Replace:
					rt.Fatalf("%s runs beside another run", o)
				}
				ran[o] = true
				known = append(known, o)
				settled++
			}
			if again := Due(plan, uid, base, now, running); !again.Occurrence.IsZero() || again.Skipped.Count > 0 || !again.Next.Equal(d.Next) {
				rt.Fatalf("asked once more at %s: %+v", now, again)
			}
			if d.Next.IsZero() || !d.Next.After(now) {
				rt.Fatalf("at %s, look again at %s", now, d.Next)
			}
			if all := plan.Schedule.between(since, base); !restarted && all.Count != settled && all.Count < countLimit {
				rt.Fatalf("%d occurrences from %s to %s; %d have run or been skipped", all.Count, since, base, settled)
			}
			switch rapid.SampledFrom([]string{"on time", "a moment late", "outage", "restart", "clock back"}).Draw(rt, "then") {
			case "on time":
				now = d.Next
			case "a moment late":
				now = d.Next.Add(time.Duration(rapid.IntRange(0, 90_000).Draw(rt, "ms")) * time.Millisecond)
			case "outage":
				now = now.Add(time.Duration(rapid.IntRange(1, 48*60).Draw(rt, "minutes")) * time.Minute)
			case "restart":
				base, restarted = Base(known, since, now), true
			case "clock back":
				now = later(newest.Add(-believable), now.Add(-time.Duration(rapid.IntRange(1, 3600).Draw(rt, "seconds"))*time.Second))
				now = later(now, since)
			}
			newest = later(newest, now)
		}
	})
}

// After an outage, the occurrences that were missed run once at most.
func TestOneCatchUpAfterAnOutage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		zone := zones().Draw(rt, "zone")
		plan := Plan{Name: "plan", Schedule: must(t, expressions().Draw(rt, "expression"), zone, 10*time.Minute), CatchUp: 48 * time.Hour}
		from := moments(location(t, zone)).Draw(rt, "from")
		back := from.Add(time.Duration(rapid.IntRange(1, 48*60).Draw(rt, "minutes")) * time.Minute)
		var caughtUp []string
		missed := map[time.Time]bool{}
		takes := func(run Run) (time.Duration, bool) {
			if missed[run.Occurrence] {
				rt.Fatalf("%s runs twice", run.Occurrence)
			}
			missed[run.Occurrence] = true
			if plan.start(uid, run.Occurrence).Before(back) {
				caughtUp = append(caughtUp, run.Occurrence.String())
			}
			return time.Minute / 2, true
		}
		simulate(simulation{plan: plan, outages: [][2]time.Time{{from, back}}, takes: takes}, from, back.Add(24*time.Hour))
		want := 0
		if plan.Schedule.between(from, back.Add(-plan.Schedule.Delay(uid, "plan")-time.Nanosecond)).Count > 0 {
			want = 1
		}
		if exactly := plan.Schedule.Next(back.Add(-plan.Schedule.Delay(uid, "plan") - time.Nanosecond)); plan.start(uid, exactly).Equal(back) {
			want = 0 // the one that starts right then takes their place
		}
		if len(caughtUp) != want {
			rt.Fatalf("%s from %s to %s: %v ran late, want %d", plan.Schedule, from, back, caughtUp, want)
		}
	})
}
