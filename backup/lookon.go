package backup

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
)

// Throttling is a component that holds up snapshots of a run, as it is told of
// at each look while it does.
type Throttling struct {
	Finding
	Waited time.Duration // since the look before
}

// lookOn looks every lookEvery at what the snapshots wait for, and tells of it,
// until the returned function is called. A run that takes less costs nothing.
func (r *run) lookOn(ctx context.Context, s *shots) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watcher := onlooker{run: r, shots: s, waited: map[string]time.Duration{}}
		watcher.before = Look{At: r.Now(), Own: r.Meter.Requests()}
		watcher.deadline = watcher.before.At.Add(s.timeout)
		defer watcher.note()
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				watcher.tell(watcher.look(ctx))
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

type onlooker struct {
	*run
	shots    *shots
	before   Look
	deadline time.Time
	waited   map[string]time.Duration // by the message of what throttles
}

// tell diagnoses, and tells what is found: the log once, the caller each time.
func (o *onlooker) tell(now Look) {
	o.log().Debug("waiting for snapshots", "places", places(now.Sights), "requests", now.Own, "point", o.point)
	found := Diagnose(o.before, now, o.deadline)
	now.hold(o.before, found)
	for _, f := range found {
		level := slog.LevelWarn
		if f.Kind == Working {
			level = slog.LevelInfo
		}
		if _, told := o.waited[f.Message]; !told {
			o.log().Log(context.Background(), level, "snapshots are slow: "+f.Message,
				"component", f.Component, "driver", f.Driver, "flags", f.Flags, "waiting", f.Waiting, "of", len(now.Sights), "plan", o.request.Plan, "point", o.point)
		}
		waited := now.At.Sub(o.before.At)
		if f.Kind != Throttles {
			waited = 0
		} else if o.Throttled != nil {
			o.Throttled(Throttling{Finding: f, Waited: waited})
		}
		o.waited[f.Message] += waited
	}
	o.before = now
}

// places counts the snapshots at each place.
func places(sights []Sight) (n [AtEnd + 1]int) {
	for _, s := range sights {
		n[s.Place]++
	}
	return n
}

// note records in the point what throttled.
func (o *onlooker) note() {
	for _, message := range slices.Sorted(maps.Keys(o.waited)) {
		if waited := o.waited[message]; waited > 0 {
			o.run.note(fmt.Sprintf("snapshots waited for about %s: %s", waited.Round(time.Second), message))
		}
	}
}

// look sees where each snapshot is. It costs a list of the contents, if any of
// the snapshots that it waits for has one.
func (o *onlooker) look(ctx context.Context) Look {
	now := Look{At: o.Now(), Own: o.Meter.Requests()}
	contents := map[string]*snapshotv1.VolumeSnapshotContent{}
	if o.shots.someBound() {
		err := EachContent(ctx, o.Snapshots, func(content *snapshotv1.VolumeSnapshotContent) error {
			ref := content.Spec.VolumeSnapshotRef
			if key := ref.Namespace + "/" + ref.Name; o.shots.byKey[key] != nil {
				contents[key] = content
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			o.log().Debug("what the snapshots wait for cannot be seen in full", "error", err)
		}
	}
	o.shots.mu.Lock()
	defer o.shots.mu.Unlock()
	for _, shot := range o.shots.all {
		content := contents[shot.key()]
		if content != nil && shot.seen != nil && content.Spec.VolumeSnapshotRef.UID != shot.seen.UID {
			content = nil
		}
		sight := locate(shot.volume.Driver, shot.firstSeen, shot.seen, content)
		if shot.snapshot != nil || shot.err != nil || shot.lastError != "" {
			sight.Place = AtEnd
		}
		now.Sights = append(now.Sights, sight)
		now.Written = latest(now.Written, lastWrite(content))
	}
	return now
}

// someBound says whether a snapshot that is waited for has a content.
func (s *shots) someBound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.all, func(shot *shot) bool {
		return shot.snapshot == nil && shot.err == nil && shot.seen != nil && shot.seen.Status != nil && shot.seen.Status.BoundVolumeSnapshotContentName != nil
	})
}
