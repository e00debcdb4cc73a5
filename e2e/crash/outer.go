package crash

import (
	"context"
	"io"
	"iter"
	"net/http"
	"strings"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// Transport puts the switch before the requests of Kubernetes clients; it is for
// rest.Config.Wrap.
func (s *Switch) Transport(next http.RoundTripper) http.RoundTripper {
	return transport{s, next}
}

type transport struct {
	s    *Switch
	next http.RoundTripper
}

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	verb, resource := describe(request)
	after, err := t.s.request(verb+" "+resource, verb != "get" && verb != "list" && verb != "watch")
	if err != nil {
		return nil, err
	}
	response, err := t.next.RoundTrip(request)
	if dead := after(); dead != nil {
		if response != nil {
			response.Body.Close()
		}
		return nil, dead
	}
	return response, err
}

// describe names a request to an API server as RBAC would.
func describe(request *http.Request) (verb, resource string) {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	if len(parts) < 2 {
		return strings.ToLower(request.Method), request.URL.Path
	}
	parts = parts[2:] // api/v1
	if strings.HasPrefix(request.URL.Path, "/apis/") && len(parts) > 0 {
		parts = parts[1:] // apis/GROUP/VERSION
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) == 0 {
		return "get", request.URL.Path // discovery
	}
	named := len(parts) > 1
	if len(parts) > 2 {
		parts[0] += "/" + parts[2] // a subresource
	}
	switch {
	case request.Method == http.MethodPost:
		return "create", parts[0]
	case request.Method != http.MethodGet:
		return strings.ToLower(request.Method), parts[0]
	case request.URL.Query().Get("watch") != "":
		return "watch", parts[0]
	case named:
		return "get", parts[0]
	}
	return "list", parts[0]
}

// Bucket puts the switch before a bucket.
func (s *Switch) Bucket(next catalog.Bucket) catalog.Bucket { return bucket{s, next} }

type bucket struct {
	s    *Switch
	next catalog.Bucket
}

func (b bucket) Create(ctx context.Context, key string, data []byte) error {
	after, err := b.s.request("create "+kind(key), true)
	if err != nil {
		return err
	}
	err = b.next.Create(ctx, key, data)
	if dead := after(); dead != nil {
		return dead
	}
	return err
}

func (b bucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	after, err := b.s.request("get "+kind(key), false)
	if err != nil {
		return nil, err
	}
	data, err := b.next.Get(ctx, key, limit)
	if dead := after(); dead != nil {
		return nil, dead
	}
	return data, err
}

func (b bucket) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	return func(yield func(catalog.Object, error) bool) {
		after, err := b.s.request("list the catalog", false)
		if err != nil {
			yield(catalog.Object{}, err)
			return
		}
		b.next.List(ctx, prefix)(yield)
		_ = after() // what the dead were told leads to nothing
	}
}

func (b bucket) Delete(ctx context.Context, key string) error {
	after, err := b.s.request("delete "+kind(key), true)
	if err != nil {
		return err
	}
	err = b.next.Delete(ctx, key)
	if dead := after(); dead != nil {
		return dead
	}
	return err
}

// kind is a key without the names of cluster and point.
func kind(key string) string {
	parts := strings.Split(key, "/")
	switch {
	case len(parts) == 5: // clusters/UID/points/POINT/OBJECT
		return parts[2] + "/" + parts[4]
	case len(parts) == 4 && strings.HasSuffix(key, ".settled"):
		return parts[2] + " settled"
	case len(parts) == 4:
		return parts[2]
	}
	return key
}

// Executor puts the switch before commands. One that runs when the process dies
// loses its connection.
func (s *Switch) Executor(next backup.Executor) backup.Executor { return executor{s, next} }

type executor struct {
	s    *Switch
	next backup.Executor
}

func (e executor) Exec(ctx context.Context, namespace, pod, container string, command []string, stdin io.Reader, stdout, stderr io.Writer) error {
	after, err := e.s.request("exec "+command[0], true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-e.s.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = e.next.Exec(ctx, namespace, pod, container, command, stdin, stdout, stderr)
	if dead := after(); dead != nil {
		return dead
	}
	return err
}
