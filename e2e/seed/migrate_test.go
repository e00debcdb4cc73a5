package seed_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/node"
	"hawser.dev/hawser/e2e/seed"
)

// Servers move to another cluster with all that they hold, and back; what they
// then hold they say themselves. The drivers let both clusters have a disk, so
// that the judge alone tells whether they did.
func TestServersMoveToAnotherClusterAndBack(t *testing.T) {
	region := newRegion(t)
	east, west := raiseBlind(t, "east", region), raiseBlind(t, "west", region)
	kubeconfig := filepath.Join(t.TempDir(), "both.kubeconfig")
	if err := lab.MergeKubeconfigs(kubeconfig, east.Lab.Lab, west.Lab.Lab); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		shape  seed.Shape
		target string
		pods   int
		server server
	}{
		{seed.RedisRoles, "statefulset/redis", 3, redisServer{"redis-0"}},
		{seed.MariaDBStatefulSet, "statefulset/mariadb", 1, mariaDBServer{"app=mariadb-sts"}},
	} {
		t.Run(string(row.shape), func(t *testing.T) {
			t.Parallel()
			w := east.world(t, "move-"+string(row.shape))
			w.env = append(w.env, "KUBECONFIG="+kubeconfig)
			w.apply(row.shape.Manifest())
			w.podsReady(row.pods)
			handles := w.disksOf()
			from, to := w, w.inCluster(west)
			words := []string{"a-first"}
			row.server.write(from, words[0])
			for _, next := range []string{"b-there", "c-back", "d-there-again", "e-home"} {
				r := w.run(0, "migrate", row.target, "-n", w.namespace, "--from", from.Name(), "--to", to.Name())
				t.Logf("from %s to %s:\n%s", from.Name(), to.Name(), r.Stdout)
				from, to = to, from
				from.podsReady(row.pods)
				to.podsReady(0)
				if got := from.disksOf(); !maps.Equal(got, handles) {
					t.Fatalf("its claims are on disks %v in cluster %s, want %v", got, from.Name(), handles)
				}
				if got := row.server.read(from); !slices.Equal(got, words) {
					t.Fatalf("in cluster %s the server has %q, want %q", from.Name(), got, words)
				}
				row.server.write(from, next)
				words = append(words, next)
				if r := w.run(4, "migrate", row.target, "-n", w.namespace, "--from", to.Name(), "--to", from.Name()); !strings.Contains(r.Stderr, from.Name()) {
					t.Errorf("a second move does not say who has the disks:\n%s", r.Stderr)
				}
			}
			if err := region.Judge(); err != nil {
				t.Errorf("the judge: %v", err)
			}
		})
	}
}

// raiseBlind raises a cluster whose driver does not see what others have, and
// whose node has these images beside its own.
func raiseBlind(t *testing.T, name string, region *disks.Region, images ...node.Image) *stage {
	t.Helper()
	return raiseWith(t, lab.Options{Region: region, Faults: &disks.Faults{}, Blind: true, Cluster: cluster.Options{Name: name}}, images...)
}

// inCluster is the same namespace in another cluster, which need not be there.
func (w *world) inCluster(s *stage) *world {
	other := *w
	other.stage, other.config = s, s.RESTConfig("hawser-seed-test")
	other.client = kubernetes.NewForConfigOrDie(other.config)
	return &other
}
