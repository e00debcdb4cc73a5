package s3

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
	"hawser.dev/hawser/e2e/objectstore"
)

// eachServer runs test against every kind of server that is to be tested.
func eachServer(t *testing.T, test func(t *testing.T, server *objectstore.Server)) {
	kinds, err := objectstore.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			server, err := objectstore.Start(t.Context(), kind, t.TempDir())
			test(t, started(t, server, err))
		})
	}
}

func started(t *testing.T, server *objectstore.Server, err error) *objectstore.Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

func optionsFor(server *objectstore.Server) Options {
	return Options{
		Bucket: server.Bucket, Prefix: "hawser", Endpoint: server.Endpoint, Region: server.Region,
		CAFile: server.CAFile, AccessKey: server.AccessKey, SecretKey: server.SecretKey,
	}
}

func mustOpen(t *testing.T, options Options) *Bucket {
	t.Helper()
	bucket, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestBucketKeepsTheContract(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		catalogtest.TestBucket(t, func(t *testing.T) catalog.Bucket { return mustOpen(t, optionsFor(server)) })
	})
}

func TestPrefixesOfOneBucketDoNotMeet(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		for _, prefix := range []string{"", "team", "team/b", "team-b"} {
			options := optionsFor(server)
			options.Prefix = prefix
			bucket := mustOpen(t, options)
			if err := bucket.Create(t.Context(), "object", []byte(prefix)); err != nil {
				t.Fatal(err)
			}
			if got, err := bucket.Get(t.Context(), "object", 100); err != nil || string(got) != prefix {
				t.Errorf("under prefix %q: %q, %v", prefix, got, err)
			}
		}
		options := optionsFor(server)
		options.Prefix = "team"
		var keys []string
		for object, err := range mustOpen(t, options).List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, object.Key)
		}
		if diff := cmp.Diff([]string{"b/object", "object"}, keys); diff != "" {
			t.Errorf("listed under prefix team (-want +got):\n%s", diff)
		}
	})
}

// counter counts requests by their method.
type counter struct {
	next   http.RoundTripper
	mu     sync.Mutex
	counts map[string]int
	agents map[string]bool
}

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.counts[request.Method]++
	c.agents[request.UserAgent()] = true
	c.mu.Unlock()
	return c.next.RoundTrip(request)
}

func TestEachCallCostsAsManyRequestsAsPromised(t *testing.T) {
	eachServer(t, func(t *testing.T, server *objectstore.Server) {
		var count *counter
		options := optionsFor(server)
		options.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
			count = &counter{next: next, counts: map[string]int{}, agents: map[string]bool{}}
			return count
		}
		bucket := mustOpen(t, options)
		large := bytes.Repeat([]byte("x"), 33<<20)

		for _, c := range []struct {
			call string
			do   func() error
			want map[string]int
		}{
			{"Open", func() error { return nil }, map[string]int{}},
			{"CheckConditional", func() error { return bucket.CheckConditional(t.Context()) }, map[string]int{"PUT": 2, "DELETE": 1}},
			{"List of nothing", func() error { return drain(t, bucket, 0) }, map[string]int{"GET": 1}},
			{"Create", func() error { return bucket.Create(t.Context(), "small", []byte("x")) }, map[string]int{"PUT": 1}},
			{"Create of 33 MiB", func() error { return bucket.Create(t.Context(), "large", large) }, map[string]int{"PUT": 1}},
			{"Get", func() error { return get(t, bucket, "small") }, map[string]int{"GET": 1}},
			{"Get of 33 MiB", func() error { return get(t, bucket, "large") }, map[string]int{"GET": 1}},
			{"List of two", func() error { return drain(t, bucket, 2) }, map[string]int{"GET": 1}},
			{"Delete", func() error { return bucket.Delete(t.Context(), "small") }, map[string]int{"DELETE": 1}},
			{"1001 more objects", func() error { return createMany(t, bucket, 1001) }, map[string]int{"PUT": 1001}},
			{"List of 1002", func() error { return drain(t, bucket, 1002) }, map[string]int{"GET": 2}},
		} {
			if err := c.do(); err != nil {
				t.Errorf("%s: %v", c.call, err)
			}
			if diff := cmp.Diff(c.want, count.counts); diff != "" {
				t.Errorf("requests of %s (-want +got):\n%s", c.call, diff)
			}
			clear(count.counts)
		}
		if bucket.Create(t.Context(), "large", nil); count.counts["PUT"] != 1 || count.counts["HEAD"] != 1 {
			t.Errorf("requests of Create of a key that is taken: %v, want one PUT and one HEAD", count.counts)
		}
		for agent := range count.agents {
			if !strings.Contains(agent, "hawser/") {
				t.Errorf("the user agent is %q", agent)
			}
		}
	})
}

func drain(t *testing.T, bucket *Bucket, want int) error {
	n := 0
	for _, err := range bucket.List(t.Context(), "") {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		return fmt.Errorf("listed %d objects, want %d", n, want)
	}
	return nil
}

func get(t *testing.T, bucket *Bucket, key string) error {
	_, err := bucket.Get(t.Context(), key, 64<<20)
	return err
}

func createMany(t *testing.T, bucket *Bucket, n int) error {
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return bucket.Create(t.Context(), fmt.Sprintf("many/%d", i), nil) })
	}
	return group.Wait()
}

func TestAStoreBehindAPrivateAuthority(t *testing.T) {
	server, err := objectstore.StartTLS(t.Context(), objectstore.VersityGW, t.TempDir())
	started(t, server, err)
	options, err := ParseURL(server.URL("hawser"))
	if err != nil {
		t.Fatal(err)
	}
	options.AccessKey, options.SecretKey = server.AccessKey, server.SecretKey
	bucket := mustOpen(t, options)
	if err := bucket.Create(t.Context(), "object", []byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := get(t, bucket, "object"); err != nil {
		t.Error(err)
	}
}
