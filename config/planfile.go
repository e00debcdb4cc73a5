package config

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	wantList     = "a list"
	wantStrings  = "a list of strings"
	wantCommand  = `a command as a list of strings, such as ["sh", "-c", "sync"]`
	wantMapping  = "a mapping"
	wantSelector = "labels such as tier=database or {tier: database}"
)

// lists is the schema of what stands in the file alone.
func (r *fileReader) lists() schema {
	return schema{
		{"plans", "what to back up, when, and how long to keep it", itemsInto(r, &r.plans, newPlan, r.planSchema, r.checkPlan)},
		{"notify", "whom to tell how plans fare", itemsInto(r, &r.notify, newNotify, r.notifySchema, r.checkNotify)},
	}
}

// newPlan is a plan of which the file says nothing.
func newPlan() Plan {
	return Plan{
		Timezone: "UTC", CatchUp: time.Hour, Concurrency: "forbid", Protect: "retain",
		Include: Include{ConfigMaps: true},
	}
}

func (r *fileReader) planSchema(p *Plan) schema {
	return schema{
		{"name", "what backup --plan calls it; required", scalarInto(r, text, keeping(r.rules.PlanName), &p.Name)},
		{"paused", "let the agent leave it alone", r.boolInto(&p.Paused)},
		{"schedule", "when to run: five fields of cron, or @daily and its like; only by hand if left out", scalarInto(r, text, keeping(fieldByField(r.rules.Schedule)), &p.Schedule)},
		{"timezone", "whose clock schedule and retain go by", scalarInto(r, text, timezone, &p.Timezone)},
		{"jitter", "the most to put a run off by, so that not all begin at once", scalarInto(r, duration, latitude, &p.Jitter)},
		{"catchUp", "how late a run that was missed is still made", scalarInto(r, duration, latitude, &p.CatchUp)},
		{"rpo", "how old the newest point of a claim may become", scalarInto(r, duration, period, &p.RPO)},
		{"concurrency", "forbid: skip a run while the last is under way; replace: stop that one", scalarInto(r, text, oneOf("forbid", "replace"), &p.Concurrency)},
		{"select.namespaces", "list of namespaces; all if left out", r.stringsInto(wantStrings, namespace, &p.Select.Namespaces)},
		{"select.labels", "claims that match, or whose workload does", r.selectorInto(&p.Select.Labels)},
		{"select.workloads", "list of KIND/NAME", r.stringsInto(wantStrings, r.rules.workload, &p.Select.Workloads)},
		{"select.optIn", "only what is labelled hawser.dev/plan=NAME, which is taken besides in any case", r.boolInto(&p.Select.OptIn)},
		{"snapshot.timeout", "in place of that for all plans", scalarInto(r, duration, timeout, &p.Snapshot.Timeout)},
		{"snapshot.classes", "in place of those for all plans", r.classesInto(&p.Snapshot.Classes)},
		{"protect", "retain: make the volumes Retain; audit: only say which are not", scalarInto(r, text, oneOf("retain", "audit"), &p.Protect)},
		{"include.configMaps", "also keep the ConfigMaps that the Pods use", r.boolInto(&p.Include.ConfigMaps)},
		{"include.secrets", "also keep the Secrets that the Pods use", r.boolInto(&p.Include.Secrets)},
		{"hooks", "commands to run in Pods around the snapshots", itemsInto(r, &p.Hooks, func() Hook { return Hook{} }, r.hookSchema, r.checkHook)},
		{"retain.last", "how many of the newest points to keep; all of them without retain", r.countInto(&p.Retain.Last)},
		{"retain.hourly", "of how many hours to keep the newest point", r.countInto(&p.Retain.Hourly)},
		{"retain.daily", "of how many days", r.countInto(&p.Retain.Daily)},
		{"retain.weekly", "of how many weeks", r.countInto(&p.Retain.Weekly)},
		{"retain.monthly", "of how many months", r.countInto(&p.Retain.Monthly)},
		{"retain.yearly", "of how many years", r.countInto(&p.Retain.Yearly)},
		{"retain.within", "keep all that are less older than the newest", scalarInto(r, duration, period, &p.Retain.Within)},
		{"drill.schedule", "when to bring the newest point back for practice; only by hand if left out", scalarInto(r, text, keeping(fieldByField(r.rules.Schedule)), &p.Drill.Schedule)},
		{"drill.image", "of the Pods that check the volumes; one with a shell if left out", scalarInto(r, text, keeping(image), &p.Drill.Image)},
		{"drill.command", "command that checks the volume at /data, as a list of strings; it is read if left out", r.stringsInto(wantCommand, anything, &p.Drill.Command)},
		{"drill.timeout", "of the whole drill; 30m if left out", scalarInto(r, duration, timeout, &p.Drill.Timeout)},
	}
}

