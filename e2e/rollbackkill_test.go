package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"hawser.dev/hawser/e2e/clitest"
)

// kills is how often rollbacks, undos and restores are killed, in all.
const kills = 50

// Killed at any moment, a rollback, an undo or a restore is completed by running
// it again, or a rollback by an undo; meanwhile no claim is ever there without
// saying where its data comes from, and no disk goes.
func TestKilledRollbacksUndosAndRestoresAreCompleted(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const worlds = 5
	var killed atomic.Int32
	for n := range worlds {
		t.Run(fmt.Sprint("namespace ", n), func(t *testing.T) {
			w := newWorld(t)
			k := &killer{world: w, random: rand.New(rand.NewPCG(seed, uint64(n))), killed: map[string]int{}, left: kills / worlds}
			k.run([]string{"disks-delete", "disks-wffc"}[n%2])
			for _, count := range k.killed {
				killed.Add(int32(count))
			}
			t.Logf("killed: %v", k.killed)
		})
	}
	t.Cleanup(func() { // after the parallel subtests
		t.Logf("%d runs were killed", killed.Load())
		if killed.Load() < kills && !t.Failed() {
			t.Errorf("%d runs were killed, want %d", killed.Load(), kills)
		}
	})
}

// killer lets hawser run in a namespace, and kills it.
type killer struct {
	*world
	random *rand.Rand
	killed map[string]int // by verb
	left   int            // how often it is yet to kill
	points []string
	home   map[string]string // the disks that the claims were on at first
	known  map[string]string // every disk that a claim was on after a run, and the word on it
}

func (k *killer) run(class string) {
	k.home, k.known = k.deployRedis(2, class), map[string]string{}
	k.points = k.generations(2)
	k.remember("now")
	stop := k.watchInvariants()
	defer stop()
	for k.left > 0 && !k.t.Failed() {
		k.rollBack()
		k.goHome()
		if k.left > 0 {
			k.restoreAfterLoss()
		}
	}
	for handle, word := range k.known {
		k.expectFile(handle, "word", word)
	}
	for _, v := range k.volumes() {
		if v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			k.t.Errorf("PersistentVolume %s is %s", v.Name, v.Spec.PersistentVolumeReclaimPolicy)
		}
	}
}

// attempt runs hawser, and may kill it at a random moment within the time that
// a run takes. It says whether it did.
func (k *killer) attempt(within time.Duration, args ...string) (bool, clitest.Result) {
	k.t.Helper()
	running := k.start(args...)
	if k.left <= 0 || k.random.IntN(5) == 0 {
		return false, running.Wait()
	}
	moment := time.AfterFunc(time.Duration(k.random.Int64N(int64(within))), func() { _ = running.Kill() }) // it may have just ended
	r := running.Wait()
	moment.Stop()
	if r.Code != -1 {
		return false, r
	}
	k.left--
	k.killed[args[0]]++
	return true, r
}

func (k *killer) fails(verb string, r clitest.Result) {
	k.t.Helper()
	k.t.Fatalf("hawser %s: exit code %d\n%s", verb, r.Code, r.Stderr)
}

// rollBack rolls back to a random point, by as many runs as it takes. A rollback
// that was killed is sometimes led back by an undo first.
func (k *killer) rollBack() {
	k.t.Helper()
	i := k.random.IntN(len(k.points))
	args := []string{"rollback", "statefulset/redis", "-n", k.namespace, "--to", k.points[i], "--no-point"}
	for range 20 {
		killed, r := k.attempt(4*time.Second, args...)
		switch {
		case r.Code == 0:
			k.awaitReady(2)
			k.expectWord(fmt.Sprint("generation ", i))
			k.remember(fmt.Sprint("generation ", i))
			return
		case killed && k.random.IntN(3) == 0:
			k.undo()
		case !killed:
			k.fails("rollback", r)
		}
	}
	k.t.Fatal("the rollback was killed 20 times")
}

// undo undoes what is there to be undone, by as many runs as it takes.
func (k *killer) undo() {
	k.t.Helper()
	for range 20 {
		killed, r := k.attempt(4*time.Second, "undo", "statefulset/redis", "-n", k.namespace)
		switch {
		case killed:
		case r.Code == 0:
			k.expectNoTraces("redis")
			return
		case r.Code == 4 && strings.Contains(r.Stderr, "no rollback of it has set a disk aside"):
			return // what was killed had done its last write, or not yet its first
		default:
			k.fails("undo", r)
		}
	}
	k.t.Fatal("the undo was killed 20 times")
}

// goHome undoes all that was rolled back: more than one, where a run was killed
// after its last write and run again.
func (k *killer) goHome() {
	k.t.Helper()
	for range 10 {
		k.undo()
		k.awaitReady(2)
		if maps.Equal(k.disks(), k.home) {
			k.expectWord("now")
			return
		}
	}
	k.t.Fatalf("claims are on %v after all was undone, want %v", k.disks(), k.home)
}

// restoreAfterLoss loses the workload and its claims, and restores them, by as
// many runs as it takes.
func (k *killer) restoreAfterLoss() {
	k.t.Helper()
	k.loseWorkload()
	k.loseClaims()
	for range 20 {
		if killed, r := k.attempt(3*time.Second, "restore", k.points[0], "--from", "disks"); !killed {
			if r.Code != 0 {
				k.fails("restore", r)
			}
			k.awaitReady(2)
			k.expectDisks(k.home)
			k.expectWord("now")
			return
		}
	}
	k.t.Fatal("the restore was killed 20 times")
}

// remember notes the disks that the claims are on: none may ever be lost.
func (k *killer) remember(word string) {
	k.t.Helper()
	for _, handle := range k.disks() {
		k.known[handle] = word
	}
}

// watchInvariants fails the test whenever a claim is there that names neither a
// disk nor a snapshot, or a volume goes that was to stay.
func (k *killer) watchInvariants() (stop func()) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.ctx)
	claims, err := k.client.CoreV1().PersistentVolumeClaims(k.namespace).Watch(ctx, metav1.ListOptions{})
	k.must(err)
	volumes, err := k.client.CoreV1().PersistentVolumes().Watch(ctx, metav1.ListOptions{})
	k.must(err)
	var done sync.WaitGroup
	first := map[string]bool{} // the claims that the set made at the very beginning
	for _, claim := range k.claimUIDs() {
		first[claim] = true
	}
	done.Go(func() {
		for event := range claims.ResultChan() {
			claim, ok := event.Object.(*corev1.PersistentVolumeClaim)
			if ok && event.Type != watch.Deleted && !first[string(claim.UID)] && claim.Spec.VolumeName == "" && claim.Spec.DataSource == nil {
				k.t.Errorf("claim %s (%s) says neither which disk nor which snapshot it gets", claim.Name, claim.UID)
			}
		}
	})
	done.Go(func() {
		for event := range volumes.ResultChan() {
			v, ok := event.Object.(*corev1.PersistentVolume)
			if ok && event.Type == watch.Deleted && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == k.namespace && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain {
				k.t.Errorf("PersistentVolume %s was deleted", v.Name)
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

func (k *killer) claimUIDs() []string {
	k.t.Helper()
	list, err := k.client.CoreV1().PersistentVolumeClaims(k.namespace).List(k.ctx, metav1.ListOptions{})
	k.must(err)
	var uids []string
	for _, claim := range list.Items {
		uids = append(uids, string(claim.UID))
	}
	return uids
}
