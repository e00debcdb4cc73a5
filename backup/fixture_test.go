package backup

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// The fake clients cannot begin a watch with a list, and cannot say so. The
// library delays errors by a clock that a synctest bubble does not share.
func TestMain(m *testing.M) {
	os.Setenv("KUBE_FEATURE_WatchListClient", "false")
	utilruntime.ErrorHandlers = nil
	os.Exit(m.Run())
}

var noon = time.Date(2026, 9, 3, 12, 0, 0, 0, time.UTC)

// inventory returns what a cluster with these objects has, as YAML documents.
// Namespaces need not be among them.
func inventory(t *testing.T, documents ...string) *Inventory {
	t.Helper()
	inv := &Inventory{SnapshotAPI: true}
	for _, document := range strings.Split(strings.Join(documents, "\n---\n"), "\n---\n") {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(document), &content); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if content == nil {
			continue
		}
		raw := unstructured.Unstructured{Object: content}
		addNamespace(t, inv, raw.GetNamespace())
		switch raw.GetKind() {
		case "Namespace":
			inv.Namespaces = append(inv.Namespaces, listed[corev1.Namespace](t, raw))
		case "PersistentVolumeClaim":
			inv.Claims = append(inv.Claims, listed[corev1.PersistentVolumeClaim](t, raw))
		case "PersistentVolume":
			inv.Volumes = append(inv.Volumes, listed[corev1.PersistentVolume](t, raw))
		case "StatefulSet":
			add(t, &inv.StatefulSets, raw)
		case "Deployment":
			add(t, &inv.Deployments, raw)
		case "Pod":
			add(t, &inv.Pods, raw)
		case "Service":
			add(t, &inv.Services, raw)
		case "ConfigMap":
			add(t, &inv.ConfigMaps, raw)
		case "Secret":
			add(t, &inv.Secrets, raw)
		case "StorageClass":
			add(t, &inv.StorageClasses, raw)
		case "VolumeSnapshotClass":
			add(t, &inv.SnapshotClasses, raw)
		default:
			t.Fatalf("kind %q of\n%s", raw.GetKind(), document)
		}
	}
	return inv
}

func addNamespace(t *testing.T, inv *Inventory, name string) {
	if name == "" {
		return
	}
	for _, ns := range inv.Namespaces {
		if ns.Object.Name == name {
			return
		}
	}
	raw := unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	add(t, &inv.Namespaces, raw)
}

func add[T any](t *testing.T, list *[]Listed[T], raw unstructured.Unstructured) {
	t.Helper()
	*list = append(*list, listed[T](t, raw))
}

func listed[T any](t *testing.T, raw unstructured.Unstructured) Listed[T] {
	t.Helper()
	item := Listed[T]{Raw: raw}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, &item.Object); err != nil {
		t.Fatal(err)
	}
	return item
}

// pair is a claim of that namespace/name, bound to a CSI volume of its own.
func pair(key string) string {
	namespace, name, _ := strings.Cut(key, "/")
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {namespace: %[1]s, name: %[2]s, uid: uid-of-%[2]s, labels: {claim: %[2]s}}
spec: {volumeName: pv-of-%[2]s, storageClassName: fast, resources: {requests: {storage: 1Gi}}}
status: {phase: Bound}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-of-%[2]s}
spec:
  capacity: {storage: 2Gi}
  claimRef: {namespace: %[1]s, name: %[2]s, uid: uid-of-%[2]s}
  csi: {driver: disks.example.com, volumeHandle: disk-of-%[2]s}
  persistentVolumeReclaimPolicy: Delete
  storageClassName: fast`, namespace, name)
}

// pairs is a pair for each of keys.
func pairs(keys ...string) string {
	all := make([]string, len(keys))
	for i, key := range keys {
		all[i] = pair(key)
	}
	return strings.Join(all, "\n---\n")
}

// statefulSet has one replica and claims of these templates.
func statefulSet(key string, templates ...string) string {
	namespace, name, _ := strings.Cut(key, "/")
	var claims strings.Builder
	for _, template := range templates {
		fmt.Fprintf(&claims, "\n  - metadata: {name: %s}", template)
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: %[1]s, name: %[2]s, labels: {set: %[2]s}}
spec:
  replicas: 1
  template: {spec: {containers: [{name: main}]}}
  volumeClaimTemplates:%[3]s`, namespace, name, claims.String())
}

