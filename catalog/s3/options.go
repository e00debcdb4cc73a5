package s3

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Options say where the objects are. Only Bucket is required.
type Options struct {
	Bucket string
	Prefix string // of every key, without slashes at its ends; "" is the whole bucket

	Endpoint  string // URL of the server; "" is Amazon S3
	Region    string // "" is that of AWS_REGION or AWS_DEFAULT_REGION, or else the bucket is asked
	PathStyle *bool  // whether the bucket is in the URL's path and not in its host; nil is what the endpoint needs
	CAFile    string // PEM certificates to trust in addition to the system's

	// The keys. If they are empty they are looked for as AWS tools do: in the
	// environment, as a web identity, in the shared files, and from the
	// container or the instance that this program runs in.
	AccessKey, SecretKey, SessionToken string

	// WrapTransport, if set, stands between the client and the network.
	WrapTransport func(http.RoundTripper) http.RoundTripper
}

// The query parameters of a store URL.
const (
	endpointParameter  = "endpoint"
	regionParameter    = "region"
	pathStyleParameter = "path-style"
	caFileParameter    = "ca-file"
)

// ParseURL reads a store URL:
//
//	s3://bucket/prefix?endpoint=https://host&region=eu-central-1&path-style=true&ca-file=/etc/ca.pem
//
// The prefix and every parameter may be left out. An error names the part that
// is wrong, and never repeats a password.
func ParseURL(raw string) (Options, error) {
	options, err := parseURL(raw)
	if err != nil {
		return Options{}, fmt.Errorf("store URL: %w", err)
	}
	return options, nil
}

func parseURL(raw string) (Options, error) {
	if address, _, _ := strings.Cut(raw, "?"); strings.Contains(address, "@") {
		return Options{}, errors.New("it holds credentials; put them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or into a shared credentials file")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return Options{}, err
	}
	switch {
	case u.Scheme != "s3":
		return Options{}, fmt.Errorf("the scheme is %q, not s3", u.Scheme)
	case u.Fragment != "":
		return Options{}, fmt.Errorf("it has a fragment (#%s)", u.Fragment)
	case u.Host == "":
		return Options{}, errors.New("it names no bucket; write s3://bucket/prefix")
	case u.Port() != "":
		return Options{}, fmt.Errorf("the bucket %q has a port; write the server as endpoint=https://host:port", u.Host)
	}
	options := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := options.readQuery(u.RawQuery); err != nil {
		return Options{}, err
	}
	return options, options.validate()
}

func (o *Options) readQuery(query string) error {
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("the part after the question mark: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		values := parameters[name]
		if len(values) != 1 || values[0] == "" {
			return fmt.Errorf("parameter %s: want one value, have %q", name, values)
		}
		if err := o.set(name, values[0]); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

func (o *Options) set(name, value string) error {
	switch name {
	case endpointParameter:
		o.Endpoint = value
	case regionParameter:
		o.Region = value
	case caFileParameter:
		o.CAFile = value
	case pathStyleParameter:
		pathStyle, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		o.PathStyle = &pathStyle
	default:
		return fmt.Errorf("there is none of this name; known are %s, %s, %s, %s",
			caFileParameter, endpointParameter, pathStyleParameter, regionParameter)
	}
	return nil
}

// validate checks everything that can be checked without the store.
func (o Options) validate() error {
	if err := s3utils.CheckValidBucketName(o.Bucket); err != nil {
		return fmt.Errorf("bucket %q: %w", o.Bucket, err)
	}
	if o.Prefix != "" && !validKey(o.Prefix) {
		return fmt.Errorf("prefix %q: it may hold a-z A-Z 0-9 . _ - and single slashes between names", o.Prefix)
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return errors.New("of access key and secret key only one is given")
	}
	_, err := o.endpoint()
	return err
}

// endpoint returns the URL of the server, with a scheme and a host and nothing
// else.
func (o Options) endpoint() (*url.URL, error) {
	if o.Endpoint == "" {
		return &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}, nil
	}
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("endpoint: %w", errors.Unwrap(err)) // without the URL, which may hold a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, fmt.Errorf("endpoint %q: write https://host or http://host, with :port if it has one", u.Redacted())
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %q: it must be a scheme and a host alone; the bucket and the prefix come before the question mark", u.Redacted())
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}
