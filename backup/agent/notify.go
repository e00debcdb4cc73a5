package agent

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"hawser.dev/hawser/catalog"
)

// Webhook is who is told, of what, and how.
type Webhook struct {
	URL    string // a secret
	Format Format
	On     []Occasion
}

func (h Webhook) equal(other Webhook) bool {
	return h.URL == other.URL && h.Format == other.Format && slices.Equal(h.On, other.On)
}

// Told is what the webhooks were told last of a plan, so that each change is
// told once.
type Told struct {
	Run    Result `json:"run,omitempty"` // of the last run: "" and complete are well
	Breach bool   `json:"breach,omitempty"`

	Drill   DrillResult `json:"drill,omitempty"`   // of the last drill: "" and passed are well
	DrillAt int64       `json:"drillAt,omitempty"` // when it ended, Unix seconds; 0 if it is well
}

// NotifierOptions say whom a Notifier tells.
type NotifierOptions struct {
	Webhooks []Webhook
	Cluster  catalog.Cluster
	Client   *http.Client // nil for one of its own
	Log      *slog.Logger
	// Changed is called with what Told returns whenever that has changed, from
	// a goroutine of Run; nil for none.
	Changed func(map[string]Told)
}

// Notifier is the Observer that tells webhooks how plans fare: one message for
// each change of a plan, not for each attempt. It delivers while Run runs.
type Notifier struct {
	Blind
	options NotifierOptions
	changed chan struct{} // there is other to Told; of capacity 1
	others  chan struct{} // there are other webhooks; of capacity 1

	mu      sync.Mutex
	posts   []*post
	retired []*post         // to webhooks that are gone; they still count
	plans   map[string]Plan // in force; nil before the first InForce
	told    map[string]Told
}

// NewNotifier makes a Notifier that has told nothing yet.
func NewNotifier(options NotifierOptions) *Notifier {
	if options.Client == nil {
		options.Client = &http.Client{Timeout: postTimeout}
	}
	n := &Notifier{options: options, told: map[string]Told{}, changed: make(chan struct{}, 1), others: make(chan struct{}, 1)}
	n.SetWebhooks(options.Webhooks)
	return n
}

// SetWebhooks makes these the webhooks from now on. One that stays keeps what
// waits for it; one that goes is told once more what waits. It may be called at
// any time.
func (n *Notifier) SetWebhooks(hooks []Webhook) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.posts
	n.posts = nil
	for _, hook := range hooks {
		same := slices.IndexFunc(before, func(p *post) bool { return p.hook.equal(hook) })
		if same < 0 {
			n.posts = append(n.posts, newPost(hook, n.options.Client, n.options.Log))
			continue
		}
		n.posts = append(n.posts, before[same])
		before = slices.Delete(before, same, same+1)
	}
	for _, p := range before {
		close(p.gone)
	}
	n.retired = append(n.retired, before...)
	signal(n.others)
}

// Run delivers what there is to tell. It returns when ctx has ended and a last
// try was made at what was still to be told.
func (n *Notifier) Run(ctx context.Context) {
	var group sync.WaitGroup
	start := func() {
		for _, p := range n.starting() {
			group.Go(func() { p.run(ctx) })
		}
	}
	start()
	for ctx.Err() == nil {
		select {
		case <-n.others:
			start()
		case <-n.changed:
			n.reportChange()
		case <-ctx.Done():
		}
	}
	group.Wait()
	select {
	case <-n.changed:
		n.reportChange()
	default:
	}
}

// starting returns the posts that do not run yet.
func (n *Notifier) starting() []*post {
	n.mu.Lock()
	defer n.mu.Unlock()
	var idle []*post
	for _, p := range n.posts {
		if !p.started {
			p.started = true
			idle = append(idle, p)
		}
	}
	return idle
}

func (n *Notifier) reportChange() {
	if n.options.Changed != nil {
		n.options.Changed(n.Told())
	}
}

// Resume takes over what an earlier leader has told.
func (n *Notifier) Resume(told map[string]Told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = maps.Clone(told)
	if n.told == nil {
		n.told = map[string]Told{}
	}
}

