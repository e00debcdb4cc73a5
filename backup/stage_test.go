package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	typedsnapshot "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned/typed/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// stage is a cluster on which processes and the snapshot controllers act one
// step at a time: whoever wants to ask anything of the cluster or the catalog
// waits until the director lets it. It lives in a synctest bubble, so that all
// of them are known to wait, and time passes when the director says so.
type stage struct {
	*lab
	t       *testing.T
	failing string // a claim whose snapshot the driver refuses; "" for none
	anyFail bool   // the others' may be missing too

	mu        sync.Mutex
	waiting   []*cue
	history   []string
	processes map[string]*process
}

// process is an actor that runs hawser.
type process struct {
	cancel context.CancelFunc
	dead   bool // it can do nothing any more
	ended  bool
}

// cue is one actor that waits to act.
type cue struct {
	actor, what string
	err         error // what comes of it instead; nil if it is to happen
	reply       chan error
}

// writes says whether the actor changes something, or is to learn that it did.
func (c *cue) writes() bool {
	return !strings.HasPrefix(c.what, "get ") && !strings.HasPrefix(c.what, "list ")
}

const sourceClass = `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: fast-snap}
driver: disks.example.com
deletionPolicy: Delete`

func newStage(t *testing.T, documents ...string) *stage {
	t.Helper()
	s := &stage{lab: newLab(t, append(documents, sourceClass)...), t: t, processes: map[string]*process{}}
	watcher, err := s.snapshots.SnapshotV1().VolumeSnapshots("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for event := range watcher.ResultChan() {
			s.control(event.Object.(*snapshotv1.VolumeSnapshot), event.Type == "ADDED", event.Type == "DELETED")
		}
	}()
	t.Cleanup(func() {
		s.close()
		watcher.Stop()
	})
	return s
}

// close ends all actors, which a test that failed leaves waiting.
func (s *stage) close() {
	s.mu.Lock()
	for _, p := range s.processes {
		p.dead = true
		p.cancel()
	}
	s.mu.Unlock()
	for {
		for _, c := range s.cues() {
			c.err = errDead
			s.give(c)
		}
		if !s.working() {
			return
		}
		time.Sleep(time.Second)
	}
}

// control plays snapshot-controller and csi-snapshotter for a VolumeSnapshot
// that has come or gone.
func (s *stage) control(snapshot *snapshotv1.VolumeSnapshot, added, deleted bool) {
	switch {
	case added:
		go s.bind(snapshot)
	case deleted:
		go s.unbind(snapshot)
	}
}

const controllers = "controllers"

func (s *stage) bind(snapshot *snapshotv1.VolumeSnapshot) {
	claim := *snapshot.Spec.Source.PersistentVolumeClaimName
	if s.act(controllers, "bind "+claim) != nil {
		return
	}
	live, err := s.snapshots.SnapshotV1().VolumeSnapshots(snapshot.Namespace).Get(context.Background(), snapshot.Name, metav1.GetOptions{})
	if err != nil {
		return // deleted meanwhile
	}
	if claim == s.failing {
		live.Status = &snapshotv1.VolumeSnapshotStatus{Error: &snapshotv1.VolumeSnapshotError{Message: ptr.To("the driver has a bad day")}}
		s.update(live)
		return
	}
	if s.act(controllers, "make the content of "+claim) != nil {
		return
	}
	content := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: "content-of-" + snapshot.Name}}
	content.Spec = snapshotv1.VolumeSnapshotContentSpec{
		DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: "disks.example.com", VolumeSnapshotClassName: live.Spec.VolumeSnapshotClassName,
		Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: ptr.To("disk-of-" + claim)},
	}
	content.Spec.VolumeSnapshotRef.Namespace, content.Spec.VolumeSnapshotRef.Name = snapshot.Namespace, snapshot.Name
	if _, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().Create(context.Background(), content, metav1.CreateOptions{}); err != nil {
		return
	}
	live.Status = &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To(content.Name)}
	s.update(live)
	if s.act(controllers, "cut "+claim) != nil {
		return
	}
	content, err = s.snapshots.SnapshotV1().VolumeSnapshotContents().Get(context.Background(), content.Name, metav1.GetOptions{})
	if err != nil {
		return
	}
	content.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: ptr.To("handle-of-" + snapshot.Name), CreationTime: ptr.To(time.Now().UnixNano())}
	if _, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().Update(context.Background(), content, metav1.UpdateOptions{}); err != nil {
		return
	}
	live.Status.ReadyToUse = ptr.To(true)
	s.update(live)
}

