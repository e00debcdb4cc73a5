package e2e_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/dir"
	"hawser.dev/hawser/e2e/cluster"
	"hawser.dev/hawser/e2e/disks"
	"hawser.dev/hawser/e2e/objectstore"
)

func TestTheAPIServerIsAway(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	address := listener.Addr().String()
	w.must(listener.Close())
	w.deployRedis(1, "disks-delete")
	point := w.point()
	for _, args := range [][]string{{"backup", "-n", w.namespace}, {"restore", point}} {
		r := w.run(1, append(args, "--server", "https://"+address)...)
		r.Says(t, "cannot reach the Kubernetes API server", address)
	}
	if got := strings.Fields(w.run(0, "points", "-o", "name").Stdout); len(got) != 1 {
		t.Errorf("points are %v, want only %s", got, point)
	}
}

func TestAClusterWithoutSnapshotsGivesPointsForReattaching(t *testing.T) {
	w := ownWorld(t, cluster.Options{SkipSnapshots: true})
	handles := w.deployRedis(1, "disks-delete")
	r := w.run(3, "backup", "-n", w.namespace)
	r.Says(t, redisClaim(0), "good for reattaching only", "install the snapshot CRDs")
	w.expectRetain()
	if strings.Contains(r.Stdout, "complete") {
		t.Errorf("the point is said to be complete:\n%s", r.Stdout)
	}
	point := w.point("--snapshots=false") // asked for, so it is complete
	w.loseEverything()
	w.run(4, "restore", point, "--from", "snapshots").Says(t, "the point has no snapshot of it", "--from disks")
	w.run(0, "restore", point)
	w.awaitReady(1)
	if got := w.disks(); got[redisClaim(0)] != handles[redisClaim(0)] {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
}

func TestAVolumeSnapshotClassThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	r := w.run(3, "backup", "-n", w.namespace, "--snapshot-classes", "disks.hawser.dev=nowhere")
	r.Says(t, "VolumeSnapshotClass nowhere does not exist", "snapshot.classes")
	w.expectRetain()
}

// One claim's failure makes the point partial; nothing of the failed snapshot
// is left.
func TestASnapshotThatFails(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	w.faults.Fail("CreateSnapshot", 0, codes.Internal, handles[redisClaim(1)])
	r := w.run(3, "backup", "-n", w.namespace)
	r.Says(t, w.namespace+"/"+redisClaim(1), "code = Internal")
	snapshots, contents := w.hawserSnapshots()
	if len(snapshots) != 1 || len(contents) != 1 {
		t.Errorf("VolumeSnapshots %v and contents %v are left, want those of claim 0 only", snapshots, contents)
	}

	// The point stands for both: by disk, and for claim 0 by snapshot.
	w.loseEverything()
	w.must(w.region.DestroyDisk(handles[redisClaim(1)]))
	r = w.run(4, "restore", "latest")
	r.Says(t, redisClaim(1), "is gone", "has no snapshot", "older point")
	w.run(0, "restore", "latest", "--ordinals", "0", "--from", "snapshots")
}

func TestASnapshotThatNeverBecomesReady(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	w.faults.SnapshotsReadyAfter(disks.Never, handles[redisClaim(0)])
	r := w.run(3, "backup", "-n", w.namespace, "--snapshot-timeout", "3s")
	r.Says(t, "is not ready after 3s", "snapshot.timeout")
	if snapshots, contents := w.hawserSnapshots(); len(snapshots)+len(contents) != 0 {
		t.Errorf("VolumeSnapshots %v and contents %v are left", snapshots, contents)
	}
	if left := w.storedSnapshots(handles); len(left) != 0 {
		t.Errorf("snapshots %v are left on the storage", left)
	}
}

func TestNothingToBackUp(t *testing.T) {
	w := newWorld(t)
	w.run(1, "backup", "-n", w.namespace).Says(t, "nothing to back up")
	w.run(1, "backup", "-n", "no-such-namespace").Says(t, "not found", "namespace no-such-namespace")
	w.run(1, "backup", "statefulset/redis", "-n", w.namespace).Says(t, "not found in namespace "+w.namespace, "statefulset/redis")
	w.run(2, "backup", "redis", "-n", w.namespace).Says(t, "KIND/NAME")
	if points := w.hawser("points", "-o", "name"); points.Stdout != "" {
		t.Errorf("points were made:\n%s", points.Stdout)
	}
}

func TestBucketsThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	server, err := objectstore.Start(w.ctx, objectstore.VersityGW, t.TempDir())
	w.must(err)
	t.Cleanup(server.Stop)
	good := server.URL("hawser")
	w.env = server.Env()
	for _, c := range []struct {
		name, store string
		env         []string
		says        []string
	}{
		{"missing", strings.Replace(good, "s3://"+server.Bucket, "s3://no-such-bucket", 1), nil, []string{"no-such-bucket", "does not exist"}},
		{"denied", good, []string{"AWS_SECRET_ACCESS_KEY=wrong"}, []string{server.Bucket}},
		{"away", strings.Replace(good, url.QueryEscape(server.Endpoint), url.QueryEscape("http://127.0.0.1:9"), 1), nil, []string{"127.0.0.1:9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t, w.store, w.env = t, c.store, append(server.Env(), c.env...)
			w.run(1, "backup", "-n", w.namespace).Says(t, c.says...)
			w.run(1, "restore", "latest").Says(t, c.says...)
			w.expectNoSnapshots()
		})
	}
	w.store = good
	w.run(0, "backup", "-n", w.namespace)
}

func (w *world) expectNoSnapshots() {
	w.t.Helper()
	if snapshots, contents := w.hawserSnapshots(); len(snapshots)+len(contents) != 0 {
		w.t.Errorf("VolumeSnapshots %v and contents %v are left", snapshots, contents)
	}
}

// A store that gives back other bytes than it was given makes no point.
func TestAStoreThatLies(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	server, err := objectstore.Start(w.ctx, objectstore.VersityGW, t.TempDir())
	w.must(err)
	t.Cleanup(server.Stop)
	backend, err := url.Parse(server.Endpoint)
	w.must(err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(backend); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && strings.HasSuffix(r.Request.URL.Path, "/bundle") {
				r.Body = flipped{r.Body}
			}
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	w.env = server.Env()
	w.store = strings.Replace(server.URL("hawser"), url.QueryEscape(server.Endpoint), url.QueryEscape(front.URL), 1)
	w.run(1, "backup", "-n", w.namespace).Says(t, "the store gives back other than was written")
	if points := w.run(0, "points", "-o", "name"); points.Stdout != "" {
		t.Errorf("points were made:\n%s", points.Stdout)
	}
	w.expectNoSnapshots()
	if left := w.storedSnapshots(handles); len(left) != 0 {
		t.Errorf("snapshots %v are left on the storage", left)
	}
}

// flipped gives the bytes of a body with their last bit turned.
type flipped struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
}

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	for i := range p[:n] {
		p[i] ^= 1
	}
	return n, err
}

func (f flipped) Close() error { return f.body.Close() }

func TestDamagedAndForeignPoints(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	point := w.point()
	w.loseEverything()
	folder := strings.TrimPrefix(w.store, "file://")
	uid, err := w.lab.UID(w.ctx)
	w.must(err)
	file := func(name string) string { return filepath.Join(folder, "clusters", uid, "points", point, name) }
	for _, c := range []struct {
		name, file string
		change     func([]byte) []byte
		says       []string
	}{
		{"a truncated commit", file("commit"), func(b []byte) []byte { return b[:len(b)/2] }, []string{"corrupt", point}},
		{"a changed commit", file("commit"), func(b []byte) []byte { return []byte(strings.Replace(string(b), "complete", "complet3", 1)) }, []string{"corrupt", point}},
		{"a newer commit", file("commit"), func(b []byte) []byte { return []byte(strings.Replace(string(b), `"format":1`, `"format":2`, 1)) }, []string{"newer", "hawser"}},
		{"a truncated bundle", file("bundle"), func(b []byte) []byte { return b[:len(b)-1] }, []string{"corrupt", point}},
		{"a changed bundle", file("bundle"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, []string{"corrupt", point}},
		{"a newer catalog", filepath.Join(folder, "hawser.json"), func([]byte) []byte { return []byte(`{"format":2}`) }, []string{"newer"}},
	} {
		good, err := os.ReadFile(c.file)
		w.must(err)
		w.must(os.WriteFile(c.file, c.change(append([]byte(nil), good...)), 0o600))
		r := w.run(1, "restore", point)
		r.Says(t, c.says...)
		if t.Failed() {
			t.Fatalf("with %s", c.name)
		}
		w.must(os.WriteFile(c.file, good, 0o600))
	}
	if claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{}); err != nil || len(claims.Items) != 0 {
		t.Errorf("refused restores left %d claims (%v)", len(claims.Items), err)
	}
	w.run(0, "restore", point)
}

func TestPointsThatCannotBeFound(t *testing.T) {
	w := newWorld(t)
	w.run(1, "restore", "latest").Says(t, "no Hawser catalog")
	w.deployRedis(1, "disks-delete")
	first, second := w.point(), w.point()
	w.run(1, "restore", "1999").Says(t, "no such restore point", "hawser points")
	w.run(1, "restore", first[:8]).Says(t, "ambiguous", first, second)
	w.run(2, "restore").Says(t, "name a restore point")
}

