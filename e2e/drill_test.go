package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/clitest"
)

// drilling is a world with a plan that is practised.
type drilling struct {
	*world
	handles map[string]string
	plan    string
	file    string // the configuration
	prefix  string // of the scratch namespaces
}

// newDrilling gives a plan of its own to a test, and one complete point of it.
// Fake nodes only pretend to run Pods: check says how each check ends, by claim.
func newDrilling(t *testing.T, class string, check func(claim string) int) *drilling {
	t.Helper()
	w := newWorld(t)
	d := &drilling{world: w, handles: w.deployRedis(2, class), plan: "p" + w.namespace[len("shop-"):], file: filepath.Join(t.TempDir(), "config.yaml"), prefix: "drill-" + w.namespace}
	d.configure(d.file, fmt.Sprintf("plans:\n- name: %s\n  select: {namespaces: [%s]}\n  drill: {image: \"redis:7.0\", command: [redis-check-rdb, /data/dump.rdb], timeout: 2m}\n", d.plan, d.namespace))
	d.run(0, "backup", "--plan", d.plan, "--config", d.file)
	kubelet := *d // a test may become another user
	go kubelet.endPods(w.ctx, check)
	return d
}

// endPods plays the kubelet for the Pods of this test's drills.
func (d *drilling) endPods(ctx context.Context, check func(claim string) int) {
	watcher, err := d.client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	if err != nil {
		return // the test waits in vain, and says so
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || !strings.HasPrefix(pod.Annotations["hawser.dev/drill-claim"], d.namespace+"/") || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		code := check(pod.Annotations["hawser.dev/drill-claim"])
		phase := map[bool]string{true: "Succeeded", false: "Failed"}[code == 0]
		patch := fmt.Sprintf(`{"status":{"phase":%q,"containerStatuses":[{"name":"check","image":"redis:7.0","imageID":"","ready":false,"restartCount":0,"state":{"terminated":{"exitCode":%d,"reason":"Ended","message":"of %s"}}}]}}`, phase, code, pod.Annotations["hawser.dev/drill-claim"])
		_, _ = d.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	}
}

func passes(string) int { return 0 }

// drill holds one drill, and returns what it printed.
func (d *drilling) drill(code int, args ...string) catalog.Drill {
	d.t.Helper()
	r := d.run(code, append([]string{"drill", "--plan", d.plan, "--config", d.file, "-n", d.prefix, "-o", "json"}, args...)...)
	var held catalog.Drill
	if r.Stdout != "" {
		d.must(json.Unmarshal([]byte(r.Stdout), &held))
	}
	return held
}

// evidence are the drills that the catalog knows of, the oldest first.
func (d *drilling) evidence() []catalog.Drill {
	d.t.Helper()
	cat, uid := d.catalog(), d.clusterUID()
	ids, err := cat.Drills(d.ctx, uid)
	d.must(err)
	var all []catalog.Drill
	for _, id := range ids {
		one, err := cat.Drill(d.ctx, uid, id)
		d.must(err)
		all = append(all, one)
	}
	return all
}

