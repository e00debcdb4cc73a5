package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

func TestRunMakesAPoint(t *testing.T) {
	l := newLab(t, statefulSet("shop/redis", "data"), pairs("shop/data-redis-0", "shop/data-redis-1"))
	commit, err := l.Run(t.Context(), reattachable(Selection{Namespaces: []string{"shop"}}))
	if err != nil {
		t.Fatal(err)
	}
	id := catalog.NewPointID(clusterUID, catalog.ManualPlan, noon, 0)
	if commit.Point != id || commit.Outcome != catalog.Complete {
		t.Errorf("point %s is %s: %v, want %s complete", commit.Point, commit.Outcome, commit.Reasons, id)
	}
	wantDiff(t, "cluster", catalog.Cluster{UID: clusterUID, Name: "prod-eu"}, commit.Cluster)
	wantDiff(t, "counts", catalog.Counts{Claims: 2, Protected: 2, Objects: 6}, commit.Counts)
	wantDiff(t, "survey", []catalog.Presence{{ClusterUID: clusterUID, Point: id, Journal: true, Settled: true, Bundle: true, Commit: true}}, l.survey(t))
	point, err := l.Catalog.Load(t.Context(), clusterUID, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range point.Bundle.Volumes {
		if v.ReclaimBefore != "Delete" || v.ReclaimAfter != "Retain" || v.Snapshot != nil || v.Problem != "" {
			t.Errorf("record %+v, want a protected volume without snapshot and without problem", v)
		}
		got, err := l.kubernetes.CoreV1().PersistentVolumes().Get(t.Context(), v.PersistentVolume, metav1.GetOptions{})
		if err != nil || got.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("%s is %v, error %v", v.PersistentVolume, got.Spec.PersistentVolumeReclaimPolicy, err)
		}
	}
}

func TestRunAsksForEachKindOnce(t *testing.T) {
	var objects []string
	for n := range 100 {
		objects = append(objects, pair(fmt.Sprintf("shop/claim-%d", n)))
	}
	l := newLab(t, objects...)
	if _, err := l.Run(t.Context(), reattachable(Selection{})); err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, action := range append(l.dynamic.Actions(), l.kubernetes.Actions()...) {
		asked[action.GetVerb()+" "+action.GetResource().Resource]++
	}
	wantDiff(t, "requests", map[string]int{
		"list namespaces": 1, "list persistentvolumeclaims": 1, "list persistentvolumes": 1, "list statefulsets": 1, "list deployments": 1, "list pods": 1,
		"list services": 1, "list configmaps": 1, "list storageclasses": 1, "list volumesnapshotclasses": 1,
		"get namespaces": 1, "patch persistentvolumes": 100,
	}, asked)
}

func TestRunRefusesAPlanThatIsNone(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	request := reattachable(Selection{})
	request.Plan = "Not A Plan"
	if _, err := l.Run(t.Context(), request); err == nil || !strings.Contains(err.Error(), `plan name "Not A Plan"`) {
		t.Errorf("error %v, want it to name the plan", err)
	}
	if len(l.kubernetes.Actions())+len(l.dynamic.Actions()) > 0 {
		t.Error("it asked the cluster")
	}
}

func TestRunSaysWhyThereIsNothingToBackUp(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		sel     Selection
		want    string
	}{
		{"no claim at all", []string{deployment("shop/web")}, Selection{}, "nothing to back up: no claim matches the selection"},
		{"a workload without claims", []string{deployment("shop/web")}, Selection{Workloads: workloads("Deployment/web")}, "nothing to back up: no claim matches the selection"},
		{"no claim that can be taken", []string{
			unpaired("", "", "phase: Pending", ""), strings.NewReplacer("name: data,", "name: old,", "name: pv", "name: pv-old").Replace(unpaired(`deletionTimestamp: "2026-09-03T12:00:00Z"`, "", "", "")),
		}, Selection{}, "nothing to back up: claim shop/data: it is Pending and has no volume; claim shop/old: it is being deleted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, c.objects...)
			_, err := l.Run(t.Context(), reattachable(c.sel))
			if !errors.Is(err, ErrNothing) || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
			wantDiff(t, "survey", []catalog.Presence{}, l.survey(t))
		})
	}
}

