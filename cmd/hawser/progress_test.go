package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) after(d time.Duration) { c.now = c.now.Add(d) }

// screen is a terminal of a size, as far as hawser uses one.
type screen struct {
	strings.Builder
	columns, rows int
}

// lines returns what a terminal would show: it obeys "up n lines and erase".
func (s *screen) lines() []string {
	var shown []string
	for text := s.String(); text != ""; {
		if n, rest := 0, ""; strings.HasPrefix(text, "\x1b[") {
			fmt.Sscanf(text, "\x1b[%dA", &n)
			_, rest, _ = strings.Cut(text, "\x1b[J")
			shown, text = shown[:len(shown)-n], rest
			continue
		}
		line, rest, _ := strings.Cut(text, "\n")
		shown, text = append(shown, line), rest
	}
	return shown
}

func newTestProgress(s *screen, quiet bool) (*progress, *clock) {
	c := &clock{now: testNow}
	console := newConsole(s)
	if s.columns > 0 {
		console.size = func() (int, int) { return s.columns, s.rows }
	}
	p := &progress{console: console, now: func() time.Time { return c.now }, quiet: quiet, steps: map[string]*step{}, began: c.now}
	return p, c
}

func TestProgressWithoutATerminal(t *testing.T) {
	for quiet, want := range map[bool]string{
		false: "shop/redis-0: protect\nshop/redis-0: snapshot: cut\nshop/redis-0: ready (0.4s)\nshop/redis-1: failed: disk is busy (0.0s)\n",
		true:  "",
	} {
		var s screen
		p, c := newTestProgress(&s, quiet)
		p.report("shop/redis-0", "protect", "", false)
		p.report("shop/redis-0", "snapshot", "cut", false)
		c.after(400 * time.Millisecond)
		p.report("shop/redis-0", "ready", "", true)
		p.report("shop/redis-1", stageFailed, "disk is busy", true)
		if diff := cmp.Diff(want, s.String()); diff != "" {
			t.Errorf("quiet %t (-want +got):\n%s", quiet, diff)
		}
	}
}

func TestProgressOnATerminal(t *testing.T) {
	s := screen{columns: 40, rows: 10}
	p, c := newTestProgress(&s, false)
	p.report("shop/redis-0", "snapshot", "", false)
	p.console.draw(p.lines())
	c.after(time.Second)
	p.report("shop/mariadb-0", "snapshot", "waiting for the driver of the disk", false)
	p.console.draw(p.lines())
	c.after(time.Second)
	p.report("shop/redis-0", "ready", "", true)
	c.after(time.Second)
	fmt.Fprintln(p.console, "a line of the log")
	p.console.draw(p.lines())
	want := []string{
		"a line of the log",
		"shop/redis-0    ready (2.0s)",
		"shop/mariadb-0  snapshot: waiting for …",
	}
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}

func TestProgressOfMoreThanFits(t *testing.T) {
	s := screen{columns: 80, rows: 10}
	p, c := newTestProgress(&s, false)
	for i := range 100 {
		p.report(fmt.Sprintf("shop/redis-%d", i), "snapshot", "", false)
	}
	c.after(14 * time.Second)
	for i := range 50 {
		p.report(fmt.Sprintf("shop/redis-%d", i), "ready", "", true)
	}
	p.console.draw(p.lines())
	p.report("shop/redis-99", stageFailed, "disk is busy", true)
	p.console.draw(p.lines())
	want := []string{
		"shop/redis-99: failed: disk is busy (14s)",
		"[###############...............] 51 of 100 done, 1 failed, snapshot 49 (14s)",
	}
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}

func TestResultsAndProgressOnOneScreen(t *testing.T) {
	s := screen{columns: 40, rows: 10}
	p, _ := newTestProgress(&s, false)
	p.report("shop/redis-0", "ready", "", true)
	p.console.draw(p.lines())
	fmt.Fprintln(p.console.beside(&s), "the result")
	p.console.draw(p.lines())
	want := []string{"the result", "shop/redis-0  ready (0.0s)"}
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}

// The race detector looks on.
func TestProgressFromManyGoroutines(t *testing.T) {
	s := screen{columns: 80, rows: 50}
	a := newApp(nil, nil, &s)
	a.stderr.size = func() (int, int) { return s.columns, s.rows }
	p := a.newProgress()
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for range 50 {
				p.report(fmt.Sprintf("shop/redis-%02d", i), "snapshot", "", false)
			}
			p.report(fmt.Sprintf("shop/redis-%02d", i), "ready", "", true)
		})
	}
	group.Wait()
	p.close()
	p.close()
	if n := len(s.lines()); n != 20 {
		t.Errorf("%d lines are left on the screen, want 20", n)
	}
}
