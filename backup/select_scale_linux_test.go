package backup

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A large cluster must not take its time squared. What that would be is
// measured beside it, since the machine may do other things: to hold each claim
// against each workload is but a part of what Select once did so.
func TestSelectTakesTimeInProportionToTheCluster(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	inv, all, squared := manySets(1500, 3), time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for range 2 {
		began := spent(t)
		mustSelect(t, inv, Selection{}, Include{})
		selected := spent(t)
		slowUsage(inv)
		all, squared = min(all, selected-began), min(squared, spent(t)-selected)
	}
	t.Logf("4,500 claims in %s; each held against each workload, in %s", all, squared)
	if all > squared {
		t.Errorf("Select takes %s of 4,500 claims; the slow way to find out who uses which takes %s", all, squared)
	}
}

// spent is the processor's time that this thread has used.
func spent(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}
