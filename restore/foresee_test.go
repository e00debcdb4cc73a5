package restore

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
)

// changeObjects changes the typed objects of one kind in a point.
func changeObjects[T any](t *testing.T, point *catalog.RestorePoint, kind string, change func(*T)) {
	t.Helper()
	for i, o := range point.Bundle.Objects {
		if o.GetKind() != kind {
			continue
		}
		typed := decoded[T](t, o.Object)
		change(&typed)
		content := decoded[map[string]any](t, typed)
		delete(content, "status")
		point.Bundle.Objects[i] = unstructured.Unstructured{Object: content}
	}
}

func affineTo(zone string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "topology.kubernetes.io/zone", Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
		}}}}
	}
}

func quota(hard, used corev1.ResourceList) corev1.ResourceQuota {
	return corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "limits"}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used}}
}

func amount(name corev1.ResourceName, quantity string) corev1.ResourceList {
	return corev1.ResourceList{name: resource.MustParse(quantity)}
}

func restricted(o *Observed) {
	ns := namespace("shop")
	ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	o.Namespaces = append(o.Namespaces, ns)
}

// What does not endanger data, and keeps Pods from using it.
func TestPlanForesees(t *testing.T) {
	inEU := func(p *catalog.RestorePoint) { changeObjects(t, p, "PersistentVolume", affineTo("eu-1a")) }
	node := func(zone string) func(*Observed) {
		return func(o *Observed) {
			o.Machines = []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"topology.kubernetes.io/zone": zone}}}}
		}
	}
	withSecret := func(p *catalog.RestorePoint) {
		changeObjects(t, p, "PersistentVolume", func(v *corev1.PersistentVolume) {
			v.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "kube-system", Name: "disks"}
		})
	}
	secretIs := func(state SecretState) func(*Observed) {
		return func(o *Observed) {
			o.SecretStates = map[types.NamespacedName]SecretState{{Namespace: "kube-system", Name: "disks"}: state}
		}
	}
	withGold := func(p *catalog.RestorePoint) {
		name := "gold"
		changeObjects(t, p, "PersistentVolumeClaim", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &name })
	}
	goldOf := func(driver string) func(*Observed) {
		return func(o *Observed) {
			o.AttributesKnown = true
			o.AttributesClasses = []storagev1.VolumeAttributesClass{{ObjectMeta: metav1.ObjectMeta{Name: "gold"}, DriverName: driver}}
		}
	}
	limits := func(hard, used corev1.ResourceList) func(*Observed) {
		return func(o *Observed) { o.Quotas = []corev1.ResourceQuota{quota(hard, used)} }
	}
	tests := []struct {
		name    string
		point   func(*catalog.RestorePoint)
		given   func(*Observed)
		request Request
		check   Check // with which the refusal can be ignored
		refused *refusal
		note    string
	}{
		{name: "a node can reach each volume", point: inEU, given: node("eu-1a")},
		{name: "no node can", point: inEU, given: node("us-2c"), check: CheckNodes,
			refused: &refusal{"PersistentVolume pv-redis-0", "no node matches its node affinity (topology.kubernetes.io/zone In eu-1a)", "--zone OLD=NEW"}},
		{name: "no node can, until the zone is mapped", point: inEU, given: node("us-2c"), request: Request{Mapping: Mapping{Zones: map[string]string{"eu-1a": "us-2c"}}}},
		{name: "nodes could not be listed", point: inEU},
		{name: "no node has registered the driver", given: func(o *Observed) { o.Nodes[0].Spec.Drivers = nil }, note: "no node has registered driver " + shopDriver},

		{name: "the Secret is there", point: withSecret, given: secretIs(SecretPresent)},
		{name: "the Secret is not there", point: withSecret, given: secretIs(SecretAbsent), check: CheckSecrets,
			refused: &refusal{"Secret kube-system/disks", "the driver needs it to use PersistentVolume pv-redis-0", "create it"}},
		{name: "the Secret may not be looked at", point: withSecret, given: secretIs(SecretUnknown), note: "Secret kube-system/disks, which the driver needs"},

		{name: "the quota has room", given: limits(amount("requests.storage", "10Gi"), amount("requests.storage", "7Gi"))},
		{name: "the quota has no room for the storage", given: limits(amount("requests.storage", "10Gi"), amount("requests.storage", "7680Mi")), check: CheckQuota,
			refused: &refusal{"ResourceQuota shop/limits", "it limits requests.storage to 10Gi, of which 7680Mi is used, and the restore needs 3Gi more", "raise it"}},
		{name: "the quota has no room for the claims", given: limits(amount("persistentvolumeclaims", "4"), amount("persistentvolumeclaims", "2")), check: CheckQuota,
			refused: &refusal{"ResourceQuota shop/limits", "persistentvolumeclaims to 4, of which 2 is used, and the restore needs 3 more", "raise it"}},
		{name: "the quota has no room in the class", given: limits(amount(shopClass+".storageclass.storage.k8s.io/requests.storage", "1Gi"), nil), check: CheckQuota,
			refused: &refusal{"ResourceQuota shop/limits", "needs 3Gi more", "raise it"}},
		{name: "the quota has no room in a class that the claims do not use", given: limits(amount("fast.storageclass.storage.k8s.io/requests.storage", "1Gi"), nil)},
		{name: "the quota has no room for a set", given: limits(amount("count/statefulsets.apps", "1"), amount("count/statefulsets.apps", "1")), check: CheckQuota,
			refused: &refusal{"ResourceQuota shop/limits", "count/statefulsets.apps", "raise it"}},
		{name: "the quota is of another namespace", given: func(o *Observed) {
			limits(amount("persistentvolumeclaims", "0"), nil)(o)
			o.Quotas[0].Namespace = "billing"
		}},
		{name: "the quota is for Pods of some priority", given: func(o *Observed) {
			limits(amount("persistentvolumeclaims", "0"), nil)(o)
			o.Quotas[0].Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
		}},
		{name: "what is there already needs no room", given: func(o *Observed) {
			*o = *runningShop()
			limits(amount("persistentvolumeclaims", "3"), amount("persistentvolumeclaims", "3"))(o)
		}},

		{name: "the namespace does not admit the Pods", given: restricted, check: CheckPodSecurity,
			refused: &refusal{"StatefulSet shop/redis", "its Pods would not be admitted: namespace shop enforces pod security restricted", "--patch-file"}},
		{name: "the namespace that the point creates does not", point: func(p *catalog.RestorePoint) {
			changeObjects(t, p, "Namespace", func(ns *corev1.Namespace) {
				ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
			})
		}, check: CheckPodSecurity, refused: &refusal{"StatefulSet shop/redis", "allowPrivilegeEscalation", "label"}},
		{name: "the namespace admits them, with a warning", given: func(o *Observed) {
			restricted(o)
			o.Namespaces[2].Labels = map[string]string{"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/enforce": "baseline"}
		}},
		{name: "the set is there already", given: func(o *Observed) {
			restricted(o)
			o.StatefulSets = []appsv1.StatefulSet{redisSet(0)}
		}},

		{name: "a HorizontalPodAutoscaler leaves a set at 0 alone", given: pausedByHPA, note: "HorizontalPodAutoscaler shop/redis-hpa rests while statefulset/redis is at 0"},
		{name: "KEDA does not", given: scaledByKEDA, check: CheckAutoscaler,
			refused: &refusal{"ScaledObject shop/redis-scaler", "may scale statefulset/redis up", "autoscaling.keda.sh/paused=true"}},

		{name: "the VolumeAttributesClass is there", point: withGold, given: goldOf(shopDriver), request: Request{From: FromSnapshots}},
		{name: "it is of another driver, and a disk is to be made with it", point: withGold, given: goldOf("other.example.com"), request: Request{From: FromSnapshots},
			refused: &refusal{"VolumeAttributesClass gold", "it does not exist for driver " + shopDriver, "remove /spec/volumeAttributesClassName"}},
		{name: "it is of another driver, and the disk is there", point: withGold, given: goldOf("other.example.com"), note: "VolumeAttributesClass gold does not exist"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			point, observed := shop(), emptyCluster()
			if test.point != nil {
				test.point(point)
			}
			if test.given != nil {
				test.given(observed)
			}
			plan, err := checkedPlan(t, point, test.request, observed)
			if test.refused != nil {
				var first *RefusedError
				if refused, ok := err.(*RefusedError); ok {
					first = &RefusedError{Refusals: refused.Refusals[:1]}
					expectRefusals(t, []refusal{*test.refused}, first)
				} else {
					t.Fatalf("error %v, want a refusal", err)
				}
				if test.check == "" {
					return
				}
				test.request.Ignore, test.note = []Check{test.check}, "ignored ("+string(test.check)+")"
				plan, err = checkedPlan(t, point, test.request, observed)
			}
			if err != nil {
				t.Fatal(err)
			}
			said := slices.ContainsFunc(plan.Notes, func(note string) bool { return strings.Contains(note, test.note) })
			if test.note != "" && !said {
				t.Errorf("notes %q, want one that says %q", plan.Notes, test.note)
			}
		})
	}
}

