package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"hawser.dev/hawser/catalog"
)

// The reasons of the Events, about the agent's Pod or about claims.
const (
	reasonFailed    = "BackupFailed"
	reasonPartial   = "BackupPartial"
	reasonRecovered = "BackupRecovered"
	reasonSkipped   = "OccurrenceSkipped"
	reasonRefused   = "ConfigurationRefused"
	reasonPrune     = "PruneStopped"
	reasonSweep     = "SweepStopped"
	reasonDrill     = "DrillFailed"
	reasonThrottled = "SnapshotsThrottled"
	reasonMore      = "MoreClaims"

	reasonClaimFailed    = "SnapshotFailed"
	reasonClaimOpen      = "NotProtected"
	reasonClaimProtected = "Protected"
	reasonClaimBreach    = "RPOBreached"
	reasonClaimMet       = "RPOMet"
)

const (
	// claimEvents bounds the Events about claims that one run, or one look at
	// the claims, leads to; one more about the agent counts the rest.
	claimEvents = 20
	// eventText is how long the API server lets a message be, bytes.
	eventText = 1000
)

// RecorderOptions say for whom Events are recorded.
type RecorderOptions struct {
	Kubernetes kubernetes.Interface
	Namespace  string    // of the agent
	Pod        string    // the agent's; if it is "", what is not about a claim is about the namespace
	PodUID     types.UID // "" if it is not known
	Log        *slog.Logger
}

// Recorder is the Observer that records Events: about claims, and about the
// agent itself. A change is recorded once; Events that are alike are one Event
// with a count. When the API server does not take them they are dropped.
type Recorder struct {
	Blind
	events record.EventRecorder
	agent  corev1.ObjectReference

	mu     sync.Mutex
	failed map[string]bool           // by plan
	claims map[claimOfPlan]claimSeen // as seen last
	uids   map[catalog.ClaimKey]types.UID
}

// claimSeen is what Events tell of a claim.
type claimSeen struct{ open, breach bool }

// NewRecorder makes a Recorder that records until ctx ends.
func NewRecorder(ctx context.Context, options RecorderOptions) *Recorder {
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(options.Log.Handler()))
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: options.Kubernetes.CoreV1().Events("")})
	return newRecorder(options, broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "hawser", Host: options.Pod}))
}

func newRecorder(options RecorderOptions, events record.EventRecorder) *Recorder {
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Namespace: options.Namespace, Name: options.Namespace}
	if options.Pod != "" {
		about.Kind, about.Name, about.UID = "Pod", options.Pod, options.PodUID
	}
	return &Recorder{events: events, agent: about, failed: map[string]bool{}, uids: map[catalog.ClaimKey]types.UID{}}
}

// InForce implements Observer, as do the methods below.
func (r *Recorder) InForce(plans []Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.failed, func(name string, _ bool) bool {
		return !slices.ContainsFunc(plans, func(p Plan) bool { return p.Name == name })
	})
}

func (r *Recorder) Reloaded(err error) {
	if err != nil {
		r.warn(reasonRefused, "the new configuration is refused, the one before stays in force: %v", err)
	}
}

// Leading lets the next leadership see the claims anew.
func (r *Recorder) Leading(bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims = nil
}

func (r *Recorder) OccurrencesSkipped(plan string, s Skipped) {
	why := map[SkipReason]string{
		SkipSuperseded: "a newer one runs in their place",
		SkipLate:       "they could not start within catchUp",
		SkipRunning:    "the run before was still under way",
	}[s.Reason]
	r.warn(reasonSkipped, "plan %s: %d occurrences from %s to %s do not run: %s", plan, s.Count, s.First.UTC().Format(time.RFC3339), s.Last.UTC().Format(time.RFC3339), why)
}

func (r *Recorder) RunEnded(end RunEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if end.Result() == ResultCancelled && !end.Replaced {
		return
	}
	occurrence := end.Occurrence.UTC().Format(time.RFC3339)
	switch end.Result() {
	case ResultComplete:
		if r.failed[end.Plan] {
			r.events.Event(&r.agent, corev1.EventTypeNormal, reasonRecovered, cut(fmt.Sprintf("plan %s: point %s is complete", end.Plan, end.Commit.Point), eventText))
		}
	case ResultPartial:
		r.warn(reasonPartial, "plan %s, %s: point %s is partial; %d claims are not in it as the plan asks", end.Plan, occurrence, end.Commit.Point, len(end.Failed))
	case ResultFailed, ResultCancelled:
		then := ""
		if !end.Retry.IsZero() {
			then = " (tried again at " + end.Retry.UTC().Format(time.RFC3339) + ")"
		}
		r.warn(reasonFailed, "plan %s, %s%s: %v", end.Plan, occurrence, then, end.Err)
	}
	r.failed[end.Plan] = end.Result() != ResultComplete
	var about []claimEvent
	for _, e := range end.Failed {
		about = append(about, claimEvent{e.Claim, corev1.EventTypeWarning, reasonClaimFailed, fmt.Sprintf("plan %s, %s: %s", end.Plan, occurrence, e.Message)})
	}
	r.record(about)
}

