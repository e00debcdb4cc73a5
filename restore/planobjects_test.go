package restore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

const (
	freshPrepare   = "create Namespace/shop, create ConfigMap/redis-config"
	freshWorkloads = "create Service/redis-service, create StatefulSet/redis"
)

func TestPlanNamespacesConfigurationAndWorkloads(t *testing.T) {
	nobody := func(o *Observed) { o.StatefulSets[0] = redisSet(0) }
	tests := []struct {
		name      string
		given     func(*Observed) // changes an empty cluster
		prepare   string
		workloads string
		refused   []refusal
	}{
		{name: "nothing is there: all is made", prepare: freshPrepare, workloads: freshWorkloads},
		{name: "all is there: all is kept", given: func(o *Observed) { *o = *runningShop() },
			prepare: "keep Namespace/shop, keep ConfigMap/redis-config", workloads: "keep Service/redis-service, keep StatefulSet/redis"},
		{name: "the namespace exists, with a ConfigMap of another content: both are kept",
			given: func(o *Observed) {
				o.Namespaces = append(o.Namespaces, namespace("shop"))
				config := shopConfigMap()
				config.Data = nil
				o.ConfigMaps = append(o.ConfigMaps, config)
			},
			prepare: "keep Namespace/shop, keep ConfigMap/redis-config", workloads: freshWorkloads},
		{name: "objects of the same names in another namespace are others",
			given: func(o *Observed) {
				config, service, set := shopConfigMap(), shopService(), redisSet(3)
				config.Namespace, service.Namespace, set.Namespace = "copy", "copy", "copy"
				o.ConfigMaps, o.Services, o.StatefulSets = append(o.ConfigMaps, config), append(o.Services, service), append(o.StatefulSets, set)
			},
			prepare: freshPrepare, workloads: freshWorkloads},
		{name: "the set runs with its claims bound: it is kept",
			given: func(o *Observed) {
				*o = *runningShop()
				o.Services = nil
			},
			prepare: "keep Namespace/shop, keep ConfigMap/redis-config", workloads: "create Service/redis-service, keep StatefulSet/redis"},
		{name: "the set runs and a claim of it is missing",
			given: func(o *Observed) {
				*o = *runningShop()
				o.Claims = o.Claims[:2]
			},
			refused: []refusal{{"StatefulSet shop/redis", "it is running (3 replicas wanted, 3 Pods), and claims of it are to be restored", "kubectl scale -n shop statefulset/redis --replicas=0"}}},
		{name: "the set is scaled to 0 and its Pods are not gone yet",
			given: func(o *Observed) {
				*o = *runningShop()
				nobody(o)
				o.StatefulSets[0].Status.Replicas = 1
				o.Claims = nil
			},
			refused: []refusal{{"StatefulSet shop/redis", "it is running (0 replicas wanted, 1 Pods)", "wait for its Pods to go"}}},
		{name: "the set is at 0: it is kept, and its claims are restored under it",
			given: func(o *Observed) {
				*o = *runningShop()
				nobody(o)
				o.Claims = nil
			},
			prepare: "keep Namespace/shop, keep ConfigMap/redis-config", workloads: "keep Service/redis-service, keep StatefulSet/redis"},
		{name: "the set runs and a claim of it is Lost",
			given: func(o *Observed) {
				*o = *runningShop()
				foreignUID(&o.Volumes[0])
				o.Claims[0].Status.Phase = corev1.ClaimLost
			},
			refused: []refusal{{"StatefulSet shop/redis", "it is running", "--replicas=0"}}},
		{name: "the namespace is being deleted",
			given: func(o *Observed) {
				ns := namespace("shop")
				ns.DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
				o.Namespaces = append(o.Namespaces, ns)
			},
			refused: []refusal{{"Namespace shop", "it is being deleted", "wait until it is gone"}}},
		{name: "the Service is being deleted",
			given: func(o *Observed) {
				*o = *runningShop()
				o.Services[0].DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
			},
			refused: []refusal{{"Service shop/redis-service", "it is being deleted", "wait until it is gone"}}},
		{name: "the set is being deleted, its claims are bound",
			given: func(o *Observed) {
				*o = *runningShop()
				o.StatefulSets[0].DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
			},
			refused: []refusal{{"StatefulSet shop/redis", "it is being deleted", "wait until it is gone"}}},
		{name: "the set is being deleted, its claims are gone",
			given: func(o *Observed) {
				*o = *runningShop()
				o.StatefulSets[0].DeletionTimestamp = ptr.To(metav1.NewTime(shopTime))
				o.Claims = nil
			},
			refused: []refusal{{"StatefulSet shop/redis", "it is being deleted", "wait until it is gone"}}},
		{name: "the set runs, and an earlier run made what it lacked",
			given: func(o *Observed) {
				*o = *runningShop()
				o.Volumes = o.Volumes[1:]
				o.Claims[0] = *staticOf(t, 0).Claim
			},
			prepare: "keep Namespace/shop, keep ConfigMap/redis-config", workloads: "keep Service/redis-service, keep StatefulSet/redis"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := emptyCluster()
			if test.given != nil {
				test.given(observed)
			}
			plan, err := checkedPlan(t, shop(), Request{}, observed)
			if test.refused != nil {
				expectRefusals(t, test.refused, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.prepare, strings.Join(stepWords(plan.Prepare), ", ")); diff != "" {
				t.Errorf("before the volumes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.workloads, strings.Join(stepWords(plan.Workloads), ", ")); diff != "" {
				t.Errorf("after the volumes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanTellsHowToStartASetThatIsAtZero(t *testing.T) {
	observed := runningShop()
	observed.StatefulSets[0] = redisSet(0)
	observed.Claims = nil
	plan, err := checkedPlan(t, shop(), Request{}, observed)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"StatefulSet shop/redis has 0 replicas: `kubectl scale -n shop StatefulSet/redis --replicas=N` starts it"}
	if diff := cmp.Diff(want, plan.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	for _, v := range plan.Volumes {
		if v.HasPod {
			t.Errorf("claim %s is said to get a Pod from a set at 0", v.Claim)
		}
	}
}

// mall is the shop with more in it: a Deployment with a claim, a bare Pod with
// one, a claim that nothing uses, a Secret, and a second redis in namespace
// billing.
func mall() *catalog.RestorePoint {
	point := shop()
	addObject(point, ptr.To(namespace("billing")))
	namespaces := point.Bundle.Objects[len(point.Bundle.Objects)-1:]
	point.Bundle.Objects = slices.Concat(namespaces, point.Bundle.Objects[:len(point.Bundle.Objects)-1]) // a backup puts them first
	pair := func(ns, name string, workload *catalog.Workload) {
		volume, claim := redisVolume(0), redisClaim(0)
		volume.Name, claim.Name, claim.Namespace = "pv-"+ns+"-"+name, name, ns
		volume.Spec.CSI.VolumeHandle = "disk-" + ns + "-" + name
		volume.Spec.ClaimRef.Namespace, volume.Spec.ClaimRef.Name = ns, name
		claim.Spec.VolumeName = volume.Name
		addObject(point, &volume)
		addObject(point, &claim)
		record := redisRecord(0)
		record.Claim = catalog.ClaimKey{Namespace: ns, Name: name}
		record.PersistentVolume, record.VolumeHandle = volume.Name, catalog.VolumeHandle(volume.Spec.CSI.VolumeHandle)
		record.Workload, record.Template, record.Ordinal = workload, "", nil
		if workload != nil && workload.Kind == "StatefulSet" {
			record.Template, record.Ordinal = "redis-pvc", ptr.To(0)
		}
		point.Bundle.Volumes = append(point.Bundle.Volumes, record)
	}
	pair("shop", "web-data", &catalog.Workload{Kind: "Deployment", Name: "web"})
	pair("shop", "import", &catalog.Workload{Kind: "Pod", Name: "importer"})
	pair("shop", "archive", nil)
	pair("billing", "redis-pvc-redis-0", &catalog.Workload{Kind: "StatefulSet", Name: "redis"})
	addObject(point, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-tls"}})
	addObject(point, &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "web-tls"}}},
		}}}},
	})
	addObject(point, &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "importer"}})
	set := redisSet(1)
	set.Namespace = "billing"
	addObject(point, &set)
	return point
}

