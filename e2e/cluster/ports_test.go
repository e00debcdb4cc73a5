package cluster

import (
	"context"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAReservedPortIsForTheComponentOnly(t *testing.T) {
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()

	if l, err := net.Listen("tcp", p.address()); err == nil {
		l.Close()
		t.Error("a stranger could listen on the reserved port")
	}
	sharing := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		conn.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	for _, attempt := range []string{"first", "second"} {
		listener, err := sharing.Listen(context.Background(), "tcp", p.address())
		if err != nil {
			t.Fatalf("a component can't listen on the reserved port the %s time: %v", attempt, err)
		}
		go func() {
			if conn, err := listener.Accept(); err == nil {
				conn.Close()
			}
		}()
		conn, err := net.Dial("tcp", p.address())
		if err != nil {
			t.Errorf("a client can't reach the component: %v", err)
		} else {
			conn.Close()
		}
		listener.Close()
	}
}
