package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"hawser.dev/hawser/catalog"
)

// hookGroup is the snapshots that are cut together, and the Pods that are quiet
// meanwhile: those of one workload.
type hookGroup struct {
	shots []*shot
	hooks []podHook
}

// groupByHooks gathers, for each workload that has Pods with hooks, the
// snapshots of all its volumes; rest are the snapshots that need no hook.
func groupByHooks(all []*shot, hooks []podHook) (groups []*hookGroup, rest []*shot) {
	byOwner := map[string]*hookGroup{}
	owners := map[catalog.ClaimKey]string{}
	for _, shot := range all {
		owners[shot.volume.Claim] = ownerOf(shot.volume)
	}
	for _, hook := range hooks {
		owner, found := "", false
		for _, claim := range hook.claims {
			if owner, found = owners[claim]; found {
				break
			}
		}
		if !found {
			continue // none of its volumes gets a snapshot
		}
		if byOwner[owner] == nil {
			byOwner[owner] = &hookGroup{}
			groups = append(groups, byOwner[owner])
		}
		byOwner[owner].hooks = append(byOwner[owner].hooks, hook)
		for _, claim := range hook.claims {
			owners[claim] = owner // a Pod's volumes are cut together, whosever they are
		}
	}
	for _, shot := range all {
		if group := byOwner[owners[shot.volume.Claim]]; group != nil {
			group.shots = append(group.shots, shot)
		} else {
			rest = append(rest, shot)
		}
	}
	return groups, rest
}

func ownerOf(v *catalog.Volume) string {
	if v.Workload == nil {
		return v.Claim.String()
	}
	return v.Claim.Namespace + "/" + v.Workload.Kind + "/" + v.Workload.Name
}

// shootQuietly quiesces the group's Pods, creates its snapshots, and releases
// the Pods as soon as all of them are cut, or whatever else happens.
func (r *run) shootQuietly(ctx context.Context, s *shots, slots *semaphore.Weighted, g *hookGroup) (err error) {
	if r.Exec == nil {
		for _, shot := range g.shots {
			s.drop(shot, errors.New("its Pod asks for hooks, and this run cannot execute commands"))
		}
		return nil
	}
	quiets, failed := r.quiesceAll(ctx, g.hooks)
	defer func() { r.releaseAll(ctx, quiets) }()
	for _, shot := range g.shots {
		if err := failed[shot.volume.Claim]; err != nil {
			s.drop(shot, err)
		}
	}
	var create []*shot
	for _, shot := range g.shots {
		if failed[shot.volume.Claim] == nil {
			create = append(create, shot)
		}
	}
	if err := r.create(ctx, s, slots, create); err != nil {
		return err
	}
	for _, shot := range create {
		select {
		case <-shot.isCut:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// quiesceAll runs the pre hooks of a group's Pods side by side. It returns
// what must be released, and why the claims of which Pods must not be cut.
func (r *run) quiesceAll(ctx context.Context, hooks []podHook) ([]*quiet, map[catalog.ClaimKey]error) {
	var mu sync.Mutex
	var quiets []*quiet
	failed := map[catalog.ClaimKey]error{}
	var group errgroup.Group
	for _, hook := range hooks {
		group.Go(func() error {
			for _, claim := range hook.claims {
				r.report(claim, StageQuiesce, "pre hook in Pod "+hook.pod)
			}
			q, err := quiesce(ctx, r.Exec, hook)
			mu.Lock()
			defer mu.Unlock()
			if q != nil {
				quiets = append(quiets, q)
			}
			if err == nil {
				return nil
			}
			if hook.OnFailure == Continue {
				r.note(fmt.Sprintf("the snapshot was taken all the same: %v", err))
				return nil
			}
			for _, claim := range hook.claims {
				failed[claim] = err
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	return quiets, failed
}

// releaseAll releases Pods side by side. A Pod that is not released is the
// worst that a backup can leave, so it makes the point partial.
func (r *run) releaseAll(ctx context.Context, quiets []*quiet) {
	var group errgroup.Group
	for _, q := range quiets {
		group.Go(func() error {
			if err := q.release(ctx); err != nil {
				r.log().Error("hook failed", "pod", q.hook.namespace+"/"+q.hook.pod, "error", err)
				r.addReason(err.Error())
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
}

func (r *run) addReason(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, reason)
}

func (r *run) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}