func TestRunEndsWhereARightIsMissing(t *testing.T) {
	for _, c := range []struct {
		name   string
		forbid func(l *lab)
		says   string
	}{
		{"to identify the cluster", func(l *lab) { forbid(&l.kubernetes.Fake, "get", "namespaces") }, "identify the cluster: namespaces is forbidden: no right to get"},
		{"to list claims", func(l *lab) { forbid(&l.dynamic.Fake, "list", "persistentvolumeclaims") }, "list persistentvolumeclaims: "},
		{"to list Pods", func(l *lab) { forbid(&l.dynamic.Fake, "list", "pods") }, "list pods: "},
		{"to list snapshot classes", func(l *lab) { forbid(&l.dynamic.Fake, "list", "volumesnapshotclasses") }, "list volumesnapshotclasses: "},
		{"to protect", func(l *lab) { forbid(&l.kubernetes.Fake, "patch", "persistentvolumes") }, "protect PersistentVolume pv-of-data: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			c.forbid(l)
			_, err := l.Run(t.Context(), reattachable(Selection{}))
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want it to be forbidden and to say %q", err, c.says)
			}
			wantDiff(t, "survey", []catalog.Presence{}, l.survey(t))
		})
	}
}

func TestRunListsSecretsOnlyWhenAsked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		l := newLab(t, pair("shop/data"))
		forbid(&l.dynamic.Fake, "list", "secrets")
		request := reattachable(Selection{})
		request.Include.Secrets = asked
		if _, err := l.Run(t.Context(), request); apierrors.IsForbidden(err) != asked {
			t.Errorf("asked for Secrets %t: error %v", asked, err)
		}
	}
}

func TestRunStaysInItsOneNamespace(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	if _, err := l.Run(t.Context(), reattachable(Selection{Namespaces: []string{"shop"}})); err != nil {
		t.Fatal(err)
	}
	for _, action := range l.dynamic.Actions() {
		resource := action.GetResource().Resource
		clusterWide := resource == "namespaces" || resource == "persistentvolumes" || resource == "storageclasses" || resource == "volumesnapshotclasses"
		if (action.GetNamespace() == "") != clusterWide {
			t.Errorf("%s of %s in namespace %q", action.GetVerb(), resource, action.GetNamespace())
		}
	}
}

func TestAVolumeThatCannotBeProtectedIsLeftOut(t *testing.T) {
	l := newLab(t, pairs("shop/good", "shop/bad"))
	l.kubernetes.PrependReactor("patch", "persistentvolumes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.PatchAction).GetName() != "pv-of-bad" {
			return false, nil, nil
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "persistentvolumes"}, "pv-of-bad", errors.New("another uid"))
	})
	commit, err := l.Run(t.Context(), reattachable(Selection{}))
	if err != nil {
		t.Fatal(err)
	}
	if commit.Outcome != catalog.Partial || len(commit.Reasons) != 1 || !strings.Contains(commit.Reasons[0], "claim shop/bad: protect PersistentVolume pv-of-bad") {
		t.Errorf("outcome %s: %v, want it partial for claim shop/bad", commit.Outcome, commit.Reasons)
	}
	point, err := l.Catalog.Load(t.Context(), clusterUID, commit.Point)
	if err != nil {
		t.Fatal(err)
	}
	selected := Selected{Volumes: point.Bundle.Volumes, Skipped: point.Bundle.Skipped}
	wantDiff(t, "claims", []string{"shop/good"}, claimsOf(selected))
	wantDiff(t, "skipped", []string{"PersistentVolumeClaim shop/bad: protect-failed"}, skipsOf(selected))
}

