package restore

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
)

// What is printed can be read again by the API server's own strict decoder,
// and is the same then.
func TestManifestsCanBeReadAgain(t *testing.T) {
	observed := emptyCluster()
	observed.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(0)}] = DiskState{DiskGone, "not found"}
	plan, err := checkedPlan(t, mall(), Request{From: FromAuto}, observed)
	if err != nil {
		t.Fatal(err)
	}
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	if err := snapshotv1.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	for _, manifest := range plan.Manifests() {
		object := manifest.Object
		data, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		into, err := known.New(object.GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			t.Errorf("%s %s: %v\n%s", object.GetKind(), object.GetName(), err, data)
		}
		var again map[string]any
		if err := yaml.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(toJSON(t, object.Object), toJSON(t, again)); diff != "" {
			t.Errorf("%s %s (-planned +read again):\n%s", object.GetKind(), object.GetName(), diff)
		}
	}
}

func TestManifestsAreWhatThePlanCreatesAndPatches(t *testing.T) {
	observed := emptyCluster()
	observed.haveVolume(0, corev1.VolumeReleased, foreignUID, policyDelete)
	observed.haveVolume(1, corev1.VolumeBound, policyDelete)
	observed.haveClaim(1, corev1.ClaimBound)
	observed.Namespaces = append(observed.Namespaces, namespace("shop"))
	plan, err := checkedPlan(t, shop(), Request{}, observed)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, manifest := range plan.Manifests() {
		if manifest.Object != nil {
			got = append(got, manifest.Object.GetKind()+" "+manifest.Object.GetName())
			continue
		}
		name, patch := patchCommand(t, manifest.Comment)
		got = append(got, "patch "+name)
		if after := patched(t, *observed.volume(name), []byte(patch)); after.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("after the command the volume is %s", after.Spec.PersistentVolumeReclaimPolicy)
		}
	}
	want := []string{
		"ConfigMap redis-config",
		"patch pv-redis-0", "patch pv-redis-1", "PersistentVolume pv-redis-2",
		"PersistentVolumeClaim redis-pvc-redis-0", "PersistentVolumeClaim redis-pvc-redis-2",
		"Service redis-service", "StatefulSet redis",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
}

// patchCommand takes the command of a comment apart as a shell would.
func patchCommand(t *testing.T, command string) (name, patch string) {
	t.Helper()
	rest, found := strings.CutPrefix(command, "kubectl patch pv ")
	name, rest, found2 := strings.Cut(rest, " --type=merge -p '")
	patch, found3 := strings.CutSuffix(rest, "'")
	if !found || !found2 || !found3 || strings.ContainsAny(patch, "'\n") || !json.Valid([]byte(patch)) {
		t.Fatalf("not a command that can be pasted: %s", command)
	}
	return name, patch
}
