package objectstore

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"

	"hawser.dev/hawser/e2e/tools"
)

// Proxy is a Toxiproxy on the way to a server. What it is told does harm to what
// passes through it.
type Proxy struct {
	*toxiproxy.Proxy
	process *process
}

// StartProxy starts a proxy before a server that speaks HTTP, and waits until it
// listens. It keeps its log in the folder dir, which exists. The proxy's program
// is built first if it must be. ctx bounds the start, not the proxy's life.
func StartProxy(ctx context.Context, server *Server, dir string) (*Proxy, error) {
	binary, err := tools.Path(ctx, "toxiproxy")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(server.Endpoint)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "toxiproxy.log")
	args := []string{"-host", "127.0.0.1", "-port", port}
	p := &Proxy{}
	if p.process, err = startProcess(binary, args, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, log); err != nil {
		return nil, fmt.Errorf("start toxiproxy: %w", err)
	}
	client := toxiproxy.NewClient(net.JoinHostPort("127.0.0.1", port))
	if err = p.answers(ctx, client); err == nil {
		p.Proxy, err = client.CreateProxy("store", "127.0.0.1:0", endpoint.Host)
	}
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("start toxiproxy: %w; the end of its log:\n%s", err, tail(log, 2000))
	}
	return p, nil
}

// answers waits until the proxy takes orders.
func (p *Proxy) answers(ctx context.Context, client *toxiproxy.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := client.Version()
		if err == nil {
			return nil
		}
		select {
		case <-p.process.exited:
			return errDied
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", startTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Through is the server as clients reach it through the proxy.
func (p *Proxy) Through(server *Server) *Server {
	through := *server
	through.Endpoint = "http://" + p.Listen
	return &through
}

// Stop ends the proxy, at once. It may be called again.
func (p *Proxy) Stop() { p.process.stop() }
