package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Begin writes the journal entry of a run. Creation is conditional, so the
// entry is also the lock of its occurrence: Begin fails with ErrExist if
// another run has begun it. It costs one write.
func (c *Catalog) Begin(ctx context.Context, intent Intent) error {
	if err := validateClusterUID(intent.Cluster.UID); err != nil {
		return err
	}
	intent.Format = Format
	data, err := json.Marshal(intent)
	if err != nil {
		return err
	}
	if err := c.bucket.Create(ctx, journalKey(intent.Cluster.UID, intent.Point), data); err != nil {
		return fmt.Errorf("write journal of point %s: %w", intent.Point, err)
	}
	return nil
}

// Intent reads a journal entry. It costs one read.
func (c *Catalog) Intent(ctx context.Context, p Presence) (Intent, error) {
	data, err := c.bucket.Get(ctx, journalKey(p.ClusterUID, p.Point), c.limits.Compressed)
	if err != nil {
		return Intent{}, fmt.Errorf("read journal of point %s: %w", p.Point, err)
	}
	var intent Intent
	if err := decodeJSON(data, &intent); err != nil {
		return Intent{}, fmt.Errorf("journal of point %s: %w", p.Point, err)
	}
	if intent.Point != p.Point || intent.Cluster.UID != p.ClusterUID {
		return Intent{}, fmt.Errorf("journal of point %s: %w: it is that of point %s", p.Point, ErrCorrupt, intent.Point)
	}
	return intent, nil
}

// Commit makes the point exist: it writes the bundle, reads it back and
// compares size and digest, and only then writes the commit, with the digest
// of the plan's previous commit. survey is the cluster's survey from the
// beginning of the run. Commit fills in Bundle and Previous and returns what
// it wrote. It fails with ErrFenced if the run was abandoned meanwhile. It
// costs two writes and two reads, and one more for each further attempt of the
// previous occurrence.
func (c *Catalog) Commit(ctx context.Context, commit Commit, bundle Bundle, survey []Presence) (Commit, error) {
	bundle.Point = commit.Point
	data, ref, err := EncodeBundle(bundle)
	if err != nil {
		return Commit{}, fmt.Errorf("encode bundle: %w", err)
	}
	if err := c.limits.check(ref); err != nil {
		return Commit{}, err
	}
	key := bundleKey(commit.Cluster.UID, commit.Point)
	if err := c.bucket.Create(ctx, key, data); err != nil {
		return Commit{}, fmt.Errorf("write bundle: %w", err)
	}
	stored, err := c.bucket.Get(ctx, key, ref.Size)
	if err != nil {
		return Commit{}, fmt.Errorf("read the bundle back: %w", err)
	}
	if err := checkStored(stored, ref); err != nil {
		return Commit{}, fmt.Errorf("the store gives back other than was written: %w", err)
	}
	commit.Bundle = &ref
	return c.close(ctx, commit, survey)
}

// Abandon closes a run that came to nothing, so that it can never commit. When
// it returns nil, the run's snapshots belong to no point. It fails with
// ErrFenced if the point was closed already; the caller must then leave the
// snapshots alone until it has read which way it was closed. It costs one
// write and at most one read.
func (c *Catalog) Abandon(ctx context.Context, intent Intent, commit Commit, survey []Presence) error {
	commit.Point, commit.Cluster, commit.Plan = intent.Point, intent.Cluster, intent.Plan
	commit.Scheduled, commit.Attempt, commit.Started = intent.Scheduled, intent.Attempt, intent.Started
	commit.Outcome, commit.Bundle, commit.Counts = Abandoned, nil, Counts{}
	_, err := c.close(ctx, commit, survey)
	return err
}

// Settle notes that nothing of a closed run is left to do: it was committed,
// or it was abandoned and its snapshots are gone. It costs one write.
func (c *Catalog) Settle(ctx context.Context, clusterUID string, id PointID) error {
	err := c.bucket.Create(ctx, settledKey(clusterUID, id), nil)
	if err != nil && !errors.Is(err, ErrExist) {
		return fmt.Errorf("settle journal of point %s: %w", id, err)
	}
	return nil
}

// close writes the commit's object, which settles what became of the run.
func (c *Catalog) close(ctx context.Context, commit Commit, survey []Presence) (Commit, error) {
	previous, err := c.previous(ctx, commit, survey)
	if err != nil {
		return Commit{}, err
	}
	commit.Previous = previous
	commit.Reasons, commit.Notes = firstReasons(commit.Reasons), firstReasons(commit.Notes)
	data, err := EncodeCommit(commit)
	if err != nil {
		return Commit{}, err
	}
	err = c.bucket.Create(ctx, commitKey(commit.Cluster.UID, commit.Point), data)
	if errors.Is(err, ErrExist) {
		return Commit{}, fmt.Errorf("point %s: %w", commit.Point, ErrFenced)
	}
	if err != nil {
		return Commit{}, fmt.Errorf("write commit: %w", err)
	}
	return commit, nil
}

const (
	mostReasons   = 100
	longestReason = 1000 // bytes
)

// firstReasons cuts reasons to what a commit has room for: one that is larger
// than commitLimit could never be read again, nor could any run of its plan
// commit after it. The bundle says of each claim what is wrong with it.
func firstReasons(reasons []string) []string {
	var first []string
	for i, reason := range reasons {
		if i == mostReasons {
			return append(first, fmt.Sprintf("and %d more", len(reasons)-i))
		}
		if len(reason) > longestReason {
			reason = strings.ToValidUTF8(reason[:longestReason], "") + "…"
		}
		first = append(first, reason)
	}
	return first
}

// previous finds the newest commit of the same plan in survey and digests it.
// Of the runs of one occurrence that is the last attempt's, which their ids do
// not tell. A commit that was pruned since the survey is known by its tombstone.
func (c *Catalog) previous(ctx context.Context, commit Commit, survey []Presence) (*CommitRef, error) {
	var newest *CommitRef
	var scheduled time.Time
	attempt := -1
	for _, p := range slices.Backward(survey) {
		at := p.Point.Scheduled()
		if !p.Commit || at.After(commit.Scheduled) || p.Point.Plan() != commit.Plan || p.ClusterUID != commit.Cluster.UID {
			continue
		}
		if newest != nil && at.Before(scheduled) {
			break
		}
		ref, n, err := c.reference(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("read the previous commit, of point %s: %w", p.Point, err)
		}
		if n > attempt {
			newest, scheduled, attempt = ref, at, n
		}
	}
	return newest, nil
}

// reference digests the commit of p and reads which attempt it is: the first,
// if it cannot be decoded.
func (c *Catalog) reference(ctx context.Context, p Presence) (*CommitRef, int, error) {
	commit, sum, err := c.commit(ctx, p.ClusterUID, p.Point)
	switch {
	case sum != "":
		return &CommitRef{Point: p.Point, SHA256: sum}, commit.Attempt, nil
	case errors.Is(err, ErrPruned):
		t, err := c.Tombstone(ctx, p)
		return &CommitRef{Point: p.Point, SHA256: t.Commit}, 0, err
	}
	return nil, 0, err
}
