package s3

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/objectstore"
)

// wantMessage fails the test unless err holds every phrase and proves nothing
// about the object.
func wantMessage(t *testing.T, err error, phrases ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if errors.Is(err, catalog.ErrExist) || errors.Is(err, catalog.ErrNotExist) || errors.Is(err, catalog.ErrTooLarge) {
		t.Errorf("%v: says something about the object", err)
	}
	for _, phrase := range phrases {
		if !strings.Contains(err.Error(), phrase) {
			t.Errorf("error %q\nlacks %q", err, phrase)
		}
	}
}

// failures returns the error of every method of a bucket that cannot work.
func failures(t *testing.T, bucket *Bucket) map[string]error {
	t.Helper()
	_, getErr := bucket.Get(t.Context(), "object", 100)
	listErr := drain(t, bucket, -1)
	return map[string]error{
		"Create": bucket.Create(t.Context(), "object", []byte("data")), "Get": getErr,
		"List": listErr, "Delete": bucket.Delete(t.Context(), "object"),
	}
}

func TestBadInputIsNamedWithItsRemedy(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		for _, c := range []struct {
			name   string
			spoil  func(o *Options)
			remedy string
		}{
			{"no such bucket", func(o *Options) { o.Bucket = "absent" }, "create the bucket absent"},
			{"wrong secret key", func(o *Options) { o.SecretKey = "wrong-secret" }, "the secret key is not the one of the access key (given by the program)"},
			{"unknown access key", func(o *Options) { o.AccessKey = "nobody" }, "does not know the access key (given by the program)"},
		} {
			t.Run(c.name, func(t *testing.T) {
				options := optionsFor(server)
				c.spoil(&options)
				for method, err := range failures(t, mustOpen(t, options)) {
					t.Run(method, func(t *testing.T) {
						wantMessage(t, err, "s3://"+options.Bucket+"/hawser", server.Endpoint, c.remedy)
						if strings.Contains(err.Error(), "wrong-secret") {
							t.Errorf("%v: tells the secret", err)
						}
					})
				}
			})
		}
	})
}

func TestAStoreThatIsAwayIsNamedWithItsRemedy(t *testing.T) {
	away := httptest.NewServer(nil)
	away.Close()
	bucket := mustOpen(t, Options{Bucket: "backups", Endpoint: away.URL, Region: "r", AccessKey: "a", SecretKey: "s"})
	_, err := bucket.Get(t.Context(), "object", 100)
	wantMessage(t, err, "s3://backups", away.URL, "cannot be reached")
}

func TestAServerThatIsNotTrustedIsNamedWithItsRemedy(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of what the clients say about it
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for _, c := range []struct{ name, endpoint, remedy string }{
		{"an authority that is unknown", secure.URL, "set ca-file="},
		{"a server without TLS", strings.Replace(plain.URL, "http:", "https:", 1), "write http://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bucket := mustOpen(t, Options{Bucket: "backups", Endpoint: c.endpoint, Region: "r", AccessKey: "a", SecretKey: "s"})
			_, err := bucket.Get(t.Context(), "object", 100)
			wantMessage(t, err, c.endpoint, c.remedy)
		})
	}
}

func TestAnswersOfOtherStoresAreNamedWithTheirRemedies(t *testing.T) {
	for _, c := range []struct {
		status       int
		code, remedy string
	}{
		{403, "AccessDenied", "s3:PutObject"},
		{403, "RequestTimeTooSkewed", "clock"},
		{400, "ExpiredToken", "renew the session token"},
		{400, "AuthorizationHeaderMalformed", "region="},
		{301, "PermanentRedirect", "region="},
		{501, "NotImplemented", "conditional writes"},
		{507, "XMinioStorageFull", "make room"},
		{503, "SlowDown", "try again later"},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel() // some are repeated, with pauses
			bucket := fake(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, c.status, c.code) })
			wantMessage(t, bucket.Create(t.Context(), "object", nil), "message of "+c.code, c.remedy)
		})
	}
}

func TestOnlyAnS3ServerCanSayThatAnObjectIsAbsent(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<html><body>nothing here</body></html>")
	})
	_, err := bucket.Get(t.Context(), "object", 100)
	wantMessage(t, err, "does not seem to be an S3 server")
	wantMessage(t, bucket.Delete(t.Context(), "object"), "does not seem to be an S3 server")
}

func TestAShortBodyIsAnError(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "only this")
	})
	_, err := bucket.Get(t.Context(), "object", 100)
	wantMessage(t, err, "9 of 100 bytes")
}

func TestABodyOfUnknownSizeIsLimited(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
		fmt.Fprint(w, "12345")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "678")
	})
	if data, err := bucket.Get(t.Context(), "object", 8); err != nil || string(data) != "12345678" {
		t.Errorf("Get within the limit: %q, %v", data, err)
	}
	if _, err := bucket.Get(t.Context(), "object", 7); !errors.Is(err, catalog.ErrTooLarge) {
		t.Errorf("Get above the limit: %v", err)
	}
}

func TestAListingThatIsNotToBeTrustedIsAnError(t *testing.T) {
	page := func(truncated bool, keys ...string) string {
		var contents strings.Builder
		for _, key := range keys {
			fmt.Fprintf(&contents, "<Contents><Key>%s</Key><LastModified>2025-01-01T00:00:00Z</LastModified><Size>1</Size></Contents>", key)
		}
		return fmt.Sprintf("<ListBucketResult><IsTruncated>%t</IsTruncated><NextContinuationToken>next</NextContinuationToken>%s</ListBucketResult>", truncated, &contents)
	}
	for _, c := range []struct {
		name, first string
		second      func(w http.ResponseWriter)
		want        string
	}{
		{"out of order", page(false, "p/b", "p/a"), nil, "out of order"},
		{"the same page again", page(true, "p/a", "p/b"), func(w http.ResponseWriter) { fmt.Fprint(w, page(true, "p/a", "p/b")) }, "out of order"},
		{"outside of the prefix", page(false, "p/a", "q/a"), nil, "outside of the prefix"},
		{"the second page fails", page(true, "p/a"), func(w http.ResponseWriter) { refuse(w, 403, "AccessDenied") }, "s3:ListBucket"},
		{"the second page is cut off", page(true, "p/a"), func(w http.ResponseWriter) { fmt.Fprint(w, page(false, "p/b")[:80]) }, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("continuation-token") {
					c.second(w)
					return
				}
				fmt.Fprint(w, c.first)
			})
			var failed error
			for _, err := range bucket.List(t.Context(), "p/") {
				failed = err
			}
			wantMessage(t, failed, c.want)
		})
	}
}

func TestAFolderMarkerIsNoObject(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<ListBucketResult><Contents><Key>clusters/</Key></Contents><Contents><Key>clusters/a</Key></Contents></ListBucketResult>")
	})
	if err := drain(t, bucket, 1); err != nil {
		t.Error(err)
	}
}