// update changes a VolumeSnapshot that may be gone.
func (s *stage) update(snapshot *snapshotv1.VolumeSnapshot) {
	_, _ = s.snapshots.SnapshotV1().VolumeSnapshots(snapshot.Namespace).Update(context.Background(), snapshot, metav1.UpdateOptions{})
}

// unbind deletes what policy Delete asks for. What is Retain stays.
func (s *stage) unbind(snapshot *snapshotv1.VolumeSnapshot) {
	if s.act(controllers, "unbind "+*snapshot.Spec.Source.PersistentVolumeClaimName) != nil {
		return
	}
	contents := s.snapshots.SnapshotV1().VolumeSnapshotContents()
	content, err := contents.Get(context.Background(), "content-of-"+snapshot.Name, metav1.GetOptions{})
	if err == nil && content.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
		_ = contents.Delete(context.Background(), content.Name, metav1.DeleteOptions{})
	}
}

var errDead = errors.New("the process is dead")

// act waits for the actor's cue.
func (s *stage) act(actor, what string) error {
	c := &cue{actor: actor, what: what, reply: make(chan error)}
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	return <-c.reply
}

// start has a process do something with a runner whose every request waits for
// its cue.
func (s *stage) start(name string, do func(ctx context.Context, r *Runner)) {
	ctx, cancel := context.WithCancel(s.t.Context())
	act := func(what string) error { return s.act(name, what) }
	runner := *s.Runner
	runner.Agent, runner.Writer, runner.Report, runner.Now = name, name, nil, time.Now
	runner.Snapshots = cuedSnapshots{Interface: s.snapshots, act: act}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[name] = &process{cancel: cancel}
	go func() {
		var err error
		if runner.Catalog, err = catalog.Open(ctx, cuedBucket{s.bucket, act}, catalog.Limits{}); err == nil {
			do(ctx, &runner)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.processes[name].ended = true
		s.history = append(s.history, name+" ends")
	}()
}

func (s *stage) process(name string) process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.processes[name]
}

// kill makes that a process can do nothing any more.
func (s *stage) kill(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[name]; p != nil && !p.ended && !p.dead {
		p.dead = true
		p.cancel()
		s.history = append(s.history, name+" dies")
	}
}

// stop tells a process to end, as one that no longer leads is.
func (s *stage) stop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[name]; p != nil && !p.ended {
		p.cancel()
		s.history = append(s.history, name+" is told to stop")
	}
}

// cues are the actors that wait, once all of them do, in an order that does not
// depend on who came first. The dead learn on the way that they are.
func (s *stage) cues() []*cue {
	for {
		synctest.Wait()
		s.mu.Lock()
		dead := slices.IndexFunc(s.waiting, func(c *cue) bool { return s.processes[c.actor] != nil && s.processes[c.actor].dead })
		if dead < 0 {
			break
		}
		c := s.waiting[dead]
		s.waiting = slices.Delete(s.waiting, dead, dead+1)
		s.mu.Unlock()
		c.reply <- errDead
	}
	defer s.mu.Unlock()
	slices.SortStableFunc(s.waiting, func(a, b *cue) int {
		return cmp.Or(strings.Compare(a.actor, b.actor), strings.Compare(a.what, b.what))
	})
	return slices.Clone(s.waiting)
}

// give lets an actor act.
func (s *stage) give(c *cue) {
	s.mu.Lock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *cue) bool { return other == c })
	s.history = append(s.history, strings.TrimSpace(fmt.Sprintf("%s: %s %v", c.actor, c.what, cmp.Or(c.err, errors.New("")))))
	s.mu.Unlock()
	c.reply <- c.err
}

// working says whether a process has not ended.
func (s *stage) working() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		if !p.ended {
			return true
		}
	}
	return false
}

// play gives the cues that choose picks, and lets a second pass where it returns
// nil, or nobody waits, until all processes have ended. After each step it makes
// sure that each committed point can be restored.
func (s *stage) play(choose func(cues []*cue) *cue) {
	s.t.Helper()
	for steps := 0; s.working(); steps++ {
		if steps == 5000 {
			s.t.Fatalf("no end comes:\n%s", strings.Join(s.history, "\n"))
		}
		cues := s.cues()
		var next *cue
		if len(cues) > 0 {
			next = choose(cues)
		}
		if next == nil {
			time.Sleep(time.Second)
			continue
		}
		s.give(next)
		if !next.writes() {
			continue
		}
		synctest.Wait()
		s.checkPoints()
		if s.t.Failed() {
			s.t.Fatalf("it came so:\n%s", strings.Join(s.history, "\n"))
		}
	}
}

