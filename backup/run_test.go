package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

const clusterUID = "6f1c2d3e-0000-4000-8000-00000000000a"

// lab is a cluster without controllers, and an empty catalog.
type lab struct {
	*Runner
	kubernetes *fake.Clientset
	dynamic    *dynamicfake.FakeDynamicClient
	snapshots  *snapshotfake.Clientset
	bucket     *catalogtest.Faulty
	log        *bytes.Buffer

	mu     sync.Mutex
	events []string
}

func newLab(t *testing.T, documents ...string) *lab {
	t.Helper()
	inv := inventory(t, documents...)
	l := &lab{bucket: &catalogtest.Faulty{Bucket: new(catalogtest.Memory)}, log: new(bytes.Buffer)}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem, UID: clusterUID}}
	l.kubernetes, l.snapshots = fake.NewClientset(system), snapshotfake.NewSimpleClientset()
	for i := range inv.Volumes {
		if err := l.kubernetes.Tracker().Add(&inv.Volumes[i].Object); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[schema.GroupVersionResource]string{}
	for resource, kind := range map[schema.GroupVersionResource]string{
		namespacesResource: "Namespace", claimsResource: "PersistentVolumeClaim", volumesResource: "PersistentVolume", podsResource: "Pod",
		statefulSetsResource: "StatefulSet", deploymentsResource: "Deployment", servicesResource: "Service", configMapsResource: "ConfigMap",
		secretsResource: "Secret", storageClassesResource: "StorageClass", snapshotClassesResource: "VolumeSnapshotClass",
	} {
		kinds[resource] = kind + "List"
	}
	var objects []runtime.Object
	for _, o := range allRaw(inv) {
		objects = append(objects, &o)
	}
	l.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, objects...)
	cat, err := catalog.OpenOrCreate(t.Context(), l.bucket, catalog.Limits{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	l.Runner = &Runner{
		Kubernetes: l.kubernetes, Dynamic: l.dynamic, Snapshots: l.snapshots, Catalog: cat, ClusterName: "prod-eu", Writer: "hawser test",
		Now: func() time.Time { return noon }, Log: slog.New(slog.NewTextHandler(l.log, nil)),
		Report: func(e Event) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, fmt.Sprintf("%s %s: %s", e.Claim, e.Stage, e.Message))
		},
	}
	return l
}

// reattachable asks for a point without snapshots, which no controller is needed for.
func reattachable(sel Selection) Request {
	return Request{Plan: catalog.ManualPlan, Select: sel, Snapshot: SnapshotPolicy{Skip: true}}
}

func (l *lab) survey(t *testing.T) []catalog.Presence {
	t.Helper()
	survey, err := l.Catalog.Survey(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return survey
}

// forbid makes the API server refuse a verb on a resource.
func forbid(f *clienttesting.Fake, verb, resource string) {
	f.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no right to "+verb))
	})
}

