package catalog_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// histories is how many random histories the properties of Apply are tried on.
const histories = 100_000

// TestRetentionOfRandomHistories states what holds for every policy, history and
// zone. Its seed is printed, so that a failure can be seen again: put it in
// place of the random one.
func TestRetentionOfRandomHistories(t *testing.T) {
	seed, n := rand.Uint64(), histories
	if testing.Short() {
		n /= 20
	}
	t.Logf("seed %d", seed)
	zones := zonesWithOddDays(t)
	started := time.Now()
	var workers sync.WaitGroup
	total := &tally{}
	for worker := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := worker; i < n && !t.Failed(); i += runtime.GOMAXPROCS(0) {
				c := randomCase(rand.New(rand.NewPCG(seed, uint64(i))), zones)
				if problem := c.check(total); problem != "" {
					t.Errorf("seed %d, history %d: %s\npolicy %+v, zone %s\n%s", seed, i, problem, c.policy, c.zone, c)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories of %d entries, of which %d stay, %d of them for a claim alone, in %v",
		n, total.entries, total.kept, total.forClaim, time.Since(started).Round(time.Millisecond))
	if !t.Failed() && (total.kept < total.entries/10 || total.kept > total.entries*9/10 || total.forClaim < n/100) {
		t.Error("the histories are too much alike to show anything")
	}
}

// tally shows that the cases were worth their while.
type tally struct {
	sync.Mutex
	entries, kept, forClaim int
}

func (a *tally) add(entries, kept, forClaim int) {
	a.Lock()
	defer a.Unlock()
	a.entries, a.kept, a.forClaim = a.entries+entries, a.kept+kept, a.forClaim+forClaim
}

// oddDays is a zone and a day on which its clock is changed.
type oddDays struct {
	zone *time.Location
	day  time.Time
}

func zonesWithOddDays(t *testing.T) []oddDays {
	t.Helper()
	var all []oddDays
	for name, days := range map[string][]string{
		"Europe/Berlin": {"2026-03-29", "2026-10-25"}, "America/New_York": {"2026-03-08", "2026-11-01"},
		"America/Santiago": {"2026-04-05", "2026-09-06"}, "Australia/Lord_Howe": {"2026-04-05", "2026-10-04"},
		"Asia/Kathmandu": {"2026-01-01"}, "Pacific/Apia": {"2011-12-30"}, "UTC": {"2026-12-31"},
	} {
		for _, day := range days {
			at, err := time.Parse(time.DateOnly, day)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, oddDays{zone(t, name), at})
		}
	}
	slices.SortFunc(all, func(a, b oddDays) int {
		return strings.Compare(a.zone.String()+a.day.String(), b.zone.String()+b.day.String())
	})
	return all
}

// retentionCase is a policy and what it is applied to.
type retentionCase struct {
	policy  catalog.Retention
	zone    *time.Location
	history []catalog.History // the newest first
	random  *rand.Rand
}

func randomCase(r *rand.Rand, zones []oddDays) retentionCase {
	count := func() int { return max(0, r.IntN(8)-4) } // mostly none
	odd := zones[r.IntN(len(zones))]
	c := retentionCase{random: r, zone: odd.zone, policy: catalog.Retention{
		Last: count(), Hourly: count(), Daily: count(), Weekly: count(), Monthly: count(), Yearly: count(),
	}}
	if r.IntN(4) == 0 {
		c.policy.Within = time.Duration(r.IntN(100)) * time.Hour
	}
	steps := []time.Duration{20 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 31 * 24 * time.Hour, 366 * 24 * time.Hour}
	step := steps[r.IntN(len(steps))]
	n := r.IntN(13)
	at := odd.day.Add(time.Duration(r.Int64N(int64(n+1))-int64(n)/2) * step).Truncate(time.Second)
	for range n {
		h := catalog.History{Verified: r.IntN(4) > 0, Commit: catalog.Commit{
			Cluster: catalog.Cluster{UID: clusterA}, Plan: "databases", Scheduled: at,
			Outcome: []catalog.Outcome{catalog.Complete, catalog.Complete, catalog.Complete, catalog.Partial, catalog.Abandoned}[r.IntN(5)],
		}}
		for _, name := range []string{"a", "b", "c"} {
			if h.Commit.Outcome != catalog.Abandoned && r.IntN(2) == 0 {
				h.Claims = append(h.Claims, catalog.ClaimKey{Namespace: "shop", Name: name})
			}
		}
		if r.IntN(8) == 0 && len(c.history) > 0 { // the next attempt at the time of the one before
			h.Commit.Scheduled = c.history[0].Commit.Scheduled
			h.Commit.Attempt = c.history[0].Commit.Attempt + 1
		}
		h.Commit.Point = catalog.NewPointID(clusterA, "databases", h.Commit.Scheduled, h.Commit.Attempt)
		h.Presence = catalog.Presence{ClusterUID: clusterA, Point: h.Commit.Point, Commit: true, Removing: r.IntN(20) == 0}
		c.history = slices.Insert(c.history, 0, h)
		at = at.Add(step/4 + time.Duration(r.Int64N(int64(step)))).Truncate(time.Second)
	}
	return c
}

