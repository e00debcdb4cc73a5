package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"
)

// cutLeases are those of a process that may lose its way to the API server.
type cutLeases struct {
	coordinationclient.LeaseInterface
	cut atomic.Bool
	ask atomic.Int64 // requests
}

func (l *cutLeases) Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	l.ask.Add(1)
	if l.cut.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.LeaseInterface.Update(ctx, lease, opts)
}

func (l *cutLeases) Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error) {
	l.ask.Add(1)
	if l.cut.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.LeaseInterface.Get(ctx, name, opts)
}

// candidate is an elector, with what it did.
type candidate struct {
	leases  *cutLeases
	leading atomic.Bool
	since   time.Time // of the last change
	stop    context.CancelFunc
	ended   chan error
}

func (w *world) candidate(identity string) *candidate {
	c := &candidate{leases: &cutLeases{LeaseInterface: w.cluster.CoordinationV1().Leases("hawser")}, ended: make(chan error, 1)}
	e := &elector{
		leases: c.leases, identity: identity, clock: clock.RealClock{}, log: slog.New(slog.DiscardHandler), alive: func() {},
		leading: func(now bool) { c.since = time.Now(); c.leading.Store(now) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() {
		c.ended <- e.run(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}()
	return c
}

func (c *candidate) end(t *testing.T) {
	t.Helper()
	c.stop()
	if err := <-c.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the elector ended with %v", err)
	}
}

func TestOneOfTwoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.candidate("one")
		time.Sleep(time.Second)
		two := w.candidate("two")
		time.Sleep(time.Hour)
		if !one.leading.Load() || two.leading.Load() {
			t.Errorf("one leads %t, two leads %t, want the first to", one.leading.Load(), two.leading.Load())
		}
		// What an idle agent may ask for: one request in 10 s.
		if asked := one.leases.ask.Load(); asked > 360 {
			t.Errorf("the leader asked %d times in an hour", asked)
		}
		if asked := two.leases.ask.Load(); asked > 2 {
			t.Errorf("the candidate asked %d times in an hour, beside its watch", asked)
		}
		left := time.Now()
		one.end(t)
		time.Sleep(time.Minute)
		if !two.leading.Load() || two.since.Sub(left) > time.Second {
			t.Errorf("two leads %t, %s after one was stopped", two.leading.Load(), two.since.Sub(left))
		}
		two.end(t)
	})
}

func TestALeaderThatIsCutOffIsFollowedWithin20Seconds(t *testing.T) {
	for _, after := range []time.Duration{0, 3 * time.Second, 10999 * time.Millisecond, 11 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			one := w.candidate("one")
			time.Sleep(time.Second)
			two := w.candidate("two")
			time.Sleep(time.Minute + after)
			one.leases.cut.Store(true)
			cut := time.Now()
			time.Sleep(time.Minute)
			switch {
			case one.leading.Load() || !two.leading.Load():
				t.Errorf("cut after %s: one leads %t, two leads %t", after, one.leading.Load(), two.leading.Load())
			case two.since.Sub(cut) > 20*time.Second:
				t.Errorf("cut after %s: two leads after %s", after, two.since.Sub(cut))
			case !one.since.Before(two.since):
				t.Errorf("cut after %s: one led until %s later than two began", after, one.since.Sub(two.since))
			}
			one.leases.cut.Store(false)
			time.Sleep(time.Minute)
			if one.leading.Load() || !two.leading.Load() {
				t.Error("the first leads again")
			}
			one.end(t)
			two.end(t)
		})
	}
}
