// Package agent runs plans on their schedules, for as long as a cluster lives.
//
// What it decides is decided by pure functions: Schedule says when a plan has
// its occurrences, Due what is to be done about a plan at a moment, NextAttempt
// whether an occurrence is tried again. Agent, the loop, asks them and acts. It
// tells an Observer what it does; Metrics, Notifier and Recorder are Observers,
// for Prometheus, for webhooks and for Kubernetes Events. Its promises:
//
//   - An occurrence comes to one point at most, whoever leads, and whatever the
//     clock does: not on the day on which it is put forward or back either.
//   - Nothing runs before its time. To create, change or unpause a plan, or to
//     start the agent, starts nothing.
//   - After an outage one run at most catches up, and none that is later than
//     the plan's catchUp. What does not run is reported.
//   - Of several agents one leads. Another takes over when it is gone, and
//     finishes its runs or rolls them back.
//   - No Observer holds up a backup, and what they keep is bounded.
//
// How a point is made is package backup's to say; which points go, package
// prune's.
package agent
