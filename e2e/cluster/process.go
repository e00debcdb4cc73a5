package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A program is what it takes to start one process.
type program struct {
	name   string // of the component
	binary string
	args   []string
	dir    string // working directory
	env    []string
	log    string // file that its output is appended to

	namespaces uintptr // of Linux that it begins in, as CLONE_NEWPID
}

// A process is a program that was started.
type process struct {
	program
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and was waited for

	mu      sync.Mutex
	wanted  bool  // somebody asked it to end
	outcome error // of Wait; set before exited is closed
}

// start runs p in a process group of its own, so that a Ctrl-C at the terminal
// reaches this process only, which then stops the others in order.
func (p program) start() (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer log.Close()

	cmd := exec.Command(p.binary, p.args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if p.namespaces != 0 {
		if err := enterNamespaces(cmd.SysProcAttr, p.namespaces); err != nil {
			return nil, fmt.Errorf("start %s: %w", p.name, err)
		}
	}
	fork(func() { err = cmd.Start() })
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	started := &process{program: p, cmd: cmd, exited: make(chan struct{})}
	go started.wait()
	return started, nil
}

func (p *process) wait() {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.outcome = err
	p.mu.Unlock()
	close(p.exited)
}

// stop sends sig and waits until the process has ended; after grace it kills.
func (p *process) stop(sig syscall.Signal, grace time.Duration) {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.cmd.Process.Signal(sig) // fails only if it has ended
	select {
	case <-p.exited:
	case <-time.After(grace):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// died is nil while the process runs and after a stop; otherwise it says how
// the process ended and what it said last.
func (p *process) died() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() || p.wanted {
		return nil
	}
	how := "exit status 0"
	if p.outcome != nil {
		how = p.outcome.Error()
	}
	return fmt.Errorf("%s ended by itself (%s); the end of %s:\n%s", p.name, how, p.log, tail(p.log, 15))
}

// fork runs f, which starts a process, on a thread that lives as long as this
// process does. A child is told of its parent's death when the *thread* that
// forked it ends, and Go ends threads when it likes, but never one to which a
// running goroutine is locked.
func fork(f func()) {
	done := make(chan struct{})
	forker() <- func() {
		defer close(done)
		f()
	}
	<-done
}

var forker = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})