func TestNoPointWithoutAProtectedVolume(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	l.kubernetes.PrependReactor("patch", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is having a bad day")
	})
	if _, err := l.Run(t.Context(), reattachable(Selection{})); err == nil || !strings.Contains(err.Error(), "no volume could be protected") || !strings.Contains(err.Error(), "bad day") {
		t.Errorf("error %v, want it to say that nothing could be protected, and why", err)
	}
	wantDiff(t, "survey", []catalog.Presence{}, l.survey(t))
}

func TestAClaimThatContradictsItsVolumeMakesThePointPartial(t *testing.T) {
	l := newLab(t, pair("shop/good"), unpaired("", "volumeName: gone", "phase: Lost", ""))
	commit, err := l.Run(t.Context(), reattachable(Selection{}))
	if err != nil || commit.Outcome != catalog.Partial || len(commit.Reasons) != 1 || !strings.HasPrefix(commit.Reasons[0], "claim shop/data: it names PersistentVolume gone") {
		t.Errorf("%s: %v, error %v, want it partial for claim shop/data", commit.Outcome, commit.Reasons, err)
	}
}

func TestAClusterWithoutSnapshotsGivesAPartialPoint(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	l.dynamic.PrependReactor("list", "volumesnapshotclasses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Group: "snapshot.storage.k8s.io", Resource: "volumesnapshotclasses"}, "")
	})
	commit, err := l.Run(t.Context(), Request{Plan: "databases", Scheduled: noon, Select: Selection{}})
	if err != nil || commit.Outcome != catalog.Partial || len(commit.Reasons) != 1 || !strings.Contains(commit.Reasons[0], "good for reattaching only: the cluster has no VolumeSnapshot API") {
		t.Errorf("%s: %v, error %v, want it partial for want of the API", commit.Outcome, commit.Reasons, err)
	}
}

func TestASecondRunOfOneOccurrenceIsRefused(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	request := reattachable(Selection{})
	request.Plan, request.Scheduled = "databases", noon
	if _, err := l.Run(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Run(t.Context(), request); !errors.Is(err, catalog.ErrExist) || !strings.Contains(err.Error(), "another run is making, or has made, point") {
		t.Errorf("error %v, want %v", err, catalog.ErrExist)
	}
}

func TestARunThatFailsIsAbandonedAndSettled(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(l *lab, cancel func())
		says string
	}{
		{"since the store lies", func(l *lab, _ func()) {
			l.bucket.Read = func(call catalogtest.Call, data []byte) []byte {
				if strings.HasSuffix(call.Key, "/bundle") {
					return data[1:]
				}
				return data
			}
		}, "gives back other than was written"},
		{"since it was told to stop", func(l *lab, cancel func()) {
			l.bucket.Before = func(ctx context.Context, call catalogtest.Call) error {
				if call.Method == catalogtest.Create && strings.HasSuffix(call.Key, "/bundle") {
					cancel()
				}
				return ctx.Err()
			}
		}, "context canceled"},
		{"since it took too long", func(l *lab, _ func()) {
			times := 0
			l.Now = func() time.Time {
				times++
				return noon.Add(time.Duration(times-1) * time.Hour)
			}
			l.Report = nil
		}, "past its deadline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			ctx, cancel := context.WithCancel(t.Context())
			c.fail(l, cancel)
			_, err := l.Run(ctx, reattachable(Selection{}))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want it to say %q", err, c.says)
			}
			survey := l.survey(t)
			if len(survey) != 1 || !survey[0].Commit || !survey[0].Settled {
				t.Fatalf("survey %+v, want one run that is closed and settled", survey)
			}
			if _, err := l.Catalog.Load(t.Context(), clusterUID, survey[0].Point); !errors.Is(err, catalog.ErrNoPoint) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("its commit: %v, want it to say %q", err, c.says)
			}
		})
	}
}
