package objectstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hawser.dev/hawser/e2e/tools"
)

// Kind is a server program.
type Kind string

// The kinds of servers.
const (
	VersityGW Kind = "versitygw"
	MinIO     Kind = "minio"
)

// kindsVariable chooses what Kinds returns.
const kindsVariable = "HAWSER_TEST_S3"

// Kinds returns the kinds of servers to test against: those that the
// environment variable HAWSER_TEST_S3 lists, separated by commas, or versitygw.
func Kinds() ([]Kind, error) {
	list := os.Getenv(kindsVariable)
	if list == "" {
		return []Kind{VersityGW}, nil
	}
	var kinds []Kind
	for name := range strings.SplitSeq(list, ",") {
		kind := Kind(strings.TrimSpace(name))
		if !slices.Contains([]Kind{VersityGW, MinIO}, kind) {
			return nil, fmt.Errorf("%s=%s: %q is none of versitygw, minio", kindsVariable, list, kind)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// Server is a running S3 server. The fields are for reading.
type Server struct {
	Kind      Kind
	Endpoint  string // URL
	Region    string
	Bucket    string // exists, and is empty at first
	AccessKey string
	SecretKey string
	CAFile    string // of StartTLS: signed the server's certificate
	LogFile   string // what the server printed

	dir     string
	port    string
	process *process
}

// Start starts a server of this kind that keeps everything in the folder dir,
// which it creates, and waits until its bucket is there. The server's program
// is built first if it must be. ctx bounds the start, not the server's life.
func Start(ctx context.Context, kind Kind, dir string) (*Server, error) {
	return start(ctx, kind, dir, false, nil)
}

// StartTLS is Start for a server that speaks HTTPS, with a certificate for
// 127.0.0.1, localhost and addresses, which only CAFile vouches for. A relay may
// listen at those.
func StartTLS(ctx context.Context, kind Kind, dir string, addresses ...net.IP) (*Server, error) {
	return start(ctx, kind, dir, true, addresses)
}

func start(ctx context.Context, kind Kind, dir string, tls bool, addresses []net.IP) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: kind, Region: "us-east-1", Bucket: "backups",
		AccessKey: "hawser", SecretKey: rand.Text(),
		LogFile: filepath.Join(dir, "server.log"), dir: dir,
	}
	if err := s.start(ctx, tls, addresses); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, tls bool, addresses []net.IP) error {
	if err := os.MkdirAll(s.dataDir(), 0o700); err != nil {
		return err
	}
	scheme := "http"
	if tls {
		scheme = "https"
		if err := s.makeCertificates(addresses); err != nil {
			return err
		}
	}
	binary, err := tools.Path(ctx, string(s.Kind))
	if err != nil {
		return err
	}
	// Somebody else may take a port between the moment that it is found free
	// and the server's own attempt.
	for range 3 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		s.Endpoint = scheme + "://" + net.JoinHostPort("127.0.0.1", s.port)
		if err = s.launch(ctx, binary); !errors.Is(err, errDied) {
			return err
		}
	}
	return err
}

// launch starts the process once and waits for the bucket.
func (s *Server) launch(ctx context.Context, binary string) error {
	args, env := s.commandLine()
	var err error
	if s.process, err = startProcess(binary, args, env, s.LogFile); err != nil {
		return err
	}
	if err := s.makeBucket(ctx); err != nil {
		s.process.stop()
		return fmt.Errorf("%w; the end of its log:\n%s", err, tail(s.LogFile, 2000))
	}
	return nil
}

// commandLine returns the arguments and the whole environment of the server.
// Keys are in the environment: arguments are for all to see.
func (s *Server) commandLine() (args, env []string) {
	address := net.JoinHostPort("127.0.0.1", s.port)
	env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.dir}
	if s.Kind == MinIO {
		env = append(env,
			"MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
			"MINIO_BROWSER=off", "MINIO_UPDATE=off",
			"MINIO_CI_CD=on") // allows a folder of the system's disk
		return []string{"server", "--address", address, "--certs-dir", s.certDir(), s.dataDir()}, env
	}
	env = append(env, "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	args = []string{"--port", address, "--region", s.Region, "--keep-alive", "--quiet"}
	if s.CAFile != "" {
		args = append(args, "--cert", s.certFile(), "--key", s.keyFile())
	}
	return append(args, "posix", s.dataDir()), env
}

// Stop ends the server, at once. What it stored stays in its folder. It may be
// called again.
func (s *Server) Stop() { s.process.stop() }

// URL returns the store.url of Hawser for a prefix in the server's bucket.
func (s *Server) URL(prefix string) string {
	query := url.Values{"endpoint": {s.Endpoint}, "region": {s.Region}, "path-style": {"true"}}
	if s.CAFile != "" {
		query.Set("ca-file", s.CAFile)
	}
	return "s3://" + path.Join(s.Bucket, prefix) + "?" + query.Encode()
}

// Env returns the variables that give a program of the AWS kind the keys.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

func (s *Server) dataDir() string  { return filepath.Join(s.dir, "data") }
func (s *Server) certDir() string  { return filepath.Join(s.dir, "certs") }
func (s *Server) certFile() string { return filepath.Join(s.certDir(), "public.crt") }
func (s *Server) keyFile() string  { return filepath.Join(s.certDir(), "private.key") }

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// tail returns at most the last n bytes of a file.
func tail(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-n):])
}
