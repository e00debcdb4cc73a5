package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hawser.dev/hawser/catalog"
)

// Format is how a webhook wants its messages.
type Format string

const (
	FormatJSON  Format = "json"  // Message; the default
	FormatSlack Format = "slack" // {"text": …}, as Slack and others take it
)

// Occasion is what a message is about. A webhook asks for occasions.
type Occasion string

const (
	OnFailure  Occasion = "failure"  // no point was made, or a partial one
	OnRecovery Occasion = "recovery" // the first complete point after that
	OnRPO      Occasion = "rpo"      // claims of the plan are in breach of its RPO, or none is any more
)

// Event words what has happened within an Occasion.
const (
	eventFailure     = "failure"
	eventRecovery    = "recovery"
	eventRPOBreach   = "rpo-breach"
	eventRPORecovery = "rpo-recovery"
)

// MessageVersion is the version of the schema of Message. Keys may be added to
// a version; what a key means stays.
const MessageVersion = 1

// Message is the body of a webhook's request in FormatJSON. docs/notify.md
// describes it to those who receive it.
type Message struct {
	Version int             `json:"version"`
	Event   string          `json:"event"` // failure, recovery, rpo-breach or rpo-recovery
	Cluster catalog.Cluster `json:"cluster"`
	Plan    string          `json:"plan"`
	Time    time.Time       `json:"time"`
	Text    string          `json:"text"`          // one line, for people
	Run     *MessageRun     `json:"run,omitempty"` // of failure and recovery
	RPO     *MessageRPO     `json:"rpo,omitempty"` // of the others
}

// MessageRun is the run that a message is about.
type MessageRun struct {
	Occurrence time.Time       `json:"occurrence"`
	Attempt    int             `json:"attempt"` // from 0
	Result     Result          `json:"result"`  // complete, partial or failed
	Point      catalog.PointID `json:"point,omitempty"`
	Error      string          `json:"error,omitempty"`
	Reasons    []string        `json:"reasons,omitempty"` // why the point is partial; the first 20
	Claims     []MessageClaim  `json:"claims,omitempty"`  // that are not in the point as asked; the first 20
	ClaimCount int             `json:"claimCount"`        // how many they are
}

// MessageRPO says which claims are in breach.
type MessageRPO struct {
	Seconds    int64          `json:"seconds"`          // the plan's RPO; 0 if the plan has none any more
	Claims     []MessageClaim `json:"claims,omitempty"` // the first 20
	ClaimCount int            `json:"claimCount"`
}

// MessageClaim is one claim.
type MessageClaim struct {
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Message    string     `json:"message,omitempty"`
	Restorable *time.Time `json:"restorable,omitempty"` // of a claim in breach: the time of its newest data that can be brought back
}

const (
	// messageItems bounds the lists of a message.
	messageItems = 20
	// messageText bounds the length of a text, in bytes.
	messageText = 2000
)

// occasion is the one that event belongs to.
func occasion(event string) Occasion {
	switch event {
	case eventFailure:
		return OnFailure
	case eventRecovery:
		return OnRecovery
	}
	return OnRPO
}

// runMessage tells how a run ended.
func runMessage(event string, end RunEnd) Message {
	run := &MessageRun{
		Occurrence: end.Occurrence.UTC(), Attempt: end.Attempt, Result: end.Result(),
		Point: end.Commit.Point, Reasons: shorten(end.Commit.Reasons), ClaimCount: len(end.Failed),
	}
	if end.Err != nil {
		run.Error = cut(end.Err.Error(), messageText)
	}
	for _, e := range shorten(end.Failed) {
		run.Claims = append(run.Claims, MessageClaim{Namespace: e.Claim.Namespace, Name: e.Claim.Name, Message: cut(e.Message, messageText)})
	}
	occurrence := run.Occurrence.Format("2006-01-02 15:04 UTC")
	var text string
	switch run.Result {
	case ResultComplete:
		text = fmt.Sprintf("plan %s is well again: point %s is complete", end.Plan, run.Point)
	case ResultPartial:
		text = fmt.Sprintf("plan %s, %s: point %s is partial: %s", end.Plan, occurrence, run.Point, strings.Join(run.Reasons, "; "))
	default:
		text = fmt.Sprintf("plan %s, %s: the backup failed: %s", end.Plan, occurrence, run.Error)
	}
	return Message{Version: MessageVersion, Event: event, Plan: end.Plan, Time: end.Ended.UTC(), Text: cut(text, messageText), Run: run}
}

// rpoMessage tells which claims of a plan are in breach; none if that is over.
func rpoMessage(event string, plan Plan, breached []ClaimState, now time.Time) Message {
	rpo := &MessageRPO{Seconds: int64(plan.RPO.Seconds()), ClaimCount: len(breached)}
	var names []string
	for _, c := range shorten(breached) {
		claim := MessageClaim{Namespace: c.Claim.Namespace, Name: c.Claim.Name, Message: cut(c.Why, messageText)}
		if !c.Restorable.IsZero() {
			at := c.Restorable.UTC()
			claim.Restorable = &at
		}
		rpo.Claims = append(rpo.Claims, claim)
		names = append(names, c.Claim.String())
	}
	text := fmt.Sprintf("plan %s: every claim can be brought back as new as its RPO of %s asks", plan.Name, plan.RPO)
	switch {
	case plan.RPO == 0:
		text = fmt.Sprintf("plan %s has no RPO any more", plan.Name)
	case len(breached) > 0:
		text = fmt.Sprintf("plan %s: %d of its claims cannot be brought back as new as its RPO of %s asks: %s", plan.Name, len(breached), plan.RPO, strings.Join(names, ", "))
		if more := len(breached) - len(names); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return Message{Version: MessageVersion, Event: event, Plan: plan.Name, Time: now.UTC(), Text: cut(text, messageText), RPO: rpo}
}

// body is the message in a webhook's format.
func (m Message) body(format Format) ([]byte, error) {
	if format != FormatSlack {
		return json.Marshal(m)
	}
	cluster := m.Cluster.Name
	if cluster == "" {
		cluster = m.Cluster.UID
	}
	// Slack reads these three as markup; the rest is text.
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return json.Marshal(map[string]string{"text": escape.Replace("Hawser, cluster " + cluster + ": " + m.Text)})
}

// shorten is the beginning of a list.
func shorten[T any](list []T) []T { return list[:min(len(list), messageItems)] }

// cut shortens a text to at most n bytes, and shows that it did.
func cut(text string, n int) string {
	const more = "…"
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len(more)], "") + more
}
