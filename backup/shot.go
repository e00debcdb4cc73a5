package backup

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// errorGrace is how long the last snapshots may go on failing: the driver
// retries, and a first error is often gone a moment later.
const errorGrace = 20 * time.Second

// shot is one snapshot that a run takes: of volume, in class.
type shot struct {
	volume *catalog.Volume
	name   string // of the VolumeSnapshot, in the claim's namespace
	class  string

	// What became of it; guarded by shots.mu until the watch has ended.
	err       error                      // why none was, or is to be, created
	firstSeen time.Time                  // when the VolumeSnapshot was
	seen      *snapshotv1.VolumeSnapshot // the latest that was
	snapshot  *snapshotv1.VolumeSnapshot // ready
	lastError string
	cut       bool          // the data is of one moment now, or never will be
	isCut     chan struct{} // closed when cut
}

func (s *shot) key() string { return s.volume.Claim.Namespace + "/" + s.name }

func (s *shot) setCut() {
	if !s.cut {
		s.cut = true
		close(s.isCut)
	}
}

// shots are the snapshots of a run, and what the one watch over them shows.
type shots struct {
	all     []*shot
	report  func(catalog.ClaimKey, Stage, string)
	mu      sync.Mutex
	byKey   map[string]*shot
	timeout time.Duration
	giveUp  *time.Timer
	cancel  context.CancelFunc // of the watch
}

func newShots(all []*shot, timeout time.Duration, report func(catalog.ClaimKey, Stage, string)) *shots {
	s := &shots{all: all, report: report, timeout: timeout, byKey: map[string]*shot{}}
	for _, shot := range all {
		shot.isCut = make(chan struct{})
		s.byKey[shot.key()] = shot
	}
	return s
}

// drop notes that no snapshot will come of a shot.
func (s *shots) drop(shot *shot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if shot.err == nil {
		shot.err = err
	}
	shot.setCut()
	s.settle()
}

// follow watches until every shot is ready or dropped, or timeout has passed,
// or nothing but failing ones is left for errorGrace. It fails only if ctx
// ends or the watch cannot be had.
func (s *shots) follow(ctx context.Context, r *run) error {
	wctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	s.settle()
	s.mu.Unlock()
	stop := r.lookOn(wctx, s)
	err := until(wctx, snapshotsOf(r.Snapshots, r.point, r.request.Select.scope()), &snapshotv1.VolumeSnapshot{}, nil, func(event watch.Event) (bool, error) {
		snapshot, ok := event.Object.(*snapshotv1.VolumeSnapshot)
		if !ok {
			return false, apierrors.FromObject(event.Object)
		}
		return s.observe(snapshot, event.Type == watch.Deleted, r.Now()), nil
	})
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shot := range s.all {
		shot.setCut() // nobody watches any more
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && (fatal(err) || wctx.Err() == nil):
		return fmt.Errorf("watch VolumeSnapshots: %w", err)
	}
	return nil
}

// observe notes one observation, and says whether nothing is left to wait for.
func (s *shots) observe(snapshot *snapshotv1.VolumeSnapshot, deleted bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	shot := s.byKey[snapshot.Namespace+"/"+snapshot.Name]
	if shot != nil {
		if shot.seen == nil {
			shot.firstSeen = now
		}
		shot.seen = snapshot
	}
	if shot != nil && shot.snapshot == nil {
		if deleted {
			shot.lastError = "the VolumeSnapshot was deleted while it was being taken"
			shot.setCut()
		} else {
			s.see(shot, snapshot)
		}
	}
	return s.settle()
}

// see notes the status of a snapshot that is not ready yet.
func (s *shots) see(shot *shot, snapshot *snapshotv1.VolumeSnapshot) {
	status := snapshot.Status
	switch {
	case status == nil:
	case ptr.Deref(status.ReadyToUse, false) && status.BoundVolumeSnapshotContentName != nil:
		shot.snapshot, shot.lastError = snapshot, ""
		shot.setCut()
		s.report(shot.volume.Claim, StageReady, "snapshot ready")
	case status.Error != nil:
		message := strings.TrimSpace(ptr.Deref(status.Error.Message, "the driver gave no message"))
		if shot.lastError != message {
			s.report(shot.volume.Claim, StageSnapshot, "snapshot fails: "+message)
		}
		shot.lastError = message
		shot.setCut()
	case status.CreationTime != nil:
		if !shot.cut {
			s.report(shot.volume.Claim, StageSnapshot, "snapshot cut, not ready yet")
		}
		shot.lastError = ""
		shot.setCut()
	}
}

// settle decides whether to wait on: it gives the last ones that fail some
// grace, and ends the watch when nothing is left.
func (s *shots) settle() (done bool) {
	ready, failing := 0, 0
	for _, shot := range s.all {
		switch {
		case shot.snapshot != nil || shot.err != nil:
			ready++
		case shot.lastError != "":
			failing++
		}
	}
	if s.cancel == nil {
		return false // not watching yet
	}
	onlyFailing := failing > 0 && ready+failing == len(s.all)
	switch {
	case ready == len(s.all):
		s.cancel()
	case onlyFailing && s.giveUp == nil:
		s.giveUp = time.AfterFunc(min(errorGrace, s.timeout), s.cancel)
	case !onlyFailing && s.giveUp != nil:
		s.giveUp.Stop()
		s.giveUp = nil
	}
	return ready == len(s.all)
}
