package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"hawser.dev/hawser/catalog"
)

// entry makes a closed entry of plan databases from a line like
// "2026-11-23 14:00 complete a b": time in UTC, outcome, claims. "broken"
// behind the outcome says that it could not be verified, "going" that its
// removal has begun; "#1" that it is the second attempt.
func entry(t *testing.T, line string) catalog.History {
	t.Helper()
	words := strings.Fields(line)
	at, err := time.Parse("2006-01-02 15:04", words[0]+" "+words[1])
	if err != nil {
		t.Fatal(err)
	}
	h := catalog.History{Verified: true, Commit: catalog.Commit{
		Cluster: catalog.Cluster{UID: clusterA}, Plan: "databases", Scheduled: at, Outcome: catalog.Outcome(words[2]),
	}}
	for _, word := range words[3:] {
		switch word {
		case "broken":
			h.Verified = false
		case "going":
			h.Presence.Removing = true
		case "#1":
			h.Commit.Attempt = 1
		default:
			h.Claims = append(h.Claims, catalog.ClaimKey{Namespace: "shop", Name: word})
		}
	}
	h.Commit.Point = catalog.NewPointID(clusterA, "databases", at, h.Commit.Attempt)
	h.Presence.ClusterUID, h.Presence.Point, h.Presence.Commit = clusterA, h.Commit.Point, true
	return h
}

func entries(t *testing.T, lines ...string) []catalog.History {
	t.Helper()
	var history []catalog.History
	for _, line := range lines {
		history = append(history, entry(t, line))
	}
	return history
}

