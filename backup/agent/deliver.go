package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	postTimeout   = 10 * time.Second // of one try
	postTries     = 6
	firstBackoff  = 2 * time.Second  // doubled after each try
	longestWait   = 10 * time.Minute // however long Retry-After says
	lastTryTime   = 5 * time.Second  // for all that is left when the agent ends
	postQueue     = 64               // messages that wait for one webhook
	answerToDrain = 64 << 10         // bytes of an answer, so that its connection can serve again
)

// post delivers messages to one webhook, one after the other, so that a
// webhook that is down holds up neither the others nor the agent.
type post struct {
	hook               Webhook
	client             *http.Client
	log                *slog.Logger
	queue              chan Message
	delivered, dropped atomic.Uint64
	gone               chan struct{} // closed when the webhook is no longer one
	started            bool          // guarded by Notifier.mu
}

func newPost(hook Webhook, client *http.Client, log *slog.Logger) *post {
	stay := *client
	// A POST that is redirected becomes a GET, or goes to who knows whom.
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &post{hook: hook, client: &stay, log: log.With("webhook", publicPart(hook.URL)), queue: make(chan Message, postQueue), gone: make(chan struct{})}
}

// publicPart is what of a webhook's URL is no secret.
func publicPart(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	return u.Scheme + "://" + u.Host
}

// enqueue returns at once. When the queue is full the oldest message gives way:
// the newest says how things stand. Only one goroutine at a time may call it.
func (p *post) enqueue(m Message) {
	for {
		select {
		case p.queue <- m:
			return
		default:
		}
		select {
		case oldest := <-p.queue:
			p.drop(oldest, errors.New("too many messages wait"))
		default: // it was taken just now
		}
	}
}

// run delivers until ctx ends or the webhook is gone, and then makes one last try
// at what is left.
func (p *post) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		select {
		case m := <-p.queue:
			p.deliver(ctx, m)
		case <-ctx.Done():
		}
	}
	last, end := context.WithTimeout(context.WithoutCancel(ctx), lastTryTime)
	defer end()
	for {
		select {
		case m := <-p.queue:
			p.settle(m, p.try(last, m))
		default:
			return
		}
	}
}

// deliver tries until the webhook has taken the message, will not have it, or
// has had its tries.
func (p *post) deliver(ctx context.Context, m Message) {
	backoff := firstBackoff
	for tried := 1; ; tried++ {
		err := p.try(ctx, m)
		var passing *passingError
		switch {
		case ctx.Err() != nil && err != nil:
			// The agent ends: once more, outside of ctx.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTryTime)
			defer cancel()
			p.settle(m, p.try(last, m))
			return
		case !errors.As(err, &passing) || tried == postTries:
			p.settle(m, err)
			return
		}
		wait := min(max(passing.after, backoff), longestWait)
		p.log.Warn("a notification could not be delivered; trying again", "event", m.Event, "plan", m.Plan, "error", err, "in", wait.String())
		backoff *= 2
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (p *post) settle(m Message, err error) {
	if err != nil {
		p.drop(m, err)
		return
	}
	p.delivered.Add(1)
	p.log.Info("notified", "event", m.Event, "plan", m.Plan)
}

func (p *post) drop(m Message, err error) {
	p.dropped.Add(1)
	p.log.Error("a notification is lost", "event", m.Event, "plan", m.Plan, "error", err)
}

// passingError is a failure that may pass.
type passingError struct {
	error
	after time.Duration // as the webhook asked; 0 if it did not
}

func (e *passingError) Unwrap() error { return e.error }

// try posts a message once. Its errors do not tell the URL.
func (p *post) try(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	body, err := m.body(p.hook.Format)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.hook.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's URL is not one")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "hawser")
	answer, err := p.client.Do(request)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL
		}
		return &passingError{error: err}
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, answerToDrain)
	return judge(answer, time.Now())
}

// judge says what a webhook's answer means.
func judge(answer *http.Response, now time.Time) error {
	code := answer.StatusCode
	says := fmt.Sprintf("the webhook answers %d %s", code, http.StatusText(code))
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return &passingError{error: errors.New(says), after: retryAfterHeader(answer.Header.Get("Retry-After"), now)}
	case code >= 300 && code < 400:
		return errors.New(says + "; put the URL that it leads to into notify")
	}
	return errors.New(says)
}

// retryAfterHeader reads the header, which is in seconds or a date; 0 if it
// asks for nothing.
func retryAfterHeader(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return max(0, min(time.Duration(seconds), longestWait/time.Second)*time.Second)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
