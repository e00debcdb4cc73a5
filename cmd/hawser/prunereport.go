package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"hawser.dev/hawser/backup/prune"
)

// pruneReport shows what a run of pruning decided and did.
type pruneReport struct {
	prune.Result
	only string // show this plan alone; "" for all
}

func (r pruneReport) view() view {
	r.Decisions = slices.DeleteFunc(slices.Clone(r.Decisions), func(d prune.Decision) bool { return r.only != "" && d.Plan != r.only })
	return view{value: r.Result, human: func(w io.Writer, _ bool) error {
		if len(r.Decisions) > 0 {
			if err := decisionsTable(r.Decisions).write(w); err != nil {
				return err
			}
		}
		if len(r.Orphans) > 0 {
			fmt.Fprintln(w)
			if err := orphansTable(r.Orphans, r.Sweeps()).write(w); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(w, r.summary())
		return err
	}}
}

func decisionsTable(decisions []prune.Decision) table {
	t := table{header: []string{"POINT", "TIME", "OUTCOME", "DECISION", "UNTIL", "REASONS"}}
	for _, d := range decisions {
		until := ""
		if d.Until != nil && d.Verdict != prune.Exhume {
			until = timeText(*d.Until)
		}
		reasons := strings.Join(d.Reasons, "; ")
		if d.Problem != "" {
			reasons += "; " + d.Problem
		}
		t.add(string(d.Point), timeText(d.Scheduled), string(d.Outcome), decisionText(d), until, reasons)
	}
	return t
}

// decisionText says in a word or two what becomes of a point, or became of it.
func decisionText(d prune.Decision) string {
	words := map[prune.Verdict][2]string{
		prune.Bury: {"drop", "dropped"}, prune.Exhume: {"keep again", "kept again"}, prune.Remove: {"remove", "removed"},
		prune.Forget: {"forget", "forgotten"},
	}
	word, found := words[d.Verdict]
	switch {
	case d.Stopped != "" && found:
		return word[0] + " (stopped)"
	case d.Problem != "" && found:
		return word[0] + " (failed)"
	case d.Done:
		return word[1]
	case found:
		return word[0]
	}
	return string(d.Verdict)
}

func orphansTable(orphans []prune.Orphan, sweeps bool) table {
	t := table{header: []string{"SNAPSHOT", "CONTENT", "DECISION", "UNTIL", "REASON"}}
	for _, o := range orphans {
		decision, until, reason := "wait", "", o.Reason
		switch {
		case o.Done:
			decision = "removed"
		case o.Problem != "":
			decision, reason = "remove (failed)", reason+"; "+o.Problem
		case o.Due && !sweeps:
			decision = "remove (stopped)"
		case o.Due:
			decision = "remove"
		}
		if o.Until != nil {
			until = timeText(*o.Until)
		}
		t.add(o.Namespace+"/"+o.Name, o.Content, decision, until, reason)
	}
	return t
}

// done counts what this run changed.
func (r pruneReport) done() int {
	n := r.OrphansRemoved
	for _, d := range r.Decisions {
		if d.Done {
			n++
		}
	}
	return n
}

// summary counts in one line.
func (r pruneReport) summary() string {
	would := map[prune.Verdict]int{}
	did := map[prune.Verdict]int{}
	for _, d := range r.Decisions {
		would[d.Verdict]++
		if d.Done {
			did[d.Verdict]++
		}
	}
	stay := would[prune.Keep] + would[prune.Leave] + would[prune.Exhume]
	if r.DryRun {
		return fmt.Sprintf("%s would stay, %d be dropped, %d be removed; %d wait for the end of their grace period. Nothing was written.",
			plural(stay, "point"), would[prune.Bury], would[prune.Remove], would[prune.Expiring])
	}
	return fmt.Sprintf("%s stay, %d dropped, %d removed; %d wait for the end of their grace period.",
		plural(stay, "point"), did[prune.Bury], did[prune.Remove], would[prune.Expiring]+did[prune.Bury])
}

// notes are what else to know.
func (r pruneReport) notes() []string {
	notes := slices.Clone(r.Notes)
	if r.DryRun && r.Writes() {
		notes = append(notes, "the store's clock was not checked: that writes an object to the store")
	}
	return notes
}
