package cluster

import (
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A port is a TCP port of the loopback that is ours until it is released. It is
// held by a socket that is bound and never listens. With SO_REUSEPORT on both
// sides a component of the same user can listen there, and do so again after a
// restart, but the kernel gives the number to nobody who asks for a free port.
type port struct {
	number int
	fd     int
}

// reservePort reserves a free port.
func reservePort() (port, error) {
	syscall.ForkLock.RLock() // or a child forked between the two calls would hold the port
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return port{}, fmt.Errorf("reserve a port: %w", err)
	}
	p := port{fd: fd}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		p.release()
		return port{}, fmt.Errorf("reserve a port: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		p.release()
		return port{}, fmt.Errorf("reserve a port of 127.0.0.1: %w", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		p.release()
		return port{}, fmt.Errorf("reserve a port: %w", err)
	}
	p.number = bound.(*syscall.SockaddrInet4).Port
	return p, nil
}

func (p port) release() { syscall.Close(p.fd) }

func (p port) String() string { return strconv.Itoa(p.number) }

// address is host and port, for a URL or a dial.
func (p port) address() string { return net.JoinHostPort("127.0.0.1", p.String()) }

// ports are those of one cluster. etcd's peers and the CSI sidecars need none.
type ports struct {
	etcd, apiServer, controllerManager, scheduler port
	held                                          []port
}

func (p *ports) reserve() error {
	for _, want := range []*port{&p.etcd, &p.apiServer, &p.controllerManager, &p.scheduler} {
		got, err := reservePort()
		if err != nil {
			return err
		}
		*want = got
		p.held = append(p.held, got)
	}
	return nil
}

func (p *ports) release() {
	for _, held := range p.held {
		held.release()
	}
	p.held = nil
}