// checkPlan checks what concerns more than one key of a plan.
func (r *fileReader) checkPlan(at string, line int, node *yaml.Node, p *Plan) {
	same := func(other Plan) bool { return other.Name == p.Name }
	if !has(node, "name") {
		r.fail(line, at+".name", "missing; every plan has a name")
	} else if i := slices.IndexFunc(r.plans, same); i >= 0 && p.Name != "" {
		r.fail(r.lines[at+".name"], at+".name", "%q is the name of plans[%d] too", p.Name, i)
	}
	if p.Select.OptIn {
		for _, key := range []string{"namespaces", "labels", "workloads"} {
			if has(node, "select", key) {
				r.fail(r.lines[at+".select."+key], at+".select."+key, "select.optIn takes only what is labelled hawser.dev/plan=%s; leave out one or the other", p.Name)
			}
		}
	}
	if len(p.Drill.Command) > 0 && !has(node, "drill", "image") {
		r.fail(r.lines[at+".drill.command"], at+".drill.image", "missing; say which image has the command")
	}
	if line, given := r.lines[at+".retain"]; given && p.Retain == (Retain{}) && !r.failed(at+".retain") {
		r.fail(line, at+".retain", "keeps no point at all; say how many to keep, such as {last: 3, daily: 7}, or leave it out to keep all")
	}
}

func (r *fileReader) hookSchema(h *Hook) schema {
	return schema{
		{"select.labels", "which Pods; required", r.selectorInto(&h.Select.Labels)},
		{"container", "which container; the Pod's default if left out", scalarInto(r, text, keeping(container), &h.Container)},
		{"pre", "command before the snapshots, as a list of strings", r.stringsInto(wantCommand, anything, &h.Pre)},
		{"post", "command as soon as they are cut", r.stringsInto(wantCommand, anything, &h.Post)},
		{"hold", "keep pre running until the snapshots are cut", r.boolInto(&h.Hold)},
		{"timeout", "of each command; 30s if left out", scalarInto(r, duration, timeout, &h.Timeout)},
		{"onFailure", "of pre: abort or continue; abort if left out", scalarInto(r, text, oneOf("abort", "continue"), &h.OnFailure)},
	}
}

// checkHook checks what concerns more than one key of a hook.
func (r *fileReader) checkHook(at string, line int, node *yaml.Node, h *Hook) {
	if !has(node, "select", "labels") {
		r.fail(line, at+".select.labels", "missing; say which Pods the hook is for, by %s", wantSelector)
	}
	if !has(node, "pre") && !has(node, "post") {
		r.fail(line, at, "want pre, post or both: %s", wantCommand)
	}
	if h.Hold && !has(node, "pre") {
		r.fail(line, at+".hold", "there is no pre command to hold")
	}
}

// failed reports whether something at a path, or below it, is wrong.
func (r *fileReader) failed(at string) bool {
	return slices.ContainsFunc(r.errs, func(err *Error) bool {
		return err.Key == at || strings.HasPrefix(err.Key, at+".") || strings.HasPrefix(err.Key, at+"[")
	})
}
