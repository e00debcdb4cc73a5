package agent

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hosts is a network of webhooks: it notes which was told.
type hosts struct {
	*receiver
	told []string
}

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := h.receiver.RoundTrip(request)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, request.URL.Host)
	return response, err
}

func TestWebhooksCanChange(t *testing.T) {
	hook := func(host string) Webhook { return Webhook{URL: "https://" + host + "/secret", On: everything} }
	synctest.Test(t, func(t *testing.T) {
		h := &hosts{receiver: &receiver{}}
		n := NewNotifier(NotifierOptions{Webhooks: []Webhook{hook("stays"), hook("goes")}, Client: &http.Client{Transport: h}})
		n.InForce([]Plan{{Name: "nightly"}})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); n.Run(ctx) }()
		tell := func(result Result, want ...string) {
			t.Helper()
			n.RunEnded(ended(result))
			time.Sleep(time.Minute)
			h.mu.Lock()
			defer h.mu.Unlock()
			slices.Sort(h.told)
			if diff := cmp.Diff(want, h.told); diff != "" {
				t.Errorf("told of a run that is %s (-want +got):\n%s", result, diff)
			}
			h.told = nil
		}
		tell(ResultFailed, "goes", "stays")
		n.SetWebhooks([]Webhook{hook("comes"), hook("stays")})
		tell(ResultComplete, "comes", "stays")
		n.SetWebhooks(nil)
		tell(ResultFailed)
		cancel()
		<-done
		if delivered, dropped := n.Counts(); delivered != 4 || dropped != 0 {
			t.Errorf("%d delivered and %d dropped, want all 4", delivered, dropped)
		}
	})
}