func TestPlanOfAPartOfThePoint(t *testing.T) {
	redis := catalog.Workload{Kind: "StatefulSet", Name: "redis"}
	all := []string{
		"billing/redis-pvc-redis-0", "shop/archive", "shop/import", "shop/redis-pvc-redis-0", "shop/redis-pvc-redis-1", "shop/redis-pvc-redis-2", "shop/web-data",
	}
	tests := []struct {
		name    string
		request Request
		claims  []string
		objects string // created beside the claims and their volumes
	}{
		{"all of it", Request{}, all,
			"Namespace/billing, Namespace/shop, ConfigMap/redis-config, Secret/web-tls, Service/redis-service, Deployment/web, Pod/importer, StatefulSet/redis, StatefulSet/redis"},
		{"one namespace", Request{Namespaces: []string{"billing"}}, []string{"billing/redis-pvc-redis-0"}, "Namespace/billing, StatefulSet/redis"},
		{"one workload, in every namespace that has it", Request{Workloads: []catalog.Workload{redis}},
			[]string{"billing/redis-pvc-redis-0", "shop/redis-pvc-redis-0", "shop/redis-pvc-redis-1", "shop/redis-pvc-redis-2"},
			"Namespace/billing, Namespace/shop, ConfigMap/redis-config, Service/redis-service, StatefulSet/redis, StatefulSet/redis"},
		{"one workload of one namespace", Request{Workloads: []catalog.Workload{redis}, Namespaces: []string{"billing"}},
			[]string{"billing/redis-pvc-redis-0"}, "Namespace/billing, StatefulSet/redis"},
		{"a Deployment brings the Secret that it mounts", Request{Workloads: []catalog.Workload{{Kind: "Deployment", Name: "web"}}},
			[]string{"shop/web-data"}, "Namespace/shop, Secret/web-tls, Deployment/web"},
		{"a bare Pod", Request{Workloads: []catalog.Workload{{Kind: "Pod", Name: "importer"}}}, []string{"shop/import"}, "Namespace/shop, Pod/importer"},
		{"one claim, without its workload", Request{Claims: []string{"web-data"}}, []string{"shop/web-data"}, "Namespace/shop"},
		{"a claim that nothing uses", Request{Claims: []string{"archive"}}, []string{"shop/archive"}, "Namespace/shop"},
		{"a claim and a workload", Request{Claims: []string{"archive"}, Workloads: []catalog.Workload{{Kind: "Pod", Name: "importer"}}},
			[]string{"shop/archive", "shop/import"}, "Namespace/shop, Pod/importer"},
		{"one ordinal of a set: the set is restored whole", Request{Workloads: []catalog.Workload{redis}, Namespaces: []string{"shop"}, Ordinals: []int{0}},
			[]string{"shop/redis-pvc-redis-0"}, "Namespace/shop, ConfigMap/redis-config, Service/redis-service, StatefulSet/redis"},
		{"two ordinals leave claims without an ordinal in", Request{Namespaces: []string{"shop"}, Ordinals: []int{1, 2}},
			[]string{"shop/archive", "shop/import", "shop/redis-pvc-redis-1", "shop/redis-pvc-redis-2", "shop/web-data"},
			"Namespace/shop, ConfigMap/redis-config, Secret/web-tls, Service/redis-service, Deployment/web, Pod/importer, StatefulSet/redis"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan, err := checkedPlan(t, mall(), test.request, emptyCluster())
			if err != nil {
				t.Fatal(err)
			}
			var claims, objects []string
			for _, v := range plan.Volumes {
				claims = append(claims, v.Claim.String())
			}
			for _, s := range append(slices.Clone(plan.Prepare), plan.Workloads...) {
				objects = append(objects, s.Kind+"/"+s.Name)
			}
			slices.Sort(claims)
			if diff := cmp.Diff(test.claims, claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			wanted := strings.Split(test.objects, ", ")
			slices.Sort(wanted)
			slices.Sort(objects)
			if diff := cmp.Diff(wanted, objects); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// No controller makes claims for a bare Pod: one that waits for its claim may
// be given it.
func TestPlanRestoresTheClaimOfAPodThatExists(t *testing.T) {
	observed := emptyCluster()
	observed.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "importer"}}}
	plan, err := checkedPlan(t, mall(), Request{Workloads: []catalog.Workload{{Kind: "Pod", Name: "importer"}}}, observed)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Concat(volumeLines(plan), stepWords(plan.Workloads))
	want := []string{"reattach: create pv/pv-shop-import, create pvc/import", "keep Pod/importer"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestPlanRefusesWhatThePointDoesNotHold(t *testing.T) {
	tests := []struct {
		name    string
		request Request
		refused []refusal
	}{
		{"a workload", Request{Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "rediss"}}}, []refusal{{"StatefulSet rediss", "the point does not hold it", "`hawser show " + string(shopPoint) + "`"}}},
		{"a workload of another kind", Request{Workloads: []catalog.Workload{{Kind: "Deployment", Name: "redis"}}}, []refusal{{"Deployment redis", "the point does not hold it", "hawser show"}}},
		{"a workload of another namespace", Request{Workloads: []catalog.Workload{{Kind: "StatefulSet", Name: "redis"}}, Namespaces: []string{"billing"}}, []refusal{{"StatefulSet redis", "the point does not hold it", "hawser show"}}},
		{"a claim", Request{Claims: []string{"redis-pvc-redis-9"}}, []refusal{{"PersistentVolumeClaim redis-pvc-redis-9", "the point does not hold it", "hawser show"}}},
		{"a namespace", Request{Namespaces: []string{"shopp"}}, []refusal{{"RestorePoint " + string(shopPoint), "nothing in it matches the request", "check -n"}}},
		{"an ordinal", Request{Ordinals: []int{0, 3}}, []refusal{{"StatefulSet *", "no claim of ordinal 3", "choose among the ordinals"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := checkedPlan(t, shop(), test.request, emptyCluster())
			expectRefusals(t, test.refused, err)
		})
	}
}

// A set that is created makes the claims that it does not find: empty ones.
func TestPlanOfASetWithoutAllOfItsClaims(t *testing.T) {
	without2 := func(p *catalog.RestorePoint, reason catalog.SkipReason) {
		p.Bundle.Volumes = p.Bundle.Volumes[:2]
		dropObjects(p, "PersistentVolumeClaim", "redis-pvc-redis-2")
		if reason != "" {
			p.Bundle.Skipped = []catalog.Skip{{Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "redis-pvc-redis-2", Reason: reason, Message: "it is " + string(reason)}}
		}
	}
	claim2 := "PersistentVolumeClaim shop/redis-pvc-redis-2"
	tests := []struct {
		name    string
		reason  catalog.SkipReason
		request Request
		point   func(*catalog.RestorePoint)
		given   func(*Observed)
		refused []refusal
	}{
		{name: "it had data that the point does not hold", reason: catalog.SkipProtectError,
			refused: []refusal{{claim2, "the point does not hold it (it is protect-failed), so StatefulSet redis would be given an empty disk", "--ordinals"}}},
		{name: "it was being deleted", reason: catalog.SkipTerminating, refused: []refusal{{claim2, "it is terminating", "--ordinals"}}},
		{name: "it was on a volume of another kind", reason: catalog.SkipNotCSI, refused: []refusal{{claim2, "it is not-csi", "restore from a point that holds it"}}},
		{name: "the user chose the ordinals", reason: catalog.SkipProtectError, request: Request{Ordinals: []int{0, 1}}},
		{name: "it exists in the target", reason: catalog.SkipProtectError, given: func(o *Observed) { o.haveClaim(2, corev1.ClaimBound) }},
		{name: "it was unbound, so it had no data", reason: catalog.SkipUnbound},
		{name: "it was not there at the time of the backup"},
		{name: "it is above the replicas of the set", reason: catalog.SkipProtectError, point: func(p *catalog.RestorePoint) {
			dropObjects(p, "StatefulSet", "redis")
			addObject(p, ptr.To(redisSet(2)))
		}},
		{name: "it is below the first ordinal of the set", reason: catalog.SkipProtectError, point: func(p *catalog.RestorePoint) {
			dropObjects(p, "StatefulSet", "redis")
			set := redisSet(3)
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 3}
			addObject(p, &set)
		}},
		{name: "it is among the ordinals of a set that starts above 0", reason: catalog.SkipProtectError, point: func(p *catalog.RestorePoint) {
			dropObjects(p, "StatefulSet", "redis")
			set := redisSet(1)
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 2}
			addObject(p, &set)
		}, refused: []refusal{{claim2, "would be given an empty disk", "--ordinals"}}},
		{name: "a claim alone was asked for, without the set", reason: catalog.SkipProtectError, request: Request{Claims: []string{"redis-pvc-redis-0"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			point, observed := shop(), emptyCluster()
			without2(point, test.reason)
			if test.point != nil {
				test.point(point)
			}
			if test.given != nil {
				test.given(observed)
			}
			_, err := checkedPlan(t, point, test.request, observed)
			if test.refused != nil {
				expectRefusals(t, test.refused, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPlanNotesWhatThePointDoesNotCover(t *testing.T) {
	point := shop()
	point.Bundle.Skipped = []catalog.Skip{
		{Kind: "Secret", Namespace: "shop", Name: "redis-tls", Reason: catalog.SkipNotAsked, Message: "StatefulSet redis uses it"},
		{Kind: "Pod", Namespace: "shop", Name: "redis-0", Reason: catalog.SkipNotCovered, Message: "emptyDir"},
		{Kind: "Secret", Namespace: "billing", Name: "tls", Reason: catalog.SkipNotAsked, Message: "elsewhere"},
	}
	plan, err := checkedPlan(t, point, Request{Namespaces: []string{"shop"}}, emptyCluster())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"not in the point: Secret shop/redis-tls: StatefulSet redis uses it"}, plan.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestPlanKnowsWhichClaimsGetAPod(t *testing.T) {
	replaceSet := func(change func(*appsv1.StatefulSet)) func(*catalog.RestorePoint) {
		return func(p *catalog.RestorePoint) {
			set := redisSet(3)
			change(&set)
			dropObjects(p, "StatefulSet", "redis")
			addObject(p, &set)
		}
	}
	tests := []struct {
		name    string
		point   func(*catalog.RestorePoint)
		request Request
		want    []bool
	}{
		{name: "a set of three", want: []bool{true, true, true}},
		{name: "a set of one: the others are kept for a larger one", point: replaceSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) }), want: []bool{true, false, false}},
		{name: "a set whose replicas are not said has one", point: replaceSet(func(s *appsv1.StatefulSet) { s.Spec.Replicas = nil }), want: []bool{true, false, false}},
		{name: "a set that starts at 1", point: replaceSet(func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1} }), want: []bool{false, true, true}},
		{name: "claims alone", request: Request{Claims: []string{"redis-pvc-redis-0", "redis-pvc-redis-1", "redis-pvc-redis-2"}}, want: []bool{false, false, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			point := shop()
			if test.point != nil {
				test.point(point)
			}
			plan, err := checkedPlan(t, point, test.request, emptyCluster())
			if err != nil {
				t.Fatal(err)
			}
			var got []bool
			for _, v := range plan.Volumes {
				got = append(got, v.HasPod)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("claims with a Pod (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanOfADamagedBundle(t *testing.T) {
	for n, kind := range []string{"PersistentVolume", "PersistentVolumeClaim"} {
		t.Run("it lacks a "+kind, func(t *testing.T) {
			point := shop()
			dropObjects(point, kind, []string{"pv-redis-1", "redis-pvc-redis-1"}[n])
			_, err := checkedPlan(t, point, Request{}, emptyCluster())
			if !errors.Is(err, catalog.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "it lacks the objects of claim shop/redis-pvc-redis-1") {
				t.Errorf("error %v, want ErrCorrupt that names the claim", err)
			}
			if _, err := checkedPlan(t, point, Request{Ordinals: []int{0, 2}}, emptyCluster()); err != nil {
				t.Errorf("the other claims can still be restored: %v", err)
			}
		})
	}
}
