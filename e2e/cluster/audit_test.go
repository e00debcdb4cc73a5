package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadAudit(t *testing.T) {
	got := readInPieces(t, "testdata/audit.log")
	at := func(second int) time.Time { return time.Date(2026, 3, 1, 12, 0, second, 0, time.UTC) }
	want := []Request{
		{User: "admin", UserAgent: "hawser/v1", Verb: "watch", Resource: "volumesnapshots", URI: "/apis/snapshot.storage.k8s.io/v1/volumesnapshots?watch=true", At: at(1)},
		{User: "admin", UserAgent: "hawser/v1", Verb: "update", Resource: "volumesnapshots", Subresource: "status", Namespace: "shop", Name: "a", URI: "/apis/x", Code: 409, At: at(2)},
		{User: "admin", UserAgent: "hawser/v1", Verb: "watch", Resource: "pods", URI: "/api/v1/pods?watch=true", Code: 200, At: at(3)},
		{User: "admin", UserAgent: "kubectl/v1.36.3", Verb: "get", URI: "/version?timeout=32s", Code: 200, At: at(4)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	counts := CountRequests(got, "hawser/")
	wantCounts := map[string]int{"watch volumesnapshots": 1, "update volumesnapshots/status": 1, "watch pods": 1}
	if diff := cmp.Diff(wantCounts, counts); diff != "" {
		t.Errorf("counts of hawser (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"get /version": 1}, CountRequests(got, "kubectl/")); diff != "" {
		t.Errorf("counts of kubectl (-want +got):\n%s", diff)
	}
}

// readInPieces reads an audit log that grows by a few bytes at a time.
func readInPieces(t *testing.T, file string) []Request {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	growing := filepath.Join(t.TempDir(), "audit.log")
	var log auditLog
	for n := 0; n < len(data); n += 100 {
		if err := os.WriteFile(growing, data[:min(n+100, len(data))], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := log.read(growing); err != nil {
			t.Fatal(err)
		}
	}
	return log.requests
}
