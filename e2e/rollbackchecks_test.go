package e2e_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/restore/rollback"
)

// writes are the requests of hawser that change something, in the whole cluster.
// Questions about rights and, of an undo, attachments that ask about disks, are
// none.
func (w *world) writes() []string {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	var writes []string
	for _, r := range requests {
		changes := slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
		if strings.HasPrefix(r.UserAgent, "hawser/") && changes && r.Resource != "selfsubjectaccessreviews" {
			writes = append(writes, r.Verb+" "+r.Resource)
		}
	}
	return writes
}

func (w *world) annotateSet(patch string) {
	w.t.Helper()
	_, err := w.client.AppsV1().StatefulSets(w.namespace).Patch(w.ctx, "redis", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	w.must(err)
}

// A rollback that is refused, or only planned, writes nothing: by the audit log.
func TestARefusedRollbackWritesNothing(t *testing.T) {
	w := ownWorld(t, cluster.Options{Audit: true})
	w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	without := w.point("--snapshots=false")
	before := len(w.writes())
	roll := []string{"rollback", "statefulset/redis", "-n", w.namespace, "--to"}

	plan := rollback.Plan{}
	w.must(json.Unmarshal([]byte(w.run(0, append(roll, points[0], "--dry-run", "-o", "json")...).Stdout), &plan))
	if len(plan.Claims) != 2 || plan.Claims[0].State != rollback.Untouched || plan.Claims[0].AsOf == nil || plan.Workloads[0].Replicas != 2 {
		t.Errorf("the plan is %+v", plan)
	}
	w.run(0, append(roll, points[0], "--dry-run")...)
	w.run(4, append(roll, without)...).Says(t, "the point has no snapshot of it")
	w.run(4, append(roll, points[0], "--ordinals", "4")...).Says(t, "no claim of ordinal 4")
	w.run(4, "rollback", "statefulset/none", "-n", w.namespace, "--to", points[0]).Says(t, "it does not exist")
	w.run(4, "undo", "statefulset/redis", "-n", w.namespace).Says(t, "no rollback of it has set a disk aside")
	w.run(2, "rollback", "statefulset/redis", "-n", w.namespace).Says(t, "--to")
	w.run(2, "rollback", "pod/redis-0", "-n", w.namespace, "--to", points[0])

	w.annotateSet(`{"metadata":{"annotations":{"argocd.argoproj.io/tracking-id":"shop:apps/StatefulSet:shop/redis"}}}`)
	w.run(4, append(roll, points[0])...).Says(t, "Argo CD", "--ignore-checks=owners")
	w.annotateSet(`{"metadata":{"annotations":{"argocd.argoproj.io/tracking-id":null}}}`)
	stranger := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "busybox"}},
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: redisClaim(0)}}}},
	}}
	_, err := w.client.CoreV1().Pods(w.namespace).Create(w.ctx, stranger, metav1.CreateOptions{})
	w.must(err)
	w.run(4, append(roll, points[0])...).Says(t, "Pod", "stranger", "nothing would make it again")
	w.must(w.client.CoreV1().Pods(w.namespace).Delete(w.ctx, "stranger", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))

	if after := w.writes(); len(after) != before {
		t.Errorf("refusals and dry runs sent %v", after[before:])
	}
	w.as(w.namespace+"-reader", readsOnly(rightsOf(roles(t)["hawser-restore"]))).run(4, append(roll, points[0])...).Says(t, "patch statefulsets", "you do not have it")
	if after := w.writes(); len(after) != before {
		t.Errorf("a user who may not write sent %v", after[before:])
	}
}

// readsOnly are the rights to look, and what a rollback looks at besides.
func readsOnly(rights []right) []right {
	rights = slices.DeleteFunc(slices.Clone(rights), func(r right) bool { return r.verb != "list" && r.verb != "watch" && r.verb != "get" })
	return append(rights, right{"apps", "replicasets", "list"})
}

