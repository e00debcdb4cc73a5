package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// progress shows on stderr how far each of several things has come: on a
// terminal by one live line for each, or by a bar if they do not fit; elsewhere
// by one line per event. It is safe for concurrent use.
type progress struct {
	console *console
	now     func() time.Time
	quiet   bool

	mu    sync.Mutex
	steps map[string]*step
	order []string // of the ids, as they first came
	began time.Time

	closing sync.Once
	stop    chan struct{}
	stopped chan struct{}
}

// step is how far one thing has come.
type step struct {
	stage, message string
	began, ended   time.Time // ended is zero until it is done
}

// stageFailed is the stage of a thing that came to nothing.
const stageFailed = "failed"

// redrawEvery is how often live lines are drawn.
const redrawEvery = 100 * time.Millisecond

// newProgress begins to show progress. The caller must call close.
func (a *app) newProgress() *progress {
	p := &progress{
		console: a.stderr,
		now:     a.now,
		quiet:   a.quiet,
		steps:   map[string]*step{},
		began:   a.now(),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go p.redraw()
	return p
}

// report notes that the thing with this id, such as a claim's namespace/name,
// has come to a stage. message may say more; done says that nothing more is to
// come. The stage "failed" counts as a failure.
func (p *progress) report(id, stage, message string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[id]
	if s == nil {
		s = &step{began: p.now()}
		p.steps[id] = s
		p.order = append(p.order, id)
	}
	s.stage, s.message = stage, message
	if done {
		s.ended = p.now()
	}
	if p.quiet || p.live() && stage != stageFailed {
		return
	}
	fmt.Fprintf(p.console, "%s: %s\n", id, p.describe(s, done))
}

// close shows the last state and leaves it on the screen, above whatever is
// printed afterwards. It may be called again.
func (p *progress) close() {
	p.closing.Do(func() { close(p.stop) })
	<-p.stopped
}

func (p *progress) live() bool { return p.console.isTerminal() && !p.quiet }

func (p *progress) redraw() {
	defer close(p.stopped)
	if !p.live() {
		<-p.stop
		return
	}
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.console.draw(p.lines())
		case <-p.stop:
			p.console.draw(p.lines())
			p.console.leave()
			return
		}
	}
}

// lines returns what is to be seen now.
func (p *progress) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	columns, rows := p.console.size()
	if len(p.order) > rows-2 {
		return []string{p.summary(columns)}
	}
	width := 0
	for _, id := range p.order {
		width = max(width, len(id))
	}
	lines := make([]string, 0, len(p.order))
	for _, id := range p.order {
		s := p.steps[id]
		lines = append(lines, fmt.Sprintf("%-*s  %s", width, id, p.describe(s, true)))
	}
	return lines
}

// describe tells the stage and message of s, and how long it took so far.
func (p *progress) describe(s *step, elapsed bool) string {
	text := s.stage
	if s.message != "" {
		text += ": " + s.message
	}
	if !elapsed {
		return text
	}
	end := s.ended
	if end.IsZero() {
		end = p.now()
	}
	return text + " (" + shortDuration(end.Sub(s.began)) + ")"
}

// summary is one line for more things than fit on the screen.
func (p *progress) summary(columns int) string {
	done, failed := 0, 0
	under := map[string]int{}
	for _, s := range p.steps {
		switch {
		case s.stage == stageFailed:
			failed++
			done++
		case !s.ended.IsZero():
			done++
		default:
			under[s.stage]++
		}
	}
	text := fmt.Sprintf(" %d of %d done", done, len(p.steps))
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	for _, stage := range slices.Sorted(maps.Keys(under)) {
		text += fmt.Sprintf(", %s %d", stage, under[stage])
	}
	text += " (" + shortDuration(p.now().Sub(p.began)) + ")"
	width := min(30, columns-len(text)-3)
	if width < 5 {
		return strings.TrimSpace(text)
	}
	filled := width * done / len(p.steps)
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", width-filled) + "]" + text
}

// shortDuration writes d as people read it: 0.4s, 12s, 3m5s.
func shortDuration(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