func (c retentionCase) String() string {
	var s strings.Builder
	for _, h := range slices.Backward(c.history) {
		fmt.Fprintf(&s, "%s %s verified %t, removing %t, claims %v\n", h.Commit.Point, h.Commit.Outcome, h.Verified, h.Presence.Removing, h.Claims)
	}
	return s.String()
}

// apply returns the reasons of what the policy keeps, by point.
func (c retentionCase) apply(history []catalog.History) (kept map[catalog.PointID][]string, dropped int, err error) {
	decisions, err := c.policy.Apply(history, c.zone)
	if err != nil {
		return nil, 0, err
	}
	kept = map[catalog.PointID][]string{}
	for _, d := range decisions {
		if len(d.Reasons) == 0 {
			return nil, 0, fmt.Errorf("no reason is given for point %s", d.Point)
		}
		if d.Keep {
			kept[d.Point] = d.Reasons
		} else {
			dropped++
		}
	}
	return kept, dropped, nil
}

// check returns the first property that does not hold, or "".
func (c retentionCase) check(total *tally) string {
	kept, dropped, err := c.apply(c.history)
	if err != nil {
		return err.Error()
	}
	if len(kept)+dropped != len(c.history) {
		return fmt.Sprintf("%d stay and %d go, of %d", len(kept), dropped, len(c.history))
	}
	total.add(len(c.history), len(kept), c.forClaim(kept))
	for _, property := range []func(map[catalog.PointID][]string) string{c.order, c.again, c.newest, c.claims, c.complete, c.rules, c.more} {
		if problem := property(kept); problem != "" {
			return problem
		}
	}
	return ""
}

func (c retentionCase) forClaim(kept map[catalog.PointID][]string) (n int) {
	for _, reasons := range kept {
		if !slices.ContainsFunc(reasons, func(reason string) bool { return !strings.Contains(reason, "claim") }) {
			n++
		}
	}
	return n
}

// order: it is of no account in which order the history comes.
func (c retentionCase) order(kept map[catalog.PointID][]string) string {
	shuffled := slices.Clone(c.history)
	c.random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	if again, _, err := c.apply(shuffled); err != nil || !reflect.DeepEqual(kept, again) {
		return fmt.Sprintf("in another order: %v, error %v", again, err)
	}
	return ""
}

// again: of what stays, all stays. So it does with tombstones.
func (c retentionCase) again(kept map[catalog.PointID][]string) string {
	left := slices.DeleteFunc(slices.Clone(c.history), func(h catalog.History) bool { return kept[h.Commit.Point] == nil })
	for i := range left {
		left[i].Presence.Tombstone = c.random.IntN(2) == 0
	}
	if again, dropped, err := c.apply(left); err != nil || dropped > 0 {
		return fmt.Sprintf("of what stayed, only %v stays, error %v", again, err)
	}
	return ""
}

// newest: the newest entry stays.
func (c retentionCase) newest(kept map[catalog.PointID][]string) string {
	for _, h := range c.history {
		if h.Presence.Removing {
			continue
		}
		if kept[h.Commit.Point] == nil {
			return fmt.Sprintf("the newest entry %s goes", h.Commit.Point)
		}
		return ""
	}
	return ""
}

// claims: if a complete and verified point has a claim, the newest such stays;
// if any point has it, one that has it stays.
func (c retentionCase) claims(kept map[catalog.PointID][]string) string {
	good, any, anyKept := map[catalog.ClaimKey]bool{}, map[catalog.ClaimKey]bool{}, map[catalog.ClaimKey]bool{}
	for _, h := range c.history {
		for _, claim := range h.Claims {
			if h.Presence.Removing {
				continue
			}
			any[claim] = true
			anyKept[claim] = anyKept[claim] || kept[h.Commit.Point] != nil
			if h.Verified && h.Commit.Outcome == catalog.Complete && !good[claim] {
				if good[claim] = true; kept[h.Commit.Point] == nil {
					return fmt.Sprintf("the newest good point of claim %s goes: %s", claim, h.Commit.Point)
				}
			}
		}
	}
	for claim := range any {
		if !anyKept[claim] {
			return fmt.Sprintf("no point of claim %s stays", claim)
		}
	}
	return ""
}