// holdAt gives cues in turn until nobody waits but for what begins with one of
// holds, each "ACTOR: WHAT", and returns when the first of them waits.
func (s *stage) holdAt(holds ...string) {
	s.t.Helper()
	first := func(c *cue) bool { return strings.HasPrefix(c.actor+": "+c.what, holds[0]) }
	held := func(c *cue) bool {
		return slices.ContainsFunc(holds, func(hold string) bool { return strings.HasPrefix(c.actor+": "+c.what, hold) })
	}
	for range 1000 {
		cues := s.cues()
		if slices.ContainsFunc(cues, first) {
			return
		}
		if free := slices.DeleteFunc(cues, held); len(free) > 0 {
			s.give(free[0])
		} else {
			time.Sleep(time.Second)
		}
	}
	s.t.Fatalf("nobody comes to %q:\n%s", holds[0], strings.Join(s.history, "\n"))
}

// holding gives the first cue that does not begin with held.
func holding(held string) func([]*cue) *cue {
	return func(cues []*cue) *cue {
		for _, c := range cues {
			if !strings.HasPrefix(c.actor+": "+c.what, held) {
				return c
			}
		}
		return nil
	}
}

// inTurn gives the first cue.
func inTurn(cues []*cue) *cue { return cues[0] }

// points are the committed points.
func (s *stage) points() []*catalog.RestorePoint {
	s.t.Helper()
	var points []*catalog.RestorePoint
	for _, p := range s.survey(s.t) {
		if !p.Commit {
			continue
		}
		point, err := s.Catalog.Load(s.t.Context(), p.ClusterUID, p.Point)
		if err == nil {
			points = append(points, point)
		} else if !errors.Is(err, catalog.ErrNoPoint) {
			s.t.Errorf("point %s: %v", p.Point, err)
		}
	}
	return points
}

// checkPoints fails the test unless every snapshot that a committed point names
// is there and kept, and an occurrence has one point.
func (s *stage) checkPoints() {
	s.t.Helper()
	occurrences := map[time.Time]catalog.PointID{}
	for _, point := range s.points() {
		if other := occurrences[point.Commit.Scheduled]; other != "" {
			s.t.Errorf("points %s and %s are of one occurrence", other, point.Commit.Point)
		}
		occurrences[point.Commit.Scheduled] = point.Commit.Point
		for _, v := range point.Bundle.Volumes {
			if v.Snapshot == nil {
				continue
			}
			_, err := s.snapshots.Tracker().Get(snapshotv1.SchemeGroupVersion.WithResource("volumesnapshots"), v.Claim.Namespace, v.Snapshot.Name)
			if err != nil {
				s.t.Errorf("point %s relies on %s: %v", point.Commit.Point, v.Snapshot.Name, err)
			}
			content, err := s.snapshots.Tracker().Get(snapshotv1.SchemeGroupVersion.WithResource("volumesnapshotcontents"), "", v.Snapshot.Content)
			if err != nil {
				s.t.Errorf("point %s relies on %s: %v", point.Commit.Point, v.Snapshot.Content, err)
			} else if c := content.(*snapshotv1.VolumeSnapshotContent); c.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain || *c.Status.SnapshotHandle != string(v.Snapshot.Handle) {
				s.t.Errorf("point %s relies on %s, which is %s and of handle %s", point.Commit.Point, c.Name, c.Spec.DeletionPolicy, *c.Status.SnapshotHandle)
			}
		}
	}
}

// checkEnd fails the test unless nothing is left to do: the occurrence has its
// point, every journal entry is settled, and the cluster has the snapshots of
// committed points and no others.
func (s *stage) checkEnd() {
	s.t.Helper()
	s.checkPoints()
	points := s.points()
	if len(points) != 1 {
		s.t.Errorf("there are %d points, want one", len(points))
	}
	var want []string
	for _, point := range points {
		for _, v := range point.Bundle.Volumes {
			if (v.Snapshot == nil) != (v.Claim.Name == s.failing) && !s.anyFail {
				s.t.Errorf("claim %s has snapshot %v, and %q is the one whose snapshot fails", v.Claim, v.Snapshot, s.failing)
			}
			if v.Snapshot != nil {
				want = append(want, v.Snapshot.Name, v.Snapshot.Content)
			}
		}
	}
	got := s.left(s.t)
	slices.Sort(want)
	slices.Sort(got)
	wantDiff(s.t, "snapshots and contents in the cluster", want, got)
	for _, p := range s.survey(s.t) {
		if p.Journal && !p.Settled {
			s.t.Errorf("the journal entry of point %s is open", p.Point)
		}
	}
	if s.t.Failed() {
		s.t.Logf("it came so:\n%s", strings.Join(s.history, "\n"))
	}
}

