package disks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultDriver is the name of the driver when Options leaves it open.
const DefaultDriver = "disks.hawser.dev"

// Options say what one server is to its cluster.
type Options struct {
	Socket  string // path of the unix socket, at most 107 bytes
	Cluster string // name recorded with disks and attachments; clusters of one region differ in it
	Driver  string // name of the driver; "" is DefaultDriver
	Node    string // id of the node that the node service serves; "" is no node service
	Blind   bool   // attaches a disk that another cluster has, as storage without a lock does
	Zone    string // of the node, and of new disks by default; "" is no topology at all
	Faults  *Faults
	Mounter Mounter      // nil is BindMounter where we may mount, LinkMounter elsewhere
	Log     *slog.Logger // one line per call; nil is silence
}

// Server serves the CSI services of one driver on one socket.
type Server struct {
	options Options
	grpc    *grpc.Server
	done    chan struct{} // closed when grpc has returned from Serve

	mu    sync.Mutex
	calls map[string]int
}

// Serve begins to serve a region, and returns once calls are accepted. It makes
// the node known to the region, if there is one.
func Serve(region *Region, options Options) (*Server, error) {
	if options.Socket == "" || options.Cluster == "" {
		return nil, errors.New("serve disks: Options.Socket and Options.Cluster are required")
	}
	if options.Driver == "" {
		options.Driver = DefaultDriver
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Mounter == nil {
		options.Mounter = defaultMounter()
	}
	listener, err := listen(options.Socket)
	if err != nil {
		return nil, fmt.Errorf("serve disks: %w", err)
	}
	s := &Server{options: options, done: make(chan struct{}), calls: map[string]int{}}
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.intercept), grpc.WaitForHandlers(true))
	if err := s.register(region); err != nil {
		return nil, errors.Join(fmt.Errorf("serve disks: %w", err), listener.Close())
	}
	go func() {
		defer close(s.done)
		if err := s.grpc.Serve(listener); err != nil {
			options.Log.Error("disks server ended", "socket", options.Socket, "error", err)
		}
	}()
	return s, nil
}

// listen takes the place of a socket that a killed server left behind, and
// refuses that of a server that lives.
func listen(socket string) (net.Listener, error) {
	if conn, err := net.Dial("unix", socket); err == nil {
		return nil, errors.Join(fmt.Errorf("socket %s is in use by another server", socket), conn.Close())
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w (the path has %d bytes; 107 are possible)", err, len(socket))
	}
	return listener, nil
}

func (s *Server) register(region *Region) error {
	o := s.options
	key := TopologyKey(o.Driver)
	csi.RegisterIdentityServer(s.grpc, &identity{driver: o.Driver, zoned: o.Zone != ""})
	csi.RegisterControllerServer(s.grpc, &controller{region: region, cluster: o.Cluster, zone: o.Zone, key: key, blind: o.Blind, faults: o.Faults})
	if o.Node == "" {
		return nil
	}
	self := Node{ID: o.Node, Cluster: o.Cluster, Zone: o.Zone}
	csi.RegisterNodeServer(s.grpc, &node{region: region, self: self, key: key, mounter: o.Mounter})
	return region.AddNode(self)
}

// Stop ends the server: it cancels the calls under way and waits for them. The
// socket is gone afterwards; mounts stay.
func (s *Server) Stop() {
	s.grpc.Stop()
	<-s.done
}

// Calls returns how many calls of a CSI method, as DeleteVolume, have come in,
// whatever their outcome.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// intercept surrounds every call: it counts, injects faults, gives errors their
// code, and logs.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method, began := path.Base(info.FullMethod), time.Now()
	s.mu.Lock()
	s.calls[method]++
	s.mu.Unlock()

	response, err := s.injectAround(ctx, method, req, handler)
	err = withCode(err)
	s.options.Log.Debug("csi call", "method", method, "of", subjects(req), "took", time.Since(began), "code", status.Code(err), "error", err)
	return response, err
}

func (s *Server) injectAround(ctx context.Context, method string, req any, handler grpc.UnaryHandler) (any, error) {
	rules := s.options.Faults.take(method, req)
	for _, rule := range rules {
		if rule.before == nil {
			continue
		}
		if err := rule.before(ctx, method, req); err != nil {
			return nil, err
		}
	}
	response, err := handler(ctx, req)
	for _, rule := range rules {
		if rule.after != nil && err == nil {
			response, err = nil, rule.after(method)
		}
	}
	return response, err
}

// withCode makes a gRPC status of an error that is none yet.
func withCode(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, ErrNotFound) {
		return status.Error(codes.NotFound, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}