// byRule says whether a reason is that of a counting rule.
func byRule(reason string) bool {
	word, _, _ := strings.Cut(reason, " ")
	return slices.Contains([]string{"last", "hourly", "daily", "weekly", "monthly", "yearly", "oldest,"}, word)
}

// rules: what the counting rules keep is what a simpler reckoning says of the
// complete points, and among the verified of them. Nothing else fills a place.
func (c retentionCase) rules(kept map[catalog.PointID][]string) string {
	if c.policy == (catalog.Retention{}) {
		return ""
	}
	got := map[catalog.PointID]bool{}
	for id, reasons := range kept {
		if slices.ContainsFunc(reasons, byRule) {
			got[id] = true
		}
	}
	want := map[catalog.PointID]bool{}
	for _, verified := range []bool{false, true} {
		var points []catalog.History
		for _, h := range c.history {
			if h.Commit.Outcome == catalog.Complete && !h.Presence.Removing && (h.Verified || !verified) {
				points = append(points, h)
			}
		}
		c.reckon(points, want)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("the rules keep %v, want %v", got, want)
	}
	return ""
}

// reckon adds to want those of points, the newest first, that the counting rules keep.
func (c retentionCase) reckon(points []catalog.History, want map[catalog.PointID]bool) {
	zoned := func(h catalog.History) time.Time { return h.Commit.Scheduled.In(c.zone) }
	for _, rule := range []struct {
		count int
		same  func(a, b time.Time) bool
	}{
		{c.policy.Last, func(a, b time.Time) bool { return false }},
		{c.policy.Hourly, func(a, b time.Time) bool {
			_, before := a.Zone()
			_, after := b.Zone()
			return sameDay(a, b) && a.Hour() == b.Hour() && before == after
		}},
		{c.policy.Daily, sameDay},
		{c.policy.Weekly, func(a, b time.Time) bool { return sameDay(monday(a), monday(b)) }},
		{c.policy.Monthly, func(a, b time.Time) bool { return a.Year() == b.Year() && a.Month() == b.Month() }},
		{c.policy.Yearly, func(a, b time.Time) bool { return a.Year() == b.Year() }},
	} {
		n := 0
		for i, h := range points {
			first := i == 0 || !rule.same(zoned(points[i-1]), zoned(h))
			if first {
				n++
			}
			if n <= rule.count && first || n < rule.count && i == len(points)-1 {
				want[h.Commit.Point] = true
			}
		}
	}
}

func sameDay(a, b time.Time) bool { return a.Year() == b.Year() && a.YearDay() == b.YearDay() }

// monday is noon of the Monday of t's week.
func monday(t time.Time) time.Time {
	back := (int(t.Weekday()) + 6) % 7
	return time.Date(t.Year(), t.Month(), t.Day()-back, 12, 0, 0, 0, time.UTC)
}

// complete: whatever is not complete stays only while no complete point is
// newer, or within the time of the policy, or for a claim that has no good point.
func (c retentionCase) complete(kept map[catalog.PointID][]string) string {
	if c.policy == (catalog.Retention{}) {
		return ""
	}
	newer := false
	for i, h := range c.history {
		if h.Presence.Removing {
			continue
		}
		reasons := kept[h.Commit.Point]
		partial, isNewest := h.Commit.Outcome == catalog.Partial, !slices.ContainsFunc(c.history[:i], func(h catalog.History) bool { return !h.Presence.Removing })
		for _, reason := range reasons {
			switch {
			case h.Commit.Outcome == catalog.Complete:
			case strings.HasSuffix(reason, "no complete point is newer") && !newer:
			case reason == "newest of its plan" && isNewest:
			case partial && strings.HasPrefix(reason, "within ") && c.policy.Within > 0:
			case partial && strings.HasPrefix(reason, "no complete and verified point has claim"):
			default:
				return fmt.Sprintf("%s point %s stays: %s", h.Commit.Outcome, h.Commit.Point, reason)
			}
		}
		newer = newer || h.Commit.Outcome == catalog.Complete
	}
	return ""
}

// more: a policy that asks for more keeps no less.
func (c retentionCase) more(kept map[catalog.PointID][]string) string {
	if c.policy == (catalog.Retention{}) {
		return ""
	}
	more := c
	for _, number := range []*int{&more.policy.Last, &more.policy.Hourly, &more.policy.Daily, &more.policy.Weekly, &more.policy.Monthly, &more.policy.Yearly} {
		*number += c.random.IntN(2)
	}
	more.policy.Within += time.Duration(c.random.IntN(10)) * time.Hour
	again, _, err := more.apply(c.history)
	for id := range kept {
		if again[id] == nil || err != nil {
			return fmt.Sprintf("policy %+v drops %s, error %v", more.policy, id, err)
		}
	}
	return ""
}
