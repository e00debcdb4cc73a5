package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/cluster"
)

// The budget of API requests for many claims, counted by the API server.
func TestRequestsFor100Claims(t *testing.T) {
	const claims = 100
	w := ownWorld(t, cluster.Options{Audit: true})
	handles := w.deployRedis(claims, "disks-delete")

	point := w.point()
	spent := w.spent()
	t.Logf("backup of %d claims: %s", claims, spent)
	spent.atMost(t, "create volumesnapshots", claims)
	spent.atMost(t, "patch persistentvolumes", claims) // none was protected
	spent.atMost(t, "get persistentvolumeclaims", 0)
	spent.atMost(t, "get persistentvolumes", 0)
	spent.atMost(t, "get volumesnapshots", 0)
	spent.atMost(t, "get volumesnapshotcontents", 0)
	if rest := spent.total() - spent["create volumesnapshots"] - spent["patch persistentvolumes"] - spent.lists(); rest > 15 {
		t.Errorf("backup: %d requests besides snapshots, patches and lists, want at most 15: %s", rest, spent)
	}

	w.loseEverything()
	w.spent()
	begun := time.Now()
	w.run(0, "restore", point, "--from", "disks")
	t.Logf("restore of %d claims took %s", claims, time.Since(begun).Round(10*time.Millisecond))
	spent = w.spent()
	t.Logf("restore of %d claims: %s", claims, spent)
	const workloads = 1
	if limit := 2*claims + workloads + 25; spent.total() > limit {
		t.Errorf("restore: %d requests, want at most %d: %s", spent.total(), limit, spent)
	}
	w.awaitReady(claims)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("the claims are not on the disks they were on")
	}

	// With the check of each disk: one attachment more per volume.
	w.loseEverything()
	w.spent()
	w.run(0, "restore", point)
	spent = w.spent()
	t.Logf("restore of %d claims, disks checked: %s", claims, spent)
	if limit := 3*claims + workloads + 35; spent.total() > limit {
		t.Errorf("restore with checks: %d requests, want at most %d: %s", spent.total(), limit, spent)
	}
}

// budget counts requests by what they ask for, such as "create pods".
type budget map[string]int

// spent counts what hawser asked of the API server since the last call.
func (w *world) spent() budget {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	all := budget(cluster.CountRequests(requests, "hawser/"))
	since := budget{}
	for what, n := range all {
		if n -= w.counted[what]; n > 0 {
			since[what] = n
		}
	}
	w.counted = all
	return since
}

func (b budget) atMost(t *testing.T, what string, limit int) {
	t.Helper()
	if b[what] > limit {
		t.Errorf("%d times %q, want at most %d", b[what], what, limit)
	}
}

func (b budget) total() int {
	n := 0
	for _, count := range b {
		n += count
	}
	return n
}

func (b budget) lists() int {
	n := 0
	for what, count := range b {
		if strings.HasPrefix(what, "list ") {
			n += count
		}
	}
	return n
}

func (b budget) String() string {
	parts := make([]string, 0, len(b))
	for _, what := range slices.Sorted(maps.Keys(b)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, b[what]))
	}
	return fmt.Sprintf("%d requests (%s)", b.total(), strings.Join(parts, ", "))
}
