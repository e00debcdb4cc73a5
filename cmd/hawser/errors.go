package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hawser.dev/hawser/catalog"
)

// printError prints err once, on stderr: one line for each of joined errors
// that says something new.
func (a *app) printError(err error) {
	if err == nil {
		return
	}
	told := map[string]bool{}
	for _, e := range flatten(err) {
		if message := a.message(e); !told[message] {
			told[message] = true
			writeError(a.stderr, message)
		}
	}
	var asked *usageError
	if errors.As(err, &asked) && asked.hint != "" {
		fmt.Fprintln(a.stderr, asked.hint)
	}
}

// writeError writes one message, its further lines indented. What a catalog
// says may be in it, so control characters, with which a terminal could be
// fooled, are left out.
func writeError(w io.Writer, message string) {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(message)) {
		lines = append(lines, oneLine(strings.TrimSpace(line)))
	}
	fmt.Fprintf(w, "error: %s\n", strings.Join(lines, "\n  "))
}

// flatten takes joined errors apart. Errors that are wrapped with a text of
// their own stay whole.
func flatten(err error) []error {
	var parts []error
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		parts = e.Unwrap()
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil && inner.Error() == err.Error() {
			return flatten(inner)
		}
		return []error{err}
	}
	if parts == nil || errors.Join(parts...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, part := range parts {
		all = append(all, flatten(part)...)
	}
	return all
}

// message returns what people read of one error.
func (a *app) message(err error) string {
	text := humane(err, a.apiServers...)
	switch {
	case a.cancelled && errors.Is(err, context.Canceled):
		what := strings.TrimSuffix(strings.TrimSuffix(text, context.Canceled.Error()), ": ")
		return strings.TrimSuffix("interrupted: "+what, ": ")
	case errors.Is(err, catalog.ErrCorrupt):
		return text + "; the store has damaged it: get the object back from the store's versions or copies, or use another point"
	}
	return text
}