// explain writes decisions as "11-23 14:00 keep: reasons", with times in zone.
func explain(decisions []catalog.Decision, zone *time.Location) []string {
	var lines []string
	for _, d := range decisions {
		verb := "drop"
		if d.Keep {
			verb = "keep"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", d.Point.Scheduled().In(zone).Format("01-02 15:04"), verb, strings.Join(d.Reasons, ", ")))
	}
	return lines
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestRetention(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		policy  catalog.Retention
		history []string
		want    []string
	}{
		{
			"without a policy everything stays, abandoned runs too", catalog.Retention{},
			[]string{"2026-11-20 00:00 abandoned", "2026-11-21 00:00 partial", "2026-11-22 00:00 complete"},
			[]string{
				"11-20 00:00 keep: there is no retention policy", "11-21 00:00 keep: there is no retention policy",
				"11-22 00:00 keep: there is no retention policy",
			},
		},
		{
			"the last ones stay", catalog.Retention{Last: 2},
			[]string{"2026-11-20 00:00 complete", "2026-11-21 00:00 complete", "2026-11-22 00:00 complete"},
			[]string{
				"11-20 00:00 drop: no rule of the policy keeps it", "11-21 00:00 keep: last 2 of 2",
				"11-22 00:00 keep: last 1 of 2, newest of its plan",
			},
		},
		{
			"of each hour the newest stays", catalog.Retention{Hourly: 2},
			[]string{
				"2026-11-23 11:00 complete", "2026-11-23 12:00 complete", "2026-11-23 12:30 complete",
				"2026-11-23 14:00 complete", "2026-11-23 14:59 complete",
			},
			[]string{
				"11-23 11:00 drop: no rule of the policy keeps it", "11-23 12:00 drop: no rule of the policy keeps it",
				"11-23 12:30 keep: hourly 2026-11-23 12:00", "11-23 14:00 drop: no rule of the policy keeps it",
				"11-23 14:59 keep: hourly 2026-11-23 14:00, newest of its plan",
			},
		},
		{
			"days without a point take no place", catalog.Retention{Daily: 2},
			[]string{"2026-10-01 00:00 complete", "2026-10-05 00:00 complete", "2026-11-22 06:00 complete", "2026-11-22 12:00 complete"},
			[]string{
				"10-01 00:00 drop: no rule of the policy keeps it", "10-05 00:00 keep: daily 2026-10-05",
				"11-22 06:00 drop: no rule of the policy keeps it", "11-22 12:00 keep: daily 2026-11-22, newest of its plan",
			},
		},
		{
			"while there are fewer than asked for, the oldest stays", catalog.Retention{Daily: 3},
			[]string{"2026-11-21 06:00 complete", "2026-11-21 12:00 complete", "2026-11-21 18:00 complete", "2026-11-22 06:00 complete"},
			[]string{
				"11-21 06:00 keep: oldest, while there are fewer than 3 daily", "11-21 12:00 drop: no rule of the policy keeps it",
				"11-21 18:00 keep: daily 2026-11-21", "11-22 06:00 keep: daily 2026-11-22, newest of its plan",
			},
		},
		{
			"weeks are those of ISO, also over the turn of the year", catalog.Retention{Weekly: 2},
			[]string{"2026-12-27 00:00 complete", "2026-12-28 00:00 complete", "2027-01-03 00:00 complete", "2027-01-04 00:00 complete"},
			[]string{
				"12-27 00:00 drop: no rule of the policy keeps it", "12-28 00:00 drop: no rule of the policy keeps it",
				"01-03 00:00 keep: weekly 2026-W53", "01-04 00:00 keep: newest of its plan, weekly 2027-W01",
			},
		},
		{
			"months and years", catalog.Retention{Monthly: 2, Yearly: 2},
			[]string{"2025-03-01 00:00 complete", "2025-12-31 00:00 complete", "2026-10-01 00:00 complete", "2026-10-31 00:00 complete", "2026-11-01 00:00 complete"},
			[]string{
				"03-01 00:00 drop: no rule of the policy keeps it", "12-31 00:00 keep: yearly 2025",
				"10-01 00:00 drop: no rule of the policy keeps it", "10-31 00:00 keep: monthly 2026-10",
				"11-01 00:00 keep: monthly 2026-11, newest of its plan, yearly 2026",
			},
		},
		{
			"within counts back from the newest point, not from now", catalog.Retention{Within: 2 * day},
			[]string{"2020-01-01 00:00 complete", "2020-01-01 00:01 complete", "2020-01-02 12:00 partial", "2020-01-03 00:01 complete"},
			[]string{
				"01-01 00:00 drop: no rule of the policy keeps it", "01-01 00:01 keep: within 2d of the newest point",
				"01-02 12:00 keep: within 2d of the newest point",
				"01-03 00:01 keep: newest of its plan, within 2d of the newest point",
			},
		},
		{
			"within counts back from a partial point too, and from no abandoned run", catalog.Retention{Within: 90 * time.Minute},
			[]string{"2026-11-23 10:00 complete", "2026-11-23 11:00 complete", "2026-11-23 12:00 partial", "2026-11-23 20:00 abandoned"},
			[]string{
				"11-23 10:00 drop: no rule of the policy keeps it", "11-23 11:00 keep: within 1h30m0s of the newest point",
				"11-23 12:00 keep: partial, and no complete point is newer, within 1h30m0s of the newest point",
				"11-23 20:00 keep: abandoned, and no complete point is newer, newest of its plan",
			},
		},
		{
			"partial points fill nothing, and go when a complete one is newer", catalog.Retention{Last: 2},
			[]string{
				"2026-11-20 00:00 complete", "2026-11-21 00:00 partial", "2026-11-22 00:00 complete",
				"2026-11-23 00:00 partial", "2026-11-24 00:00 partial",
			},
			[]string{
				"11-20 00:00 keep: last 2 of 2", "11-21 00:00 drop: partial, and a complete point is newer",
				"11-22 00:00 keep: last 1 of 2", "11-23 00:00 keep: partial, and no complete point is newer",
				"11-24 00:00 keep: newest of its plan, partial, and no complete point is newer",
			},
		},
		{
			"abandoned runs hold nothing", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 complete", "2026-11-21 00:00 abandoned", "2026-11-22 00:00 complete", "2026-11-22 00:00 abandoned #1"},
			[]string{
				"11-20 00:00 drop: no rule of the policy keeps it", "11-21 00:00 drop: abandoned, and a complete point is newer",
				"11-22 00:00 keep: last 1 of 1",
				"11-22 00:00 keep: abandoned, and no complete point is newer, newest of its plan",
			},
		},
		{
			"nothing goes before there is a complete point", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 abandoned", "2026-11-21 00:00 partial a", "2026-11-22 00:00 abandoned"},
			[]string{
				"11-20 00:00 keep: abandoned, and no complete point is newer",
				"11-21 00:00 keep: no complete and verified point has claim shop/a, partial, and no complete point is newer",
				"11-22 00:00 keep: abandoned, and no complete point is newer, newest of its plan",
			},
		},
		{
			"the newest point of a claim that is no more stays", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 complete a b", "2026-11-21 00:00 complete a b", "2026-11-22 00:00 complete a"},
			[]string{
				"11-20 00:00 drop: no rule of the policy keeps it", "11-21 00:00 keep: newest point with claim shop/b",
				"11-22 00:00 keep: last 1 of 1, newest of its plan, newest point with claim shop/a",
			},
		},
		{
			"of many claims a reason names a few", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 partial x y", "2026-11-21 00:00 complete a b c d e"},
			[]string{
				"11-20 00:00 keep: no complete and verified point has claims shop/x, shop/y",
				"11-21 00:00 keep: last 1 of 1, newest of its plan, newest point with claims shop/a, shop/b, shop/c and 2 more",
			},
		},
		{
			"a point that could not be verified takes no good one's place", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 complete a", "2026-11-21 00:00 complete a", "2026-11-22 00:00 complete a broken"},
			[]string{
				"11-20 00:00 drop: no rule of the policy keeps it", "11-21 00:00 keep: last 1 of 1, newest point with claim shop/a",
				"11-22 00:00 keep: last 1 of 1, newest of its plan",
			},
		},
		{
			"if nothing can be verified the policy holds all the same", catalog.Retention{Last: 2},
			[]string{"2026-11-20 00:00 complete a broken", "2026-11-21 00:00 complete a broken", "2026-11-22 00:00 complete a broken"},
			[]string{
				"11-20 00:00 drop: no rule of the policy keeps it", "11-21 00:00 keep: last 2 of 2",
				"11-22 00:00 keep: last 1 of 2, newest of its plan, no complete and verified point has claim shop/a",
			},
		},
		{
			"a partial point that alone has a claim stays, the newest of several", catalog.Retention{Last: 1},
			[]string{"2026-11-19 00:00 partial b", "2026-11-20 00:00 partial b", "2026-11-21 00:00 partial a", "2026-11-22 00:00 complete a"},
			[]string{
				"11-19 00:00 drop: partial, and a complete point is newer", "11-20 00:00 keep: no complete and verified point has claim shop/b",
				"11-21 00:00 drop: partial, and a complete point is newer",
				"11-22 00:00 keep: last 1 of 1, newest of its plan, newest point with claim shop/a",
			},
		},
		{
			"beside a newer one that could not be verified, the verified partial point stays too", catalog.Retention{Last: 1},
			[]string{"2026-11-19 00:00 partial b", "2026-11-20 00:00 complete b broken", "2026-11-22 00:00 complete a"},
			[]string{
				"11-19 00:00 keep: no complete and verified point has claim shop/b", "11-20 00:00 keep: no complete and verified point has claim shop/b",
				"11-22 00:00 keep: last 1 of 1, newest of its plan, newest point with claim shop/a",
			},
		},
		{
			"what has begun to go counts for nothing", catalog.Retention{Last: 1},
			[]string{"2026-11-20 00:00 complete a", "2026-11-21 00:00 complete a going"},
			[]string{
				"11-20 00:00 keep: last 1 of 1, newest of its plan, newest point with claim shop/a",
				"11-21 00:00 drop: its removal has begun",
			},
		},
		{"of nothing, nothing", catalog.Retention{Last: 1}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			history := entries(t, c.history...)
			for range 2 {
				decisions, err := c.policy.Apply(history, nil)
				if err != nil {
					t.Fatal(err)
				}
				wantDiff(t, "decisions", c.want, explain(decisions, time.UTC))
				slices.Reverse(history) // the order in which it comes is of no account
			}
		})
	}
}

