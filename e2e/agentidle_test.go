package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/objectstore"
)

// idleTime is how long an agent is watched while it has nothing to do.
const idleTime = time.Minute

// What an idle agent costs: an agent spends the year idle.
func TestAnIdleAgentAsksForLittle(t *testing.T) {
	const claims = 20
	w := ownWorld(t, cluster.Options{Audit: true})
	w.deployRedis(claims, "disks-delete")
	asked := w.countingStore()
	w.hawserBin = withoutRaceDetector(t)
	// It has run: an agent that never did would hold less.
	file := w.configure(filepath.Join(t.TempDir(), "config.yaml"), fmt.Sprintf("plans:\n- name: daily\n  schedule: \"0 %d * * *\"\n  rpo: 30h\n  retain: {last: 3}\n  select: {namespaces: [%s]}\n", time.Now().UTC().Add(12*time.Hour).Hour(), w.namespace))
	w.run(0, "backup", "--plan", "daily", "--config", file)
	a := w.startAgent("one", file)
	w.holder("one")
	w.eventually("it has seen the claims", patience, func() bool {
		_, metrics := a.get("/metrics")
		return strings.Contains(metrics, "hawser_claim_protected{") && strings.Count(metrics, "hawser_claim_protected{") >= claims
	})
	w.spent()
	storeBefore := asked.Load()
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	select {
	case <-idle.C: // nothing to wait for: that nothing happens is what is measured
	case <-w.ctx.Done():
		t.Fatal(w.ctx.Err())
	}
	spent, store, resident := w.spent(), asked.Load()-storeBefore, memoryOf(t, a.Pid, "VmRSS")
	t.Logf("idle for %s with %d claims: %s; %d requests of the store; %.1f MiB resident, of which %.1f MiB are the program's own pages", idleTime, claims, spent, store,
		mebibytes(resident), mebibytes(memoryOf(t, a.Pid, "RssFile")))
	if limit := int(idleTime / (10 * time.Second)); spent.total() > limit {
		t.Errorf("%d requests of the API server in %s, want at most one in 10 s: %s", spent.total(), idleTime, spent)
	}
	if store > 0 {
		t.Errorf("%d requests of the store in %s, want none: the plan runs in half a day", store, idleTime)
	}
	if resident > 40<<20 {
		t.Errorf("%d bytes resident, want at most 40 MiB", resident)
	}
	a.stop()
}

// countingStore puts the world's catalog into an S3 server and counts the
// requests that reach it.
func (w *world) countingStore() *atomic.Int64 {
	w.t.Helper()
	server, err := objectstore.Start(w.ctx, objectstore.VersityGW, w.t.TempDir())
	w.must(err)
	w.t.Cleanup(server.Stop)
	direct, err := url.Parse(server.URL("hawser"))
	w.must(err)
	query := direct.Query()
	endpoint, err := url.Parse(query.Get("endpoint"))
	w.must(err)
	count := &atomic.Int64{}
	forward := httputil.NewSingleHostReverseProxy(endpoint)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		count.Add(1)
		forward.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(proxy.Close)
	query.Set("endpoint", proxy.URL)
	direct.RawQuery = query.Encode()
	w.store = direct.String()
	w.env = append(w.env, server.Env()...)
	return count
}

// withoutRaceDetector builds hawser as it is shipped: the detector multiplies
// its memory.
func withoutRaceDetector(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hawser")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "hawser.dev/hawser/cmd/hawser")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build hawser: %v\n%s", err, out)
	}
	return binary
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// memoryOf is what the kernel says of a process, in bytes.
func memoryOf(t *testing.T, pid int, field string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not tell " + field)
	return 0
}
