package backup

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
)

// TestSelectCaptures compares all that Select makes of testdata/<case>/in.yaml
// with out.yaml.
func TestSelectCaptures(t *testing.T) {
	for _, c := range []struct {
		folder  string
		include Include
	}{
		{"statefulset", Include{}},
		{"deployment-without-secrets", Include{}},
		{"deployment-with-secrets", Include{Secrets: true}},
	} {
		t.Run(c.folder, func(t *testing.T) {
			folder := filepath.Join("testdata", c.folder)
			inv := inventory(t, readFile(t, filepath.Join(folder, "in.yaml")))
			selected := mustSelect(t, inv, Selection{}, c.include)
			out, err := yaml.Marshal(catalog.Bundle{Objects: selected.Objects.objects, Volumes: selected.Volumes, Skipped: selected.Skipped})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(folder, "out.yaml"), out)
		})
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func idOf(o unstructured.Unstructured) string {
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

func TestCaptureLeavesTheInventoryAsItIs(t *testing.T) {
	for _, folder := range []string{"statefulset", "deployment-with-secrets"} {
		inv := inventory(t, readFile(t, filepath.Join("testdata", folder, "in.yaml")))
		before, err := json.Marshal(inv)
		if err != nil {
			t.Fatal(err)
		}
		mustSelect(t, inv, Selection{}, Include{Secrets: true})
		after, err := json.Marshal(inv)
		if err != nil {
			t.Fatal(err)
		}
		wantDiff(t, "inventory of "+folder, string(before), string(after))
	}
}

// What a bundle holds is what the API server gave, less status and managedFields.
func TestCaptureLosesNothingElse(t *testing.T) {
	for _, folder := range []string{"statefulset", "deployment-with-secrets"} {
		inv := inventory(t, readFile(t, filepath.Join("testdata", folder, "in.yaml")))
		given := map[string]*unstructured.Unstructured{}
		for _, o := range allRaw(inv) {
			given[idOf(o)] = o.DeepCopy()
		}
		selected := mustSelect(t, inv, Selection{}, Include{Secrets: true})
		for _, got := range selected.Objects.objects {
			want := given[idOf(got)]
			delete(want.Object, "status")
			unstructured.RemoveNestedField(want.Object, "metadata", "managedFields")
			wantDiff(t, idOf(got), want.Object, got.Object)
		}
	}
}

// allRaw returns the raw objects of an inventory.
func allRaw(inv *Inventory) []unstructured.Unstructured {
	return slices.Concat(
		raws(inv.Namespaces), raws(inv.StorageClasses), raws(inv.ConfigMaps), raws(inv.Secrets), raws(inv.Volumes),
		raws(inv.Claims), raws(inv.Services), raws(inv.StatefulSets), raws(inv.Deployments), raws(inv.Pods),
	)
}

func raws[T any](list []Listed[T]) []unstructured.Unstructured {
	var all []unstructured.Unstructured
	for _, item := range list {
		all = append(all, item.Raw)
	}
	return all
}

func TestCaptureIsInOrderOfCreation(t *testing.T) {
	order := []string{"Namespace", "StorageClass", "ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim", "Service", "StatefulSet", "Deployment", "Pod"}
	inv := inventory(t, readFile(t, "testdata/statefulset/in.yaml"), readFile(t, "testdata/deployment-with-secrets/in.yaml"),
		statefulSet("billing/second", "data"), pair("billing/data-second-0"), deployment("billing/third", "data-second-0"), pod("billing/debug", "", "data-second-0"))
	selected := mustSelect(t, inv, Selection{}, Include{Secrets: true})
	var kinds []string
	seen := map[string]bool{}
	for _, o := range selected.Objects.objects {
		kind := o.GetKind()
		if kind == "Secret" {
			kind = "ConfigMap" // of one workload, then of the next
		}
		kinds = append(kinds, kind)
		if id := idOf(o); seen[id] {
			t.Errorf("%s is captured twice", id)
		} else {
			seen[id] = true
		}
	}
	if !slices.IsSortedFunc(kinds, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) {
		t.Errorf("kinds in order %v, want them in order %v", slices.Compact(kinds), order)
	}
	for _, kind := range order {
		if kind != "Secret" && !slices.Contains(kinds, kind) {
			t.Errorf("no %s was captured", kind)
		}
	}
}

// The inventory's own order is the API server's, and is not a promise.
func TestCaptureDoesNotDependOnTheOrderOfLists(t *testing.T) {
	inv := inventory(t, readFile(t, "testdata/deployment-with-secrets/in.yaml"), strings.Replace(readFile(t, "testdata/deployment-with-secrets/in.yaml"), "name: web,", "name: twin,", 1),
		statefulSet("shop/redis", "data"), pairs("shop/data-redis-0", "shop/data-redis-1"), deployment("shop/other", "files", "gone", "lost"))
	want := mustSelect(t, inv, Selection{}, Include{})
	slices.Reverse(inv.Claims)
	slices.Reverse(inv.Volumes)
	slices.Reverse(inv.StatefulSets)
	slices.Reverse(inv.Deployments)
	slices.Reverse(inv.Pods)
	for range 10 {
		got := mustSelect(t, inv, Selection{}, Include{})
		wantDiff(t, "volumes", want.Volumes, got.Volumes)
		if diff := cmp.Diff(want.Skipped, got.Skipped); diff != "" {
			t.Fatalf("skipped (-want +got):\n%s", diff)
		}
	}
}

func TestCaptureTakesTheGoverningService(t *testing.T) {
	set := statefulSet("shop/redis", "data") + "\n  serviceName: redis"
	for _, c := range []struct {
		name, namespace string
		objects, skips  []string
	}{
		{"of its namespace", "shop", []string{"Service shop/redis"}, nil},
		{"that is in another namespace only", "billing", nil, []string{"Service shop/redis: not-found"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			selected := mustSelect(t, inventory(t, set, pair("shop/data-redis-0"), "{apiVersion: v1, kind: Service, metadata: {name: redis, namespace: "+c.namespace+"}}"), Selection{}, Include{})
			services := slices.DeleteFunc(objectsOf(selected), func(o string) bool { return !strings.HasPrefix(o, "Service ") })
			wantDiff(t, "services", c.objects, services, cmpopts.EquateEmpty())
			wantDiff(t, "skipped", c.skips, skipsOf(selected))
		})
	}
}
