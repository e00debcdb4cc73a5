package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// in is this world in another namespace, which a restore made.
func (w *world) in(namespace string) *world {
	other := *w
	other.namespace = namespace
	return &other
}

// A copy beside the original: another namespace, and another name of the set.
func TestACopyInAnotherNamespaceUnderAnotherName(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	copied := w.in(w.namespace + "-copy")
	flags := []string{"restore", point, "--from", "snapshots", "--map-namespace", w.namespace + "=" + copied.namespace, "--set-name", "redis=kv", "--replicas", "2"}
	w.run(0, flags...)
	copied.await(setsResource, "kv", func(set *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
		return ready == 2
	})
	got := copied.disks()
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"redis-pvc-kv-0", "redis-pvc-kv-1"}) {
		t.Fatalf("claims are %v", names)
	}
	for n := range 2 {
		copied.expectFile(got[fmt.Sprintf("redis-pvc-kv-%d", n)], "first", redisClaim(n))
	}
	if now := w.disks(); !maps.Equal(now, handles) {
		t.Errorf("the original is on %v, it was on %v", now, handles)
	}
	if snapshots, contents := copied.hawserSnapshots(); len(snapshots)+len(contents) > 0 {
		eventually(t, func() bool {
			snapshots, contents := copied.hawserSnapshots()
			return len(snapshots)+len(contents) == 0
		})
	}
	before := copied.versions()
	w.run(0, flags...)
	if after := copied.versions(); !maps.Equal(before, after) {
		t.Errorf("restored again, it changed: %v, %v", before, after)
	}
	// Their disks serve one claim each: without copies it is refused.
	w.run(4, "restore", point, "--from", "disks", "--map-namespace", w.namespace+"="+w.namespace+"-third").Says(t, "for another claim", "a disk can serve one claim")
}

// A move: the disks themselves, under other names of everything.
func TestAMoveOfTheDisksUnderOtherNames(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	w.loseEverything()
	patch := filepath.Join(t.TempDir(), "patch.yaml")
	w.must(os.WriteFile(patch, []byte("- {op: add, path: /metadata/labels/moved, value: \"yes\"}\n"), 0o600))
	moved := w.in(w.namespace + "-new")
	w.run(0, "restore", point, "--map-namespace", w.namespace+"="+moved.namespace, "--set-name", "redis=kv", "--replicas", "statefulset/redis=1",
		"--pv-name", "{namespace}-{claim}", "--storage-class", "disks-delete=", "--patch-file", "pvc="+patch)
	moved.awaitAll(claimsResource, allBound(2))
	got := moved.disks()
	for n := range 2 {
		if got[fmt.Sprintf("redis-pvc-kv-%d", n)] != handles[redisClaim(n)] {
			t.Errorf("claims are on %v, they were on %v", got, handles)
		}
	}
	claim, err := w.client.CoreV1().PersistentVolumeClaims(moved.namespace).Get(w.ctx, "redis-pvc-kv-1", metav1.GetOptions{})
	w.must(err)
	if want := moved.namespace + "-redis-pvc-kv-1"; claim.Spec.VolumeName != want || *claim.Spec.StorageClassName != "" || claim.Labels["moved"] != "yes" {
		t.Errorf("claim names volume %s, class %q, labels %v; want volume %s, no class, and the label", claim.Spec.VolumeName, *claim.Spec.StorageClassName, claim.Labels, want)
	}
	set, err := w.client.AppsV1().StatefulSets(moved.namespace).Get(w.ctx, "kv", metav1.GetOptions{})
	w.must(err)
	if *set.Spec.Replicas != 1 {
		t.Errorf("the set has %d replicas, want 1", *set.Spec.Replicas)
	}
	moved.expectRetain()
}

func TestMappingsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	point := w.point()
	w.loseEverything()
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "patch.json")
		w.must(os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	for _, c := range []struct {
		code  int
		flags []string
		says  []string
	}{
		{2, []string{"-n", "a=b"}, []string{"--map-namespace OLD=NEW"}},
		{2, []string{"--map-namespace", "x"}, []string{"want OLD=NEW"}},
		{2, []string{"--replicas", "many"}, []string{"want a number"}},
		{2, []string{"--patch-file", "thing=" + file("[]")}, []string{"want KIND[/NAME]=FILE"}},
		{2, []string{"--patch-file", "pvc=" + file("{}")}, []string{"want a list of operations"}},
		{2, []string{"--ignore-checks", "everything"}, []string{"want one of"}},
		{4, []string{"--map-namespace", "nowhere=x"}, []string{"Namespace nowhere", "correct --map-namespace"}},
		{4, []string{"--driver", "disks.hawser.dev=x.example.com"}, []string{"cannot be found out", "--from disks"}},
		{4, []string{"--driver", "disks.hawser.dev=x.example.com", "--from", "disks"}, []string{"CSIDriver x.example.com", "install the driver"}},
		{4, []string{"--patch-file", "pv=" + file(`[{"op":"remove","path":"/spec/claimRef"}]`)}, []string{"patch 1: it changes /spec/claimRef"}},
		{4, []string{"--patch-file", "pv=" + file(`[{"op":"replace","path":"/spec/persistentVolumeReclaimPolicy","value":"Delete"}]`)}, []string{"persistentVolumeReclaimPolicy"}},
	} {
		w.run(c.code, append([]string{"restore", point}, c.flags...)...).Says(t, c.says...)
	}
	w.run(0, "restore", point)
}

// What is restored does not carry the marks by which GitOps tools prune: a
// pruner that deletes whatever is marked as its own, and not in its Git, finds
// nothing. With the marks kept it would delete the claims.
func TestNothingThatIsRestoredIsPruned(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	w.mark()
	point := w.point()
	w.loseEverything()
	for _, resource := range []string{"services/redis-service", "configmaps/redis-config"} {
		w.deleteMarked(resource)
	}
	r := w.run(0, "restore", point)
	r.Says(t, "so that no GitOps tool takes them for its own", "argocd.argoproj.io/instance", "--keep-gitops-labels")
	w.awaitReady(1)
	if pruned := w.prune(); len(pruned) > 0 {
		t.Errorf("%v were pruned", pruned)
	}
	w.awaitReady(1)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}

	w.loseEverything()
	w.run(0, "restore", point, "--keep-gitops-labels")
	if pruned := w.prune(); !slices.Contains(pruned, "persistentvolumeclaims/"+redisClaim(0)) || !slices.Contains(pruned, "statefulsets/redis") {
		t.Errorf("with its marks only %v were pruned: the pruner proves nothing", pruned)
	}
}

// prunedKinds are the kinds at which pruners look.
var prunedKinds = []string{"statefulsets", "services", "configmaps", "persistentvolumeclaims"}

func (w *world) resourceOf(kind string) dynamic.ResourceInterface {
	gvr := claimsResource.GroupVersion().WithResource(kind)
	if kind == "statefulsets" {
		gvr = setsResource
	}
	return dynamic.NewForConfigOrDie(w.lab.RESTConfig("pruner")).Resource(gvr).Namespace(w.namespace)
}

// marks are how Argo CD, Flux, Helm and kubectl know what is theirs.
var marks = map[string]map[string]string{
	"labels": {
		"argocd.argoproj.io/instance": "shop", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm",
		"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system", "applyset.kubernetes.io/part-of": "applyset-1",
	},
	"annotations": {"argocd.argoproj.io/tracking-id": "shop", "meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"},
}

// mark gives everything of the namespace the marks of all tools.
func (w *world) mark() {
	w.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": marks})
	w.must(err)
	for _, kind := range prunedKinds {
		list, err := w.resourceOf(kind).List(w.ctx, metav1.ListOptions{})
		w.must(err)
		for _, o := range list.Items {
			if o.GetName() == "kube-root-ca.crt" {
				continue // the cluster's own
			}
			_, err := w.resourceOf(kind).Patch(w.ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
			w.must(err)
		}
	}
}

// prune deletes what has any of the marks, as a tool would in whose Git it is
// not, and names what it deleted.
func (w *world) prune() []string {
	w.t.Helper()
	var pruned []string
	for _, kind := range prunedKinds {
		list, err := w.resourceOf(kind).List(w.ctx, metav1.ListOptions{})
		w.must(err)
		for _, o := range list.Items {
			if !hasAny(o.GetLabels(), marks["labels"]) && !hasAny(o.GetAnnotations(), marks["annotations"]) {
				continue
			}
			pruned = append(pruned, kind+"/"+o.GetName())
			w.must(ignoreNotFound(w.resourceOf(kind).Delete(w.ctx, o.GetName(), metav1.DeleteOptions{})))
		}
	}
	return pruned
}

func hasAny(has, any map[string]string) bool {
	for key, value := range any {
		if has[key] == value {
			return true
		}
	}
	return false
}

func (w *world) deleteMarked(resource string) {
	w.t.Helper()
	kind, name, _ := strings.Cut(resource, "/")
	w.must(w.resourceOf(kind).Delete(w.ctx, name, metav1.DeleteOptions{}))
}
