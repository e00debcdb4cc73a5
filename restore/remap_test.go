package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
)

// Each folder of testdata/remap is one mapping, of the prebound pair of a claim
// of a set. Its mapping.yaml is a Mapping.
func TestRemapOfAPair(t *testing.T) {
	goldenCases(t, "remap", func(t *testing.T, folder string) {
		var pair Pair
		readInput(t, folder, &pair.Volume, &pair.Claim)
		data, err := os.ReadFile(filepath.Join(folder, "mapping.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var mapping Mapping
		if err := yaml.UnmarshalStrict(data, &mapping); err != nil {
			t.Fatal(err)
		}
		volume, claim, err := prebindMapped(pair, mapping)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, folder, volume, claim)
	})
}

// prebindMapped prebinds a pair of StatefulSet redis as the mapping has it.
func prebindMapped(pair Pair, mapping Mapping) (*corev1.PersistentVolume, *corev1.PersistentVolumeClaim, error) {
	point := &catalog.RestorePoint{}
	addObject(point, &pair.Volume)
	addObject(point, &pair.Claim)
	set := redisSet(3)
	set.Namespace = pair.Claim.Namespace
	addObject(point, &set)
	record := redisRecord(0)
	record.Claim, record.PersistentVolume, record.StorageClass = keyOf(&pair.Claim), pair.Volume.Name, pair.Volume.Spec.StorageClassName
	record.Driver, record.VolumeHandle = pair.Volume.Spec.CSI.Driver, catalog.VolumeHandle(pair.Volume.Spec.CSI.VolumeHandle)
	point.Bundle.Volumes = []catalog.Volume{record}
	target, err := aim(point, Request{Mapping: mapping})
	if err != nil {
		return nil, nil, err
	}
	class, _ := mapping.class(record.StorageClass)
	return Prebind(target.pairs[target.volumes[0].Claim], class)
}

// drawMapping draws a mapping of which every part concerns the mall.
func drawMapping(t *rapid.T) Mapping {
	maybe := func(label string, m map[string]string) map[string]string {
		if rapid.Bool().Draw(t, label) {
			return m
		}
		return nil
	}
	m := Mapping{
		Namespaces:   maybe("namespace", map[string]string{"shop": "copy"}),
		Drivers:      maybe("driver", map[string]string{shopDriver: "other.example.com"}),
		Sets:         maybe("set", map[string]string{"redis": "redis-b"}),
		VolumeNames:  maybe("volume", map[string]string{"pv-redis-0": "pv-zero"}),
		KeepTracking: rapid.Bool().Draw(t, "keep"),
	}
	if rapid.Bool().Draw(t, "template") {
		m.VolumeTemplate = "{namespace}-{claim}"
	}
	if rapid.Bool().Draw(t, "replicas") {
		m.Replicas = map[catalog.Workload]int32{{}: 1}
	}
	return m
}

// What a mapping maps, and only that, has other names; every reference goes
// where it went before; the input stays as it was.
func TestRemapProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		point, mapping := mall(), drawMapping(t)
		before := toJSON(t, point)
		mapped, _, err := Remap(point, mapping)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, toJSON(t, point)); diff != "" {
			t.Fatalf("the input changed:\n%s", diff)
		}
		if len(mapped.Bundle.Objects) != len(point.Bundle.Objects) || len(mapped.Bundle.Volumes) != len(point.Bundle.Volumes) {
			t.Fatalf("%d objects and %d volumes became %d and %d", len(point.Bundle.Objects), len(point.Bundle.Volumes), len(mapped.Bundle.Objects), len(mapped.Bundle.Volumes))
		}
		text := toJSON(t, mapped)
		for from := range mapping.Namespaces {
			if strings.Contains(text, `"namespace": "`+from+`"`) {
				t.Errorf("something is still in namespace %s", from)
			}
		}
		for from := range mapping.Drivers {
			for _, v := range mapped.Bundle.Volumes {
				if v.Driver == from {
					t.Errorf("claim %s is still of driver %s", v.Claim, from)
				}
			}
		}
		expectPairs(t, mapped)
		target := &target{point: mapped}
		if err := target.index(); err != nil {
			t.Errorf("the mapped point contradicts itself: %v", err)
		}
		again, _, err := Remap(mapped, Mapping{KeepTracking: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, toJSON(t, again)); diff != "" {
			t.Errorf("an empty mapping changed:\n%s", diff)
		}
	})
}

