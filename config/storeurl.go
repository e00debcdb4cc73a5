package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// StoreURL says where the catalog is. It may hold a secret, so it prints and
// marshals without: string(u) is the URL itself.
type StoreURL string

// redacted takes the place of what may be a secret.
const redacted = "xxxxx"

// String returns the URL without user information and without the query
// parameters that are not known to be harmless.
func (u StoreURL) String() string {
	if u == "" {
		return ""
	}
	parsed, err := url.Parse(string(u))
	if err != nil {
		return redacted
	}
	return redact(parsed).String()
}

// GoString returns what String returns, in quotes.
func (u StoreURL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText returns what String returns.
func (u StoreURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Scheme returns "file" or "s3", or "" if the URL is empty.
func (u StoreURL) Scheme() string {
	scheme, _, _ := strings.Cut(string(u), ":")
	return strings.ToLower(scheme)
}

// Path returns the path of a file URL.
func (u StoreURL) Path() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return ""
	}
	return path.Clean(parsed.Path)
}

func redact(u *url.URL) *url.URL {
	clean := *u
	if clean.User != nil {
		clean.User = url.User(redacted)
	}
	if clean.RawQuery == "" {
		return &clean
	}
	var parameters []string
	for parameter := range strings.SplitSeq(clean.RawQuery, "&") {
		parameters = append(parameters, redactParameter(parameter))
	}
	clean.RawQuery = strings.Join(parameters, "&")
	return &clean
}

func redactParameter(parameter string) string {
	name, value, _ := strings.Cut(parameter, "=")
	switch name {
	case "region", "path-style", "ca-file":
		return parameter
	case "endpoint":
		raw, err := url.QueryUnescape(value)
		if err != nil {
			return name + "=" + redacted
		}
		if endpoint, err := url.Parse(raw); err == nil && endpoint.User == nil && endpoint.RawQuery == "" {
			return parameter
		}
	}
	return name + "=" + redacted
}

// storeURL checks the form of a store's URL. What the parameters of an s3 URL
// mean is for package catalog/s3 to say.
func storeURL(s string) (StoreURL, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil {
		// The parser's error quotes what may be a secret.
		return "", errors.New("not a URL; want file:///absolute/path or s3://bucket/prefix, with % written as %25")
	}
	switch u.Scheme {
	case "file":
		return StoreURL(s), checkFileURL(u)
	case "s3":
		return StoreURL(s), checkS3URL(u)
	case "":
		return "", errors.New("want file:///absolute/path or s3://bucket/prefix")
	}
	return "", fmt.Errorf("unknown scheme %s; want file:///absolute/path or s3://bucket/prefix", u.Scheme)
}

func checkFileURL(u *url.URL) error {
	switch {
	case u.Host != "" && u.Host != "localhost" || u.User != nil:
		return fmt.Errorf("a file is on this host, not on %s; want three slashes: file:///absolute/path", u.Host)
	case !path.IsAbs(u.Path):
		return errors.New("want an absolute path: file:///absolute/path")
	case path.Clean(u.Path) == "/":
		return errors.New("want a folder below the root: file:///absolute/path")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("a file URL has no parameters; escape ? as %3F and # as %23")
	}
	return nil
}

func checkS3URL(u *url.URL) error {
	switch {
	case u.User != nil:
		return errors.New("credentials do not belong into the URL; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a credentials file or the instance's role")
	case u.Host == "":
		return errors.New("want a bucket: s3://bucket/prefix")
	case u.Fragment != "":
		return errors.New("an s3 URL has no #fragment")
	}
	return nil
}
