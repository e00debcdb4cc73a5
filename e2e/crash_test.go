package e2e_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/labels"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/e2e/crash"
)

var (
	crashSeed = flag.Uint64("crash.seed", 0, "of the crash tests; 0 is a random one")
	crashRuns = flag.Int("crash.runs", 10, "how often the crash tests kill an agent by SIGKILL")
	crashAll  = flag.Bool("crash.all", false, "kill at every boundary, of reads as well, and not at a third that the seed chooses")
)

// seeded returns the random numbers of a crash test, and tells their seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const (
	crashLanes    = 8   // namespaces in which processes are killed side by side
	crashReplicas = 4   // claims of each; snapshots of the last fail
	leastPoints   = 200 // with -crash.all
	leastShare    = 60  // without: a third of the boundaries of writes and of a few reads
	readsPerPlay  = 6
)

// crashPlay is a story in which a process dies, and others follow.
type crashPlay struct {
	name    string
	claims  []int // ordinals
	change  func(*backup.Request)
	rejects string // the store refuses to create keys that end so, to the one that dies
	// first says where the run dies that the one that is to die takes over; nil:
	// the one that is to die runs itself.
	first func(crash.Boundary) bool
}

func before(request string, n int) func(crash.Boundary) bool {
	return crash.At(crash.Boundary{Request: request, N: n})
}

var crashPlays = []crashPlay{
	{name: "three claims", claims: []int{0, 1, 2}},
	{name: "a snapshot that fails", claims: []int{0, 3}, change: func(r *backup.Request) { r.Snapshot.Timeout = 3 * time.Second }},
	{name: "hooks", claims: []int{0, 1}, change: func(r *backup.Request) {
		r.Hooks = []backup.Hook{{Select: labels.Everything(), Pre: []string{"lock"}, Post: []string{"unlock"}}}
	}},
	{name: "no snapshots", claims: []int{0, 1}, change: func(r *backup.Request) { r.Snapshot.Skip = true }},
	{name: "a run that gives up", claims: []int{0, 1}, rejects: "/bundle"},
	{name: "a resumption", claims: []int{0, 1}, first: before("create points/bundle", 1)},
	{name: "a resumption with a snapshot that fails", claims: []int{0, 3}, first: before("create points/bundle", 1),
		change: func(r *backup.Request) { r.Snapshot.Timeout = 3 * time.Second }},
	{name: "a rollback", claims: []int{0, 1}, first: before("create volumesnapshots", 2)},
	{name: "a rollback with hooks", claims: []int{0, 1}, first: before("create volumesnapshots", 1), change: func(r *backup.Request) {
		r.Hooks = []backup.Hook{{Select: labels.Everything(), Pre: []string{"lock"}, Post: []string{"unlock"}}}
	}},
	{name: "the clearing up after another", claims: []int{0, 1}, rejects: "/bundle", first: before("delete volumesnapshots", 1)},
}

// A process is killed at boundaries of its requests, in each play: at every one with
// -crash.all. Then the next agent takes over: the occurrence has one point, every journal entry is
// settled, and snapshots are in the cluster and on the storage for that point
// alone.
func TestNoCrashLeaksASnapshotOrLosesAPoint(t *testing.T) {
	random := seeded(t)
	c := newCampaign(t)
	var dry []*crashCase
	for i := range crashPlays {
		dry = append(dry, &crashCase{play: &crashPlays[i]})
	}
	c.perform(dry)
	if t.Failed() {
		t.Fatal("the plays fail without a death; what would follow proves nothing")
	}
	var cases []*crashCase
	for _, d := range dry {
		cases = append(cases, d.kills(random)...)
	}
	random.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	least := leastPoints
	if !*crashAll {
		cases, least = cases[:len(cases)/3], leastShare
	}
	c.perform(cases)

	died := map[string]int{}
	total := 0
	for _, one := range cases {
		if one.death != nil {
			died[one.play.name]++
			total++
		}
	}
	for _, play := range crashPlays {
		t.Logf("%s: died at %d boundaries", play.name, died[play.name])
	}
	t.Logf("%d kill points in %s", total, time.Since(c.began).Round(time.Second))
	if total < least {
		t.Errorf("%d kill points were run, want at least %d", total, least)
	}
}