// drillLeft names what drills of this test have in the cluster, and on the storage.
func (d *drilling) drillLeft() []string {
	d.t.Helper()
	var left []string
	namespaces, err := d.client.CoreV1().Namespaces().List(d.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	d.must(err)
	ours := func(labels map[string]string) bool {
		return catalog.DrillID(labels[catalog.DrillLabel]).Plan() == d.plan
	}
	for _, n := range namespaces.Items {
		if ours(n.Labels) {
			left = append(left, "Namespace "+n.Name)
		}
	}
	classes, err := d.client.StorageV1().StorageClasses().List(d.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	d.must(err)
	for _, c := range classes.Items {
		if ours(c.Labels) {
			left = append(left, "StorageClass "+c.Name)
		}
	}
	contents, err := d.snapshots.SnapshotV1().VolumeSnapshotContents().List(d.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	d.must(err)
	for _, c := range contents.Items {
		if ours(c.Labels) {
			left = append(left, "VolumeSnapshotContent "+c.Name)
		}
	}
	volumes, err := d.client.CoreV1().PersistentVolumes().List(d.ctx, metav1.ListOptions{})
	d.must(err)
	for _, v := range volumes.Items {
		if ref := v.Spec.ClaimRef; ref != nil && strings.HasPrefix(ref.Namespace, d.prefix) {
			left = append(left, "PersistentVolume "+v.Name)
		}
	}
	return left
}

// disksFrom are the disks on the storage that were made from snapshots of this
// test's disks.
func (d *drilling) disksFrom() []string {
	d.t.Helper()
	of := d.storedSnapshots(d.handles)
	all, err := d.region.Disks()
	d.must(err)
	var made []string
	for _, disk := range all {
		if disk.Source != nil && slices.Contains(of, disk.Source.Snapshot) {
			made = append(made, disk.Handle)
		}
	}
	return made
}

// expectNothing fails the test if a drill has left anything, or has touched what
// it is a drill of.
func (d *drilling) expectNothing(when string) {
	d.t.Helper()
	if left := d.drillLeft(); len(left) > 0 {
		d.t.Errorf("%s, the cluster has %q", when, left)
	}
	if disks := d.disksFrom(); len(disks) > 0 {
		d.t.Errorf("%s, the storage has disks %q", when, disks)
	}
	d.expectUntouched(when)
}

func (d *drilling) expectUntouched(when string) {
	d.t.Helper()
	if got := d.disks(); !maps.Equal(got, d.handles) {
		d.t.Fatalf("%s, the claims are on disks %v, want %v", when, got, d.handles)
	}
	d.expectRetain()
	for claim, handle := range d.handles {
		d.expectFile(handle, "first", claim)
	}
	if snapshots := d.storedSnapshots(d.handles); len(snapshots) != 2 {
		d.t.Fatalf("%s, the storage has snapshots %q, want those of the point", when, snapshots)
	}
}

func TestADrillProvesThatAPlanCanBeBroughtBack(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"disks-delete", "disks-wffc"} {
		t.Run(class, func(t *testing.T) {
			d := newDrilling(t, class, passes)
			held := d.drill(0)
			if held.Outcome != catalog.DrillPassed || len(held.Claims) != 2 || held.BoundAfter <= 0 || held.CheckedAfter < held.BoundAfter || held.Image != "redis:7.0" {
				t.Errorf("the drill: %+v", held)
			}
			t.Logf("bound after %.1f s, checked after %.1f s, ended and cleaned up", held.BoundAfter, held.CheckedAfter)
			if all := d.evidence(); len(all) != 1 || all[0].ID != held.ID || all[0].Outcome != catalog.DrillPassed || all[0].Claims[0].Stage != "done" {
				t.Errorf("the catalog has %+v, want the drill", all)
			}
			d.expectNothing("after a good drill")
			coverage := d.run(0, "coverage", "--config", d.file, "-n", d.namespace, "-o", "wide").Stdout
			if !strings.Contains(coverage, "DRILLED") || !strings.Contains(coverage, " ago") {
				t.Errorf("coverage does not tell of the drill:\n%s", coverage)
			}
		})
	}
}

func TestADrillThatFails(t *testing.T) {
	d := newDrilling(t, "disks-delete", func(claim string) int {
		if strings.HasSuffix(claim, redisClaim(1)) {
			return 3
		}
		return 0
	})
	held := d.drill(3)
	if held.Outcome != catalog.DrillFailed || held.Claims[0].Outcome != catalog.DrillPassed || held.Claims[1].Outcome != catalog.DrillFailed ||
		!strings.Contains(held.Claims[1].Message, "exit code 3") || held.Claims[1].Output == "" {
		t.Errorf("the drill: %+v", held)
	}
	d.expectNothing("after a drill whose check failed")

	// The snapshot of one claim is gone from the storage.
	point, err := d.catalog().Load(d.ctx, d.clusterUID(), held.Point)
	d.must(err)
	gone := string(point.Bundle.Volumes[0].Snapshot.Handle)
	d.must(d.region.DestroySnapshot(gone))
	lost := d.drill(3)
	if lost.Outcome != catalog.DrillFailed || len(lost.Reasons) == 0 || !strings.Contains(strings.Join(lost.Reasons, ";"), gone) {
		t.Errorf("of a snapshot that is gone it says %+v", lost.Reasons)
	}
	if left := d.drillLeft(); len(left) > 0 {
		t.Errorf("after it, the cluster has %q", left)
	}
	if all := d.evidence(); len(all) != 2 {
		t.Errorf("the catalog has %d drills, want 2", len(all))
	}
	d.run(1, "drill", "--plan", d.plan, "--config", d.file, "--point", "20200101").Says(t, "no such restore point")
	d.run(2, "drill", "--config", d.file)
}

// What was kept stays until it is asked to go; backups leave it out.
func TestADrillThatIsKept(t *testing.T) {
	d := newDrilling(t, "disks-delete", passes)
	held := d.drill(0, "--keep")
	if left := d.drillLeft(); len(left) < 4 { // a namespace, a class, two volumes
		t.Errorf("the cluster has %q, want what the drill made", left)
	}
	scratch := strings.TrimPrefix(d.drillLeft()[0], "Namespace ")
	d.run(1, "backup", "-n", scratch).Says(t, "nothing to back up", "drill "+string(held.ID)+" made it")
	d.drill(0) // another drill leaves it alone
	if left := d.drillLeft(); len(left) < 4 {
		t.Errorf("after another drill the cluster has %q", left)
	}

	// Somebody has put a claim of their own beside it: nothing of it goes.
	theirs := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, StorageClassName: ptr.To("disks-delete"),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
	}}
	_, err := d.client.CoreV1().PersistentVolumeClaims(scratch).Create(d.ctx, theirs, metav1.CreateOptions{})
	d.must(err)
	d.run(1, "drill", "--cleanup", "--plan", d.plan).Says(t, "theirs", "was not made by the drill")
	if left := d.drillLeft(); len(left) < 4 {
		t.Errorf("beside a claim of somebody else's, the cluster has %q", left)
	}
	d.must(d.client.CoreV1().PersistentVolumeClaims(scratch).Delete(d.ctx, "theirs", metav1.DeleteOptions{}))
	d.run(0, "drill", "--cleanup", "--plan", d.plan).Says(t)
	d.expectNothing("after the clean-up")
}

