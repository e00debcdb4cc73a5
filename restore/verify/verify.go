package verify

import (
	"context"
	"errors"
	"fmt"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// Verifier verifies points of one catalog. Only Catalog is required.
type Verifier struct {
	Catalog *catalog.Catalog
	// Kubernetes and Snapshots are the cluster to ask; nil: none is asked.
	Kubernetes kubernetes.Interface
	Snapshots  snapshotclient.Interface
	// Disks, if set, asks the drivers whether disks are there, which attaches each
	// for a moment. It needs Kubernetes too.
	Disks *restore.Restorer
}

// Point is what was found of one point.
type Point struct {
	Point   catalog.PointID `json:"point"`
	Cluster catalog.Cluster `json:"cluster"`
	Plan    string          `json:"plan"`
	Finding                 // the worst of the point itself and its claims
	// Problems are of the point itself: its objects, and the chain at this place.
	Problems []string `json:"problems,omitempty"`
	Buried   bool     `json:"buried,omitempty"` // it is to be removed
	Claims   []Claim  `json:"claims"`
}

// Report is what was found.
type Report struct {
	Points []Point `json:"points"`
	// Gaps are broken places of the chains that are at none of the points.
	Gaps []string `json:"gaps,omitempty"`
}

// Which says which points to verify.
type Which struct {
	ClusterUID string          // "" for all
	Plan       string          // "" for all
	Point      catalog.PointID // "" for all; its plan's chain is checked whole
}

// Verify verifies points, the oldest first. It fails if the store or the cluster
// cannot be read; what is found is in the report.
func (v *Verifier) Verify(ctx context.Context, which Which) (*Report, error) {
	survey, err := v.Catalog.Survey(ctx, which.ClusterUID)
	if err != nil {
		return nil, err
	}
	plan := which.Plan
	if which.Point != "" {
		plan = which.Point.Plan()
	}
	var of []catalog.Presence // the chains that are looked at
	for _, p := range survey {
		if plan == "" || p.Point.Plan() == plan {
			of = append(of, p)
		}
	}
	entries, err := v.Catalog.Entries(ctx, of)
	if err != nil {
		return nil, err
	}
	if err := readErrors(entries); err != nil {
		return nil, err
	}
	tombstones, err := v.Catalog.Tombstones(ctx, of)
	if err != nil {
		return nil, err
	}
	seen, err := v.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the cluster: %w", err)
	}
	report := &Report{Points: []Point{}}
	gaps := catalog.CheckChain(entries, tombstones)
	presence := map[key]catalog.Presence{}
	for _, p := range of {
		presence[key{p.ClusterUID, p.Point}] = p
	}
	for _, e := range entries {
		if which.Point != "" && e.Point != which.Point || e.Commit.Outcome == catalog.Abandoned {
			continue
		}
		point, err := v.point(ctx, e, presence[key{e.ClusterUID, e.Point}], &seen)
		if errors.Is(err, catalog.ErrPruned) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		report.Points = append(report.Points, point)
	}
	report.place(gaps)
	return report, nil
}

type key struct {
	cluster string
	point   catalog.PointID
}

// readErrors are those that say nothing of the points: the store did not answer.
func readErrors(entries []catalog.Entry) error {
	var errs []error
	for _, e := range entries {
		if e.Err != nil && !tells(e.Err) {
			errs = append(errs, e.Err)
		}
	}
	return errors.Join(errs...)
}

