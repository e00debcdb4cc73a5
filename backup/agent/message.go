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
	OnFailure  Occasion = "failure"  // no point was made, or a partial one; or a drill failed
	OnRecovery Occasion = "recovery" // the first complete point, or good drill, after that
	OnRPO      Occasion = "rpo"      // claims of the plan are in breach of its RPO, or none is any more
)

// Event words what has happened within an Occasion.
const (
	eventFailure       = "failure"
	eventRecovery      = "recovery"
	eventDrillFailure  = "drill-failure"
	eventDrillRecovery = "drill-recovery"
	eventRPOBreach     = "rpo-breach"
	eventRPORecovery   = "rpo-recovery"
)

// MessageVersion is the version of the schema of Message. Keys may be added to
// a version; what a key means stays.
const MessageVersion = 1

// Message is the body of a webhook's request in FormatJSON. docs/notify.md
// describes it to those who receive it.
type Message struct {
	Version int             `json:"version"`
	Event   string          `json:"event"` // one of the above
	Cluster catalog.Cluster `json:"cluster"`
	Plan    string          `json:"plan"`
	Time    time.Time       `json:"time"`
	Text    string          `json:"text"`            // one line, for people
	Run     *MessageRun     `json:"run,omitempty"`   // of failure and recovery
	Drill   *MessageDrill   `json:"drill,omitempty"` // of drill-failure and drill-recovery
	RPO     *MessageRPO     `json:"rpo,omitempty"`   // of rpo-breach and rpo-recovery
}

// MessageRun is the run that a message is about.
type MessageRun struct {
	Occurrence time.Time       `json:"occurrence"`
	Attempt    int             `json:"attempt"` // from 0
	Result     Result          `json:"result"`  // complete, partial, failed, or cancelled by a newer occurrence
	Point      catalog.PointID `json:"point,omitempty"`
	Error      string          `json:"error,omitempty"`
	Reasons    []string        `json:"reasons,omitempty"` // why the point is partial; the first 20
	Claims     []MessageClaim  `json:"claims,omitempty"`  // that are not in the point as asked; the first 20
	ClaimCount int             `json:"claimCount"`        // how many they are
}

// MessageDrill is the drill that a message is about.
type MessageDrill struct {
	ID         catalog.DrillID `json:"id,omitempty"`    // "" if it could not be held
	Point      catalog.PointID `json:"point,omitempty"` // that was brought back
	Result     DrillResult     `json:"result"`          // passed, failed or error
	Error      string          `json:"error,omitempty"` // why it could not be held
	Reasons    []string        `json:"reasons,omitempty"`
	Claims     []MessageClaim  `json:"claims,omitempty"` // that failed; the first 20
	ClaimCount int             `json:"claimCount"`
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
	case eventFailure, eventDrillFailure:
		return OnFailure
	case eventRecovery, eventDrillRecovery:
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
	case ResultCancelled:
		text = fmt.Sprintf("plan %s, %s: the backup was stopped: %s", end.Plan, occurrence, end.Cancelled)
	default:
		text = fmt.Sprintf("plan %s, %s: the backup failed: %s", end.Plan, occurrence, run.Error)
	}
	return Message{Version: MessageVersion, Event: event, Plan: end.Plan, Time: end.Ended.UTC(), Text: cut(text, messageText), Run: run}
}

// drillMessage tells how a drill ended.
func drillMessage(event string, end DrillEnd) Message {
	drill := &MessageDrill{ID: end.Drill.ID, Point: end.Drill.Point, Result: end.Result()}
	var why []string
	for _, reason := range shorten(end.Drill.Reasons) {
		drill.Reasons = append(drill.Reasons, cut(reason, messageText))
		why = append(why, reason)
	}
	for _, c := range end.Drill.Claims {
		if c.Outcome != catalog.DrillFailed {
			continue
		}
		if drill.ClaimCount++; drill.ClaimCount <= messageItems {
			drill.Claims = append(drill.Claims, MessageClaim{Namespace: c.Namespace, Name: c.Name, Message: cut(c.Message, messageText)})
			why = append(why, fmt.Sprintf("claim %s/%s: %s", c.Namespace, c.Name, c.Message))
		}
	}
	var text string
	switch drill.Result {
	case DrillPassed:
		text = fmt.Sprintf("plan %s: the drill of point %s passed: its data can be brought back again", end.Plan, drill.Point)
	case DrillFailed:
		text = fmt.Sprintf("plan %s: the drill of point %s failed: %s", end.Plan, drill.Point, strings.Join(why, "; "))
	default:
		drill.Error = cut(fmt.Sprint(end.Err), messageText)
		text = fmt.Sprintf("plan %s: a drill could not be held: %s", end.Plan, drill.Error)
	}
	return Message{Version: MessageVersion, Event: event, Plan: end.Plan, Time: end.Ended.UTC(), Text: cut(text, messageText), Drill: drill}
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