func TestCtrlCInADrillLeavesNothing(t *testing.T) {
	d := newDrilling(t, "disks-delete", passes)
	for _, after := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second} { // since it has made its namespace
		made := d.awaitScratch()
		running := d.start("drill", "--plan", d.plan, "--config", d.file, "-n", d.prefix)
		go func() {
			<-made
			time.AfterFunc(after, func() { _ = running.Signal(os.Interrupt) }) // it may have just ended
		}()
		if r := running.Wait(); r.Code != 1 && r.Code != 0 {
			t.Errorf("after %s: exit code %d: %s", after, r.Code, r.Stderr)
		}
		d.expectNothing(fmt.Sprintf("interrupted after %s", after))
	}
}

// awaitScratch returns a channel that is closed when a drill has made its
// namespace, or the test ends.
func (d *drilling) awaitScratch() <-chan struct{} {
	d.t.Helper()
	watcher, err := d.client.CoreV1().Namespaces().Watch(d.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	d.must(err)
	made := make(chan struct{})
	go func() {
		defer close(made)
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if d.isScratch(event) {
				return
			}
		}
	}()
	return made
}

// isScratch says whether a drill of this test has made its namespace.
func (d *drilling) isScratch(event watch.Event) bool {
	namespace, ok := event.Object.(*corev1.Namespace)
	return ok && event.Type == watch.Added && strings.HasPrefix(namespace.Name, d.prefix)
}

// Drills that are killed at any moment: the next removes what they have left, or
// a clean-up does, and nothing else goes.
func TestKilledDrillsAreClearedUp(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"disks-delete", "disks-wffc"} {
		t.Run(class, func(t *testing.T) {
			d := newDrilling(t, class, passes)
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute) // there is much to wait for
			defer cancel()
			d.ctx = ctx
			go d.endPods(ctx, passes)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			for round := range 2 {
				d.killDrills(5, func() time.Duration { return time.Duration(random.IntN(2000)) * time.Millisecond })
				t.Logf("killed drills have left %d objects and %d disks", len(d.drillLeft()), len(d.disksFrom()))
				if round == 0 {
					d.run(0, "drill", "--cleanup", "--plan", d.plan)
				} else if held := d.drill(0); held.Outcome != catalog.DrillPassed {
					t.Errorf("the drill after those that were killed: %+v", held)
				}
				d.awaitNothing(fmt.Sprintf("after round %d", round))
			}
		})
	}
}

