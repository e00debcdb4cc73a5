package backup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
)

// slowUsage is findUsage said plainly: each claim is held against each
// workload. It takes seconds for a large cluster.
func slowUsage(inv *Inventory) usage {
	u := usage{workloads: findWorkloads(inv), users: map[catalog.ClaimKey][]use{}}
	for i := range u.workloads {
		w := &u.workloads[i]
		for _, volume := range w.pod.Volumes {
			if volume.PersistentVolumeClaim != nil {
				key := catalog.ClaimKey{Namespace: w.namespace, Name: volume.PersistentVolumeClaim.ClaimName}
				u.users[key] = append(u.users[key], use{workload: w})
			}
		}
		for _, claim := range inv.Claims {
			if claim.Object.Namespace != w.namespace {
				continue
			}
			if template, ordinal, ok := templateOf(w, claim.Object.Name); ok {
				key := keyOf(&claim.Object)
				u.users[key] = append(u.users[key], use{workload: w, template: template, ordinal: &ordinal})
			}
		}
	}
	return u
}

// templateOf parses a claim name as template-set-ordinal of the set w. Of two
// templates that fit, the longer one is meant.
func templateOf(w *workload, claim string) (template string, ordinal int, ok bool) {
	for _, t := range w.templates {
		digits, found := strings.CutPrefix(claim, t.Name+"-"+w.Name+"-")
		if !found || len(t.Name) < len(template) {
			continue
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 || strconv.Itoa(n) != digits {
			continue
		}
		template, ordinal, ok = t.Name, n, true
	}
	return template, ordinal, ok
}

// Names of few parts collide in every way: a set's with a template's, a claim's
// with another set's, an ordinal with the end of a name.
func TestUsageIsThatOfHoldingEachClaimAgainstEachWorkload(t *testing.T) {
	for seed := range uint64(600) {
		inv := colliding(t, rand.New(rand.NewPCG(seed, 0)))
		if diff := cmp.Diff(usersOf(slowUsage(inv)), usersOf(findUsage(inv))); diff != "" {
			t.Fatalf("seed %d (-slow +fast):\n%s", seed, diff)
		}
	}
}

// usersOf tells the users of each claim that is there or named, in order.
func usersOf(u usage) map[catalog.ClaimKey][]string {
	told := map[catalog.ClaimKey][]string{}
	for key, users := range u.users {
		for _, use := range users {
			line := use.workload.Kind + " " + use.workload.namespace + "/" + use.workload.Name
			if use.ordinal != nil {
				line += fmt.Sprintf(" by template %s, ordinal %d", use.template, *use.ordinal)
			}
			told[key] = append(told[key], line)
		}
	}
	return told
}

// colliding is a random cluster of some sets, Deployments, Pods and claims.
func colliding(t *testing.T, random *rand.Rand) *Inventory {
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	name := func() string {
		parts := make([]string, 1+random.IntN(3))
		for i := range parts {
			parts[i] = pick("a", "b", "0", "1", "01")
		}
		parts[0] = pick("a", "b") // or YAML would read a number
		return strings.Join(parts, "-")
	}
	key := func() string { return pick("shop", "till") + "/" + name() }
	names := func() []string {
		some := make([]string, random.IntN(4))
		for i := range some {
			some[i] = name()
		}
		return some
	}
	documents := map[string]string{} // by kind and key: there is one of a name
	for range random.IntN(5) {
		k := key()
		documents["set "+k] = statefulSet(k, names()...)
		k = key()
		documents["deployment "+k] = deployment(k, names()...)
		k = key()
		documents["pod "+k] = pod(k, "", names()...)
	}
	for range random.IntN(12) {
		k := key() + "-" + name()
		documents["claim "+k] = pair(k)
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(documents)) {
		all = append(all, documents[k])
	}
	return inventory(t, all...)
}

// BenchmarkSelect selects everything of a cluster with 3 claims per set.
func BenchmarkSelect(b *testing.B) {
	for _, sets := range []int{300, 1500, 3000} {
		inv := manySets(sets, 3)
		b.Run(fmt.Sprintf("%d claims", len(inv.Claims)), func(b *testing.B) {
			for b.Loop() {
				if _, err := Select(inv, Selection{}, Include{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(inv.Claims)), "ns/claim")
		})
	}
}

// manySets is a cluster of StatefulSets with these many claims, each with a
// Service, a ConfigMap and its Pods, 30 to a namespace.
func manySets(sets, claims int) *Inventory {
	inv := &Inventory{SnapshotAPI: true}
	for i := range sets {
		namespace, name := fmt.Sprintf("team-%d", i/30), fmt.Sprintf("set-%d", i)
		if i%30 == 0 {
			inv.Namespaces = append(inv.Namespaces, bare[corev1.Namespace]("v1", "Namespace", "", namespace))
		}
		set := bare[appsv1.StatefulSet]("apps/v1", "StatefulSet", namespace, name)
		set.Object.Spec.ServiceName = name
		set.Object.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}}
		set.Object.Spec.VolumeClaimTemplates[0].Name = "data"
		set.Object.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		}}}
		inv.StatefulSets = append(inv.StatefulSets, set)
		inv.Services = append(inv.Services, bare[corev1.Service]("v1", "Service", namespace, name))
		inv.ConfigMaps = append(inv.ConfigMaps, bare[corev1.ConfigMap]("v1", "ConfigMap", namespace, name))
		for n := range claims {
			claim := bare[corev1.PersistentVolumeClaim]("v1", "PersistentVolumeClaim", namespace, fmt.Sprintf("data-%s-%d", name, n))
			volume := bare[corev1.PersistentVolume]("v1", "PersistentVolume", "", fmt.Sprintf("pv-%d-%d", i, n))
			claim.Object.Spec.VolumeName = volume.Object.Name
			volume.Object.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: claim.Object.Name}
			volume.Object.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com", VolumeHandle: fmt.Sprintf("disk-%d-%d", i, n)}
			inv.Claims, inv.Volumes = append(inv.Claims, claim), append(inv.Volumes, volume)
			inv.Pods = append(inv.Pods, podOf(set, n, claim.Object.Name))
		}
	}
	return inv
}

// bare is an object with nothing but a name.
func bare[T any](apiVersion, kind, namespace, name string) Listed[T] {
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	item := Listed[T]{Raw: unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Raw.Object, &item.Object); err != nil {
		panic(err)
	}
	return item
}

// podOf is the n-th Pod of a set, which mounts a claim.
func podOf(set Listed[appsv1.StatefulSet], n int, claim string) Listed[corev1.Pod] {
	pod := bare[corev1.Pod]("v1", "Pod", set.Object.Namespace, fmt.Sprintf("%s-%d", set.Object.Name, n))
	controller := true
	pod.Object.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set.Object.Name, Controller: &controller}}
	pod.Object.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	return pod
}