// A point of a driver that the cluster does not have is refused.
func TestTheDriverIsMissing(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(1, "disks-delete")
	point := w.point()
	w.rewritePoint(catalog.PointID(point), func(p *catalog.RestorePoint) {
		for i := range p.Bundle.Volumes {
			p.Bundle.Volumes[i].Driver = "ebs.csi.aws.com"
		}
		for _, object := range p.Bundle.Objects {
			if object.GetKind() == "PersistentVolume" {
				object.Object["spec"].(map[string]any)["csi"].(map[string]any)["driver"] = "ebs.csi.aws.com"
			}
		}
	})
	w.run(4, "restore", "latest").Says(t, "CSIDriver ebs.csi.aws.com", "install the driver")
}

// rewritePoint makes a new point from an existing one.
func (w *world) rewritePoint(id catalog.PointID, change func(*catalog.RestorePoint)) {
	w.t.Helper()
	bucket, err := dir.Open(strings.TrimPrefix(w.store, "file://"))
	w.must(err)
	cat, err := catalog.Open(w.ctx, bucket, catalog.Limits{})
	w.must(err)
	uid, err := w.lab.UID(w.ctx)
	w.must(err)
	point, err := cat.Load(w.ctx, uid, id)
	w.must(err)
	change(point)
	commit := point.Commit
	commit.Scheduled = commit.Scheduled.Add(time.Hour)
	commit.Point = catalog.NewPointID(uid, commit.Plan, commit.Scheduled, 0)
	survey, err := cat.Survey(w.ctx, uid)
	w.must(err)
	_, err = cat.Commit(w.ctx, commit, point.Bundle, survey)
	w.must(err)
}

// The binder would give the claim this volume instead of the snapshot's data.
func TestAnAvailableVolumeThatWouldTakeTheSnapshotsPlace(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-retain")
	point := w.point()
	w.loseEverything()
	w.must(w.region.DestroyDisk(handles[redisClaim(0)]))
	usurper := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "usurper-"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: "disks-retain", PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			// Reserved for the claim, so that no other test's claim takes it.
			ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: w.namespace, Name: redisClaim(0)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: disks.DefaultDriver, VolumeHandle: "empty"}},
		},
	}
	usurper, err := w.client.CoreV1().PersistentVolumes().Create(w.ctx, usurper, metav1.CreateOptions{})
	w.must(err)
	w.run(4, "restore", point).Says(t, usurper.Name, "in place of a disk from the snapshot")
	w.must(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, usurper.Name, metav1.DeleteOptions{}))
	w.run(0, "restore", point)
	w.awaitReady(1)
}

func TestTheSnapshotIsGone(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	w.loseEverything()
	stored := w.storedSnapshots(handles)
	w.must(w.region.DestroySnapshot(stored[0]))
	r := w.run(1, "restore", point, "--from", "snapshots")
	r.Says(t, stored[0], "no claim was created")
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).List(w.ctx, metav1.ListOptions{})
	if err != nil || len(claims.Items) != 0 {
		t.Errorf("claims were made: %v, %v", claims.Items, err)
	}
	w.run(0, "restore", point) // the disks are there
	w.awaitReady(2)
}

func TestARunningSetIsNotTouched(t *testing.T) {
	w := newWorld(t)
	w.deployRedis(2, "disks-delete")
	point := w.point()
	w.run(4, "restore", point, "--from", "snapshots").Says(t, redisClaim(0), "it exists and is not made from this snapshot", "scale its workload to 0")
	w.run(0, "restore", point) // everything is there and right
}

// A claim that was deleted under a set that runs comes back empty; Hawser does
// not make a second claim out of that, and says what to do.
func TestAClaimThatGotAFreshDisk(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(1, "disks-delete")
	point := w.point()
	w.must(w.client.CoreV1().PersistentVolumeClaims(w.namespace).Delete(w.ctx, redisClaim(0), metav1.DeleteOptions{}))
	w.must(w.client.CoreV1().Pods(w.namespace).Delete(w.ctx, "redis-0", metav1.DeleteOptions{}))
	fresh := func() bool {
		claim, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.ctx, redisClaim(0), metav1.GetOptions{})
		if err != nil || claim.Status.Phase != corev1.ClaimBound {
			return false
		}
		return w.disks()[redisClaim(0)] != handles[redisClaim(0)]
	}
	eventually(t, fresh)
	w.run(4, "restore", point).Says(t, redisClaim(0), "bound to another disk", "scale its workload to 0")

	// The remedy, as it says.
	w.scale(0)
	w.awaitAll(podsResource, none)
	w.awaitDetached()
	w.loseClaims()
	w.run(0, "restore", point)
	w.scale(1)
	w.awaitReady(1)
	if got := w.disks(); got[redisClaim(0)] != handles[redisClaim(0)] {
		t.Errorf("claim is on %v, want %v", got, handles)
	}
}

// eventually waits for what no single watch shows.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come about")
		case <-tick.C:
		}
	}
}
