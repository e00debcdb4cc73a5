package agent

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func answering(codes ...int) func(int, http.ResponseWriter) {
	return func(n int, w http.ResponseWriter) { w.WriteHeader(codes[min(n, len(codes)-1)]) }
}

// Each case sends one message and looks at when it was tried, and what became
// of it.
func TestDelivery(t *testing.T) {
	for _, c := range []struct {
		name               string
		answer             func(n int, w http.ResponseWriter)
		tries              int
		took               time.Duration
		delivered, dropped uint64
	}{
		{"the webhook takes it", answering(204), 1, 0, 1, 0},
		{"the webhook is down for a moment", answering(503, 502, 200), 3, 6 * time.Second, 1, 0},
		{"the webhook stays down", answering(500), 6, (2 + 4 + 8 + 16 + 32) * time.Second, 0, 1},
		{"the webhook will not have it", answering(404), 1, 0, 0, 1},
		{"the webhook redirects, and nobody follows", func(n int, w http.ResponseWriter) {
			w.Header().Set("Location", "https://elsewhere.example.com/")
			w.WriteHeader([]int{http.StatusTemporaryRedirect, http.StatusOK}[n])
		}, 1, 0, 0, 1},
		{"too many requests", func(n int, w http.ResponseWriter) {
			if n == 0 {
				w.Header().Set("Retry-After", "90")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}, 2, 90 * time.Second, 1, 0},
		{"not before a date", func(n int, w http.ResponseWriter) {
			if n == 0 {
				w.Header().Set("Retry-After", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, 2, time.Minute, 1, 0},
		{"a date that is far away", func(n int, w http.ResponseWriter) {
			if n == 0 {
				w.Header().Set("Retry-After", time.Now().Add(30*time.Minute).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, 2, 10 * time.Minute, 1, 0},
		{"Retry-After is bounded", func(n int, w http.ResponseWriter) {
			if n == 0 {
				w.Header().Set("Retry-After", "99999999999")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, 2, 10 * time.Minute, 1, 0},
		{"Retry-After does not shorten the wait", func(n int, w http.ResponseWriter) {
			if n == 0 {
				w.Header().Set("Retry-After", "-5")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, 2, 2 * time.Second, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var last time.Time
				r := &receiver{}
				r.answer = func(n int, w http.ResponseWriter) {
					last = time.Now()
					c.answer(n, w)
				}
				n, stop := notifier(t, r, NotifierOptions{})
				n.RunEnded(ended(ResultFailed))
				time.Sleep(time.Hour) // of the bubble
				stop()
				if got := len(r.received()); got != c.tries {
					t.Errorf("%d tries, want %d", got, c.tries)
				}
				if took := last.Sub(begun); took != c.took {
					t.Errorf("the last try was after %s, want %s", took, c.took)
				}
				if delivered, dropped := n.Counts(); delivered != c.delivered || dropped != c.dropped {
					t.Errorf("%d delivered and %d dropped, want %d and %d", delivered, dropped, c.delivered, c.dropped)
				}
			})
		})
	}
}

func TestAWebhookThatIsDownHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &receiver{}
		hooks := []Webhook{{URL: "https://down.example.com/", On: everything}, {URL: "https://up.example.com/", On: everything}}
		n := NewNotifier(NotifierOptions{Webhooks: hooks, Cluster: prodEU, Client: &http.Client{Transport: byHost{
			"down.example.com": &receiver{answer: answering(500)}, "up.example.com": up,
		}}})
		n.InForce([]Plan{{Name: "nightly"}})
		ctx, done := t.Context(), make(chan struct{})
		go func() { defer close(done); n.Run(ctx) }()
		begun := time.Now()
		for range 200 {
			n.RunEnded(ended(ResultFailed))
			n.RunEnded(ended(ResultComplete))
			synctest.Wait()
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the agent waited for %s", took)
		}
		if got := len(up.received()); got != 400 {
			t.Errorf("the webhook that is up received %d messages, want 400", got)
		}
		// One is being tried, 64 wait.
		if delivered, dropped := n.Counts(); delivered != 400 || dropped != 400-65 {
			t.Errorf("%d delivered and %d dropped, want 400 and 335", delivered, dropped)
		}
	})
}

type byHost map[string]http.RoundTripper

func (b byHost) RoundTrip(request *http.Request) (*http.Response, error) {
	return b[request.URL.Host].RoundTrip(request)
}

func TestTheNewestMessagesStayInAFullQueue(t *testing.T) {
	p := newPost(Webhook{URL: "https://hooks.example.com/"}, http.DefaultClient, nil)
	for range postQueue + 5 {
		p.enqueue(Message{Plan: "old"})
	}
	p.enqueue(Message{Plan: "newest"})
	var last Message
	for range postQueue {
		last = <-p.queue
	}
	if last.Plan != "newest" || p.dropped.Load() != 6 {
		t.Errorf("the last in the queue is %q, %d were dropped", last.Plan, p.dropped.Load())
	}
}

func TestWhatIsLeftWhenTheAgentEndsIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: answering(500)}
		n, stop := notifier(t, r, NotifierOptions{})
		n.RunEnded(ended(ResultFailed))
		synctest.Wait() // it waits to try again
		n.RunEnded(ended(ResultComplete))
		r.mu.Lock()
		r.answer = nil
		r.mu.Unlock()
		begun := time.Now()
		stop()
		if delivered, dropped := n.Counts(); delivered != 2 || dropped != 0 || time.Since(begun) != 0 {
			t.Errorf("after %s %d are delivered and %d dropped, want 2 and 0 at once", time.Since(begun), delivered, dropped)
		}
	})
}

// Over a real connection: what is sent, and what the log tells of it.
func TestTheURLIsNotLogged(t *testing.T) {
	var request *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r.Clone(t.Context())
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody listens there then
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	log := new(bytes.Buffer)
	secrets := []string{"T0PS3CRET", "hunter2", "someone"}
	for _, url := range []string{server.URL + "/T0PS3CRET?key=hunter2", "http://someone:hunter2@" + listener.Addr().String() + "/T0PS3CRET", "http://T0PS3CRET\x7f/hunter2"} {
		p := newPost(Webhook{URL: url}, &http.Client{Timeout: 5 * time.Second}, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		p.settle(Message{Event: eventFailure}, p.try(t.Context(), Message{Event: eventFailure}))
	}
	if request == nil || request.Method != http.MethodPost || request.Header.Get("Content-Type") != "application/json" || request.URL.Path != "/T0PS3CRET" {
		t.Errorf("the webhook was sent %+v", request)
	}
	for _, want := range []string{"the webhook answers 403 Forbidden", "connection refused", "webhook=" + server.URL} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells %s:\n%s", secret, log)
		}
	}
}

func TestAWebhookThatDoesNotAnswerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	p := newPost(Webhook{URL: server.URL}, &http.Client{Timeout: 50 * time.Millisecond}, nil)
	err := p.try(t.Context(), Message{})
	if passing, ok := err.(*passingError); !ok || !strings.Contains(passing.Error(), "exceeded") {
		t.Errorf("got %v, want a failure that may pass", err)
	}
}
