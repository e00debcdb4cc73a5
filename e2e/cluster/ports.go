package cluster

import (
	"context"
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
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return port{}, fmt.Errorf("reserve a port: %w", err)
	}
	syscall.CloseOnExec(fd)
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

// listening tells whether something listens at the port.
func (p port) listening(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
