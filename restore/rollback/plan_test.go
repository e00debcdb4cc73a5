package rollback

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// both is what becomes of the claims where nothing stands in the way.
var both = []string{"data-redis-0: untouched, disk-0 aside, gets snap-0", "data-redis-1: untouched, disk-1 aside, gets snap-1"}

func TestPlan(t *testing.T) {
	scaler := func(annotations map[string]any) func(*Observed) {
		return func(o *Observed) {
			o.ScaledObjects = []unstructured.Unstructured{{Object: map[string]any{
				"metadata": map[string]any{"namespace": "shop", "name": "queue", "annotations": annotations},
				"spec":     map[string]any{"scaleTargetRef": map[string]any{"kind": "StatefulSet", "name": "redis"}},
			}}}
		}
	}
	hpa := func(least *int32) func(*Observed) {
		return func(o *Observed) {
			o.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "load"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "StatefulSet", Name: "redis"}, MinReplicas: least,
			}}}
		}
	}
	set := func(change func(*appsv1.StatefulSet)) func(*Observed) {
		return func(o *Observed) { change(&o.StatefulSets[0]) }
	}
	ignoring := func(checks ...Check) func(*Options) { return func(o *Options) { o.Ignore = checks } }
	tests := []struct {
		name    string
		given   func(*Observed)
		point   func(*catalog.RestorePoint)
		options func(*Options)
		want    []string // the claims; nil if it is refused
		refused []string // parts of the reasons, all of them
		note    string
	}{
		{name: "all claims of a set that runs", want: both},
		{name: "some ordinals", options: func(o *Options) { o.Ordinals = []int{1} }, want: both[1:]},
		{name: "an ordinal that is not there", options: func(o *Options) { o.Ordinals = []int{1, 5} }, refused: []string{"it has no claim of ordinal 5"}},
		{name: "one claim, whose set is found", options: func(o *Options) { o.Workload, o.Claim = catalog.Workload{}, "data-redis-0" }, want: both[:1]},
		{name: "a workload that does not exist", options: func(o *Options) { o.Workload.Name = "none" }, refused: []string{"StatefulSet shop/none: it does not exist"}},
		{name: "a claim that does not exist", options: func(o *Options) { o.Workload, o.Claim = catalog.Workload{}, "none" }, refused: []string{"none: it does not exist"}},
		{name: "a point without a snapshot of a claim", point: func(p *catalog.RestorePoint) { p.Bundle.Volumes[1].Snapshot = nil }, refused: []string{"data-redis-1: the point has no snapshot of it"}},
		{name: "a point that does not hold a claim", point: func(p *catalog.RestorePoint) { p.Bundle.Volumes = p.Bundle.Volumes[:1] }, refused: []string{"data-redis-1: point " + pointID + " does not hold it"}},
		{
			name: "a claim that only the point holds", want: both[:1], note: "claim data-redis-1 is in the point and not in the cluster",
			given: func(o *Observed) { o.Claims, o.Volumes, o.Pods = o.Claims[:1], o.Volumes[:1], o.Pods[:1] },
		},
		{name: "a claim that is Pending", given: func(o *Observed) { o.Claims[0].Status.Phase = corev1.ClaimPending }, refused: []string{"data-redis-0: it is Pending, not Bound"}},
		{name: "a claim that is being deleted", given: func(o *Observed) { o.Claims[0].DeletionTimestamp = &metav1.Time{Time: testNow} }, refused: []string{"data-redis-0: it is being deleted"}},
		{name: "a claim and a volume that do not name each other", given: func(o *Observed) { o.Volumes[0].Spec.ClaimRef.UID = "other" }, refused: []string{"do not name each other"}},
		{name: "a volume that is not CSI", given: func(o *Observed) { o.Volumes[0].Spec.CSI = nil }, refused: []string{"pv-0: it is not a CSI volume"}},
		{name: "a volume that is being deleted", given: func(o *Observed) { o.Volumes[0].DeletionTimestamp = &metav1.Time{Time: testNow} }, refused: []string{"pv-0: it is being deleted"}},
		{
			name:    "every reason at once",
			given:   func(o *Observed) { o.Claims[0].Status.Phase = corev1.ClaimLost; o.Volumes[1].Spec.CSI = nil },
			refused: []string{"data-redis-0: it is Lost", "pv-1: it is not a CSI volume"},
		},
		{name: "a class that is gone", given: func(o *Observed) { o.StorageClasses = nil }, refused: []string{"StorageClass fast: it does not exist"}},
		{name: "a cluster without the snapshot API", given: func(o *Observed) { o.SnapshotAPI = false }, refused: []string{"the cluster has no VolumeSnapshot API"}},
		{
			name: "a volume that would be bound in place of the new disk", refused: []string{"it is Available and would be bound"},
			given: func(o *Observed) {
				free := volumeOf("free", "disk-free", &o.Claims[0])
				free.Spec.ClaimRef, free.Status.Phase = nil, corev1.VolumeAvailable
				o.Volumes = append(o.Volumes, free)
			},
		},
		{
			name: "a Pod that nothing makes again", refused: []string{"Pod shop/debug: it uses the claims, and nothing would make it again"},
			given: func(o *Observed) {
				o.Pods = append(o.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "debug"}, Spec: podUsing("data-redis-0")})
			},
		},
		{
			name: "a Pod of a Job", refused: []string{"belongs to Job dump, which cannot be scaled to 0"},
			given: func(o *Observed) {
				o.Pods = append(o.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "dump-x", OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "dump", Controller: ptr.To(true)}}}, Spec: podUsing("data-redis-0")})
			},
		},
		{
			name: "a Pod of another Deployment, which is stopped too", want: both,
			given: func(o *Observed) {
				o.Deployments = []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "viewer"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: podUsing("data-redis-0")}}}}
				o.ReplicaSets = []appsv1.ReplicaSet{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "viewer-1", UID: "uid-rs", OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "viewer", Controller: ptr.To(true)}}}}}
				o.Pods = append(o.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "viewer-1-a", OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "viewer-1", UID: "uid-rs", Controller: ptr.To(true)}}}, Spec: podUsing("data-redis-0")})
			},
		},
		{name: "a HorizontalPodAutoscaler rests at 0", given: hpa(ptr.To[int32](2)), want: both, note: "HorizontalPodAutoscaler load rests"},
		{name: "and so does one by default", given: hpa(nil), want: both, note: "HorizontalPodAutoscaler load rests"},
		{name: "one that may scale up from 0", given: hpa(ptr.To[int32](0)), refused: []string{"HorizontalPodAutoscaler shop/load: its minReplicas is 0"}},
		{name: "a ScaledObject", given: scaler(nil), refused: []string{"ScaledObject shop/queue: it may scale statefulset/redis up", "autoscaling.keda.sh/paused=true"}},
		{name: "a ScaledObject that is paused", given: scaler(map[string]any{"autoscaling.keda.sh/paused": "true"}), want: both, note: "ScaledObject queue is paused"},
		{name: "a ScaledObject that is paused at 3", given: scaler(map[string]any{"autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-replicas": "3"}), refused: []string{"it holds statefulset/redis at 3 replicas"}},
		{name: "a ScaledObject that the user knows better", given: scaler(nil), options: ignoring(CheckAutoscaler), want: both, note: "ignored (autoscaler)"},
		{name: "Argo CD", given: set(func(s *appsv1.StatefulSet) {
			s.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop"}
		}), refused: []string{"Argo CD keeps it as in Git (shop)"}},
		{name: "Flux", given: set(func(s *appsv1.StatefulSet) {
			s.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
		}), refused: []string{"`flux suspend kustomization apps -n flux-system`"}},
		{name: "Flux that leaves it alone", given: set(func(s *appsv1.StatefulSet) {
			s.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
			s.Annotations = map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
		}), want: both},
		{name: "an operator", given: set(func(s *appsv1.StatefulSet) {
			s.OwnerReferences = []metav1.OwnerReference{{Kind: "RedisCluster", Name: "main", Controller: ptr.To(true)}}
		}), refused: []string{"RedisCluster main controls it"}},
		{name: "an operator that is paused", given: set(func(s *appsv1.StatefulSet) {
			s.OwnerReferences = []metav1.OwnerReference{{Kind: "RedisCluster", Name: "main", Controller: ptr.To(true)}}
		}), options: ignoring(CheckOwners), want: both, note: "ignored (owners)"},
		{name: "a PodDisruptionBudget is named", want: both, note: "PodDisruptionBudget quorum", given: func(o *Observed) {
			o.Budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "quorum"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "redis"}}}}}
		}},
		{name: "a set that is being deleted", given: set(func(s *appsv1.StatefulSet) { s.DeletionTimestamp = &metav1.Time{Time: testNow} }), refused: []string{"redis: it is being deleted"}},
		{name: "a right that is missing", given: func(o *Observed) { o.Denied = users.Rights("apps", "statefulsets", "shop", "patch") }, refused: []string{"patch statefulsets: you do not have it"}},
		{name: "what could not be looked at is said", given: func(o *Observed) { o.Unseen = []string{"not checked: budgets"} }, want: both, note: "not checked: budgets"},
		{name: "a quota that is used up is that of the claims that go", want: both, given: func(o *Observed) {
			hard := corev1.ResourceList{"persistentvolumeclaims": *claimCount(2)}
			o.Quotas = []corev1.ResourceQuota{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "q"}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: hard}}}
		}},
		{name: "an undo without a rollback", options: func(o *Options) { o.Act = Undo }, refused: []string{"no rollback of it has set a disk aside"}},
		{name: "a redo without an undo", options: func(o *Options) { o.Act = Redo }, refused: []string{"no undo of it has set a disk aside"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, p, options := cluster(), point(), rollingBack()
			if test.given != nil {
				test.given(o)
			}
			if test.point != nil {
				test.point(p)
			}
			if test.options != nil {
				test.options(&options)
			}
			plan, err := NewPlan(p, o, options)
			if test.want == nil {
				expectRefused(t, err, test.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(plan)); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if all := strings.Join(plan.Notes, "\n"); !strings.Contains(all, test.note) {
				t.Errorf("notes lack %q:\n%s", test.note, all)
			}
		})
	}
}

// lines says in one line per claim what becomes of it.
func lines(plan *Plan) []string {
	var lines []string
	for _, c := range plan.Claims {
		aside := "nothing"
		if c.Aside != nil {
			aside = string(c.Aside.Handle)
		}
		lines = append(lines, fmt.Sprintf("%s: %s, %s aside, gets %s", c.Claim, c.State, aside, c.Data))
	}
	return lines
}

func expectRefused(t *testing.T, err error, parts []string) {
	t.Helper()
	refused := (*restore.RefusedError)(nil)
	if !errors.As(err, &refused) {
		t.Fatalf("error %v, want a refusal that says %q", err, parts)
	}
	if len(refused.Refusals) > len(parts) && len(parts) > 1 {
		t.Errorf("%d reasons, want %d", len(refused.Refusals), len(parts))
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the refusal lacks %q:\n%v", part, err)
		}
	}
}
