package e2e_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
)

func TestCtrlCInABackupLeavesNothing(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	arrived, release := w.faults.Block("CreateSnapshot", handles[redisClaim(1)])
	defer release()
	running := w.start("backup", "-n", w.namespace)
	<-arrived
	w.must(running.Signal(os.Interrupt))
	release()
	r := running.Wait()
	if r.Code != 1 {
		t.Errorf("exit code %d, want 1", r.Code)
	}
	r.Says(t, "interrupted")
	if points := w.run(0, "points", "-o", "name").Stdout; points != "" {
		t.Errorf("a point was made: %s", points)
	}
	w.expectNoSnapshots()
	if left := w.storedSnapshots(handles); len(left) != 0 {
		t.Errorf("snapshots %v are left on the storage", left)
	}
	w.expectRetain()

	w.point()
	if got := w.storedSnapshots(handles); len(got) != 3 {
		t.Errorf("after a second run the storage has snapshots %v, want one of each disk", got)
	}
}

// A run that was killed is cleared up by a run after its deadline, and left
// alone by one before it: it could be alive.
func TestAKilledBackupIsClearedUpLater(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	arrived, release := w.faults.Block("CreateSnapshot", handles[redisClaim(1)])
	defer release()
	running := w.start("backup", "-n", w.namespace)
	<-arrived
	w.must(running.Kill())
	running.Wait()
	release()

	w.point()
	eventually(t, func() bool { return len(w.storedSnapshots(handles)) == 6 }) // 3 of each run
	commit := w.runLater(time.Hour)
	if commit.Outcome != catalog.Complete {
		t.Errorf("the run after the deadline is %s: %v", commit.Outcome, commit.Reasons)
	}
	if got := w.storedSnapshots(handles); len(got) != 6 {
		t.Errorf("the storage has %d snapshots, want 3 of each of the two points", len(got))
	}
	if points := strings.Fields(w.run(0, "points", "-o", "name").Stdout); len(points) != 2 {
		t.Errorf("points are %v, want two", points)
	}
	if abandoned := w.run(0, "points", "--all").Stdout; !strings.Contains(abandoned, "abandoned") {
		t.Errorf("the killed run is not shown as abandoned:\n%s", abandoned)
	}
}

// runLater makes a backup in this process, with a clock that is ahead.
func (w *world) runLater(ahead time.Duration) catalog.Commit {
	w.t.Helper()
	commit, err := w.runner(ahead).Run(w.ctx, backup.Request{Plan: catalog.ManualPlan, Select: backup.Selection{Namespaces: []string{w.namespace}}})
	w.must(err)
	return commit
}

// runner makes backups in this process, by a clock that is ahead.
func (w *world) runner(ahead time.Duration) *backup.Runner {
	w.t.Helper()
	bucket, err := dir.Open(strings.TrimPrefix(w.store, "file://"))
	w.must(err)
	now := func() time.Time { return time.Now().Add(ahead) }
	cat, err := catalog.OpenOrCreate(w.ctx, bucket, catalog.Limits{}, now())
	w.must(err)
	config := w.lab.RESTConfig("hawser/test")
	return &backup.Runner{
		Kubernetes: kubernetes.NewForConfigOrDie(config), Dynamic: dynamic.NewForConfigOrDie(config), Snapshots: snapshotclient.NewForConfigOrDie(config),
		Catalog: cat, Writer: "hawser/test", Now: now,
	}
}

// A restore that is killed at any moment is completed by running it again, on
// the same disks; at no time does a claim name another one.
func TestAKilledRestoreIsCompletedByTheNext(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(4, "disks-delete")
	point := w.point()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 4 {
		w.loseEverything()
		for range 4 {
			running := w.start("restore", point, "--from", "disks")
			moment := time.NewTimer(time.Duration(50+random.IntN(500)) * time.Millisecond)
			ended := make(chan struct{})
			go func() { running.Wait(); close(ended) }()
			select {
			case <-moment.C:
				_ = running.Kill() // it may have just ended
				<-ended
			case <-ended:
			}
		}
		w.run(0, "restore", point, "--from", "disks")
		w.awaitReady(4)
		if got := w.disks(); !maps.Equal(got, handles) {
			t.Fatalf("claims are on disks %v, want %v", got, handles)
		}
	}
}

// The same for new disks from snapshots, where each claim must get exactly one.
func TestAKilledRehydrationIsCompletedByTheNext(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(3, "disks-delete")
	point := w.point()
	w.loseEverything()
	for _, handle := range handles {
		w.must(w.region.DestroyDisk(handle))
	}
	for ms := range 5 {
		running := w.start("restore", point)
		time.AfterFunc(time.Duration(100+150*ms)*time.Millisecond, func() { _ = running.Kill() })
		running.Wait()
	}
	w.run(0, "restore", point)
	w.awaitReady(3)
	for claim, handle := range w.disks() {
		w.expectFile(handle, "first", claim)
	}
	if n := len(w.volumes()); n != 3 {
		t.Errorf("%d volumes were made, want 3", n)
	}
}