// crashCase is one performance of a play.
type crashCase struct {
	play *crashPlay
	at   *crash.Boundary // where the process is to die; nil: nowhere

	passed []crash.Boundary // by the one that was to die
	death  *crash.Boundary
}

func (c *crashCase) String() string {
	if c.at == nil {
		return c.play.name + ", without a death"
	}
	return c.play.name + ", death " + c.at.String()
}

// kills are the cases in which the process dies at one of the boundaries that it
// passed in this one: all where it writes, and of the others a few.
func (c *crashCase) kills(random *rand.Rand) []*crashCase {
	var kills, reads []*crashCase
	for _, b := range c.passed {
		kill := &crashCase{play: c.play, at: &b}
		if b.Writes || *crashAll {
			kills = append(kills, kill)
		} else {
			reads = append(reads, kill)
		}
	}
	random.Shuffle(len(reads), func(i, j int) { reads[i], reads[j] = reads[j], reads[i] })
	return append(kills, reads[:min(len(reads), readsPerPlay)]...)
}

// campaign performs cases side by side.
type campaign struct {
	t     *testing.T
	began time.Time
	lanes []*lane
}

func newCampaign(t *testing.T) *campaign {
	t.Helper()
	c := &campaign{t: t, began: time.Now()}
	first := soleWorld(t) // beside others it would take many times as long, and so would they
	for i := range crashLanes {
		w := first
		if i > 0 {
			w = worldOf(t, first.lab, first.region, first.faults)
		}
		w.ctx = t.Context()
		w.must(w.lab.Apply(w.ctx, w.redis(crashReplicas, "disks-delete")))
		c.lanes = append(c.lanes, &lane{world: w})
	}
	for _, l := range c.lanes {
		l.awaitReady(crashReplicas)
		l.handles = l.disks()
		l.faults.Fail("CreateSnapshot", 0, codes.Internal, l.handles[redisClaim(crashReplicas-1)])
	}
	return c
}

// perform performs all cases, and reports those that fail.
func (c *campaign) perform(cases []*crashCase) {
	c.t.Helper()
	queue := make(chan *crashCase)
	var group errgroup.Group
	for _, l := range c.lanes {
		group.Go(func() error {
			for one := range queue {
				start := time.Now()
				if err := l.perform(c.t.Context(), one); err != nil {
					c.t.Errorf("%s: %v", one, err)
				}
				if testing.Verbose() {
					c.t.Logf("%s: %s", one, time.Since(start).Round(10*time.Millisecond))
				}
			}
			return nil
		})
	}
	for _, one := range cases {
		queue <- one
	}
	close(queue)
	_ = group.Wait() // its functions return nil
}

// lane is a namespace in which one case is performed after the other.
type lane struct {
	*world
	handles map[string]string // disk of each claim
}

// perform performs one case: the first that dies, if there is one, the one that
// is to die at the case's boundary, and the last.
func (l *lane) perform(ctx context.Context, one *crashCase) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // for a machine that is short of everything
	defer cancel()
	s, err := l.newCrashStage(ctx, one.play)
	if err != nil {
		return err
	}
	defer s.close()
	role := s.run
	s.rejects = one.play.rejects
	if one.play.first != nil {
		first := crash.NewSwitch(one.play.first)
		if err := s.act(ctx, "first", first, role); err != nil {
			return err
		}
		if first.Death() == nil {
			return errors.New("the first process did not come to where it was to die")
		}
		role, s.rejects = s.lead, ""
	}
	var die func(crash.Boundary) bool
	if one.at != nil {
		die = crash.At(*one.at)
	}
	dying := crash.NewSwitch(die)
	if err := s.act(ctx, "dying", dying, role); err != nil {
		return err
	}
	one.passed, one.death = dying.Passed(), dying.Death()
	s.rejects = ""
	if err := s.act(ctx, "last", crash.NewSwitch(nil), s.lead); err != nil {
		return err
	}
	return s.check(ctx)
}
