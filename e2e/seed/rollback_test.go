package seed_test

import (
	"maps"
	"slices"
	"testing"

	"hawser.dev/hawser/e2e/seed"
)

// Servers that run are rolled back to each of three points, and each rollback is
// undone; what they then hold they say themselves.
func TestServersAreRolledBackAndBackAgain(t *testing.T) {
	s := raise(t, "rollback", newRegion(t))
	for _, row := range []struct {
		shape  seed.Shape
		target string
		pods   int
		server server
	}{
		{seed.RedisRoles, "statefulset/redis", 3, redisServer{"redis-0"}},
		{seed.MariaDBStatefulSet, "statefulset/mariadb", 1, mariaDBServer{"app=mariadb-sts"}},
		{seed.MariaDBDeployment, "deployment/mariadb-demo", 1, mariaDBServer{"app=mariadb"}},
	} {
		t.Run(string(row.shape), func(t *testing.T) {
			t.Parallel()
			w := s.world(t, "roll-"+string(row.shape))
			w.apply(row.shape.Manifest())
			w.podsReady(row.pods)
			words := []string{"a-first", "b-second", "c-third", "d-now"}
			var points []string
			for i, word := range words {
				row.server.write(w, word)
				if i < 3 {
					points = append(points, w.point())
				}
			}
			handles := w.disksOf()

			for _, i := range []int{1, 0, 2} {
				w.run(0, "rollback", row.target, "-n", w.namespace, "--to", points[i])
				w.podsReady(row.pods)
				if got := row.server.read(w); !slices.Equal(got, words[:i+1]) {
					t.Fatalf("rolled back to point %d the server has %q, want %q", i, got, words[:i+1])
				}
				for claim, handle := range w.disksOf() {
					if handle == handles[claim] {
						t.Errorf("claim %s is on disk %s still", claim, handle)
					}
				}
				row.server.write(w, "e-after-the-rollback")

				w.run(0, "undo", row.target, "-n", w.namespace)
				w.podsReady(row.pods)
				if got := row.server.read(w); !slices.Equal(got, words) {
					t.Fatalf("after the undo the server has %q, want %q", got, words)
				}
				if got := w.disksOf(); !maps.Equal(got, handles) {
					t.Errorf("claims are on %v after the undo, want %v", got, handles)
				}
			}
			w.run(0, "undo", row.target, "-n", w.namespace, "--redo")
			w.podsReady(row.pods)
			if got := row.server.read(w); !slices.Equal(got, append(slices.Clone(words[:3]), "e-after-the-rollback")) {
				t.Errorf("after the redo the server has %q", got)
			}
			w.lose()
		})
	}
}
