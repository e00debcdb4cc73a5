// Package crash lets a hawser that runs within a test die at a chosen request,
// as SIGKILL would: before the request is sent, or when it was carried out and
// the answer has not been seen. Whatever the process wants of the outer world
// goes through a Switch: its Kubernetes clients, its catalog's bucket, its
// commands in Pods. From its death on none of that happens any more, and no
// answer comes back; the goroutines stay where they are until they are buried.
//
// What it leaves to others: requests that were sent before the death and are
// under way are carried out, as they are for a real process. The process goes
// on to see what its watches show, which it can do nothing about.
package crash

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// ErrDead is what the requests of a buried process fail with.
var ErrDead = errors.New("the process is dead")

// Boundary is a moment at which a process can die.
type Boundary struct {
	Request string // such as "create volumesnapshots", "create points/commit"
	N       int    // it is the N-th of its kind, from 1
	After   bool   // it was carried out, and the answer not seen; else it was not sent
	Writes  bool   // the request changes something
}

func (b Boundary) String() string {
	when := "before"
	if b.After {
		when = "after"
	}
	return fmt.Sprintf("%s %s #%d", when, b.Request, b.N)
}

// Switch stands between one process and the outer world.
type Switch struct {
	die func(Boundary) bool

	mu       sync.Mutex
	counts   map[string]int
	passed   []Boundary
	death    *Boundary
	underWay int           // requests that were sent and have not come back
	calm     chan struct{} // closed when none is, after the death
	dead     chan struct{} // closed at the death
	buried   chan struct{} // closed at the burial
}

// NewSwitch returns a switch whose process dies at the first boundary of which
// die says so; nil never does.
func NewSwitch(die func(Boundary) bool) *Switch {
	return &Switch{die: die, counts: map[string]int{}, calm: make(chan struct{}), dead: make(chan struct{}), buried: make(chan struct{})}
}

// At says of a boundary whether it is b.
func At(b Boundary) func(Boundary) bool {
	return func(other Boundary) bool {
		return other.Request == b.Request && other.N == b.N && other.After == b.After
	}
}

// Dead is closed when the process has died.
func (s *Switch) Dead() <-chan struct{} { return s.dead }

// Calm is closed when the process has died and none of its requests is under way
// any more. Another process takes over later than that.
func (s *Switch) Calm() <-chan struct{} { return s.calm }

// Death is where the process died; nil if it has not.
func (s *Switch) Death() *Boundary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.death
}

// Passed are the boundaries that the process came to and lived, each once.
func (s *Switch) Passed() []Boundary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.passed)
}

// Bury lets the goroutines of the dead process end: all that it still wants
// fails with ErrDead. It kills a process that lives.
func (s *Switch) Bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.death == nil {
		s.end(Boundary{Request: "burial"})
	}
	select {
	case <-s.buried:
	default:
		close(s.buried)
	}
}

// Requests counts the requests of each kind so far.
func (s *Switch) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// request comes to the boundary before a request, and returns what is to be
// called when it was carried out. Both fail, after the burial, if the process is
// dead.
func (s *Switch) request(what string, writes bool) (after func() error, err error) {
	s.mu.Lock()
	s.counts[what]++
	b := Boundary{Request: what, N: s.counts[what], Writes: writes}
	s.come(b)
	alive := s.death == nil
	if alive {
		s.underWay++
	}
	s.mu.Unlock()
	if !alive {
		return nil, s.live()
	}
	return func() error {
		b := b
		b.After = true
		s.mu.Lock()
		s.underWay--
		if writes { // to die after a read is to die before the next request
			s.come(b)
		}
		s.quieten()
		s.mu.Unlock()
		return s.live()
	}, nil
}

// come passes a boundary, or dies there. The caller holds the lock.
func (s *Switch) come(b Boundary) {
	switch {
	case s.death != nil:
	case s.die != nil && s.die(b):
		s.end(b)
	default:
		s.passed = append(s.passed, b)
	}
}

// end is the death. The caller holds the lock.
func (s *Switch) end(b Boundary) {
	s.death = &b
	close(s.dead)
	s.quieten()
}

// quieten notes when the last request of the dead has come back. The caller
// holds the lock.
func (s *Switch) quieten() {
	if s.death == nil || s.underWay > 0 {
		return
	}
	select {
	case <-s.calm:
	default:
		close(s.calm)
	}
}

// live returns at once if the process is alive.
func (s *Switch) live() error {
	select {
	case <-s.dead:
		<-s.buried
		return ErrDead
	default:
		return nil
	}
}
