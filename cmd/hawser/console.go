package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// console is stderr. On a terminal it keeps live lines at the bottom, below
// whatever else is written to it. It is safe for concurrent use.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	size func() (columns, rows int) // nil if w is no terminal
	live []string                   // as on the screen now
}

func newConsole(w io.Writer) *console {
	c := &console{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		c.size = func() (int, int) {
			columns, rows, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return columns, rows
		}
	}
	return c
}

// isTerminal reports whether live lines can be shown.
func (c *console) isTerminal() bool { return c.size != nil }

// Write writes above the live lines. p is expected to end a line.
func (c *console) Write(p []byte) (int, error) { return c.above(c.w, p) }

// above writes to w, and draws the live lines anew below.
func (c *console) above(w io.Writer, p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := c.live
	c.erase()
	n, err := w.Write(p)
	c.show(live)
	return n, err
}

// beside returns a writer to w that keeps the live lines in order if w is the
// same screen.
func (c *console) beside(w io.Writer) io.Writer { return besideConsole{c, w} }

type besideConsole struct {
	console *console
	w       io.Writer
}

func (b besideConsole) Write(p []byte) (int, error) { return b.console.above(b.w, p) }

// draw puts lines in the place of the live ones, each cut to the screen.
func (c *console) draw(lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.show(lines)
}

// leave turns the live lines into ordinary ones.
func (c *console) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = nil
}

func (c *console) erase() {
	if len(c.live) > 0 {
		fmt.Fprintf(c.w, "\x1b[%dA\r\x1b[J", len(c.live))
	}
	c.live = nil
}

func (c *console) show(lines []string) {
	if len(lines) == 0 {
		return
	}
	columns, _ := c.size()
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(cut(line, columns-1) + "\n")
	}
	io.WriteString(c.w, text.String())
	c.live = lines
}

// cut shortens line to at most n characters.
func cut(line string, n int) string {
	if r := []rune(line); len(r) > n && n > 0 {
		return string(r[:n-1]) + "…"
	}
	return line
}
