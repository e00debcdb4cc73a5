package restore

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
)

// What is looked at must cover all that may be written.
func TestNamespaceOfATarget(t *testing.T) {
	withWeb := func() *catalog.RestorePoint {
		point := shop()
		addObject(point, &appsv1.Deployment{
			TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "front"},
		})
		return point
	}
	tests := []struct {
		name    string
		point   *catalog.RestorePoint
		request Request
		want    string
	}{
		{"a point of one namespace", shop(), Request{}, "shop"},
		{"a point of two", mall(), Request{}, ""},
		{"one namespace of a point of two", mall(), Request{Namespaces: []string{"billing"}}, "billing"},
		{"two namespaces", mall(), Request{Namespaces: []string{"billing", "shop"}}, ""},
		{"a workload without claims in another namespace", withWeb(), Request{}, ""},
		{"the other namespace, which has no claims", withWeb(), Request{Namespaces: []string{"web"}}, "web"},
		{"a namespace that is mapped", shop(), Request{Mapping: Mapping{Namespaces: map[string]string{"shop": "copy"}}}, "copy"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			target, err := aim(test.point, test.request)
			if err != nil {
				t.Fatal(err)
			}
			if got := target.namespace(); got != test.want {
				t.Errorf("looks at namespace %q, want %q", got, test.want)
			}
		})
	}
}

func TestHoldsSecrets(t *testing.T) {
	holds := func(point *catalog.RestorePoint) bool { return (&target{point: point}).holds("Secret") }
	if holds(shop()) || !holds(mall()) {
		t.Error("Secrets are looked at if the point holds some, and only then")
	}
}

// Only the disks that a plan rests on are asked for.
func TestReattached(t *testing.T) {
	observed := emptyCluster()
	observed.haveVolume(0, corev1.VolumeBound)
	observed.haveClaim(0, corev1.ClaimBound)
	observed.Disks[catalog.Disk{Driver: shopDriver, Handle: diskOf(2)}] = DiskState{DiskGone, "not found"}
	plan, err := checkedPlan(t, shop(), Request{From: FromAuto}, observed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]catalog.Volume{redisRecord(1)}, plan.reattached()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}
