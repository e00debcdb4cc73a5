package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

// How long a source of keys may take. The metadata service of an instance is
// an address that most machines do not have.
const (
	sourceTimeout   = 10 * time.Second
	instanceTimeout = 3 * time.Second
)

// credentials returns the keys, which renew themselves, and says where they
// are from.
func (o Options) credentials(ctx context.Context, client *http.Client) (keys *credentials.Credentials, origin string, err error) {
	if o.AccessKey != "" {
		return credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken), "given by the program", nil
	}
	found := &search{sources: awsSources()}
	keys = credentials.New(found)
	if _, err := keys.GetWithContext(&credentials.CredContext{Client: client, Context: ctx}); err != nil {
		return nil, "", err
	}
	return keys, "from " + found.current.name, nil
}

// source is one place where keys may be.
type source struct {
	name     string
	provider credentials.Provider

	// Environment variables that point to the source. If one is set the keys
	// must be there: others would be those of somebody else. If none is, the
	// source is asked only if it is a default.
	variables []string
	isDefault bool

	timeout time.Duration
}

// awsSources returns where AWS tools look for keys, in their order.
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func awsSources() []source {
	// The services of containers and instances are never behind a proxy.
	direct := &http.Client{Transport: &http.Transport{}}
	sources := []source{{
		name:      "the environment",
		provider:  &credentials.EnvAWS{},
		variables: []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		timeout:   sourceTimeout,
	}, {
		name:      "the web identity",
		provider:  &credentials.IAM{Endpoint: os.Getenv("AWS_ENDPOINT_URL_STS")},
		variables: []string{"AWS_WEB_IDENTITY_TOKEN_FILE"},
		timeout:   sourceTimeout,
	}, {
		name:      "the shared files",
		provider:  &credentials.FileAWSCredentials{},
		variables: []string{"AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"},
		isDefault: true,
		timeout:   sourceTimeout,
	}, {
		name:      "the container's service",
		provider:  &credentials.IAM{Client: direct},
		variables: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"},
		timeout:   sourceTimeout,
	}}
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return sources
	}
	return append(sources, source{
		name:      "the instance's metadata service",
		provider:  &credentials.IAM{Client: direct, Endpoint: os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")},
		variables: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT"},
		isDefault: true,
		timeout:   instanceTimeout,
	})
}

// pointer returns the variable that points to the source, or "".
func (s source) pointer() string {
	for _, variable := range s.variables {
		if os.Getenv(variable) != "" {
			return variable
		}
	}
	return ""
}

// retrieve returns the keys of the source, or says why there are none.
func (s source) retrieve(cc *credentials.CredContext) (credentials.Value, error) {
	if !s.isDefault && s.pointer() == "" {
		return credentials.Value{}, fmt.Errorf("%s is not set", strings.Join(s.variables, " or "))
	}
	parent := cc.Context
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, s.timeout)
	defer cancel()
	keys, err := s.provider.RetrieveWithCredContext(&credentials.CredContext{Client: cc.Client, Context: ctx})
	if ini.IsErrDelimiterNotFound(err) {
		err = errors.New("a line is not of the form name = value") // and may be a secret
	}
	if err == nil {
		err = complete(keys)
	}
	return keys, err
}

func complete(keys credentials.Value) error {
	switch {
	case keys.AccessKeyID == "" && keys.SecretAccessKey == "":
		return errors.New("there are no keys")
	case keys.AccessKeyID == "":
		return errors.New("there is a secret key, but no access key")
	case keys.SecretAccessKey == "":
		return errors.New("there is an access key, but no secret key")
	}
	return nil
}

// search is a provider that takes the keys of the first source that has any.
// minio-go's own chain goes on without keys when there are none, and says
// nothing about why.
type search struct {
	sources []source
	current *source
}

// RetrieveWithCredContext implements credentials.Provider.
func (s *search) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	var tried []string
	for i := range s.sources {
		keys, err := s.sources[i].retrieve(cc)
		if err == nil {
			s.current = &s.sources[i]
			return keys, nil
		}
		if ctx := cc.Context; ctx != nil && ctx.Err() != nil {
			return credentials.Value{}, ctx.Err()
		}
		tried = append(tried, fmt.Sprintf("%s: %v", s.sources[i].name, err))
		if variable := s.sources[i].pointer(); variable != "" {
			return credentials.Value{}, fmt.Errorf("no credentials, though %s is set: %w", variable, err)
		}
	}
	return credentials.Value{}, fmt.Errorf("no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another of the places that were tried: %s", strings.Join(tried, "; "))
}

// Retrieve implements credentials.Provider.
func (s *search) Retrieve() (credentials.Value, error) {
	return s.RetrieveWithCredContext(&credentials.CredContext{})
}

// IsExpired implements credentials.Provider.
func (s *search) IsExpired() bool { return s.current == nil || s.current.provider.IsExpired() }