// Covered records what has changed of the claims that plans select.
func (r *Recorder) Covered(claims []ClaimState, _ time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[claimOfPlan]claimSeen, len(claims))
	clear(r.uids)
	var about []claimEvent
	for _, c := range claims {
		r.uids[c.Claim] = c.UID
		if c.Plan == "" {
			continue
		}
		key := claimOfPlan{c.Claim, c.Plan}
		was, is := r.claims[key], claimSeen{open: !c.Protected, breach: c.Breach}
		seen[key] = is
		about = append(about, changes(c, was, is)...)
	}
	r.claims = seen
	r.record(about)
}

// changes are the Events about a claim that is not as it was.
func changes(c ClaimState, was, is claimSeen) []claimEvent {
	var events []claimEvent
	add := func(kind, reason, text string) {
		events = append(events, claimEvent{c.Claim, kind, reason, "plan " + c.Plan + ": " + text})
	}
	why := ""
	if c.Why != "" {
		why = ": " + c.Why
	}
	switch {
	case is.open && !was.open:
		add(corev1.EventTypeWarning, reasonClaimOpen, "the claim's volume is not Retain; its disk goes with the claim"+why)
	case was.open && !is.open:
		add(corev1.EventTypeNormal, reasonClaimProtected, "the claim's volume is Retain")
	}
	switch {
	case is.breach && !was.breach:
		add(corev1.EventTypeWarning, reasonClaimBreach, "the claim cannot be brought back as new as the plan's RPO asks"+why)
	case was.breach && !is.breach:
		add(corev1.EventTypeNormal, reasonClaimMet, "the claim can be brought back as new as the plan's RPO asks")
	}
	return events
}

func (r *Recorder) Pruned(p Pruning) {
	switch {
	case p.Stopped != "":
		r.warn(reasonPrune, "plan %s: nothing is deleted (%s): %v", p.Plan, p.Stopped, p.Err)
	case p.Err != nil:
		r.warn(reasonPrune, "plan %s: not all that was to be deleted is: %v", p.Plan, p.Err)
	}
}

func (r *Recorder) Swept(s Sweep) {
	if reason := stopReason(s.Stopped, s.Err); reason != "" {
		r.warn(reasonSweep, "no snapshot is removed (%s): %v", reason, s.Err)
	}
}

func (r *Recorder) Drilled(end DrillEnd) {
	switch result := end.Result(); {
	case end.Recalled || result == DrillPassed:
	case result == DrillError:
		r.warn(reasonDrill, "plan %s: a drill could not be held: %v", end.Plan, end.Err)
	default:
		r.warn(reasonDrill, "plan %s: the drill of point %s failed: %s", end.Plan, end.Drill.Point, strings.Join(end.Drill.Reasons, "; "))
	}
}

func (r *Recorder) Throttled(t Throttling) { r.warn(reasonThrottled, "%s", t.Message) }

// warn records a Warning about the agent.
func (r *Recorder) warn(reason, format string, args ...any) {
	r.events.Event(&r.agent, corev1.EventTypeWarning, reason, cut(fmt.Sprintf(format, args...), eventText))
}

// claimEvent is an Event about a claim.
type claimEvent struct {
	claim              catalog.ClaimKey
	kind, reason, text string
}

// record records the first of the Events, Warnings before others, and says how
// many more claims there are.
func (r *Recorder) record(about []claimEvent) {
	slices.SortStableFunc(about, func(a, b claimEvent) int { return strings.Compare(b.kind, a.kind) }) // Warning, Normal
	for i, e := range about {
		if i == claimEvents {
			r.warn(reasonMore, "there are %d more Events about claims, the first: %s %s: %s", len(about)-i, e.claim, e.reason, e.text)
			return
		}
		claim := corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: e.claim.Namespace, Name: e.claim.Name, UID: r.uids[e.claim]}
		r.events.Event(&claim, e.kind, e.reason, cut(e.text, eventText))
	}
}
