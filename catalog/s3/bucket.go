package s3

import (
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"hawser.dev/hawser/catalog"
)

const (
	connectTimeout = 10 * time.Second
	maxRequests    = 5 // for one that fails for a passing reason
)

// Bucket is a catalog.Bucket in a bucket of S3, under a prefix.
type Bucket struct {
	core       minio.Core
	name       string
	prefix     string // "", or ends with a slash
	endpoint   string
	keysOrigin string // where the keys are from, for messages
}

var _ catalog.Bucket = (*Bucket)(nil)

// Open returns the bucket that the options describe. It looks for credentials,
// and fails if there are none, but asks nothing of the store.
func Open(ctx context.Context, options Options) (*Bucket, error) {
	bucket, err := open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("open s3://%s: %w", options.Bucket, err)
	}
	return bucket, nil
}

func open(ctx context.Context, o Options) (*Bucket, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	endpoint, err := o.endpoint()
	if err != nil {
		return nil, err
	}
	transport, err := o.transport(endpoint.Scheme == "https")
	if err != nil {
		return nil, err
	}
	keys, origin, err := o.credentials(ctx, &http.Client{Transport: transport})
	if err != nil {
		return nil, err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:        keys,
		Secure:       endpoint.Scheme == "https",
		Transport:    transport,
		Region:       firstOf(o.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		BucketLookup: o.lookup(),
		MaxRetries:   maxRequests,
	})
	if err != nil {
		return nil, err
	}
	client.SetAppInfo("hawser", version())
	b := &Bucket{core: minio.Core{Client: client}, name: o.Bucket, endpoint: endpoint.String(), keysOrigin: origin}
	if o.Prefix != "" {
		b.prefix = o.Prefix + "/"
	}
	return b, nil
}

func (o Options) lookup() minio.BucketLookupType {
	switch {
	case o.PathStyle == nil:
		return minio.BucketLookupAuto
	case *o.PathStyle:
		return minio.BucketLookupPath
	}
	return minio.BucketLookupDNS
}

// transport returns minio-go's, which demands TLS 1.2 and knows the proxies of
// the environment, with the additional authorities.
func (o Options) transport(secure bool) (http.RoundTripper, error) {
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	if secure && o.CAFile != "" {
		if transport.TLSClientConfig.RootCAs, err = authorities(o.CAFile); err != nil {
			return nil, err
		}
	}
	if o.WrapTransport != nil {
		return o.WrapTransport(transport), nil
	}
	return transport, nil
}

func authorities(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFileParameter, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // the system has none
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM", caFileParameter, file)
	}
	return pool, nil
}

// version is that of Hawser, for the user agent.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// String says where the objects are, for messages.
func (b *Bucket) String() string {
	return fmt.Sprintf("s3://%s at %s", strings.TrimSuffix(b.name+"/"+b.prefix, "/"), b.endpoint)
}

func check(ctx context.Context, key string) error {
	if !validKey(key) {
		return fmt.Errorf("%q is not a key", key)
	}
	return ctx.Err()
}

// validKey reports whether key is one by the contract of catalog.Bucket.
func validKey(key string) bool {
	return fs.ValidPath(key) && key != "." && !strings.ContainsFunc(key, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-/", r))
	})
}