// cuedBucket waits for a cue before each call, and after each that writes.
type cuedBucket struct {
	catalog.Bucket
	act func(what string) error
}

func (b cuedBucket) Create(ctx context.Context, key string, data []byte) error {
	return write(b.act, "create "+short(key), func() error { return b.Bucket.Create(ctx, key, data) })
}

func (b cuedBucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := b.act("get " + short(key)); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key, limit)
}

func (b cuedBucket) List(ctx context.Context, prefix string) iter.Seq2[catalog.Object, error] {
	if err := b.act("list the catalog"); err != nil {
		return func(yield func(catalog.Object, error) bool) { yield(catalog.Object{}, err) }
	}
	return b.Bucket.List(ctx, prefix)
}

// short is the part of a key that tells a cluster's objects apart.
func short(key string) string {
	return strings.TrimPrefix(key, "clusters/"+clusterUID+"/")
}

// write waits for a cue to do, and for one to learn how that went.
func write(act func(string) error, what string, do func() error) error {
	if err := act(what); err != nil {
		return err
	}
	err := do()
	if lost := act("answer to " + what); lost != nil {
		return lost
	}
	return err
}

// cuedSnapshots does the same for what hawser asks of the snapshot API, but for
// watches, which the fakes cannot begin where a list ended.
type cuedSnapshots struct {
	snapshotclient.Interface
	act func(what string) error
}

func (c cuedSnapshots) SnapshotV1() typedsnapshot.SnapshotV1Interface {
	return cuedSnapshotV1{c.Interface.SnapshotV1(), c.act}
}

type cuedSnapshotV1 struct {
	typedsnapshot.SnapshotV1Interface
	act func(what string) error
}

func (c cuedSnapshotV1) VolumeSnapshots(namespace string) typedsnapshot.VolumeSnapshotInterface {
	return cuedVolumeSnapshots{c.SnapshotV1Interface.VolumeSnapshots(namespace), c.act}
}

func (c cuedSnapshotV1) VolumeSnapshotContents() typedsnapshot.VolumeSnapshotContentInterface {
	return cuedContents{c.SnapshotV1Interface.VolumeSnapshotContents(), c.act}
}

type cuedVolumeSnapshots struct {
	typedsnapshot.VolumeSnapshotInterface
	act func(what string) error
}

func (c cuedVolumeSnapshots) Create(ctx context.Context, s *snapshotv1.VolumeSnapshot, opts metav1.CreateOptions) (made *snapshotv1.VolumeSnapshot, err error) {
	err = write(c.act, "create snapshot of "+*s.Spec.Source.PersistentVolumeClaimName, func() (err error) {
		made, err = c.VolumeSnapshotInterface.Create(ctx, s, opts)
		return err
	})
	return made, err
}

func (c cuedVolumeSnapshots) Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	return write(c.act, "delete snapshot "+name, func() error { return c.VolumeSnapshotInterface.Delete(ctx, name, opts) })
}

func (c cuedVolumeSnapshots) List(ctx context.Context, opts metav1.ListOptions) (*snapshotv1.VolumeSnapshotList, error) {
	if err := c.act("list snapshots"); err != nil {
		return nil, err
	}
	return c.VolumeSnapshotInterface.List(ctx, opts)
}

type cuedContents struct {
	typedsnapshot.VolumeSnapshotContentInterface
	act func(what string) error
}

func (c cuedContents) Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (got *snapshotv1.VolumeSnapshotContent, err error) {
	err = write(c.act, "release "+name, func() (err error) {
		got, err = c.VolumeSnapshotContentInterface.Patch(ctx, name, pt, data, opts, subresources...)
		return err
	})
	return got, err
}

func (c cuedContents) Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	return write(c.act, "delete "+name, func() error { return c.VolumeSnapshotContentInterface.Delete(ctx, name, opts) })
}

func (c cuedContents) List(ctx context.Context, opts metav1.ListOptions) (*snapshotv1.VolumeSnapshotContentList, error) {
	if err := c.act("list contents"); err != nil {
		return nil, err
	}
	return c.VolumeSnapshotContentInterface.List(ctx, opts)
}