func TestRunMakesAPoint(t *testing.T) {
	l := newLab(t, statefulSet("shop/redis", "data"), pairs("shop/data-redis-0", "shop/data-redis-1"))
	commit, err := l.Run(t.Context(), reattachable(Selection{Namespaces: []string{"shop"}}))
	if err != nil {
		t.Fatal(err)
	}
	id := catalog.NewPointID(clusterUID, catalog.ManualPlan, noon)
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

// earlier is the journal entry of a run that began an hour ago.
func earlier(deadline time.Time, snapshots ...string) catalog.Intent {
	start := noon.Add(-time.Hour)
	intent := catalog.Intent{
		Point: catalog.NewPointID(clusterUID, "databases", start), Cluster: catalog.Cluster{UID: clusterUID}, Plan: "databases",
		Scheduled: start, Started: start, Deadline: deadline, Writer: "hawser test",
	}
	for _, name := range snapshots {
		intent.Snapshots = append(intent.Snapshots, catalog.IntentSnapshot{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data"}, Name: name})
	}
	return intent
}

// stored puts a snapshot of an earlier run into the cluster, with its content.
func (l *lab) stored(t *testing.T, intent catalog.Intent, name string) {
	t.Helper()
	snapshot, content := readySnapshot()
	snapshot.Name, snapshot.Labels = name, map[string]string{PointLabel: string(intent.Point)}
	content.Name = "content-of-" + name
	content.Spec.VolumeSnapshotRef.Name, snapshot.Status.BoundVolumeSnapshotContentName = name, ptr.To(content.Name)
	for _, object := range []runtime.Object{snapshot, content} {
		if err := l.snapshots.Tracker().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	// The part of csi-snapshotter: what is to be deleted goes.
	l.snapshots.PrependReactor("delete", "volumesnapshots", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.DeleteAction).GetName() != name {
			return false, nil, nil
		}
		gone := l.snapshots.Tracker().Delete(snapshotv1.SchemeGroupVersion.WithResource("volumesnapshotcontents"), "", content.Name)
		return false, nil, gone
	})
}

// left names the snapshots and contents that the cluster has.
func (l *lab) left(t *testing.T) []string {
	t.Helper()
	var names []string
	snapshots, err := l.snapshots.SnapshotV1().VolumeSnapshots("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots.Items {
		names = append(names, s.Name)
	}
	contents, err := l.snapshots.SnapshotV1().VolumeSnapshotContents().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents.Items {
		names = append(names, c.Name)
	}
	return names
}

func TestRunClearsUpAfterEarlierOnes(t *testing.T) {
	expired, alive := noon.Add(-time.Minute), noon.Add(time.Minute)
	ours := []string{"ours", "content-of-ours"}
	abandoned := func(t *testing.T, l *lab, intent catalog.Intent) {
		if err := l.Catalog.Abandon(t.Context(), intent, catalog.Commit{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	committed := func(t *testing.T, l *lab, intent catalog.Intent) {
		commit := catalog.Commit{Point: intent.Point, Cluster: intent.Cluster, Plan: intent.Plan, Outcome: catalog.Complete}
		if _, err := l.Catalog.Commit(t.Context(), commit, catalog.Bundle{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		deadline time.Time
		closed   func(t *testing.T, l *lab, intent catalog.Intent)
		settled  bool
		outcome  catalog.Outcome // "" if it stays open
		left     []string
	}{
		{"one that is past its deadline", expired, nil, true, catalog.Abandoned, nil},
		{"one that may be alive", alive, nil, false, "", ours},
		{"one that was abandoned and not cleared up", alive, abandoned, true, catalog.Abandoned, nil},
		{"one that was committed and not settled", expired, committed, true, catalog.Complete, ours},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			intent := earlier(c.deadline, "ours", "never-made")
			if err := l.Catalog.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			if c.closed != nil {
				c.closed(t, l, intent)
			}
			l.stored(t, intent, "ours")
			if _, err := l.Run(t.Context(), reattachable(Selection{})); err != nil {
				t.Fatal(err)
			}
			presence := l.survey(t)[0]
			if presence.Point != intent.Point || presence.Settled != c.settled || presence.Commit != (c.outcome != "") {
				t.Errorf("presence %+v, want it settled %t and closed as %q", presence, c.settled, c.outcome)
			}
			if c.outcome != "" {
				if commit, err := l.Catalog.ReadCommit(t.Context(), presence); err != nil || commit.Outcome != c.outcome {
					t.Errorf("it is %s, error %v, want %s", commit.Outcome, err, c.outcome)
				}
			}
			wantDiff(t, "left in the cluster", c.left, l.left(t))
		})
	}
}

// One run that cannot be cleared up must not end all backups of its cluster.
func TestWhatCannotBeClearedUpDoesNotStopARun(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, l *lab, intent catalog.Intent)
	}{
		{"a journal entry that is damaged", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.bucket.Create(t.Context(), "clusters/"+clusterUID+"/journal/"+string(intent.Point), []byte("{")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a journal entry of a later format", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.bucket.Create(t.Context(), "clusters/"+clusterUID+"/journal/"+string(intent.Point), []byte(`{"format":2}`)); err != nil {
				t.Fatal(err)
			}
		}},
		{"snapshots that may not be deleted", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.Catalog.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			l.stored(t, intent, "ours")
			forbid(&l.snapshots.Fake, "delete", "volumesnapshots")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			intent := earlier(noon.Add(-time.Minute), "ours")
			c.damage(t, l, intent)
			commit, err := l.Run(t.Context(), reattachable(Selection{}))
			if err != nil || commit.Outcome != catalog.Complete {
				t.Errorf("%s, error %v, want a complete point", commit.Outcome, err)
			}
			if !strings.Contains(l.log.String(), string(intent.Point)) {
				t.Errorf("the log does not name the run that could not be cleared up:\n%s", l.log)
			}
			if l.survey(t)[0].Settled {
				t.Error("the entry was settled, so that nobody tries again")
			}
		})
	}
}

// The run that abandoned another has removed what there was then. What the
// other one made after that only the other one knows of.
func TestARunThatWasAbandonedRemovesWhatItHasMadeSince(t *testing.T) {
	l := newLab(t)
	intent := earlier(noon, "late")
	if err := l.Catalog.Abandon(t.Context(), intent, catalog.Commit{}, nil); err != nil {
		t.Fatal(err)
	}
	l.stored(t, intent, "late")
	r := &run{Runner: l.Runner, point: intent.Point}
	if err := r.giveUp(t.Context(), intent, fmt.Errorf("commit: %w", catalog.ErrFenced)); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "left in the cluster", []string(nil), l.left(t))
}
