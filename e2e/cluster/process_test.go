package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChildrenDieWithAKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can do this")
	}
	if testing.Short() {
		t.Skip("starts a Kubernetes control plane; run without -short")
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVar+"="+dir)
	parent.Stderr = os.Stderr
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		parent.Process.Kill()
		t.Fatalf("the parent started no cluster: %v", err)
	}
	var pids []int
	if err := json.Unmarshal([]byte(strings.ReplaceAll(line, " ", ",")), &pids); err != nil {
		t.Fatal(err)
	}
	if len(pids) < 6 {
		t.Errorf("the parent has %d children, want 6 or more", len(pids))
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("component with PID %d is not running before the kill", pid)
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	awaitDead(t, pids)
}

// The kernel's "parent" is a thread, and Go ends a thread together with a
// goroutine that locked it.
func TestAChildOutlivesTheThreadThatAskedForIt(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	for range 2 { // Go never ends the main thread, which may be the first
		var child *process
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlocked
			child, err = program{name: "sleeper", binary: sleep, args: []string{"60"}, log: filepath.Join(t.TempDir(), "log")}.start()
		}()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-child.exited:
			t.Errorf("the child ended with the thread: %v", child.died())
		case <-time.After(200 * time.Millisecond):
		}
		child.stop(syscall.SIGKILL, time.Second)
	}
}

func TestAProgramThatDiesIsReportedWithItsLog(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	k := &component{program: program{
		name:   "loser",
		binary: shell,
		args:   []string{"-c", "echo one; echo last words; exit 3"},
		log:    filepath.Join(t.TempDir(), "loser.log"),
	}}
	k.healthy = func(context.Context) error { return fmt.Errorf("not yet") }
	err = k.start(t.Context())
	for _, want := range []string{"loser ended by itself", "exit status 3", "last words"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

func TestAProgramThatIgnoresSIGTERMIsKilled(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	log := filepath.Join(t.TempDir(), "mule.log")
	p := program{name: "mule", binary: shell, args: []string{"-c", "trap '' TERM; echo ready; while :; do sleep 1; done"}, log: log}
	process, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); tail(log, 1) != "ready"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the shell did not start")
		}
	}
	process.stop(syscall.SIGTERM, 50*time.Millisecond)
	awaitDead(t, []int{process.cmd.Process.Pid})
	if err := process.died(); err != nil {
		t.Errorf("a process that was stopped is said to have died by itself: %v", err)
	}
}

// awaitDead fails the test if one of the processes still lives after 10 s.
func awaitDead(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Errorf("process %d is still alive", pid)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// alive tells whether there is such a process; one that has ended and that its
// parent did not wait for yet counts as dead.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// processesOf returns the processes whose command line names the folder.
func processesOf(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		commandLine, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(commandLine), dir) {
			continue // ended meanwhile, or a stranger
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
