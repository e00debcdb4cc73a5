package disks

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Faults makes calls slow or fail. The zero value does neither. All methods may
// be called at any time, also while a server uses it; a rule holds for the
// calls that begin after it was set.
//
// In every method, method is the short name of a CSI call, as CreateSnapshot,
// or "" for all calls. of limits the rule to requests that name one of its
// strings as the name or handle of a disk or snapshot, or as the handle of
// their source; without any it holds for all requests.
type Faults struct {
	mu    sync.Mutex
	rules []*rule
	slow  []slowSnapshots
}

type rule struct {
	method string
	of     []string
	left   int // calls for which it holds yet; below 0 is any number
	before func(ctx context.Context, method string, req any) error
	after  func(method string) error
}

type slowSnapshots struct {
	of []string
	by time.Duration
}

// Hook calls fn before each call. An error that it returns is the answer.
func (f *Faults) Hook(fn func(ctx context.Context, method string, req any) error) {
	f.add(&rule{left: -1, before: fn})
}

// Fail answers the next calls with an error, without doing anything; times
// below 1 means all calls.
func (f *Faults) Fail(method string, times int, code codes.Code, of ...string) {
	f.add(&rule{method: method, of: of, left: forever(times), before: func(_ context.Context, method string, _ any) error {
		return status.Errorf(code, "injected: %s fails", method)
	}})
}

// LoseReply does the next calls and then answers with an error, as when the
// connection breaks in between; times below 1 means all calls.
func (f *Faults) LoseReply(method string, times int, code codes.Code, of ...string) {
	f.add(&rule{method: method, of: of, left: forever(times), after: func(method string) error {
		return status.Errorf(code, "injected: the reply of %s is lost", method)
	}})
}

// Delay holds each call back for d, or until its caller gives up.
func (f *Faults) Delay(method string, d time.Duration, of ...string) {
	f.add(&rule{method: method, of: of, left: -1, before: func(ctx context.Context, _ string, _ any) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		return waitFor(ctx, timer.C)
	}})
}

// Block holds each call back until release is called, or until its caller
// gives up. arrived yields a value when a call has come to wait.
func (f *Faults) Block(method string, of ...string) (arrived <-chan struct{}, release func()) {
	came, open := make(chan struct{}, 1), make(chan struct{})
	f.add(&rule{method: method, of: of, left: -1, before: func(ctx context.Context, _ string, _ any) error {
		select {
		case came <- struct{}{}:
		default: // nobody has taken the last one yet
		}
		return waitFor(ctx, open)
	}})
	return came, sync.OnceFunc(func() { close(open) })
}

// SnapshotsReadyAfter lets snapshots that are cut from now on become ready to
// use only d after their creation, as when they are uploaded first. Never is
// such a d. The last rule that fits a snapshot holds.
func (f *Faults) SnapshotsReadyAfter(d time.Duration, of ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = append(f.slow, slowSnapshots{of: of, by: d})
}

// Clear removes all rules. It does not release calls that wait.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.slow = nil, nil
}

func (f *Faults) add(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
}

func forever(times int) int {
	if times < 1 {
		return -1
	}
	return times
}

func waitFor[T any](ctx context.Context, done <-chan T) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// take returns the rules that hold for a call, and counts it against them.
func (f *Faults) take(method string, req any) []*rule {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken []*rule
	for _, r := range f.rules {
		if r.left == 0 || (r.method != "" && r.method != method) || !names(req, r.of) {
			continue
		}
		if r.left > 0 {
			r.left--
		}
		taken = append(taken, r)
	}
	return taken
}

// readyAfter returns how long after its creation a snapshot becomes ready.
func (f *Faults) readyAfter(req any) time.Duration {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var after time.Duration
	for _, slow := range f.slow {
		if names(req, slow.of) {
			after = slow.by
		}
	}
	return after
}

// names says whether a request names one of the strings, or of is empty.
func names(req any, of []string) bool {
	return len(of) == 0 || slices.ContainsFunc(subjects(req), func(s string) bool { return slices.Contains(of, s) })
}

// subjects are the names and handles in a request.
func subjects(req any) []string {
	var all []string
	add := func(s string) {
		if s != "" {
			all = append(all, s)
		}
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		add(r.GetName())
	}
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		add(r.GetVolumeId())
	}
	if r, ok := req.(interface{ GetSnapshotId() string }); ok {
		add(r.GetSnapshotId())
	}
	if r, ok := req.(interface{ GetSourceVolumeId() string }); ok {
		add(r.GetSourceVolumeId())
	}
	if r, ok := req.(*csi.CreateVolumeRequest); ok {
		add(r.GetVolumeContentSource().GetSnapshot().GetSnapshotId())
		add(r.GetVolumeContentSource().GetVolume().GetVolumeId())
	}
	return all
}