func TestDaysAndHoursAreThoseOfTheZone(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		policy     catalog.Retention
		history    []string // in UTC
		want       []string // those that stay, by the clock of the zone
	}{
		{
			"the day ends at the zone's midnight", "Europe/Berlin", catalog.Retention{Daily: 2},
			[]string{"2026-07-01 21:00 complete", "2026-07-01 21:59 complete", "2026-07-01 22:00 complete", "2026-07-02 21:00 complete"},
			[]string{"07-01 23:59", "07-02 23:00"},
		},
		{
			"without daylight saving time it ends an hour later in UTC", "Europe/Berlin", catalog.Retention{Daily: 2},
			[]string{"2026-01-01 21:00 complete", "2026-01-01 22:30 complete", "2026-01-01 23:00 complete", "2026-01-02 22:30 complete"},
			[]string{"01-01 23:30", "01-02 23:30"},
		},
		{
			"the day that clocks go forward has 23 hours", "Europe/Berlin", catalog.Retention{Daily: 3},
			[]string{"2026-03-28 22:59 complete", "2026-03-28 23:00 complete", "2026-03-29 21:59 complete", "2026-03-29 22:00 complete"},
			[]string{"03-28 23:59", "03-29 23:59", "03-30 00:00"},
		},
		{
			"the day that clocks go back has 25 hours", "Europe/Berlin", catalog.Retention{Daily: 3},
			[]string{"2026-10-24 21:59 complete", "2026-10-24 22:00 complete", "2026-10-25 22:59 complete", "2026-10-25 23:00 complete"},
			[]string{"10-24 23:59", "10-25 23:59", "10-26 00:00"},
		},
		{
			"the hour that a clock repeats is two hours", "Europe/Berlin", catalog.Retention{Hourly: 2},
			[]string{"2026-10-24 23:30 complete", "2026-10-25 00:30 complete", "2026-10-25 01:30 complete"},
			[]string{"10-25 02:30", "10-25 02:30"},
		},
		{
			"a midnight that a clock leaves out", "America/Santiago", catalog.Retention{Daily: 2},
			[]string{"2026-09-06 03:30 complete", "2026-09-06 04:00 complete", "2026-09-07 02:59 complete", "2026-09-07 03:00 complete"},
			[]string{"09-06 23:59", "09-07 00:00"},
		},
		{
			"an hour begins at half past in UTC where the zone's does", "Asia/Kolkata", catalog.Retention{Hourly: 2},
			[]string{"2026-11-23 08:00 complete", "2026-11-23 08:29 complete", "2026-11-23 08:30 complete", "2026-11-23 09:29 complete"},
			[]string{"11-23 13:59", "11-23 14:59"},
		},
		{
			"a day that a zone left out altogether", "Pacific/Apia", catalog.Retention{Daily: 2},
			[]string{"2011-12-30 09:00 complete", "2011-12-30 09:59 complete", "2011-12-30 10:00 complete", "2011-12-31 09:00 complete"},
			[]string{"12-29 23:59", "12-31 23:00"},
		},
		{
			"east of the date line the year is new", "Pacific/Kiritimati", catalog.Retention{Yearly: 2},
			[]string{"2026-12-31 09:59 complete", "2026-12-31 10:00 complete"},
			[]string{"12-31 23:59", "01-01 00:00"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := zone(t, c.zone)
			decisions, err := c.policy.Apply(entries(t, c.history...), z)
			if err != nil {
				t.Fatal(err)
			}
			var kept []string
			for _, d := range decisions {
				if d.Keep {
					kept = append(kept, d.Point.Scheduled().In(z).Format("01-02 15:04"))
				}
			}
			wantDiff(t, "kept", c.want, kept)
		})
	}
}

