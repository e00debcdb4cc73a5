package machine

import (
	"io"
	"net"
)

// Relay passes every connection that a listener accepts on to an address, until
// the listener is closed.
func Relay(listener net.Listener, network, address string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := net.Dial(network, address)
			if err != nil {
				return // the other side sees a closed connection, as if nobody listened
			}
			defer to.Close()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{to, from}, {from, to}} {
				go func() {
					io.Copy(way[0], way[1])
					done <- struct{}{}
				}()
			}
			<-done // one side has ended; TLS has no use for a half of a connection
		}()
	}
}
