package machine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces are those that the first process of a node must begin in.
const Namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// relaySocket is where process 1, which is in the host's network, accepts
// connections to the API server.
const relaySocket = "/run/hawser/apiserver.sock"

// Main runs the node of a configuration until it is told to end or a part of it
// has died. Process 1 gets the path of the configuration as its only argument;
// it starts the second process, with one argument more.
func Main(args []string) error {
	if len(args) == 0 {
		return errors.New("the path of a configuration is missing")
	}
	config, err := readConfig(args[0])
	if err != nil {
		return fmt.Errorf("read the node's configuration: %w", err)
	}
	if len(args) > 1 {
		return runInside(config)
	}
	if os.Getpid() != 1 {
		return errors.New("this program must be the first process of its own process namespace")
	}
	return runInit(config, args[0])
}

// runInit is process 1.
func runInit(config Config, file string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		os.Exit(0) // takes everybody along
	}()
	if err := mountAll(config); err != nil {
		return err
	}
	if err := makeCgroups(config.Cgroup); err != nil {
		return err
	}
	if err := relayToHost(config.APIServer); err != nil {
		return err
	}
	inside, plugged, err := startInside(file)
	if err != nil {
		return err
	}
	if err := plugIn(config.Network, inside); err != nil {
		return err
	}
	plugged.Close()
	return reap(inside)
}

// startInside starts the second process in a new network, where it waits until
// the returned pipe is closed.
func startInside(file string) (pid int, plugged *os.File, err error) {
	wait, plugged, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer wait.Close()
	cmd := exec.Command("/proc/self/exe", file, "inside")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{wait}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start the node in a network of its own: %w", err)
	}
	return cmd.Process.Pid, plugged, nil
}

// plugIn joins the network of a process to that of the host. The link of a node
// that ran before, with the same name, goes some time after its processes.
func plugIn(n Network, pid int) error {
	if _, err := net.InterfaceByName(n.Link); err == nil {
		ip("link", "delete", n.Link) // fails if it has gone meanwhile
	}
	for _, args := range [][]string{
		{"link", "add", n.Link, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid)},
		{"address", "add", n.Host, "peer", n.Node, "dev", n.Link},
		{"link", "set", n.Link, "up"},
		{"route", "add", n.Pods, "via", n.Node, "dev", n.Link},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

// relayToHost accepts connections to the API server from the node's network: the
// path of a unix socket leads from one network to another.
func relayToHost(address string) error {
	if err := os.MkdirAll(filepath.Dir(relaySocket), 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("unix", relaySocket)
	if err != nil {
		return err
	}
	go Relay(listener, "tcp", address)
	return nil
}

// reap waits for children, its own and those that lost their parent, until the
// second process has ended, and returns how that was.
func reap(inside int) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the node's processes: %w", err)
		}
		if pid == inside {
			return fmt.Errorf("the node has ended: exit status %d, signal %d", status.ExitStatus(), status.Signal())
		}
	}
}
