package seed_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/e2e/seed"
)

// lockHook holds MariaDB's global read lock in a session of its client, for as
// long as the client's input is open.
const lockHook = `
      annotations:
        hawser.dev/pre-hook: '{ echo "FLUSH TABLES WITH READ LOCK; SELECT 0 AS locked;"; cat; } | mariadb -uroot -p"$MARIADB_ROOT_PASSWORD" -N --unbuffered'
        hawser.dev/hook-hold: "true"
        hawser.dev/hook-container: mariadb-container
        hawser.dev/hook-timeout: 60s
`

// cuts is how many points are made while MariaDB is written to.
const cuts = 20

// MariaDB is written to without pause: each transaction puts one number into
// two tables. Points are made meanwhile, under a lock that a hook holds. Each of
// them must come back with the same numbers in both tables.
func TestALockHeldDuringTheCutMakesPointsConsistent(t *testing.T) {
	s := raise(t, "hooks", newRegion(t))
	w := s.world(t, "hooks")
	db := mariaDBServer{"app=mariadb-sts"}
	w.apply([]byte(strings.Replace(string(seed.MariaDBStatefulSet.Manifest()),
		"    metadata: {labels: {app: mariadb-sts}}\n", "    metadata:\n      labels: {app: mariadb-sts}"+lockHook, 1)))
	w.podsReady(1)
	db.sql(w, "CREATE DATABASE t; CREATE TABLE t.a (n BIGINT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE t.b (n BIGINT PRIMARY KEY) ENGINE=InnoDB")

	stopped := w.writeWithoutPause(db)
	points := map[string]int{}
	last := -1
	for range cuts {
		point := w.point()
		// The lock is let go: the writer goes on.
		written := db.count(w, "a")
		if written <= last {
			t.Errorf("%d rows after a point, %d after the one before it: nothing was written between", written, last)
		}
		points[point], last = written, written
	}
	w.must(w.stopWriting(db))
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	for _, snapshot := range w.snapshotsOf(w.disksOf()) {
		if snapshot.Torn {
			t.Errorf("snapshot %s was cut while its disk was written to", snapshot.Handle)
		}
	}

	consistent := 0
	for point, bound := range points {
		w.lose()
		w.run(0, "restore", point, "--from", "snapshots")
		w.podsReady(1)
		a, b := db.count(w, "a"), db.count(w, "b")
		differ := db.sql(w, "SELECT COUNT(*) FROM t.a LEFT JOIN t.b USING (n) WHERE t.b.n IS NULL")
		if a != b || differ != "0" || a == 0 || a > bound {
			t.Errorf("point %s came back with %d rows in one table and %d in the other, of which %s differ; %d were there after it", point, a, b, differ, bound)
			continue
		}
		consistent++
	}
	t.Logf("%d of %d points are consistent; %d rows were written", consistent, len(points), last)
	w.lose()
}

func (s mariaDBServer) count(w *world, table string) int {
	w.t.Helper()
	n, err := strconv.Atoi(s.sql(w, "SELECT COUNT(*) FROM t."+table))
	w.must(err)
	return n
}

// writeWithoutPause has a client in the container write until stopWriting, and
// returns when it has begun. The channel gives its end.
func (w *world) writeWithoutPause(db mariaDBServer) <-chan error {
	w.t.Helper()
	const loop = `n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); echo "START TRANSACTION; INSERT INTO t.a VALUES ($n); INSERT INTO t.b VALUES ($n); COMMIT;"; done | mariadb -uroot -p"$MARIADB_ROOT_PASSWORD"`
	ended := make(chan error, 1)
	pod := db.pod(w)
	go func() {
		_, err := w.execFor(5*time.Minute, pod, "mariadb-container", "sh", "-c", loop)
		ended <- err
	}()
	w.eventually(func() bool { return db.count(w, "a") > 0 })
	return ended
}

func (w *world) stopWriting(db mariaDBServer) error {
	_, err := w.exec(db.pod(w), "mariadb-container", "touch", "/tmp/stop")
	return err
}

// Hooks of a Pod's annotations, and of a plan, run in the container, the post
// hook also when the command is interrupted.
func TestThePostHookRunsAfterCtrlC(t *testing.T) {
	s := raise(t, "posthook", newRegion(t))
	w := s.world(t, "posthook")
	w.apply([]byte(strings.Replace(string(seed.RedisStatefulSet.Manifest()),
		"    metadata: {labels: {app: redis-sts}}\n", `    metadata:
      labels: {app: redis-sts}
      annotations:
        hawser.dev/pre-hook: '["redis-cli", "SET", "quiet", "yes"]'
        hawser.dev/post-hook: '["redis-cli", "DEL", "quiet"]'
`, 1)))
	w.podsReady(1)
	redis := redisServer{"redis-0"}
	for claim, handle := range w.disksOf() {
		arrived, release := w.faults.Block("CreateSnapshot", handle)
		running := w.cli().Start(w.ctx, t, "backup", "-n", w.namespace)
		<-arrived
		if got := redis.cli(w, "GET", "quiet"); got != "yes" {
			t.Errorf("claim %s is cut while the pre hook left %q", claim, got)
		}
		w.must(running.Signal(os.Interrupt))
		release()
		if r := running.Wait(); r.Code != 1 {
			t.Errorf("exit code %d, want 1:\n%s", r.Code, r.Stderr)
		}
		if got := redis.cli(w, "GET", "quiet"); got != "" {
			t.Errorf("the post hook did not run: %q", got)
		}
	}
	point := w.point()
	if got := redis.cli(w, "GET", "quiet"); got != "" {
		t.Errorf("the post hook did not run: %q", got)
	}
	// A hook of a plan takes the place of the Pod's own.
	file := filepath.Join(t.TempDir(), "config.yaml")
	w.must(os.WriteFile(file, []byte(`
plans:
- name: databases
  select: {namespaces: [posthook], workloads: [statefulset/redis]}
  hooks:
  - select: {labels: {app: redis-sts}}
    container: redis-container
    pre: [redis-cli, SET, planned, "yes"]
    post: [redis-cli, SET, released, "yes"]
    timeout: 20s
    onFailure: abort
`), 0o600))
	planned := strings.TrimSpace(w.run(0, "backup", "--plan", "databases", "--config", file, "-o", "name").Stdout)
	if got := redis.cli(w, "GET", "released"); got != "yes" {
		t.Errorf("the plan's post hook did not run: %q", got)
	}
	w.lose()
	w.run(0, "restore", planned, "--from", "snapshots")
	w.podsReady(1)
	for key, want := range map[string]string{"planned": "yes", "released": "", "quiet": ""} {
		if got := redis.cli(w, "GET", key); got != want {
			t.Errorf("the plan's point holds %s=%q, want %q", key, got, want)
		}
	}

	// The point holds what the pre hook wrote.
	w.lose()
	w.run(0, "restore", point, "--from", "snapshots")
	w.podsReady(1)
	if got := redis.cli(w, "GET", "quiet"); got != "yes" {
		t.Errorf("the point holds %q, want what the pre hook wrote", got)
	}
	w.lose()
}