func TestNothingIsDecidedOfAHistoryThatCannotBe(t *testing.T) {
	policy := catalog.Retention{Last: 1}
	for _, c := range []struct {
		name   string
		policy catalog.Retention
		change func(h *catalog.History)
		says   string
	}{
		{"points of two clusters", policy, func(h *catalog.History) {
			h.Presence.ClusterUID, h.Commit.Cluster.UID = clusterB, clusterB
		}, "not of one cluster and plan"},
		{"points of two plans", policy, func(h *catalog.History) { h.Commit.Plan = "web" }, "not of one cluster and plan"},
		{"points of two plans, without a policy", catalog.Retention{}, func(h *catalog.History) { h.Commit.Plan = "web" }, "not of one cluster and plan"},
		{"a point with another's commit", policy, func(h *catalog.History) { h.Commit.Point = "other" }, "other"},
		{"a point of another cluster's presence", policy, func(h *catalog.History) { h.Presence.ClusterUID = clusterB }, clusterB},
		{"an entry that is not closed", policy, func(h *catalog.History) { h.Commit.Outcome = "" }, `outcome ""`},
		{"an outcome of the future", policy, func(h *catalog.History) { h.Commit.Outcome = "mostly" }, "mostly"},
		{"a point that is there twice", policy, func(h *catalog.History) { *h = entry(t, "2026-11-21 00:00 complete") }, "twice"},
		{"a number below 0", catalog.Retention{Last: 3, Daily: -1}, func(*catalog.History) {}, "below 0"},
		{"a time below 0", catalog.Retention{Last: 3, Within: -time.Second}, func(*catalog.History) {}, "below 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			history := entries(t, "2026-11-20 00:00 complete", "2026-11-21 00:00 complete", "2026-11-22 00:00 complete")
			c.change(&history[0])
			decisions, err := c.policy.Apply(history, nil)
			if err == nil || decisions != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Apply = %v, %v, want an error that says %q", decisions, err, c.says)
			}
		})
	}
}

func TestApplyLeavesTheHistoryAsItWas(t *testing.T) {
	history := entries(t, "2026-11-22 00:00 complete a", "2026-11-20 00:00 complete a", "2026-11-21 00:00 partial b")
	before := slices.Clone(history)
	if _, err := (catalog.Retention{Last: 1}).Apply(history, nil); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "history", before, history)
}