func TestTwoClaimsOverOneDisk(t *testing.T) {
	point := shop()
	point.Bundle.Volumes[1].VolumeHandle = diskOf(0)
	changeObjects(t, point, "PersistentVolume", func(v *corev1.PersistentVolume) {
		if v.Name == "pv-redis-1" {
			v.Spec.CSI.VolumeHandle = string(diskOf(0))
		}
	})
	_, err := checkedPlan(t, point, Request{}, emptyCluster())
	expectRefusals(t, []refusal{{"PersistentVolumeClaim shop/redis-pvc-redis-1", "over the same disk disk-0 as claim shop/redis-pvc-redis-0", "restore one of the two by its name"}}, err)
	for what, request := range map[string]Request{"one of them": {Claims: []string{"redis-pvc-redis-1"}}, "copies": {From: FromSnapshots}} {
		if _, err := checkedPlan(t, point, request, emptyCluster()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestADriverIsMappedOnlyWhenItIsSaidWhere(t *testing.T) {
	mapping := Mapping{Drivers: map[string]string{shopDriver: "other.example.com"}, StorageClasses: map[string]string{shopClass: "foreign"}}
	given := emptyCluster()
	given.Drivers[0].Name = "other.example.com"
	_, err := checkedPlan(t, shop(), Request{From: FromAuto, Mapping: mapping}, given)
	expectRefusals(t, []refusal{{"CSIDriver " + shopDriver, "whether that driver knows its disks", "--from disks"}}, err)
	for _, from := range []From{FromDisks, FromSnapshots} {
		plan, err := checkedPlan(t, shop(), Request{From: from, Mapping: mapping}, given)
		if err != nil {
			t.Fatal(err)
		}
		if text := toJSON(t, plan); strings.Contains(text, shopDriver) {
			t.Errorf("%s: the former driver is in the plan:\n%s", from, text)
		}
	}
}

func TestASetUnderAnotherName(t *testing.T) {
	point := shop()
	point.Bundle.Volumes = point.Bundle.Volumes[:2]
	point.Bundle.Skipped = []catalog.Skip{{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "redis-pvc-redis-2", Reason: catalog.SkipProtectError, Message: "it could not be protected"}}
	mapping := Mapping{Namespaces: map[string]string{"shop": "copy"}, Sets: map[string]string{"redis": "kv"}}
	_, err := checkedPlan(t, point, Request{Mapping: mapping}, emptyCluster())
	expectRefusals(t, []refusal{{"PersistentVolumeClaim copy/redis-pvc-kv-2", "would be given an empty disk", "--ordinals"}}, err)

	mapping.Replicas = map[catalog.Workload]int32{{Kind: "StatefulSet", Name: "redis"}: 2}
	plan, err := checkedPlan(t, point, Request{Mapping: mapping}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(append(volumeLines(plan), stepWords(plan.Workloads)...), "; ")
	want := "reattach: create pv/pv-redis-0, create pvc/redis-pvc-kv-0; reattach: create pv/pv-redis-1, create pvc/redis-pvc-kv-1; create Service/redis-service; create StatefulSet/kv"
	if got != want {
		t.Errorf("plan\n%s\nwant\n%s", got, want)
	}
}
