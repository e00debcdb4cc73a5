package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/clitest"
)

var migrateKills = flag.Int("migrate.kills", 12, "how often migrations are killed at random moments")

// migrateLanes are namespaces in which migrations are killed side by side.
const migrateLanes = 2

// The steps of a move and of a rollback, in order. At decided, a rollback has
// taken none of its own.
var (
	moveSteps = []string{"lock", "guard", "point", "stop", "fence", "own", "create", "start", "verify", "commit", "mark", "done"}
	backSteps = []string{decided, "back", "fence target", "own back", "remove", "start source", "done"}
)

const decided = "decided"

// Killed after any of its steps, a migration ends on a re-run or by a rollback,
// with the set in one place; also if that is killed after any of its steps.
func TestMigrationsAreKilledAfterEachStep(t *testing.T) {
	t.Parallel()
	eachLane(t, func(k *migrationKiller, lane int) {
		for n := lane; n < len(moveSteps); n += migrateLanes {
			for _, end := range k.endings(moveSteps[n]) {
				k.killAfter(moveSteps[n], end)
			}
		}
		for _, j := range k.journals() {
			for _, step := range j.steps {
				if !slices.Contains(moveSteps, step) && !slices.Contains(backSteps, step) {
					k.t.Errorf("nothing is killed after step %s: name it in this test", step)
				}
			}
		}
	})
}

// The same at random moments, also of the runs that are to bring it to an end.
func TestMigrationsAreKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	eachLane(t, func(k *migrationKiller, lane int) {
		took := k.measure()
		for k.killed < *migrateKills/migrateLanes && !k.t.Failed() {
			k.killAtRandom(took)
		}
	})
}

func eachLane(t *testing.T, play func(*migrationKiller, int)) {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	killed, began := 0, time.Now()
	for lane := range migrateLanes {
		t.Run(fmt.Sprint("lane ", lane), func(t *testing.T) {
			k := &migrationKiller{twin: newTwin(t), random: rand.New(rand.NewPCG(seed, uint64(lane))), outcomes: map[string]int{}}
			k.deploy(2, []string{"disks-delete", "disks-wffc"}[lane%2])
			k.slowDetach()
			k.point() // Retain: a rollback from before the first step leaves the policy as it was
			play(k, lane)
			mu.Lock()
			defer mu.Unlock()
			killed += k.killed
			t.Logf("%d kills; %v", k.killed, k.outcomes)
		})
	}
	t.Cleanup(func() { t.Logf("%d runs were killed in %s", killed, time.Since(began).Round(time.Second)) })
}

// migrationKiller lets a set be moved to and fro, and kills what moves it.
type migrationKiller struct {
	*twin
	random   *rand.Rand
	place    int // where the set is
	killed   int
	outcomes map[string]int
}

// An ending is how a killed migration is brought to an end.
type ending struct {
	back  bool   // by a rollback, not a re-run
	after string // the step after which that is killed first
}

func (e ending) String() string {
	if !e.back {
		return "re-run"
	}
	return "rollback, killed after " + e.after
}

// endings are the ways to end a migration that is killed after a step: all that
// there are, or one of them.
func (k *migrationKiller) endings(step string) []ending {
	all := []ending{{}}
	if !slices.Contains([]string{"mark", "done"}, step) { // there is no way back from these
		for _, after := range backSteps {
			all = append(all, ending{back: true, after: after})
		}
	}
	if *crashAll {
		return all
	}
	one := k.random.IntN(2 * len(all)) // every other is a re-run
	return []ending{all[max(0, one-len(all))]}
}

// killAfter kills a migration as soon as it has written a step, and brings it to
// an end.
func (k *migrationKiller) killAfter(step string, end ending) {
	k.t.Helper()
	k.t.Logf("killed after %s; %s", step, end)
	args := k.move(k.place, "--no-point")
	if step == "point" {
		args = k.move(k.place)
	}
	run := k.race(args...)
	mayDecide := func() {}
	if step == "commit" {
		mayDecide = run.preventVerdict()
	}
	if r, come := run.awaitStep(step); come {
		k.kill(run)
	} else if !slices.Contains(run.steps(), step) {
		k.t.Fatalf("a migration ended without step %s: exit code %d\n%s", step, r.Code, r.Stderr)
	}
	mayDecide()
	k.end(end.back, func(args ...string) clitest.Result {
		if end.back {
			run := k.race(args...)
			if r, come := run.awaitBack(end.after); !come {
				return r
			}
			k.kill(run)
		}
		return k.hawser(args...)
	})
}

