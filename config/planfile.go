package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// plan is a Plan as the file has it.
type plan struct {
	Plan
	origin Origin
}

const (
	wantList     = "a list"
	wantStrings  = "a list of strings"
	wantCommand  = `a command as a list of strings, such as ["sh", "-c", "sync"]`
	wantMapping  = "a mapping"
	wantSelector = "labels such as tier=database or {tier: database}"
)

// readPlans reads the list of plans.
func (r *fileReader) readPlans(at string, line int, node *yaml.Node) {
	r.list(wantList, func(at string, line int, node *yaml.Node) {
		r.plans = append(r.plans, plan{Plan: r.readPlan(at, line, node), origin: r.origin(line)})
	})(at, line, node)
	first := map[string]int{}
	for i, p := range r.plans {
		if j, twice := first[p.Name]; twice && p.Name != "" {
			r.fail(p.origin.Line, fmt.Sprintf("%s[%d].name", at, i), "%q is the name of %s[%d] too", p.Name, at, j)
			continue
		}
		first[p.Name] = i
	}
}

func (r *fileReader) readPlan(at string, line int, node *yaml.Node) Plan {
	p := Plan{
		Timezone: "UTC", CatchUp: time.Hour, Concurrency: "forbid", Protect: "retain",
		Include: Include{ConfigMaps: true},
	}
	if node.Kind != yaml.MappingNode {
		r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
		return p
	}
	if !has(node, "name") {
		r.fail(line, at+".name", "missing; every plan has a name")
	}
	r.mapping(at, schema{
		{"name", scalarInto(r, text, keeping(r.rules.PlanName), &p.Name)},
		{"paused", scalarInto(r, boolean, strconv.ParseBool, &p.Paused)},
		{"schedule", scalarInto(r, text, keeping(r.rules.Schedule), &p.Schedule)},
		{"timezone", scalarInto(r, text, timezone, &p.Timezone)},
		{"jitter", scalarInto(r, duration, jitter, &p.Jitter)},
		{"catchUp", scalarInto(r, duration, catchUp, &p.CatchUp)},
		{"rpo", scalarInto(r, duration, period, &p.RPO)},
		{"concurrency", scalarInto(r, text, oneOf("forbid", "replace"), &p.Concurrency)},
		{"select.namespaces", r.stringsInto(wantStrings, namespace, &p.Select.Namespaces)},
		{"select.labels", r.selectorInto(&p.Select.Labels)},
		{"select.workloads", r.stringsInto(wantStrings, r.rules.workload, &p.Select.Workloads)},
		{"select.optIn", scalarInto(r, boolean, strconv.ParseBool, &p.Select.OptIn)},
		{"snapshot.timeout", scalarInto(r, duration, timeout, &p.Snapshot.Timeout)},
		{"snapshot.classes", r.classesInto(&p.Snapshot.Classes)},
		{"protect", scalarInto(r, text, oneOf("retain", "audit"), &p.Protect)},
		{"include.configMaps", scalarInto(r, boolean, strconv.ParseBool, &p.Include.ConfigMaps)},
		{"include.secrets", scalarInto(r, boolean, strconv.ParseBool, &p.Include.Secrets)},
		{"hooks", r.list(wantList, func(at string, line int, node *yaml.Node) {
			p.Hooks = append(p.Hooks, r.readHook(at, line, node))
		})},
		{"retain.last", scalarInto(r, number, count, &p.Retain.Last)},
		{"retain.hourly", scalarInto(r, number, count, &p.Retain.Hourly)},
		{"retain.daily", scalarInto(r, number, count, &p.Retain.Daily)},
		{"retain.weekly", scalarInto(r, number, count, &p.Retain.Weekly)},
		{"retain.monthly", scalarInto(r, number, count, &p.Retain.Monthly)},
		{"retain.yearly", scalarInto(r, number, count, &p.Retain.Yearly)},
		{"retain.within", scalarInto(r, duration, period, &p.Retain.Within)},
	}, node)
	return p
}

func (r *fileReader) readHook(at string, line int, node *yaml.Node) Hook {
	var h Hook
	if node.Kind != yaml.MappingNode {
		r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
		return h
	}
	if !has(node, "select", "labels") {
		r.fail(line, at+".select.labels", "missing; say which Pods the hook is for, by %s", wantSelector)
	}
	if !has(node, "pre") && !has(node, "post") {
		r.fail(line, at, "want pre, post or both: %s", wantCommand)
	}
	r.mapping(at, schema{
		{"select.labels", r.selectorInto(&h.Select.Labels)},
		{"container", scalarInto(r, text, keeping(container), &h.Container)},
		{"pre", r.stringsInto(wantCommand, anything, &h.Pre)},
		{"post", r.stringsInto(wantCommand, anything, &h.Post)},
		{"hold", scalarInto(r, boolean, strconv.ParseBool, &h.Hold)},
		{"timeout", scalarInto(r, duration, timeout, &h.Timeout)},
		{"onFailure", scalarInto(r, text, oneOf("abort", "continue"), &h.OnFailure)},
	}, node)
	if h.Hold && !has(node, "pre") {
		r.fail(line, at+".hold", "there is no pre command to hold")
	}
	return h
}

// selectorInto makes the reader of a label selector: one as kubectl takes it,
// or a mapping of labels that must all be there.
func (r *fileReader) selectorInto(into *string) reader {
	return func(at string, line int, node *yaml.Node) {
		var selector labels.Selector
		var err error
		switch {
		case node.Kind == yaml.MappingNode:
			selector, err = labels.ValidatedSelectorFromSet(r.strings(at, node))
		case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str":
			selector, err = labels.Parse(node.Value)
		default:
			r.fail(line, at, "want %s, found %s", wantSelector, describe(node))
			return
		}
		if err != nil {
			r.fail(line, at, "want %s: %v", wantSelector, err)
			return
		}
		*into = selector.String()
	}
}

// classesInto makes the reader of a mapping from CSI driver to class.
func (r *fileReader) classesInto(into *map[string]string) reader {
	return func(at string, line int, node *yaml.Node) {
		if node.Kind != yaml.MappingNode {
			r.fail(line, at, "want %s, found %s", wantMapping, describe(node))
			return
		}
		m := r.strings(at, node)
		if err := checkClasses(m); err != nil {
			r.fail(line, at, "%v", err)
			return
		}
		*into = m
	}
}

// keeping makes a parser of a check. An empty text is that of a key left out.
func keeping(check func(string) error) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "" || check == nil {
			return s, nil
		}
		return s, check(s)
	}
}

func (r Rules) workload(reference string) error {
	if r.Workload == nil {
		return nil
	}
	return r.Workload(reference)
}

func namespace(s string) error {
	if len(validation.IsDNS1123Label(s)) > 0 {
		return fmt.Errorf("%q is not the name of a namespace", s)
	}
	return nil
}

func container(s string) error {
	if len(validation.IsDNS1123Label(s)) > 0 {
		return fmt.Errorf("%q is not the name of a container", s)
	}
	return nil
}

// oneOf makes a parser that takes nothing but these words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q: want %s", s, alternatives(words))
		}
		return s, nil
	}
}

// alternatives joins words as a sentence does: json, text or xml.
func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func timezone(s string) (string, error) {
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return "", fmt.Errorf("%q: want a name of the IANA time zone database, such as Europe/Berlin or UTC", s)
	}
	return s, nil
}

func count(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q: want a whole number, 0 or more", s)
	}
	return int(n), nil
}

func anything(string) error { return nil }