// Told returns what was told of each plan that is not simply well.
func (n *Notifier) Told() map[string]Told {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.told)
}

// Counts says how many messages were delivered, and how many were given up or
// had no place in the queue, over all webhooks.
func (n *Notifier) Counts() (delivered, dropped uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range slices.Concat(n.posts, n.retired) {
		delivered += p.delivered.Load()
		dropped += p.dropped.Load()
	}
	return delivered, dropped
}

// InForce forgets what was told of plans that are gone.
func (n *Notifier) InForce(plans []Plan) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plans = map[string]Plan{}
	for _, p := range plans {
		n.plans[p.Name] = p
	}
	for name := range n.told {
		if _, known := n.plans[name]; !known {
			delete(n.told, name)
			n.noteChange()
		}
	}
}

// RunEnded tells of a failure once it is final, and of the recovery from it.
func (n *Notifier) RunEnded(end RunEnd) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.knows(end.Plan) {
		return
	}
	if told, event := n.told[end.Plan].afterRun(end); n.tell(end.Plan, told) && event != "" {
		n.send(runMessage(event, end))
	}
}

// afterRun is what is told once a run has ended, and the event to tell; "" for
// none.
func (t Told) afterRun(end RunEnd) (Told, string) {
	was, is := cmp.Or(t.Run, ResultComplete), end.Result()
	if end.Replaced {
		is = ResultFailed // nothing will come of it
	}
	if is == ResultCancelled || is == ResultFailed && !end.Retry.IsZero() || is == was {
		return t, ""
	}
	if is == ResultComplete {
		t.Run = ""
		return t, eventRecovery
	}
	t.Run = is
	return t, eventFailure
}

// Drilled tells of a drill that failed or could not be held, and of the first one
// after it that passed.
func (n *Notifier) Drilled(end DrillEnd) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.knows(end.Plan) {
		return
	}
	if told, event := n.told[end.Plan].afterDrill(end); n.tell(end.Plan, told) {
		n.send(drillMessage(event, end))
	}
}

// afterDrill is what is told once a drill has ended, and the event to tell; "" for
// none. What a new leader recalls may be older than what was told.
func (t Told) afterDrill(end DrillEnd) (Told, string) {
	was, is, at := cmp.Or(t.Drill, DrillPassed), end.Result(), end.Ended.Unix()
	if is == was || end.Recalled && at <= t.DrillAt {
		return t, ""
	}
	if is == DrillPassed {
		t.Drill, t.DrillAt = "", 0
		return t, eventDrillRecovery
	}
	t.Drill, t.DrillAt = is, at
	return t, eventDrillFailure
}

// Covered tells of plans whose first claim has come into breach of the RPO, and
// of those whose last one is no longer.
func (n *Notifier) Covered(claims []ClaimState, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	breached := map[string][]ClaimState{}
	for _, c := range claims {
		if c.Breach {
			breached[c.Plan] = append(breached[c.Plan], c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.plans)) {
		told, event := n.told[name], eventRPORecovery
		if told.Breach = len(breached[name]) > 0; told.Breach {
			event = eventRPOBreach
		}
		if n.tell(name, told) {
			n.send(rpoMessage(event, n.plans[name], breached[name], now))
		}
	}
}

// knows says whether a plan is in force.
func (n *Notifier) knows(plan string) bool {
	_, known := n.plans[plan]
	return known
}

// tell remembers what is told of a plan, and says whether that is a change.
func (n *Notifier) tell(plan string, told Told) bool {
	if n.told[plan] == told {
		return false
	}
	if n.told[plan] = told; told == (Told{}) {
		delete(n.told, plan)
	}
	n.noteChange()
	return true
}

func (n *Notifier) noteChange() { signal(n.changed) }

// signal notes on a channel of capacity 1 that something is to be looked at.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is still to be noticed
	}
}

// send queues a message for the webhooks that ask for it.
func (n *Notifier) send(m Message) {
	m.Cluster = n.options.Cluster
	for _, p := range n.posts {
		if slices.Contains(p.hook.On, occasion(m.Event)) {
			p.enqueue(m)
		}
	}
}