// expectPairs checks that claims and volumes name each other, and that a set
// would look for the claims that it has.
func expectPairs(t rapid.TB, point *catalog.RestorePoint) {
	t.Helper()
	objects := map[objectKey]unstructured.Unstructured{}
	for _, o := range point.Bundle.Objects {
		objects[objectKey{o.GetKind(), o.GetNamespace(), o.GetName()}] = o
	}
	for _, v := range point.Bundle.Volumes {
		claim, volume := objects[objectKey{"PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name}], objects[objectKey{"PersistentVolume", "", v.PersistentVolume}]
		if got := nested(claim.Object, "spec", "volumeName"); got != v.PersistentVolume {
			t.Errorf("claim %s names volume %v, want %s", v.Claim, got, v.PersistentVolume)
		}
		ref := fmt.Sprint(nested(volume.Object, "spec", "claimRef", "namespace"), "/", nested(volume.Object, "spec", "claimRef", "name"))
		if ref != v.Claim.String() {
			t.Errorf("volume %s names claim %s, want %s", v.PersistentVolume, ref, v.Claim)
		}
		if got, provisioner := nested(volume.Object, "spec", "csi", "driver"), volume.GetAnnotations()["pv.kubernetes.io/provisioned-by"]; got != v.Driver || provisioner != v.Driver {
			t.Errorf("volume %s is of driver %v, provisioned by %s, want %s", v.PersistentVolume, got, provisioner, v.Driver)
		}
		if v.Workload != nil && v.Template != "" {
			if want := claimName(v.Template, v.Workload.Name, *v.Ordinal); v.Claim.Name != want {
				t.Errorf("claim %s is of %s %s, which looks for %s", v.Claim, v.Workload.Kind, v.Workload.Name, want)
			}
			if _, found := objects[objectKey{v.Workload.Kind, v.Claim.Namespace, v.Workload.Name}]; !found {
				t.Errorf("claim %s is of %s %s, which is not there", v.Claim, v.Workload.Kind, v.Workload.Name)
			}
		}
	}
}

func TestRemapOfWorkloads(t *testing.T) {
	point := shop()
	dropObjects(point, "StatefulSet", "redis")
	set := redisSet(3)
	set.Spec.Template.Spec.NodeSelector = map[string]string{"topology.kubernetes.io/zone": "eu-1a", "disk": "eu-1a"}
	set.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "topology.kubernetes.io/zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"eu-1a", "eu-1b"}},
		}}}},
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "old/zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"eu-1a"}},
		}}}},
	}}
	set.Spec.Template.Spec.Volumes = append(set.Spec.Template.Spec.Volumes, corev1.Volume{Name: "first", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "redis-pvc-redis-0"},
	}})
	addObject(point, &set)
	mapped, _, err := Remap(point, Mapping{
		Zones: map[string]string{"eu-1a": "us-2c"}, TopologyKeys: map[string]string{"old/zone": "new/zone"},
		Sets: map[string]string{"redis": "kv"}, Replicas: map[catalog.Workload]int32{{Kind: "StatefulSet", Name: "redis"}: 5},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got appsv1.StatefulSet
	for _, o := range mapped.Bundle.Objects {
		if o.GetKind() == "StatefulSet" {
			recode(t, o.Object, &got)
		}
	}
	want := set.DeepCopy()
	want.Name, want.Spec.Replicas, want.Status = "kv", ptr.To[int32](5), appsv1.StatefulSetStatus{}
	spec := &want.Spec.Template.Spec
	spec.NodeSelector["topology.kubernetes.io/zone"] = "us-2c"
	spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "us-2c"
	preferred := &spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].Preference.MatchExpressions[0]
	preferred.Key, preferred.Values[0] = "new/zone", "us-2c"
	spec.Volumes[1].PersistentVolumeClaim.ClaimName = "redis-pvc-kv-0"
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("the set (-want +got):\n%s", diff)
	}
}