// kill counts what it kills.
func (k *migrationKiller) kill(run *race) {
	if r := run.kill(); r.Code == -1 {
		k.killed++
	}
}

// awaitBack waits until a rollback has written a step, or that it is decided.
func (r *race) awaitBack(step string) (clitest.Result, bool) {
	if step == decided {
		return r.await(func() bool { _, underway := r.underway(); return !underway })
	}
	return r.awaitStep(step)
}

// args alternate between those that make a point first and those that do not,
// which are quicker.
func (k *migrationKiller) args() []string {
	if k.random.IntN(4) == 0 {
		return k.move(k.place)
	}
	return k.move(k.place, "--no-point")
}

// measure tells how long a migration takes that nobody kills.
func (k *migrationKiller) measure() time.Duration {
	k.t.Helper()
	began := time.Now()
	k.succeeded("migrate", k.hawser(k.move(k.place, "--no-point")...))
	took := time.Since(began)
	k.arrived()
	return took
}

// killAtRandom kills a migration within the time that one takes, and then every
// other of the runs that are to end it.
func (k *migrationKiller) killAtRandom(took time.Duration) {
	k.t.Helper()
	again := func(args ...string) clitest.Result {
		for range 20 {
			run := k.race(args...)
			if k.random.IntN(2) == 0 {
				return <-run.ended
			}
			moment := time.NewTimer(time.Duration(k.random.Int64N(int64(took))))
			select {
			case r := <-run.ended:
				return r
			case <-moment.C:
			}
			r := run.kill()
			if r.Code != -1 {
				return r
			}
			k.killed++
		}
		k.t.Fatal("it was killed 20 times")
		return clitest.Result{}
	}
	run := k.race(k.args()...)
	if k.random.IntN(4) > 0 { // else also while it plans
		if r, come := run.awaitStep(""); !come {
			k.succeeded("migrate", r)
			k.arrived()
			return
		}
	}
	time.Sleep(time.Duration(k.random.Int64N(int64(took)))) // the moment is what the test is about
	if r := run.kill(); r.Code == -1 {
		k.killed++
	} else {
		k.succeeded("migrate", r)
	}
	k.end(k.random.IntN(2) == 0, again)
}

// end brings what was killed to an end by a rollback or a re-run, and sees where
// the set is.
func (k *migrationKiller) end(back bool, do func(...string) clitest.Result) {
	k.t.Helper()
	j, underway := k.underway()
	after := "before its beginning"
	if underway && len(j.steps) > 0 {
		after = "after " + j.steps[len(j.steps)-1]
	} else if k.owner() == k.uids[1-k.place] {
		after = "after its commit"
	}
	if back && underway {
		k.succeeded("rollback of a migration killed "+after, do(k.rollBack(k.place, j.id)...))
		k.outcomes["rolled back "+after]++
		k.expectAt(k.place)
		k.mark()
		return
	}
	if !k.done() {
		r := do(k.move(k.place, "--no-point")...)
		if r.Code != 4 || !k.done() { // else the one before it was killed after its last write
			k.succeeded("re-run of a migration killed "+after, r)
		}
	}
	k.outcomes["re-run "+after]++
	k.arrived()
}

// done says whether the newest migration has nothing left to do and has led to the
// other cluster.
func (k *migrationKiller) done() bool {
	k.t.Helper()
	all := k.journals()
	if len(all) == 0 {
		return false
	}
	newest := all[len(all)-1]
	return newest.verdict == string(catalog.Committed) && slices.Contains(newest.steps, "done") && k.owner() == k.uids[1-k.place]
}

// arrived notes that the set is in the other cluster.
func (k *migrationKiller) arrived() {
	k.t.Helper()
	k.place = 1 - k.place
	k.expectAt(k.place)
	k.mark()
}

func (k *migrationKiller) succeeded(what string, r clitest.Result) {
	k.t.Helper()
	if r.Code != 0 {
		k.t.Fatalf("%s: exit code %d\n%s%s", what, r.Code, r.Stdout, r.Stderr)
	}
	if strings.Contains(r.Stderr, "panic:") {
		k.t.Errorf("%s:\n%s", what, r.Stderr)
	}
}
