package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// startup is how long the daemons may take until they answer.
const startup = 2 * time.Minute

// inside is the second process.
type inside struct {
	Config
	ended chan error // of a daemon
}

// runInside starts everything that makes a node, and returns when one of its
// daemons has ended.
func runInside(config Config) error {
	io.Copy(io.Discard, os.NewFile(3, "plugged")) // until process 1 has plugged the network in
	n := &inside{Config: config, ended: make(chan error, 8)}
	ctx, cancel := context.WithTimeout(context.Background(), startup)
	defer cancel()
	if err := n.start(ctx); err != nil {
		return err
	}
	return <-n.ended
}

func (n *inside) start(ctx context.Context) error {
	if err := n.configureNetwork(); err != nil {
		return err
	}
	if err := n.serveAPI(); err != nil {
		return err
	}
	if err := n.startCoreDNS(); err != nil {
		return err
	}
	if err := n.serveDisks(); err != nil {
		return err
	}
	if err := n.startContainerd(ctx); err != nil {
		return err
	}
	imports, ctx := errgroup.WithContext(ctx)
	for _, image := range n.Images {
		imports.Go(func() error { return n.importImage(ctx, image) })
	}
	if err := imports.Wait(); err != nil {
		return err
	}
	return n.startKubelet()
}

// configureNetwork gives the node its addresses. The Service IPs are the node's
// own, on its loopback, so that no packet has to be rewritten.
func (n *inside) configureNetwork() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", APIService + "/32", "dev", "lo"},
		{"address", "add", dnsService + "/32", "dev", "lo"},
		{"address", "add", n.Network.Node, "peer", n.Network.Host, "dev", "eth0"},
		{"link", "set", "eth0", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) // of this network only
}

// serveAPI makes the API server's Service IP answer.
func (n *inside) serveAPI() error {
	listener, err := net.Listen("tcp", net.JoinHostPort(APIService, "443"))
	if err != nil {
		return err
	}
	go Relay(listener, "unix", relaySocket)
	return nil
}

// startDaemon starts a program that is to run as long as the node does.
func (n *inside) startDaemon(name, binary string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(n.Logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		n.ended <- fmt.Errorf("%s ended by itself (%w); its log is %s", name, err, log.Name())
	}()
	return nil
}

// ip runs the program of that name.
func ip(args ...string) error {
	if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %q: %w: %s", args, err, output)
	}
	return nil
}