func TestRemapRefuses(t *testing.T) {
	tests := []struct {
		name    string
		mapping Mapping
		want    refusal
	}{
		{"a namespace that the point does not have", Mapping{Namespaces: map[string]string{"shpo": "x"}}, refusal{"Namespace shpo", "nothing that is to be restored has it", "correct --map-namespace shpo=x"}},
		{"a driver that no volume has", Mapping{Drivers: map[string]string{"x.example.com": "y.example.com"}}, refusal{"CSIDriver x.example.com", "has it", "--driver"}},
		{"a zone that nothing is in", Mapping{Zones: map[string]string{"eu": "us"}}, refusal{"Zone eu", "has it", "--zone"}},
		{"a key that nothing has", Mapping{TopologyKeys: map[string]string{"a/zone": "b/zone"}}, refusal{"Topology key a/zone", "has it", "--topology-key"}},
		{"a volume that no claim has", Mapping{VolumeNames: map[string]string{"pv-1": "pv-2"}}, refusal{"PersistentVolume pv-1", "has it", "--pv-name"}},
		{"a set that the point does not have", Mapping{Sets: map[string]string{"rediss": "x"}}, refusal{"StatefulSet rediss", "has it", "--set-name"}},
		{"replicas of a workload that is not restored", Mapping{Replicas: map[catalog.Workload]int32{{Kind: "Deployment", Name: "web"}: 1}}, refusal{"Deployment web", "not among", "--replicas"}},
		{"a namespace that is no name", Mapping{Namespaces: map[string]string{"shop": "Shop_2"}}, refusal{"Namespace shop", `cannot be mapped to "Shop_2"`, "another name"}},
		{"a set that is no name", Mapping{Sets: map[string]string{"redis": strings.Repeat("x", 64)}}, refusal{"StatefulSet redis", "no more than 63", "another name"}},
		{"a template that makes no name", Mapping{VolumeTemplate: "{namespace}/{claim}"}, refusal{"PersistentVolume pv-redis-0", `it would be named "shop/redis-pvc-redis-0"`, "--pv-name"}},
		{"two volumes under one name", Mapping{VolumeTemplate: "data"}, refusal{"PersistentVolume data", "two objects of the point would get this name", "different names"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Remap(shop(), test.mapping)
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a refusal", err)
			}
			first := &RefusedError{Refusals: refused.Refusals[:1]}
			expectRefusals(t, []refusal{test.want}, first)
		})
	}
}

func TestRemapOfTwoNamespacesIntoOne(t *testing.T) {
	_, err := checkedPlan(t, mall(), Request{Mapping: Mapping{Namespaces: map[string]string{"billing": "shop"}}}, emptyCluster())
	expectRefusals(t, []refusal{
		{"PersistentVolumeClaim shop/redis-pvc-redis-0", "two objects of the point would get this name", "map them to different names"},
		{"StatefulSet shop/redis", "two objects of the point would get this name", "map them to different names"},
	}, err)
}

