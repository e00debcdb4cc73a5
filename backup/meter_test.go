package backup

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// metered is a client of an API server that answers so, and what counts it.
func metered(t *testing.T, qps float32, answer http.HandlerFunc) (kubernetes.Interface, *Meter) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	meter, config := new(Meter), &rest.Config{Host: server.URL, QPS: qps, Burst: 1}
	meter.PutOn(config)
	return kubernetes.NewForConfigOrDie(meter.Limited(config)), meter
}

func TestTheMeterCountsRequests(t *testing.T) {
	var calls atomic.Int32
	client, meter := metered(t, -1, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost && calls.Add(1) <= 2 { // client-go tries again
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if r.Method == http.MethodPost {
			time.Sleep(20 * time.Millisecond)
		}
		w.Write([]byte(`{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}`))
	})
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := meter.Requests()
	if got.WriteTime < 20*time.Millisecond || got.WriteTime > 10*time.Second {
		t.Errorf("the write took %s, want 20 ms or more", got.WriteTime)
	}
	got.WriteTime, got.Writing = 0, 0
	wantDiff(t, "requests", Requests{Sent: 4, Refused: 2, Writes: 1}, got)
}

func TestWritesSideBySideTakeTheirTimeOnce(t *testing.T) {
	meter, noon := new(Meter), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	request, response := &http.Request{Method: http.MethodPost}, &http.Response{StatusCode: http.StatusCreated}
	for _, w := range []struct{ began, ended int }{{0, 2}, {0, 3}, {1, 3}, {10, 11}} { // seconds
		meter.count(request, response, noon.Add(time.Duration(w.began)*time.Second), noon.Add(time.Duration(w.ended)*time.Second))
	}
	wantDiff(t, "requests", Requests{Sent: 4, Writes: 4, WriteTime: 8 * time.Second, Writing: 4 * time.Second}, meter.Requests())
}

func TestTheMeterCountsHowLongOurLimitHoldsRequestsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := new(Meter)
		limiter := meter.Limited(&rest.Config{QPS: 1, Burst: 1}).RateLimiter
		for range 3 { // they are let through at 0, 1 and 2 s
			go limiter.Wait(t.Context())
		}
		for second, want := range []time.Duration{0, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			synctest.Wait()
			if got := meter.Requests().Held.Round(time.Millisecond); got != want {
				t.Errorf("after %d s requests have waited for %s, want %s", second, got, want)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestARequestThatGivesUpWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := new(Meter)
		limiter := meter.Limited(&rest.Config{QPS: 0.01, Burst: 1}).RateLimiter
		limiter.Accept()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		go limiter.Wait(ctx)
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		time.Sleep(time.Minute)
		if got := meter.Requests().Held.Round(time.Millisecond); got != time.Second {
			t.Errorf("requests have waited for %s, want 1s", got)
		}
	})
}

// roundTrips answers each request so.
type roundTrips func(*http.Request) (*http.Response, error)

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What becomes a stream, such as an exec, is no simple write; what got no answer
// says nothing.
func TestTheMeterLeavesStreamsAndFailuresOut(t *testing.T) {
	meter, config := new(Meter), &rest.Config{Host: "https://example.com"}
	meter.PutOn(config)
	transport := config.WrapTransport(roundTrips(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/exec" {
			return &http.Response{StatusCode: http.StatusSwitchingProtocols}, nil
		}
		return nil, errors.New("connection refused")
	}))
	for _, path := range []string{"/exec", "/lost"} {
		transport.RoundTrip(httptest.NewRequest(http.MethodPost, path, nil))
	}
	wantDiff(t, "requests", Requests{Sent: 1}, meter.Requests())
}

func TestWithoutALimitNothingIsHeldBack(t *testing.T) {
	if limiter := new(Meter).Limited(&rest.Config{QPS: -1}).RateLimiter; limiter != nil {
		t.Errorf("limiter %v, want none", limiter)
	}
	if got := (*Meter)(nil).Requests(); got != (Requests{}) {
		t.Errorf("no meter has counted %+v", got)
	}
}
