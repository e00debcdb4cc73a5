package backup

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// Requests counts the requests that clients of ours have sent to the API server.
type Requests struct {
	Sent      int           // that were answered, retries included
	Refused   int           // of them, with 429 Too Many Requests
	Writes    int           // of them, that changed something
	WriteTime time.Duration // that the API server took for those
	Writing   time.Duration // the same, with those side by side counted once
	// Held is how long requests waited for our own limit, those that wait now
	// included: two that wait for a second make two seconds.
	Held time.Duration
}

func (r Requests) since(before Requests) Requests {
	return Requests{
		Sent: r.Sent - before.Sent, Refused: r.Refused - before.Refused,
		Writes: r.Writes - before.Writes, WriteTime: r.WriteTime - before.WriteTime, Writing: r.Writing - before.Writing, Held: r.Held - before.Held,
	}
}

// Meter counts the requests of some clients, and how long each had to wait. The zero value is ready to use; all may be called
// concurrently.
type Meter struct {
	mu     sync.Mutex
	counts Requests
	// Of the requests that wait for our limit: how many, and the sum of the
	// times since began at which they came.
	began    time.Time
	waiting  int
	came     time.Duration
	answered time.Time // when the last write was
}

// PutOn counts the requests of the clients that are made of config, and of its
// HTTP client. It must be called before they are made, and once.
func (m *Meter) PutOn(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return meteredTransport{next, m} })
}

// Limited returns config for one client, whose own limit is of config's rate,
// and whose waits for it are counted. Several clients that were to share one
// limit could starve each other: a Lease must be renewed in time.
func (m *Meter) Limited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	if config.RateLimiter == nil && config.QPS > 0 {
		config.RateLimiter = meteredLimiter{flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst), m}
	}
	return config
}

// Requests returns what was counted so far. A nil Meter has counted nothing.
func (m *Meter) Requests() Requests {
	if m == nil {
		return Requests{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.counts
	counts.Held += time.Duration(m.waiting)*time.Since(m.began) - m.came
	return counts
}

// meteredLimiter is a limiter whose waits are counted.
type meteredLimiter struct {
	flowcontrol.RateLimiter
	meter *Meter
}

func (l meteredLimiter) Wait(ctx context.Context) error {
	defer l.meter.wait()()
	return l.RateLimiter.Wait(ctx)
}

func (l meteredLimiter) Accept() {
	defer l.meter.wait()()
	l.RateLimiter.Accept()
}

// wait notes that a request waits from now until the returned function is called.
func (m *Meter) wait() (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		m.began = time.Now()
	}
	came := time.Since(m.began)
	m.waiting, m.came = m.waiting+1, m.came+came
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.waiting, m.came = m.waiting-1, m.came-came
		m.counts.Held += time.Since(m.began) - came
	}
}

// meteredTransport is a transport whose requests are counted.
type meteredTransport struct {
	next  http.RoundTripper
	meter *Meter
}

// RoundTrip implements http.RoundTripper.
func (t meteredTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return response, err
	}
	t.meter.count(request, response, began, time.Now())
	return response, nil
}

// count counts a request that was answered.
func (m *Meter) count(request *http.Request, response *http.Response, began, ended time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := &m.counts
	counts.Sent++
	switch {
	case response.StatusCode == http.StatusTooManyRequests:
		counts.Refused++
	case request.Method != http.MethodGet && response.StatusCode != http.StatusSwitchingProtocols:
		counts.Writes++
		counts.WriteTime += ended.Sub(began)
		if began.Before(m.answered) { // side by side with another, which was counted
			began = m.answered
		}
		if ended.After(began) {
			counts.Writing += ended.Sub(began)
			m.answered = ended
		}
	}
}

// WrappedRoundTripper implements net.RoundTripperWrapper, by which client-go
// finds the transport inside.
func (t meteredTransport) WrappedRoundTripper() http.RoundTripper { return t.next }
