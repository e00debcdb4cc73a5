package seed_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"hawser.dev/hawser/e2e/seed"
)

// rows are the workloads of the chapter that hold data: (a) to (e).
var rows = []struct {
	shape  seed.Shape
	pods   int
	server server
}{
	{seed.MariaDBPod, 1, mariaDBServer{"app=mariadb"}},
	{seed.MariaDBDeployment, 1, mariaDBServer{"app=mariadb"}},
	{seed.MariaDBStatefulSet, 1, mariaDBServer{"app=mariadb-sts"}},
	{seed.RedisStatefulSet, 1, redisServer{"redis-0"}},
	{seed.RedisRoles, 3, redisServer{"redis-0"}},
}

// Every workload of the chapter is backed up, written to once more, and lost as
// in the book. By its disks it comes back with all writes; after the disks were
// destroyed, with exactly those of before the backup.
func TestTheChapter(t *testing.T) {
	s := raise(t, "book", newRegion(t))
	for _, row := range rows {
		t.Run(string(row.shape), func(t *testing.T) {
			t.Parallel()
			w := s.world(t, string(row.shape))
			w.apply(row.shape.Manifest())
			w.podsReady(row.pods)
			row.server.write(w, "before")
			point := w.point()
			row.server.write(w, "later")
			handles := w.disksOf()

			w.lose()
			w.run(0, "restore", point)
			w.podsReady(row.pods)
			if got := w.disksOf(); !maps.Equal(got, handles) {
				t.Fatalf("reattached on disks %v, want %v", got, handles)
			}
			if got := row.server.read(w); !slices.Equal(got, []string{"before", "later"}) {
				t.Fatalf("reattached with %q, want all writes", got)
			}

			w.lose()
			w.destroyDisks(handles)
			w.run(0, "restore", point)
			w.podsReady(row.pods)
			if got := row.server.read(w); !slices.Equal(got, []string{"before"}) {
				t.Fatalf("rehydrated with %q, want the writes of before the backup", got)
			}
			w.lose()
		})
	}

	// As the book does: only the primary's disk; the replicas start empty and
	// resynchronise.
	t.Run("only-the-primary", func(t *testing.T) {
		t.Parallel()
		w := s.world(t, "primary")
		w.apply(seed.RedisRoles.Manifest())
		w.podsReady(3)
		redisServer{"redis-0"}.write(w, "capital:australia")
		point := w.point()
		handles := w.disksOf()
		w.lose()
		w.run(0, "restore", point, "statefulset/redis", "--ordinals", "0")
		w.podsReady(3)
		now := w.disksOf()
		for claim, handle := range handles {
			if same := now[claim] == handle; same != (claim == "redis-pvc-redis-0") {
				t.Errorf("claim %s is on disk %s, it was on %s", claim, now[claim], handle)
			}
		}
		for _, pod := range []string{"redis-0", "redis-1", "redis-2"} {
			w.eventually(func() bool {
				return slices.Equal(redisServer{pod}.read(w), []string{"capital:australia"})
			})
		}
		w.lose()
	})

	// What is no disk, or goes with its Pod, is said to be so.
	t.Run("not-covered", func(t *testing.T) {
		t.Parallel()
		w := s.world(t, "uncovered")
		w.apply(seed.EphemeralVolume.Manifest())
		w.apply(seed.EmptyDir.Manifest())
		w.apply(seed.MariaDBPod.Manifest()) // so that there is something to back up
		w.podsReady(3)
		point := w.point()
		shown := w.run(0, "show", point).Stdout
		for _, want := range []string{"ephemeralvolume-pod-scratch-volume", "pod-owned", "generic ephemeral volume"} {
			if !strings.Contains(shown, want) {
				t.Errorf("show lacks %q:\n%s", want, shown)
			}
		}
		all := w.run(0, "backup", "pod/mariadb-demo", "pod/emptydir-pod", "-n", w.namespace, "-o", "name").Stdout
		shown = w.run(0, "show", strings.TrimSpace(all)).Stdout
		for _, want := range []string{"cache-volume", "emptyDir", "config-volume", "not-covered"} {
			if !strings.Contains(shown, want) {
				t.Errorf("show lacks %q:\n%s", want, shown)
			}
		}
		w.lose()
		w.run(0, "restore", point)
		w.podsReady(1)
		if claims := w.disksOf(); len(claims) != 1 || claims["mariadb-pv-claim"] == "" {
			t.Errorf("claims %v came back, want mariadb-pv-claim alone", claims)
		}
		w.lose()
	})

	// Whatever the policy of the class: after a backup, deleting the claim never
	// deletes the disk.
	t.Run("class-policies", func(t *testing.T) {
		t.Parallel()
		for namespace, class := range map[string]string{"policy-delete": "disks-delete", "policy-retain": "example-default-rwo"} {
			w := s.world(t, namespace)
			w.apply(seed.StorageClass.Manifest())
			w.apply([]byte(strings.ReplaceAll(string(seed.RedisStatefulSet.Manifest()), "accessModes: [ReadWriteOnce]", "accessModes: [ReadWriteOnce]\n      storageClassName: "+class)))
			w.podsReady(1)
			redisServer{"redis-0"}.write(w, "kept")
			point := w.point()
			handles := w.disksOf()
			w.lose()
			for _, handle := range handles {
				if _, err := w.region.Disk(handle); err != nil {
					t.Errorf("class %s: the disk went with its claim: %v", class, err)
				}
			}
			w.run(0, "restore", point)
			w.podsReady(1)
			if got := (redisServer{"redis-0"}).read(w); !slices.Equal(got, []string{"kept"}) {
				t.Errorf("class %s: came back with %q", class, got)
			}
			w.lose()
		}
	})
}

// The first cluster is gone for good, machines and all; the second, in the same
// region, takes the disks over.
func TestIntoASecondClusterAfterTheFirstIsGone(t *testing.T) {
	region := newRegion(t)
	second := raise(t, "second", region)
	var point, store string
	t.Run("first", func(t *testing.T) {
		w := raise(t, "first", region).world(t, "shop")
		w.store = "file://" + second.Dir()
		store = w.store
		w.apply(seed.RedisRoles.Manifest())
		w.podsReady(3)
		redisServer{"redis-0"}.write(w, "capital:australia")
		point = w.point()
		redisServer{"redis-0"}.write(w, "capital:usa")
	}) // its cleanup ends the cluster with its node
	if t.Failed() {
		return
	}
	w := second.world(t, "elsewhere")
	w.store, w.namespace = store, "shop"
	w.run(4, "restore", point).Says(t, "in use elsewhere", "first")
	w.must(region.PowerOff("first"))
	w.run(0, "restore", point)
	w.podsReady(3)
	if got := (redisServer{"redis-0"}).read(w); !slices.Equal(got, []string{"capital:australia", "capital:usa"}) {
		t.Errorf("came back with %q", got)
	}
	w.lose()
}