// What cannot be made sure of before leaves the workload running.
func TestARollbackThatCannotBeMadeSureOfStopsNothing(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	intact := func() {
		t.Helper()
		set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "redis", metav1.GetOptions{})
		w.must(err)
		if set.Generation != 1 || *set.Spec.Replicas != 2 {
			t.Errorf("the set was changed: generation %d, %d replicas", set.Generation, *set.Spec.Replicas)
		}
		w.expectNoTraces("redis")
		w.expectDisks(handles)
	}

	w.faults.Fail("CreateSnapshot", 0, codes.Internal, slices.Collect(maps.Values(handles))...)
	w.run(1, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0]).Says(t, "make a point of what is there now", "nothing was rolled back")
	intact()

	for _, snapshot := range w.storedSnapshots(handles) {
		w.must(w.region.DestroySnapshot(snapshot))
	}
	w.run(1, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--no-point").Says(t, "is gone", "nothing was stopped")
	intact()
}

// An autoscaler that is there leaves the workload at 0 until it is scaled back.
func TestAnAutoscalerRestsDuringARollback(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	hpas := w.client.AutoscalingV2().HorizontalPodAutoscalers(w.namespace)
	_, err := hpas.Create(w.ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "redis"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "redis"},
			MinReplicas:    ptr.To[int32](2), MaxReplicas: 4,
		},
	}, metav1.CreateOptions{})
	w.must(err)
	arrived, release := w.faults.Block("CreateVolume", w.storedSnapshots(w.disks())...)
	defer release()
	running := w.start("rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--no-point")
	<-arrived
	// The autoscaler has looked at the set, which is at 0, and says that it rests.
	w.await(hpasResource, "redis", func(hpa *unstructured.Unstructured) bool {
		conditions, _, _ := unstructured.NestedSlice(hpa.Object, "status", "conditions")
		return slices.ContainsFunc(conditions, func(c any) bool { return c.(map[string]any)["reason"] == "ScalingDisabled" })
	})
	set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(w.ctx, "redis", metav1.GetOptions{})
	w.must(err)
	if *set.Spec.Replicas != 0 {
		t.Errorf("the set was scaled to %d during the rollback", *set.Spec.Replicas)
	}
	release()
	r := running.Wait()
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s", r.Code, r.Stderr)
	}
	r.Says(t, "HorizontalPodAutoscaler redis rests")
	w.expectWord("generation 0")
}

var hpasResource = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}

// A rollback that hangs says who is in the way, and can be undone then.
func TestARollbackThatRunsOutOfTimeSaysWhoHoldsTheDisks(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	pods := w.client.CoreV1().Pods(w.namespace)
	_, err := pods.Patch(w.ctx, "redis-1", types.MergePatchType, []byte(`{"metadata":{"finalizers":["hawser.dev/held"]}}`), metav1.PatchOptions{})
	w.must(err)
	w.run(1, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--no-point", "--timeout", "8s").
		Says(t, "half done", "no disk is lost", "Pod "+w.namespace+"/redis-1", "--timeout 8s")
	w.run(4, "rollback", "statefulset/redis", "-n", w.namespace, "--to", w.point()).Says(t, "is under way", "hawser undo statefulset/redis")
	_, err = pods.Patch(w.ctx, "redis-1", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	w.must(err)
	w.run(0, "undo", "statefulset/redis", "-n", w.namespace)
	w.awaitReady(2)
	w.expectDisks(handles)
	w.expectWord("now")
	w.expectNoTraces("redis")
}

// An undo is refused where a disk is gone, or another cluster has it attached.
func TestAnUndoWithoutItsDisksIsRefused(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0], "--no-point")
	w.must(w.region.DestroyDisk(handles[redisClaim(1)]))
	w.run(4, "undo", "statefulset/redis", "-n", w.namespace).Says(t, "its disk "+handles[redisClaim(1)]+" is gone")
	w.expectWord("generation 0")
	// The one that is left can be put back alone.
	w.run(0, "undo", "statefulset/redis", "-n", w.namespace, "--ordinals", "0")
	if got := w.disks()[redisClaim(0)]; got != handles[redisClaim(0)] {
		t.Errorf("claim 0 is on disk %s, want %s", got, handles[redisClaim(0)])
	}
}