// tells says whether an error says something of the object that was read.
func tells(err error) bool {
	for _, known := range []error{catalog.ErrCorrupt, catalog.ErrNewerFormat, catalog.ErrTooLarge, catalog.ErrNoPoint} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// finding is what an error that tells says.
func finding(err error) Finding {
	if errors.Is(err, catalog.ErrNewerFormat) || errors.Is(err, catalog.ErrTooLarge) {
		return Finding{Unknown, err.Error()}
	}
	return Finding{Missing, err.Error()}
}

// point reads one point back, and judges it.
func (v *Verifier) point(ctx context.Context, e catalog.Entry, presence catalog.Presence, seen *Seen) (Point, error) {
	p := Point{Point: e.Point, Cluster: catalog.Cluster{UID: e.ClusterUID, Name: e.Commit.Cluster.Name}, Plan: e.Point.Plan(), Buried: presence.Tombstone, Claims: []Claim{}}
	p.Finding = Finding{State: OK}
	if e.Err != nil {
		p.note(finding(e.Err))
		return p, nil
	}
	loaded, err := v.Catalog.Load(ctx, e.ClusterUID, e.Point)
	if err != nil {
		if !tells(err) || errors.Is(err, catalog.ErrPruned) {
			return p, err
		}
		p.note(finding(err))
		return p, nil
	}
	if presence.Journal {
		if _, err := v.Catalog.Intent(ctx, presence); errors.Is(err, catalog.ErrCorrupt) || errors.Is(err, catalog.ErrNewerFormat) {
			p.Problems = append(p.Problems, err.Error()) // no restore needs it
		} else if err != nil && !errors.Is(err, catalog.ErrNotExist) {
			return p, err
		}
	}
	for _, problem := range contradictions(loaded) {
		p.note(Finding{Missing, problem})
	}
	if v.Disks != nil {
		if err := v.askDrivers(ctx, loaded, seen); err != nil {
			return p, err
		}
	}
	p.Claims = Judge(loaded.Commit, loaded.Bundle.Volumes, *seen)
	for _, c := range p.Claims {
		if c.State != OK {
			p.worsen(Finding{c.State, "claim " + c.Namespace + "/" + c.Name + ": " + c.Reason})
		}
	}
	return p, nil
}

// note adds a problem of the point itself.
func (p *Point) note(f Finding) {
	p.Problems = append(p.Problems, f.Reason)
	p.worsen(f)
}

// worsen makes f the finding of the point if it is worse.
func (p *Point) worsen(f Finding) {
	if p.State == OK || p.State == Unknown && f.State == Missing {
		p.Finding = f
	}
}

// place notes each gap at the point where it shows.
func (r *Report) place(gaps []catalog.Gap) {
	for _, gap := range gaps {
		found := false
		for i := range r.Points {
			p := &r.Points[i]
			if p.Cluster.UID != gap.ClusterUID || p.Point != gap.Point {
				continue
			}
			found = true
			if gap.Missing != "" { // else the commit itself cannot be read, which is said
				p.note(Finding{Missing, "the chain is broken: " + gap.String()})
			}
		}
		if !found {
			r.Gaps = append(r.Gaps, gap.String())
		}
	}
}

// look lists what the cluster has of snapshots and disks.
func (v *Verifier) look(ctx context.Context) (Seen, error) {
	if v.Kubernetes == nil {
		return Seen{}, nil
	}
	uid, err := catalog.ClusterUID(ctx, v.Kubernetes.CoreV1().Namespaces())
	if err != nil {
		return Seen{}, err
	}
	seen := Seen{Looked: true, SnapshotAPI: true, ClusterUID: uid, Disks: map[catalog.Disk]restore.DiskState{}}
	err = restore.Collect(ctx, "volumesnapshotcontents", v.Snapshots.SnapshotV1().VolumeSnapshotContents().List, &seen.Contents)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		seen.SnapshotAPI = false
	} else if err != nil {
		return seen, err
	}
	return seen, restore.Collect(ctx, "persistentvolumes", v.Kubernetes.CoreV1().PersistentVolumes().List, &seen.Volumes)
}

// askDrivers asks about the disks of a point that were not asked about before.
func (v *Verifier) askDrivers(ctx context.Context, point *catalog.RestorePoint, seen *Seen) error {
	rest := *point
	rest.Bundle.Volumes = nil
	for _, volume := range point.Bundle.Volumes {
		if _, asked := seen.Disks[volume.Disk()]; !asked {
			rest.Bundle.Volumes = append(rest.Bundle.Volumes, volume)
		}
	}
	if len(rest.Bundle.Volumes) == 0 {
		return nil
	}
	observed, err := v.Disks.Look(ctx, metav1.NamespaceAll)
	if err != nil {
		return fmt.Errorf("ask the cluster: %w", err)
	}
	disks, err := v.Disks.CheckDisks(ctx, &rest, observed)
	if err != nil {
		return fmt.Errorf("ask the drivers about the disks of point %s: %w", point.Commit.Point, err)
	}
	for key, state := range disks {
		seen.Disks[key] = state
	}
	return nil
}

// contradictions are places where a point is not what its commit says, though
// each object is as it was written.
func contradictions(point *catalog.RestorePoint) []string {
	var problems []string
	has := map[string]bool{}
	for _, o := range point.Bundle.Objects {
		has[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = true
	}
	snapshots := 0
	for _, v := range point.Bundle.Volumes {
		if v.Snapshot != nil {
			snapshots++
		}
		for _, object := range []string{"PersistentVolume /" + v.PersistentVolume, "PersistentVolumeClaim " + v.Claim.String()} {
			if !has[object] {
				problems = append(problems, fmt.Sprintf("the bundle has a record of claim %s, and not its %s", v.Claim, object))
			}
		}
	}
	for _, count := range []struct {
		what      string
		says, has int
	}{
		{"claims", point.Commit.Counts.Claims, len(point.Bundle.Volumes)},
		{"snapshots", point.Commit.Counts.Snapshots, snapshots},
		{"objects", point.Commit.Counts.Objects, len(point.Bundle.Objects)},
	} {
		if count.says != count.has {
			problems = append(problems, fmt.Sprintf("the commit counts %d %s, the bundle has %d", count.says, count.what, count.has))
		}
	}
	return problems
}

// Missing says how many points have something missing, or whose chain has.
func (r *Report) Missing() int {
	n := 0
	for _, p := range r.Points {
		if p.State == Missing {
			n++
		}
	}
	return n + len(r.Gaps)
}
