package objectstore

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is one child process. It ends when its parent does.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and was waited for
}

// startProcess starts binary and appends what it prints to logFile.
func startProcess(binary string, args, env []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, log, log
	// In a group of its own a Ctrl-C at the terminal does not reach it: whoever
	// started it stops it in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(p.cmd.SysProcAttr)

	started := make(chan error)
	go func() {
		// The kernel takes the thread that started a process for its parent,
		// so that thread must live as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends the process and waits until it has ended. A server that was asked
// kindly would first wait for its clients to close their connections.
func (p *process) stop() {
	p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
}
