package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/objectstore"
)

// losing lets the first n PUTs through and loses the answers.
func losing(n int64) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		var puts atomic.Int64
		return roundTrip(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil && request.Method == http.MethodPut && puts.Add(1) <= n {
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				return nil, errors.New("the answer got lost")
			}
			return response, err
		})
	}
}

func TestCreateWhoseAnswerWasLostKnowsItsOwnObject(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		options := optionsFor(server)
		options.WrapTransport = losing(2)
		bucket := mustOpen(t, options)
		if err := bucket.Create(t.Context(), "object", []byte("data")); err != nil {
			t.Errorf("the first Create, refused by its own object: %v", err)
		}
		if err := bucket.Create(t.Context(), "object", []byte("data")); !errors.Is(err, catalog.ErrExist) {
			t.Errorf("another Create of the same bytes: %v, want ErrExist", err)
		}
	})
}

func TestOfWritersOfTheSameBytesExactlyOneWinsThoughAnswersAreLost(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		for round := range 5 {
			errs := make([]error, 6)
			var writers sync.WaitGroup
			for i := range errs {
				options := optionsFor(server)
				options.WrapTransport = losing(1)
				bucket := mustOpen(t, options)
				writers.Go(func() { errs[i] = bucket.Create(t.Context(), fmt.Sprintf("object-%d", round), []byte("same")) })
			}
			writers.Wait()
			slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			var won int
			for _, err := range errs {
				switch {
				case err == nil:
					won++
				case !errors.Is(err, catalog.ErrExist):
					t.Errorf("Create: %v", err)
				}
			}
			if won != 1 {
				t.Errorf("%d of %d writers were told that they created the object", won, len(errs))
			}
		}
	})
}

// fake is a store that gives one answer to everything.
func fake(t *testing.T, answer http.HandlerFunc) *Bucket {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return mustOpen(t, Options{Bucket: "backups", Endpoint: server.URL, Region: "r", AccessKey: "a", SecretKey: "s"})
}

// refuse answers with an error as S3 does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>message of %s</Message></Error>", code, code)
}

func TestAConflictIsTriedAgain(t *testing.T) {
	var puts atomic.Int64
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if puts.Add(1) < 3 {
			refuse(w, http.StatusConflict, "ConditionalRequestConflict")
		}
	})
	if err := bucket.Create(t.Context(), "object", nil); err != nil || puts.Load() != 3 {
		t.Errorf("Create after two conflicts: %v, %d PUTs", err, puts.Load())
	}
}

func TestAConflictThatStaysIsNoProofOfAnObject(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusConflict, "ConditionalRequestConflict")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := bucket.Create(ctx, "object", nil)
	if err == nil || errors.Is(err, catalog.ErrExist) {
		t.Errorf("Create among conflicts: %v, want an error that is not ErrExist", err)
	}
}

func TestAKeyWhoseOwnerCannotBeAskedIsNotSaidToExist(t *testing.T) {
	bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	})
	err := bucket.Create(t.Context(), "object", nil)
	if err == nil || errors.Is(err, catalog.ErrExist) {
		t.Errorf("Create: %v, want an error that is not ErrExist", err)
	}
}

func TestCheckConditional(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		bucket := mustOpen(t, optionsFor(server))
		if err := bucket.CheckConditional(t.Context()); err != nil {
			t.Errorf("a store that honours conditions: %v", err)
		}
		if err := drain(t, bucket, 0); err != nil {
			t.Errorf("after the check: %v", err)
		}
	})
	t.Run("a store that ignores conditions", func(t *testing.T) {
		var deleted bool
		bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				deleted = true
				w.WriteHeader(http.StatusNoContent)
			}
		})
		err := bucket.CheckConditional(t.Context())
		if err == nil || !strings.Contains(err.Error(), "If-None-Match") || !strings.Contains(err.Error(), "s3://backups") {
			t.Errorf("error %v, want one that names the store and what it ignores", err)
		}
		if !deleted {
			t.Error("the object that was made for the check stays behind")
		}
	})
	t.Run("credentials that may not delete", func(t *testing.T) {
		var puts int
		bucket := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				refuse(w, http.StatusForbidden, "AccessDenied")
			} else if puts++; puts > 1 {
				refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			}
		})
		if err := bucket.CheckConditional(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("a store that cannot be asked", func(t *testing.T) {
		bucket := fake(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, http.StatusNotFound, "NoSuchBucket") })
		if err := bucket.CheckConditional(t.Context()); err == nil || !strings.Contains(err.Error(), "create the bucket") {
			t.Errorf("error %v, want one with the remedy", err)
		}
	})
}