// killDrills starts n drills side by side, since one that finds what another has
// left first waits to see whether that is under way, and kills one of them a
// while after each scratch namespace has appeared.
func (d *drilling) killDrills(n int, while func() time.Duration) {
	d.t.Helper()
	watcher, err := d.client.CoreV1().Namespaces().Watch(d.ctx, metav1.ListOptions{LabelSelector: catalog.DrillLabel})
	d.must(err)
	defer watcher.Stop()
	var running []*clitest.Process
	var ended sync.WaitGroup
	for range n {
		one := d.start("drill", "--plan", d.plan, "--config", d.file, "-n", d.prefix)
		running = append(running, one)
		ended.Go(func() { one.Wait() })
	}
	over := make(chan struct{})
	go func() { ended.Wait(); close(over) }()
	for killed := 0; ; {
		select {
		case <-over:
			return
		case event := <-watcher.ResultChan():
			if d.isScratch(event) && killed < n {
				one := running[killed]
				killed++
				time.AfterFunc(while(), func() { _ = one.Kill() }) // it may have just ended
			}
		}
	}
}

// awaitNothing is expectNothing: what csi-provisioner was making when a claim went
// is removed by it a moment later.
func (d *drilling) awaitNothing(when string) {
	d.t.Helper()
	var left, disks []string
	d.t.Cleanup(func() {
		if len(left)+len(disks) > 0 {
			d.t.Logf("%s, the cluster has %q, and the storage %q", when, left, disks)
		}
	})
	d.eventually(when+" nothing is left", patience, func() bool {
		left, disks = d.drillLeft(), d.disksFrom()
		return len(left)+len(disks) == 0
	})
	d.expectUntouched(when)
}

// drillRare are the rights of the role hawser-drill that these tests' drills can
// do without, and where they are needed.
var drillRare = map[string]string{
	"list nodes":              "for volumes that not every node can reach",
	"watch persistentvolumes": "for volumes that go after their namespace",
	"patch namespaces":        "by drills that take longer than 5 s",
}

// drillMissed are what a drill does without.
var drillMissed = map[string]string{
	"list resourcequotas":           "a scratch namespace has none",
	"list horizontalpodautoscalers": "a drill makes no workload",
}

// drillAttempts are those that this test takes away: each lets a drill fail at
// another moment, the last two when it cleans up.
var drillAttempts = []string{
	"list storageclasses", "create namespaces", "create storageclasses", "list persistentvolumeclaims", "create volumesnapshots",
	"create persistentvolumeclaims", "create pods", "watch pods", "patch persistentvolumes", "delete namespaces",
}

func TestTheRightsOfADrillAreNeededAndNamed(t *testing.T) {
	d := newDrilling(t, "disks-delete", passes)
	drillRights := rightsOf(roles(t)["hawser-drill"])
	world := d.world
	d.world = world.as(d.namespace+"-drill", drillRights)
	if held := d.drill(0); held.Outcome != catalog.DrillPassed {
		t.Errorf("the drill: %+v", held)
	}
	d.world = world
	d.expectNothing("after it")
	d.expectUse(d.namespace+"-drill", anywhere(drillRights), drillMissed, drillRare)
	for _, name := range drillAttempts {
		i := slices.IndexFunc(drillRights, func(r right) bool { return r.String() == name })
		d.world = world.as(d.namespace+"-"+strings.ReplaceAll(name, " ", "-"), without(drillRights, drillRights[i]))
		r := d.hawser("drill", "--plan", d.plan, "--config", d.file, "-n", d.prefix, "-o", "json")
		if r.Code != 1 {
			t.Errorf("without the right to %s: exit code %d", name, r.Code)
		}
		r.Says(t, drillRights[i].verb, drillRights[i].resource)
		d.world = world
		if len(d.drillLeft()) > 0 {
			d.run(0, "drill", "--cleanup", "--plan", d.plan)
		}
	}
	d.awaitNothing("after all")
}

// The agent holds a drill when it is due, and tells of it.
func TestAnAgentHoldsDrills(t *testing.T) {
	d := newDrilling(t, "disks-delete", passes)
	d.configure(d.file, fmt.Sprintf("plans:\n- name: %s\n  select: {namespaces: [%s]}\n  drill: {schedule: \"* * * * *\", image: \"redis:7.0\"}\n", d.plan, d.namespace))
	a := d.startAgent("one", d.file, "--agent-leader-elect=false")
	d.eventually("a drill was held and told of", 4*time.Minute, func() bool {
		_, metrics := a.get("/metrics")
		return strings.Contains(metrics, fmt.Sprintf("hawser_plan_last_drill_result{plan=%q,result=\"passed\"} 1", d.plan))
	})
	a.stop()
	if all := d.evidence(); len(all) == 0 || all[0].Outcome != catalog.DrillPassed {
		t.Errorf("the catalog has %+v, want a drill that passed", all)
	}
	d.expectNothing("after the agent has ended")
}
