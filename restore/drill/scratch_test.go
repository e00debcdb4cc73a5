package drill

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

func object(t *testing.T, text string) unstructured.Unstructured {
	t.Helper()
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// shop is a point of two namespaces: a set that runs as a user of its own, a
// Deployment that runs as root, and a block device that nothing uses.
func shop(t *testing.T) *catalog.RestorePoint {
	t.Helper()
	claim := func(namespace, name, more string) unstructured.Unstructured {
		return object(t, `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: `+namespace+`, name: `+name+`, labels: {app: redis, hawser.dev/plan: web}, annotations: {a: b}}, spec: {storageClassName: fast, volumeName: pv-`+name+more+`}}`)
	}
	volume := func(namespace, name string) catalog.Volume {
		return catalog.Volume{
			Claim: catalog.ClaimKey{Namespace: namespace, Name: name}, PersistentVolume: "pv-" + name, Driver: "d", VolumeHandle: catalog.VolumeHandle("disk-" + name), StorageClass: "fast",
			Snapshot: &catalog.Snapshot{Handle: catalog.SnapshotHandle("snap-" + name)},
		}
	}
	set, deployment, block := volume("shop", "data-redis-0"), volume("billing", "books"), volume("shop", "raw")
	set.Workload, set.Template, set.Ordinal = &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, "data", ptr.To(0)
	deployment.Workload = &catalog.Workload{Kind: "Deployment", Name: "books"}
	block.StorageClass = "slow"
	return &catalog.RestorePoint{
		Commit: catalog.Commit{Point: "20260903-120000-databases-10792870", Plan: "databases"},
		Bundle: catalog.Bundle{
			Format: 1, Point: "20260903-120000-databases-10792870", Volumes: []catalog.Volume{set, deployment, block},
			Objects: []unstructured.Unstructured{
				object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`),
				object(t, `{apiVersion: v1, kind: Secret, metadata: {namespace: shop, name: password}}`),
				object(t, `{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-data-redis-0}}`),
				claim("shop", "data-redis-0", ""), claim("billing", "books", ""), claim("shop", "raw", ", volumeMode: Block"),
				object(t, `{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: redis}}`),
				object(t, `{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: shop, name: redis}, spec: {template: {spec: {
					securityContext: {runAsUser: 1, fsGroup: 2000},
					containers: [{name: side, securityContext: {runAsUser: 7}}, {name: redis, securityContext: {runAsUser: 999}, volumeMounts: [{name: data, mountPath: /redis}]}]}}}}`),
				object(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: billing, name: books}, spec: {template: {spec: {securityContext: {runAsUser: 0}, containers: [{name: books}]}}}}`),
			},
		},
	}
}

func TestAScratchHasTheClaimsAndNothingElse(t *testing.T) {
	point := shop(t)
	before, err := json.Marshal(point)
	if err != nil {
		t.Fatal(err)
	}
	fast := storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "d", Parameters: map[string]string{"p": "q"}, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimRetain),
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: ptr.To(true),
	}
	s, err := NewScratch(point, one, "practice", []storagev1.StorageClass{fast})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := json.Marshal(point); err != nil || string(before) != string(after) {
		t.Errorf("the point was changed (%v)", err)
	}
	var objects []string
	for _, o := range s.Point.Bundle.Objects {
		objects = append(objects, o.GetKind()+" "+o.GetName())
		if o.GetKind() == "PersistentVolumeClaim" && (!cmp.Equal(o.GetLabels(), marks(one)) || len(o.GetAnnotations()) > 0) {
			t.Errorf("claim %s has labels %v and annotations %v, want the marks alone", o.GetName(), o.GetLabels(), o.GetAnnotations())
		}
	}
	if want := []string{"PersistentVolume pv-data-redis-0", "PersistentVolumeClaim data-redis-0", "PersistentVolumeClaim books", "PersistentVolumeClaim raw"}; !slices.Equal(objects, want) {
		t.Errorf("objects are %q, want %q", objects, want)
	}
	wantMapping := restore.Mapping{
		Namespaces:     map[string]string{"shop": "practice-0a1b2c3d-0", "billing": "practice-0a1b2c3d-1"},
		StorageClasses: map[string]string{"fast": "hawser-drill-0a1b2c3d-0"}, // of slow there is none
		Patches:        s.Request.Mapping.Patches,
	}
	if diff := cmp.Diff(wantMapping, s.Request.Mapping); diff != "" {
		t.Errorf("mapping (-want +got):\n%s", diff)
	}
	class := fast
	class.ObjectMeta = metav1.ObjectMeta{Name: "hawser-drill-0a1b2c3d-0", Labels: marks(one)}
	class.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	if diff := cmp.Diff([]storagev1.StorageClass{class}, s.Classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
	for _, n := range s.Namespaces {
		if markedBy(n.Labels) != one || n.Labels[api.EnforceLevelLabel] != "restricted" || markIn(scratchName, n.Name) != one.Mark() {
			t.Errorf("namespace %s has labels %v", n.Name, n.Labels)
		}
	}
	if len(s.Namespaces) != 2 || s.Request.From != restore.FromSnapshots {
		t.Errorf("%d namespaces, from %s", len(s.Namespaces), s.Request.From)
	}
}

func TestAScratchIsRefused(t *testing.T) {
	for _, prefix := range []string{"", "Drill", "kube-system", "a b", strings.Repeat("x", 52)} {
		if _, err := NewScratch(shop(t), one, prefix, nil); err == nil {
			t.Errorf("prefix %q is taken", prefix)
		}
	}
	empty := shop(t)
	empty.Bundle.Volumes = nil
	if _, err := NewScratch(empty, one, DefaultPrefix, nil); err == nil || !strings.Contains(err.Error(), "no claims") {
		t.Errorf("a point without claims: %v", err)
	}
}

func TestTheRestrictedStandardAdmitsThePods(t *testing.T) {
	point := shop(t)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		user, group int64
		block       bool
	}{{999, 2000, false}, {nobody, nobody, false}, {nobody, nobody, true}} {
		v := point.Bundle.Volumes[i]
		pod := NewPod(one, Check{Image: "redis:7.0", Command: []string{"redis-check-rdb", "/data/dump.rdb"}}, point, v, catalog.ClaimKey{Namespace: "scratch", Name: v.Claim.Name})
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
		if !result.Allowed {
			t.Errorf("Pod of claim %s: %s", v.Claim, result.ForbiddenDetail())
		}
		context, container := pod.Spec.SecurityContext, pod.Spec.Containers[0]
		if *context.RunAsUser != want.user || *context.FSGroup != want.group {
			t.Errorf("Pod of claim %s runs as %d:%d, want %d:%d", v.Claim, *context.RunAsUser, *context.FSGroup, want.user, want.group)
		}
		mounts := slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/data" && m.ReadOnly })
		device := len(container.VolumeDevices) == 1 && container.VolumeDevices[0].DevicePath == "/data"
		if mounts == want.block || device != want.block {
			t.Errorf("Pod of claim %s has mounts %v and devices %v", v.Claim, container.VolumeMounts, container.VolumeDevices)
		}
		if env := container.Env; env[0].Value != v.Claim.Name || env[1].Value != v.Claim.Namespace {
			t.Errorf("Pod of claim %s has the variables %v", v.Claim, env)
		}
		if markedBy(pod.Labels) != one {
			t.Errorf("Pod of claim %s has labels %v", v.Claim, pod.Labels)
		}
	}
}
