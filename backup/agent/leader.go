package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// LeaseName is the Lease, in the agent's namespace, that its leader holds.
const LeaseName = "hawser-agent"

// The times of an election. client-go's leaderelection polls: to take over
// within 20 s its leader would write, and its candidates read, every other
// second all year. Candidates here watch the Lease, so the leader need not
// renew it more often than an idle agent may ask for anything.
const (
	leaseDuration = 18 * time.Second // after its last sign a leader is taken to be dead
	renewPeriod   = 12 * time.Second
	renewDeadline = 15 * time.Second // a leader that could not renew for so long stops
	retryPeriod   = time.Second      // after an error
)

// errDeposed: the Lease is another's, or could not be renewed in time.
var errDeposed = errors.New("this agent is no longer the leader")

// elector lets one of several agents lead.
type elector struct {
	leases   coordinationclient.LeaseInterface
	identity string
	clock    clock.WithTicker
	log      *slog.Logger
	leading  func(bool) // told of each change; not nil
	alive    func()     // told from time to time that a candidate waits; not nil
}

// run waits until this process is the leader, calls lead, and begins anew when
// it was deposed. The context of lead ends when ctx does or the Lease is lost;
// the Lease is held until lead has returned, and then released. run returns
// when ctx has ended, or with the error of a lead that failed of itself.
func (e *elector) run(ctx context.Context, lead func(context.Context) error) error {
	for {
		lease, err := e.acquire(ctx)
		if err != nil {
			return err
		}
		e.log.Info("this agent leads", "lease", LeaseName, "identity", e.identity)
		e.leading(true)
		err = e.hold(ctx, lease, lead)
		e.leading(false)
		if ctx.Err() != nil || !errors.Is(err, errDeposed) {
			return err
		}
		e.log.Warn("this agent no longer leads", "lease", LeaseName, "error", err)
	}
}

// hold renews lease while lead runs.
func (e *elector) hold(ctx context.Context, lease *coordinationv1.Lease, lead func(context.Context) error) error {
	lctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- lead(lctx) }()
	renewed := e.clock.Now()
	wait := renewPeriod
	for {
		timer := e.clock.NewTimer(wait)
		select {
		case err := <-ended:
			timer.Stop()
			e.release(context.WithoutCancel(ctx), lease)
			return err
		case <-timer.C():
		}
		asked := e.clock.Now()
		next, err := e.renew(context.WithoutCancel(ctx), lease)
		switch {
		case err == nil:
			lease, renewed, wait = next, asked, renewPeriod
			continue
		case !errors.Is(err, errDeposed) && e.clock.Since(renewed) < renewDeadline:
			e.log.Warn("the lease could not be renewed; trying again", "error", err)
			wait = retryPeriod
			continue
		}
		deposed := fmt.Errorf("%w: %w", errDeposed, err)
		cancel(deposed)
		<-ended
		return deposed
	}
}

// renew says once more that this process leads.
func (e *elector) renew(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline-renewPeriod)
	defer cancel()
	next, err := e.leases.Update(ctx, e.claim(lease), metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) {
		return next, err
	}
	if lease, err = e.leases.Get(ctx, LeaseName, metav1.GetOptions{}); err != nil {
		return nil, err
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != e.identity {
		return nil, fmt.Errorf("%w: %q holds the lease", errDeposed, holder)
	}
	return e.leases.Update(ctx, e.claim(lease), metav1.UpdateOptions{})
}

// release lets the next candidate lead at once.
func (e *elector) release(ctx context.Context, lease *coordinationv1.Lease) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline-renewPeriod)
	defer cancel()
	lease = lease.DeepCopy()
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = nil, ptr.To(metav1.NewMicroTime(e.clock.Now()))
	if _, err := e.leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		e.log.Warn("the lease could not be released; it runs out by itself", "after", leaseDuration, "error", err)
	}
}

// claim is lease, or a new one if it is nil, as held by this process.
func (e *elector) claim(lease *coordinationv1.Lease) *coordinationv1.Lease {
	now := metav1.NewMicroTime(e.clock.Now())
	if lease == nil {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: LeaseName, Labels: map[string]string{"app.kubernetes.io/managed-by": "hawser"}}}
	}
	lease = lease.DeepCopy()
	if ptr.Deref(lease.Spec.HolderIdentity, "") != e.identity {
		lease.Spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime = &e.identity, &now
	}
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(leaseDuration.Seconds()))
	lease.Spec.RenewTime = &now
	return lease
}

// acquire waits until the Lease is free or its holder has given no sign for as
// long as it said it would, by this process's own clock, and takes it.
func (e *elector) acquire(ctx context.Context) (*coordinationv1.Lease, error) {
	changes, stop := e.observe(ctx)
	defer stop()
	var seen *coordinationv1.Lease
	timer := e.clock.NewTimer(e.firstWait(ctx))
	defer func() { timer.Stop() }()
	for {
		e.alive()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case seen = <-changes:
			timer.Stop()
			if wait := vacantIn(seen, e.identity); wait > 0 {
				timer = e.clock.NewTimer(wait)
				continue
			}
		case <-timer.C():
		}
		lease, err := e.take(ctx, seen)
		if err == nil {
			return lease, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			e.log.Warn("the lease cannot be had; trying again", "lease", LeaseName, "error", err)
		}
		timer = e.clock.NewTimer(retryPeriod)
	}
}

// firstWait is 0 if there is no Lease yet: a watch tells nothing of what is not
// there.
func (e *elector) firstWait(ctx context.Context) time.Duration {
	if _, err := e.leases.Get(ctx, LeaseName, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return 0
	}
	return leaseDuration
}

func (e *elector) take(ctx context.Context, seen *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline-renewPeriod)
	defer cancel()
	if seen == nil {
		return e.leases.Create(ctx, e.claim(nil), metav1.CreateOptions{})
	}
	return e.leases.Update(ctx, e.claim(seen), metav1.UpdateOptions{})
}

// vacantIn says how long a lease that has just changed is not to be had.
func vacantIn(lease *coordinationv1.Lease, identity string) time.Duration {
	if lease == nil {
		return 0
	}
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	if holder == "" || holder == identity {
		return 0
	}
	return max(time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second, leaseDuration)
}

// observe watches the Lease. Each state of it is sent; nil if there is none.
func (e *elector) observe(ctx context.Context) (<-chan *coordinationv1.Lease, func()) {
	ctx, cancel := context.WithCancel(ctx)
	changes := make(chan *coordinationv1.Lease)
	send := func(lease *coordinationv1.Lease) {
		select {
		case changes <- lease:
		case <-ctx.Done():
		}
	}
	one := fields.OneTermEqualSelector(metav1.ObjectNameField, LeaseName).String()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
				opts.FieldSelector = one
				return e.leases.List(ctx, opts)
			},
			WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
				opts.FieldSelector = one
				return e.leases.Watch(ctx, opts)
			},
		},
		ObjectType: &coordinationv1.Lease{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { send(object.(*coordinationv1.Lease)) },
			UpdateFunc: func(_, object any) { send(object.(*coordinationv1.Lease)) },
			DeleteFunc: func(any) { send(nil) },
		},
	})
	go informer.RunWithContext(ctx)
	return changes, cancel
}