// The disks that are left over are listed with what covers them, and one that a
// point covers can be let go.
func TestDisksAreListedAndReleased(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	points := w.generations(1)
	w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0])
	made := w.disks()
	w.run(0, "undo", "statefulset/redis", "-n", w.namespace)

	list := func() map[string]rollback.Idle {
		t.Helper()
		var listed struct{ Disks []rollback.Idle }
		w.must(json.Unmarshal([]byte(w.run(0, "disks", "-n", w.namespace, "-o", "json").Stdout), &listed))
		byHandle := map[string]rollback.Idle{}
		for _, d := range listed.Disks {
			byHandle[string(d.Handle)] = d
		}
		return byHandle
	}
	idle := list()
	if len(idle) != 2 {
		t.Fatalf("idle disks are %v, want those that the rollback made: %v", idle, made)
	}
	copied := idle[made[redisClaim(0)]]
	if copied.Why != rollback.SetAsideByUndo || copied.Claim.Name != redisClaim(0) || copied.Covered != nil || string(copied.Point) != points[0] || time.Since(copied.Since) > 5*time.Minute {
		t.Errorf("the disk that the undo has set aside is listed as %+v", copied)
	}
	// No point was made while the claims were on the new disks.
	w.run(4, "release", copied.Volume, "--yes").Says(t, "no complete restore point holds a snapshot of its disk")
	w.run(0, "release", copied.Volume, "--force-uncovered").Says(t, "it is lost")
	if _, err := w.region.Disk(string(copied.Handle)); err != nil {
		t.Fatalf("without --yes the disk went: %v", err)
	}
	w.run(0, "release", copied.Volume, "--force-uncovered", "--yes")
	if _, err := w.region.Disk(string(copied.Handle)); !errors.Is(err, disks.ErrNotFound) {
		t.Errorf("the disk is still there after its release: %v", err)
	}

	// Those that were rolled back from are covered by the points.
	w.run(0, "rollback", "statefulset/redis", "-n", w.namespace, "--to", points[0])
	old := list()[handles[redisClaim(1)]]
	if old.Why != rollback.SetAsideByRollback || old.Covered == nil {
		t.Fatalf("the disk that the rollback has set aside is listed as %+v", old)
	}
	w.run(4, "release", w.volumeOver(made[redisClaim(1)]), w.claimVolume(redisClaim(0)), "--yes").Says(t, "claim "+w.namespace+"/"+redisClaim(0)+" uses it")
	twin := w.twin(old.Volume)
	w.run(4, "release", old.Volume, "--yes").Says(t, "PersistentVolume "+twin+" is over the same disk")
	w.must(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, twin, metav1.DeleteOptions{}))
	w.await(volumesResource, twin, func(o *unstructured.Unstructured) bool { return o == nil })
	r := w.run(0, "release", old.Volume, "--yes")
	r.Says(t, "point "+string(old.Covered.Point)+" holds the data of disk "+string(old.Handle))
	if _, err := os.Stat(w.region.DataDir(string(old.Handle))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the disk is still there after its release: %v", err)
	}
	if !strings.Contains(r.Stdout, "1 of 1 disk deleted") {
		t.Errorf("the release says\n%s", r.Stdout)
	}
	w.run(4, "undo", "statefulset/redis", "-n", w.namespace, "--ordinals", "1").Says(t, "no rollback of it has set a disk aside")
	w.expectWord("generation 0")
}

func (w *world) claimVolume(name string) string {
	w.t.Helper()
	claim, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
	w.must(err)
	return claim.Spec.VolumeName
}

// volumeOver is the PersistentVolume over a disk.
func (w *world) volumeOver(handle string) string {
	w.t.Helper()
	for _, v := range w.volumes() {
		if v.Spec.CSI.VolumeHandle == handle {
			return v.Name
		}
	}
	w.t.Fatal("no PersistentVolume is over disk ", handle)
	return ""
}

// twin makes a second PersistentVolume over the disk of one.
func (w *world) twin(name string) string {
	w.t.Helper()
	pv, err := w.client.CoreV1().PersistentVolumes().Get(w.ctx, name, metav1.GetOptions{})
	w.must(err)
	twin := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "twin-" + w.namespace}, Spec: *pv.Spec.DeepCopy()}
	twin.Spec.ClaimRef = &corev1.ObjectReference{Namespace: w.namespace, Name: "nobody"}
	_, err = w.client.CoreV1().PersistentVolumes().Create(w.ctx, twin, metav1.CreateOptions{})
	w.must(err)
	return twin.Name
}