func TestRemapTellsWhatStillNamesTheFormer(t *testing.T) {
	point := shop()
	config := shopConfigMap()
	config.Name, config.Data = "replication", map[string]string{"conf": "replicaof redis-0.redis-service.shop.svc.cluster.local 6379"}
	addObject(point, &config)
	_, notes, err := Remap(point, Mapping{Namespaces: map[string]string{"shop": "copy"}, Sets: map[string]string{"redis": "kv"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ConfigMap copy/replication still say namespace shop by the former name; look at them (--patch-file changes them)",
		"ConfigMap copy/replication still say the Pods of StatefulSet redis by the former name; look at them (--patch-file changes them)",
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// tracked gives every object of a point each mark of each tool.
func tracked(point *catalog.RestorePoint) {
	for i := range point.Bundle.Objects {
		o := &point.Bundle.Objects[i]
		labels, annotations := o.GetLabels(), o.GetAnnotations()
		if labels == nil {
			labels = map[string]string{}
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		labels["app.kubernetes.io/managed-by"] = "Helm"
		for _, key := range trackingLabels {
			labels[key] = "shop"
		}
		for _, key := range trackingAnnotations {
			annotations[key] = "shop"
		}
		annotations["argocd.argoproj.io/sync-options"] = "Prune=false"
		o.SetLabels(labels)
		o.SetAnnotations(annotations)
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: "gone"}})
	}
}

func TestNothingThatIsCreatedIsTracked(t *testing.T) {
	for _, keep := range []bool{false, true} {
		point := mall()
		tracked(point)
		plan, err := checkedPlan(t, point, Request{Mapping: Mapping{KeepTracking: keep}}, emptyCluster())
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range plan.Steps() {
			for _, key := range append(slices.Clone(trackingLabels), "app.kubernetes.io/managed-by") {
				if _, has := step.Object.GetLabels()[key]; has != keep {
					t.Errorf("%s %s has label %s: %v, want %v", step.Kind, step.Name, key, has, keep)
				}
			}
			for _, key := range trackingAnnotations {
				if _, has := step.Object.GetAnnotations()[key]; has != keep {
					t.Errorf("%s %s has annotation %s: %v, want %v", step.Kind, step.Name, key, has, keep)
				}
			}
			if step.Object.GetAnnotations()["argocd.argoproj.io/sync-options"] == "" {
				t.Errorf("%s %s lost what forbids to prune it", step.Kind, step.Name)
			}
			if len(step.Object.GetOwnerReferences()) > 0 {
				t.Errorf("%s %s has an owner", step.Kind, step.Name)
			}
		}
		said := slices.ContainsFunc(plan.Notes, func(note string) bool {
			return strings.Contains(note, "argocd.argoproj.io/instance (") && strings.Contains(note, "--keep-gitops-labels")
		})
		if said == keep {
			t.Errorf("with KeepTracking %v the notes are %q", keep, plan.Notes)
		}
	}
}

func TestPatch(t *testing.T) {
	add := func(path, value string) string {
		return fmt.Sprintf(`[{"op":"add","path":%q,"value":%s}]`, path, value)
	}
	tests := []struct {
		name, kind, patch, refused string
	}{
		{"a label", "PersistentVolumeClaim", add("/metadata/labels/team", `"shop"`), ""},
		{"the mount options of a volume", "PersistentVolume", add("/spec/mountOptions", `["noatime"]`), ""},
		{"the image of a set", "StatefulSet", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"redis:8"}]`, ""},
		{"no operation", "StatefulSet", `[]`, ""},
		{"the claim that a volume is for", "PersistentVolume", `[{"op":"remove","path":"/spec/claimRef"}]`, "/spec/claimRef"},
		{"the uid of that claim", "PersistentVolume", add("/spec/claimRef/uid", `"x"`), "/spec/claimRef"},
		{"the disk", "PersistentVolume", `[{"op":"replace","path":"/spec/csi/volumeHandle","value":"x"}]`, "/spec/csi/volumeHandle"},
		{"the driver", "PersistentVolume", `[{"op":"replace","path":"/spec/csi/driver","value":"x"}]`, "/spec/csi/driver"},
		{"the whole source", "PersistentVolume", `[{"op":"remove","path":"/spec/csi"}]`, "/spec/csi/driver"},
		{"the whole spec, moved away", "PersistentVolume", `[{"op":"move","from":"/spec","path":"/spek"}]`, "/spec/claimRef"},
		{"the reclaim policy", "PersistentVolume", `[{"op":"replace","path":"/spec/persistentVolumeReclaimPolicy","value":"Delete"}]`, "/spec/persistentVolumeReclaimPolicy"},
		{"the provisioner", "PersistentVolume", `[{"op":"replace","path":"/metadata/annotations/pv.kubernetes.io~1provisioned-by","value":"x"}]`, "provisioned-by"},
		{"the mark of the binder on a volume", "PersistentVolume", add("/metadata/annotations/pv.kubernetes.io~1bound-by-controller", `"yes"`), "bound-by-controller"},
		{"the volume of a claim", "PersistentVolumeClaim", `[{"op":"remove","path":"/spec/volumeName"}]`, "/spec/volumeName"},
		{"the mark of the binder on a claim", "PersistentVolumeClaim", add("/metadata/annotations", `{"pv.kubernetes.io/bind-completed":"yes"}`), "bind-completed"},
		{"a data source", "PersistentVolumeClaim", add("/spec/dataSource", `{"kind":"PersistentVolumeClaim","name":"x"}`), "/spec/dataSource"},
		{"an owner", "PersistentVolumeClaim", add("/metadata/ownerReferences", `[{"uid":"x"}]`), "/metadata/ownerReferences"},
		{"a finalizer", "PersistentVolume", add("/metadata/finalizers", `["x/y"]`), "/metadata/finalizers"},
		{"a name", "StatefulSet", `[{"op":"replace","path":"/metadata/name","value":"x"}]`, "/metadata/name"},
		{"a namespace", "StatefulSet", `[{"op":"replace","path":"/metadata/namespace","value":"x"}]`, "/metadata/namespace"},
		{"the replicas of a set", "StatefulSet", `[{"op":"replace","path":"/spec/replicas","value":9}]`, "/spec/replicas"},
		{"the name of a claim template", "StatefulSet", `[{"op":"replace","path":"/spec/volumeClaimTemplates/0/metadata/name","value":"x"}]`, "volumeClaimTemplates"},
		{"a field that is not there", "StatefulSet", `[{"op":"remove","path":"/spec/nothing"}]`, "does not apply"},
		{"what is no patch", "StatefulSet", `{"spec":{}}`, "not a JSON patch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := Request{Mapping: Mapping{Patches: []Patch{{Kind: test.kind, Operations: []byte(test.patch)}}}}
			plan, err := checkedPlan(t, shop(), request, emptyCluster())
			if test.refused != "" {
				var refused *RefusedError
				if !errors.As(err, &refused) || !strings.Contains(refused.Refusals[0].Problem, test.refused) || refused.Refusals[0].Kind != test.kind {
					t.Errorf("error %v, want a refusal of %s that says %q", err, test.kind, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			plain, err := NewPlan(shop(), Request{}, emptyCluster())
			if err != nil {
				t.Fatal(err)
			}
			changed := map[string]bool{}
			for i, step := range plan.Steps() {
				if !cmp.Equal(step.Object, plain.Steps()[i].Object) {
					changed[step.Kind] = true
				}
			}
			want := map[string]bool{test.kind: true}
			if test.patch == "[]" {
				want = map[string]bool{}
			}
			if !maps.Equal(changed, want) {
				t.Errorf("kinds %v were changed, want %v", changed, want)
			}
		})
	}
}

func TestPatchOfOneObject(t *testing.T) {
	patch := Patch{Kind: "PersistentVolumeClaim", Name: "redis-pvc-redis-1", Operations: []byte(`[{"op":"add","path":"/metadata/labels/x","value":"y"}]`)}
	plan, err := checkedPlan(t, shop(), Request{Mapping: Mapping{Patches: []Patch{patch}}}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	var patched []string
	for _, step := range plan.Steps() {
		if step.Object.GetLabels()["x"] != "" {
			patched = append(patched, step.Name)
		}
	}
	if !slices.Equal(patched, []string{"redis-pvc-redis-1"}) {
		t.Errorf("patched %v", patched)
	}
	patch.Name = "redis-pvc-redis-9"
	_, err = checkedPlan(t, shop(), Request{Mapping: Mapping{Patches: []Patch{patch}}}, emptyCluster())
	expectRefusals(t, []refusal{{"PersistentVolumeClaim redis-pvc-redis-9", "the restore has no such object", "correct --patch-file"}}, err)
}

// Whatever a patch does, what it may not touch stays as it was.
func TestPatchProperties(t *testing.T) {
	volume, claim, err := Prebind(Pair{Volume: redisVolume(0), Claim: redisClaim(0)}, shopClass)
	if err != nil {
		t.Fatal(err)
	}
	objects := []*unstructured.Unstructured{create(volume, "").Object, create(claim, "").Object}
	paths := []string{"", "/spec", "/metadata", "/metadata/annotations", "/spec/claimRef", "/spec/claimRef/uid", "/spec/csi", "/spec/csi/volumeHandle", "/spec/volumeName", "/spec/resources", "/metadata/labels", "/metadata/name", "/spec/mountOptions", "/spec/storageClassName"}
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.SampledFrom(objects).Draw(t, "object")
		var operations []map[string]any
		for range rapid.IntRange(1, 3).Draw(t, "operations") {
			operations = append(operations, map[string]any{
				"op": rapid.SampledFrom([]string{"add", "remove", "replace", "move", "copy"}).Draw(t, "op"), "path": rapid.SampledFrom(paths).Draw(t, "path"),
				"from": rapid.SampledFrom(paths).Draw(t, "from"), "value": rapid.SampledFrom([]any{"x", map[string]any{}, nil, []any{"x"}}).Draw(t, "value"),
			})
		}
		data, err := json.Marshal(operations)
		if err != nil {
			t.Fatal(err)
		}
		before := toJSON(t, object)
		after, err := Patch{Kind: object.GetKind(), Operations: data}.apply(object)
		if toJSON(t, object) != before {
			t.Fatal("the input changed")
		}
		if err != nil {
			return
		}
		for _, path := range guards(object.GetKind()) {
			if was, is := nested(object.Object, path...), nested(after.Object, path...); toJSON(t, was) != toJSON(t, is) {
				t.Errorf("%s changed %v from %v to %v", data, path, was, is)
			}
		}
	})
}

// nested is the field at path, or nil.
func nested(object map[string]any, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(object, path...)
	return value
}
