package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bare empties the environment of everything that leads to keys.
func bare(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func write(t *testing.T, lines ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// instance is a metadata service as virtual machines have it.
func instance(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			fmt.Fprint(w, "token")
		case "/latest/meta-data/iam/security-credentials/":
			fmt.Fprint(w, "role")
		case "/latest/meta-data/iam/security-credentials/role":
			fmt.Fprint(w, keysDocument("instance"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func keysDocument(name string) string {
	return fmt.Sprintf(`{"Code":"Success","AccessKeyId":"%s-key","SecretAccessKey":"%[1]s-secret","Token":"%[1]s-token","Expiration":"2099-01-01T00:00:00Z"}`, name)
}

// serve answers every request with body.
func serve(t *testing.T, body string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
	t.Cleanup(server.Close)
	return server.URL
}

const securityTokenDocument = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>web-key</AccessKeyId><SecretAccessKey>web-secret</SecretAccessKey><SessionToken>web-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`

func TestKeysAreFoundWhereAWSToolsFindThem(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(t *testing.T)
		want   credentials.Value
		origin string
	}{
		{
			"the environment comes first",
			func(t *testing.T) {
				t.Setenv("AWS_ACCESS_KEY_ID", "env-key")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
				t.Setenv("AWS_SESSION_TOKEN", "env-token")
				t.Setenv("AWS_PROFILE", "other")
			},
			credentials.Value{AccessKeyID: "env-key", SecretAccessKey: "env-secret", SessionToken: "env-token"},
			"from the environment",
		},
		{
			"a web identity",
			func(t *testing.T) {
				t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, "jwt"))
				t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/hawser")
				t.Setenv("AWS_ENDPOINT_URL_STS", serve(t, securityTokenDocument))
			},
			credentials.Value{AccessKeyID: "web-key", SecretAccessKey: "web-secret", SessionToken: "web-token"},
			"from the web identity",
		},
		{
			"a profile of the shared file",
			func(t *testing.T) {
				t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]", "aws_access_key_id = wrong", "aws_secret_access_key = wrong",
					"[backup]", "aws_access_key_id = file-key", "aws_secret_access_key = file-secret"))
				t.Setenv("AWS_PROFILE", "backup")
			},
			credentials.Value{AccessKeyID: "file-key", SecretAccessKey: "file-secret"},
			"from the shared files",
		},
		{
			"the shared file of the home folder",
			func(t *testing.T) {
				folder := filepath.Join(os.Getenv("HOME"), ".aws")
				text := "[default]\naws_access_key_id = home-key\naws_secret_access_key = home-secret\n"
				if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "credentials"), []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			},
			credentials.Value{AccessKeyID: "home-key", SecretAccessKey: "home-secret"},
			"from the shared files",
		},
		{
			"the container's service",
			func(t *testing.T) {
				t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", serve(t, keysDocument("container")))
			},
			credentials.Value{AccessKeyID: "container-key", SecretAccessKey: "container-secret", SessionToken: "container-token"},
			"from the container's service",
		},
		{
			"the instance's metadata service comes last",
			func(t *testing.T) {
				t.Setenv("AWS_EC2_METADATA_DISABLED", "")
				t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance(t))
			},
			credentials.Value{AccessKeyID: "instance-key", SecretAccessKey: "instance-secret", SessionToken: "instance-token"},
			"from the instance's metadata service",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bare(t)
			c.set(t)
			keys, origin, err := Options{}.credentials(t.Context(), http.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.GetWithContext(nil)
			if err != nil {
				t.Fatal(err)
			}
			got = credentials.Value{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken}
			if diff := cmp.Diff(c.want, got); diff != "" || origin != c.origin {
				t.Errorf("keys %s (-want +got):\n%s", origin, diff)
			}
		})
	}
}

func TestKeysThatAreNotWhereTheyShouldBe(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(t *testing.T)
		want []string
	}{
		{
			"nothing anywhere",
			func(t *testing.T) {},
			[]string{"set AWS_ACCESS_KEY_ID", "the environment:", "the web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set", "the shared files:", "the container's service:"},
		},
		{
			"half of a pair",
			func(t *testing.T) { t.Setenv("AWS_ACCESS_KEY_ID", "key") },
			[]string{"AWS_ACCESS_KEY_ID is set", "no secret key"},
		},
		{
			"a profile that is not in the file",
			func(t *testing.T) {
				t.Setenv("AWS_PROFILE", "backup")
				t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]"))
			},
			[]string{"AWS_PROFILE is set", "backup"},
		},
		{
			"a file that is not there",
			func(t *testing.T) { t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/absent/credentials") },
			[]string{"AWS_SHARED_CREDENTIALS_FILE is set", "/absent/credentials"},
		},
		{
			"a file with a secret on a line of its own",
			func(t *testing.T) {
				t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write(t, "[default]", "top-secret"))
			},
			[]string{"AWS_SHARED_CREDENTIALS_FILE is set", "name = value"},
		},
		{
			"a token that is not there",
			func(t *testing.T) { t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/absent/token") },
			[]string{"AWS_WEB_IDENTITY_TOKEN_FILE is set", "/absent/token"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bare(t)
			c.set(t)
			_, err := Open(t.Context(), Options{Bucket: "backups"})
			if err == nil {
				t.Fatal("no error")
			}
			for _, phrase := range append(c.want, "s3://backups", "no credentials") {
				if !strings.Contains(err.Error(), phrase) {
					t.Errorf("error %q\nlacks %q", err, phrase)
				}
			}
			if strings.Contains(err.Error(), "top-secret") {
				t.Errorf("error %q tells the secret", err)
			}
		})
	}
}

func TestAMetadataServiceThatNeverAnswersIsGivenUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	bare(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+silent.Addr().String())

	began := time.Now()
	_, err = Open(t.Context(), Options{Bucket: "backups"})
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 3*instanceTimeout { // a busy machine is slow
		t.Errorf("gave up after %v, want %v", took, instanceTimeout)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Bucket: "backups"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open under a cancelled context: %v", err)
	}
}

func TestKeysAreRenewedBeforeTheyExpire(t *testing.T) {
	bare(t)
	var served int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		expiry := time.Now().Add(time.Duration(served*served-1) * time.Hour) // the first are expired at once
		fmt.Fprintf(w, `{"AccessKeyId":"key-%d","SecretAccessKey":"secret","Expiration":%q}`, served, expiry.UTC().Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.URL)
	keys, _, err := Options{}.credentials(t.Context(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := keys.GetWithContext(nil); err != nil || got.AccessKeyID != "key-2" {
			t.Errorf("keys %q, %v, want the second ones", got.AccessKeyID, err)
		}
	}
}