// deployment has Pods that mount these claims.
func deployment(key string, claims ...string) string {
	namespace, name, _ := strings.Cut(key, "/")
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: %[1]s, name: %[2]s, labels: {deployment: %[2]s}}
spec:
  template:
    spec:
      containers: [{name: main}]
      volumes: [%[3]s]`, namespace, name, mounts(claims))
}

// pod is one that mounts these claims. owner is its controller, KIND/NAME of
// apps/v1, or "".
func pod(key, owner string, claims ...string) string {
	namespace, name, _ := strings.Cut(key, "/")
	var owners string
	if kind, ownerName, ok := strings.Cut(owner, "/"); ok {
		owners = fmt.Sprintf(`{apiVersion: apps/v1, kind: %s, name: %s, uid: u, controller: true}`, kind, ownerName)
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {namespace: %[1]s, name: %[2]s, labels: {pod: %[2]s}, ownerReferences: [%[3]s]}
spec:
  containers: [{name: main}]
  volumes: [%[4]s]`, namespace, name, owners, mounts(claims))
}

func mounts(claims []string) string {
	var all []string
	for _, claim := range claims {
		all = append(all, fmt.Sprintf("{name: %[1]s, persistentVolumeClaim: {claimName: %[1]s}}", claim))
	}
	return strings.Join(all, ", ")
}

func selectLabels(t *testing.T, query string) labels.Selector {
	t.Helper()
	selector, err := labels.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	return selector
}

func workloads(kindNames ...string) []catalog.Workload {
	var all []catalog.Workload
	for _, kindName := range kindNames {
		kind, name, _ := strings.Cut(kindName, "/")
		all = append(all, catalog.Workload{Kind: kind, Name: name})
	}
	return all
}

// claimsOf names what was selected: "claim <- workload" for each volume.
func claimsOf(selected Selected) []string {
	var all []string
	for _, v := range selected.Volumes {
		line := v.Claim.String()
		if v.Workload != nil {
			line += " <- " + v.Workload.Kind + "/" + v.Workload.Name
		}
		if v.Ordinal != nil {
			line += fmt.Sprintf(" %s #%d", v.Template, *v.Ordinal)
		}
		all = append(all, line)
	}
	return all
}

// objectsOf names what was captured, in order.
func objectsOf(selected Selected) []string {
	var all []string
	for _, o := range selected.Objects.objects {
		all = append(all, strings.TrimPrefix(o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName(), " "))
	}
	return all
}

// skipsOf tells what was skipped: "Kind namespace/name: reason".
func skipsOf(selected Selected) []string {
	var all []string
	for _, s := range selected.Skipped {
		all = append(all, fmt.Sprintf("%s %s/%s: %s", s.Kind, s.Namespace, s.Name, s.Reason))
	}
	return all
}

func mustSelect(t *testing.T, inv *Inventory, sel Selection, include Include) Selected {
	t.Helper()
	selected, err := Select(inv, sel, include)
	if err != nil {
		t.Fatal(err)
	}
	return selected
}

func wantDiff(t *testing.T, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// snapshotClass is a VolumeSnapshotClass of a driver.
func snapshotClass(name, driver string, change func(*snapshotv1.VolumeSnapshotClass)) Listed[snapshotv1.VolumeSnapshotClass] {
	class := snapshotv1.VolumeSnapshotClass{Driver: driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete}
	class.Name = name
	if change != nil {
		change(&class)
	}
	return Listed[snapshotv1.VolumeSnapshotClass]{Object: class}
}
