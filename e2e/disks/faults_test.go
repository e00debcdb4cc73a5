package disks_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"hawser.dev/hawser/e2e/disks"
)

// faulty serves a region with faults, and returns a disk in it.
func faulty(t *testing.T) (*disks.Faults, *disks.Region, *disks.Server, client, string) {
	t.Helper()
	faults, region := &disks.Faults{}, newRegion(t)
	server, c := serve(t, region, disks.Options{Cluster: "east", Faults: faults})
	return faults, region, server, c, create(t, c, createRequest("data"))
}

func cutOf(ctx context.Context, c client, name, disk string) (*csi.CreateSnapshotResponse, error) {
	return c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: disk})
}

func TestInjectedErrorEndsAfterItsNumberOfCalls(t *testing.T) {
	faults, region, server, c, disk := faulty(t)
	faults.Fail("CreateSnapshot", 2, codes.ResourceExhausted)
	for _, want := range []codes.Code{codes.ResourceExhausted, codes.ResourceExhausted, codes.OK} {
		_, err := cutOf(t.Context(), c, "cut", disk)
		expectCode(t, err, want)
		if want != codes.OK && len(must[[]disks.Snapshot](t)(region.Snapshots())) > 0 {
			t.Error("the failed call has taken a snapshot")
		}
	}
	if got := server.Calls("CreateSnapshot"); got != 3 {
		t.Errorf("%d calls counted, want 3", got)
	}
}

func TestInjectedErrorHoldsOnlyForWhatItNames(t *testing.T) {
	faults, _, _, c, disk := faulty(t)
	other := create(t, c, createRequest("other"))
	faults.Fail("", 0, codes.Internal, disk, "cut-2")
	for _, test := range []struct {
		name, disk string
		want       codes.Code
	}{
		{"cut-1", disk, codes.Internal},
		{"cut-2", other, codes.Internal},
		{"cut-3", other, codes.OK},
	} {
		_, err := cutOf(t.Context(), c, test.name, test.disk)
		expectCode(t, err, test.want)
	}
	_, err := c.CreateVolume(t.Context(), cloneRequest("copy", disk))
	expectCode(t, err, codes.Internal)
	faults.Clear()
	_, err = cutOf(t.Context(), c, "cut-1", disk)
	expectCode(t, err, codes.OK)
}

func TestLostReplyLeavesTheActDone(t *testing.T) {
	faults, region, _, c, disk := faulty(t)
	faults.LoseReply("CreateSnapshot", 1, codes.DeadlineExceeded)
	_, err := cutOf(t.Context(), c, "cut", disk)
	expectCode(t, err, codes.DeadlineExceeded)
	done := must[[]disks.Snapshot](t)(region.Snapshots())
	if len(done) != 1 {
		t.Fatalf("%d snapshots, want 1", len(done))
	}
	if again := snapshot(t, c, "cut", disk); again.GetSnapshotId() != done[0].Handle {
		t.Error("the repeated call makes another snapshot")
	}
}

func TestBlockedCallWaitsForItsRelease(t *testing.T) {
	faults, region, _, c, disk := faulty(t)
	arrived, release := faults.Block("CreateSnapshot")
	result := make(chan error, 1)
	go func() {
		_, err := cutOf(t.Context(), c, "cut", disk)
		result <- err
	}()
	<-arrived
	if n := len(must[[]disks.Snapshot](t)(region.Snapshots())); n != 0 {
		t.Errorf("%d snapshots are there while the call is blocked", n)
	}
	release()
	release() // again is harmless
	expectCode(t, <-result, codes.OK)
}

func TestCallerMayGiveUpWaiting(t *testing.T) {
	faults, _, _, c, disk := faulty(t)
	faults.Delay("CreateSnapshot", time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := cutOf(ctx, c, "cut", disk)
	expectCode(t, err, codes.DeadlineExceeded)
}

func TestStopEndsBlockedCalls(t *testing.T) {
	faults, _, server, c, disk := faulty(t)
	arrived, _ := faults.Block("CreateSnapshot")
	result := make(chan error, 1)
	go func() {
		_, err := cutOf(t.Context(), c, "cut", disk)
		result <- err
	}()
	<-arrived
	server.Stop()
	if err := <-result; err == nil {
		t.Error("the call has succeeded")
	}
}

func TestHookSeesTheRequest(t *testing.T) {
	faults, _, _, c, disk := faulty(t)
	refusal := errors.New("not today")
	faults.Hook(func(_ context.Context, method string, req any) error {
		if snapshot, ok := req.(*csi.CreateSnapshotRequest); ok && method == "CreateSnapshot" && snapshot.GetSourceVolumeId() == disk {
			return refusal
		}
		return nil
	})
	_, err := cutOf(t.Context(), c, "cut", disk)
	expectCode(t, err, codes.Internal)
	create(t, c, createRequest("other"))
}

func TestSnapshotBecomesReadyWhenItsTimeHasCome(t *testing.T) {
	faults, _, _, c, slow := faulty(t)
	never, quick := create(t, c, createRequest("never")), create(t, c, createRequest("quick"))
	faults.SnapshotsReadyAfter(500*time.Millisecond, slow)
	faults.SnapshotsReadyAfter(disks.Never, never)

	if !snapshot(t, c, "quick", quick).GetReadyToUse() {
		t.Error("the snapshot without a rule is not ready")
	}
	cuts := map[string]*csi.Snapshot{"slow": snapshot(t, c, "slow", slow), "never": snapshot(t, c, "never", never)}
	for name, cut := range cuts {
		if cut.GetReadyToUse() {
			t.Errorf("the %s snapshot is ready at once", name)
		}
		_, err := c.CreateVolume(t.Context(), restoreRequest("restored", cut.GetSnapshotId(), gib))
		expectCode(t, err, codes.Unavailable)
	}
	time.Sleep(time.Until(cuts["slow"].GetCreationTime().AsTime().Add(510 * time.Millisecond)))
	if !snapshot(t, c, "slow", slow).GetReadyToUse() {
		t.Error("the slow snapshot is not ready after its time")
	}
	if snapshot(t, c, "never", never).GetReadyToUse() {
		t.Error("the snapshot that never becomes ready is ready")
	}
}

func TestFaultsMayChangeWhileCallsRun(t *testing.T) {
	faults, _, _, c, disk := faulty(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				faults.Fail("GetSnapshot", 1, codes.Internal)
				faults.SnapshotsReadyAfter(0, disk)
				c.GetSnapshot(t.Context(), &csi.GetSnapshotRequest{SnapshotId: "snap-0123456789abcdef"})
				cutOf(t.Context(), c, "cut", disk)
				faults.Clear()
			}
		})
	}
	all.Wait()
}
