package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// Side is one of the two clusters.
type Side struct {
	*restore.Restorer
	catalog.Cluster // its identity
}

// Mover plans and carries out migrations between two clusters that share a
// catalog. Fresh, which a copy needs, Report and Process may be left out.
type Mover struct {
	Source  *Side // nil if it is gone: then Adopted is the point to adopt the disks of
	Target  *Side // nil if it is gone, for Rollback
	Adopted *catalog.RestorePoint
	Catalog *catalog.Catalog
	// Fresh makes a restore point of a selection of the source before anything is
	// stopped; nil: none is made. Where it fails nothing is changed.
	Fresh   func(context.Context, backup.Selection) (catalog.PointID, error)
	Now     func() time.Time
	Report  func(restore.Event) // called from several goroutines
	Process string              // this process, for the journal
	Writer  string              // program and version
}

func (m *Mover) report(kind, namespace, name, stage, message string, done bool) {
	if m.Report != nil {
		m.Report(restore.Event{Kind: kind, Namespace: namespace, Name: name, Stage: stage, Message: message, Done: done, At: m.Now()})
	}
}

// Plan looks at both clusters and the catalog, and plans. It writes nothing. It
// fails with *restore.RefusedError if the migration is refused.
func (m *Mover) Plan(ctx context.Context, options Options) (*Plan, error) {
	seen, err := m.look(ctx, options)
	if err != nil {
		return nil, err
	}
	return NewPlan(seen, options)
}

func (m *Mover) look(ctx context.Context, options Options) (*Seen, error) {
	seen := &Seen{Now: m.Now(), Target: m.Target.Cluster}
	point, err := m.leaving(ctx, options)
	if err != nil {
		return nil, err
	}
	seen.Point, seen.Source = point, point.Commit.Cluster
	if seen.Unfinished, err = m.unfinished(ctx, seen.Source, point); err != nil {
		return nil, err
	}
	if seen.Unfinished != nil { // its own options say what is in the target
		if options, err = resumed(seen.Unfinished.Migration, options); err != nil {
			return nil, err
		}
	}
	if seen.Owners, err = m.Catalog.OwnersOf(ctx, catalog.DisksOf(point.Bundle.Volumes)); err != nil {
		return nil, err
	}
	namespace := restore.Mapped(options.Mapping.Namespaces, options.Namespace)
	plan := &Plan{options: options, seen: seen}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.lookAtSource(gctx, seen, options) })
	group.Go(func() (err error) {
		if seen.InTarget, err = m.Target.Observe(gctx, plan.arriving(foreseen(point, options.Way, seen.Now), 0), plan.request(true)); err != nil {
			return fmt.Errorf("the target: %w", err)
		}
		if seen.Denied, err = users.Denied(gctx, m.Target.Restorer, targetRights(seen.InTarget, namespace, options)); err != nil {
			return fmt.Errorf("the target: %w", err)
		}
		return m.needed(gctx, seen, namespace)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return seen, m.compareVersions(seen)
}

// leaving is what is to be migrated, as a restore point of the source.
func (m *Mover) leaving(ctx context.Context, options Options) (*catalog.RestorePoint, error) {
	if m.Source == nil {
		return restore.Narrow(m.Adopted, restore.Request{Namespaces: []string{options.Namespace}, Workloads: options.Workloads, Claims: options.Claims})
	}
	point, err := backup.Capture(ctx, m.Source.Dynamic, options.selection(), options.include())
	if errors.Is(err, backup.ErrNothing) {
		return nil, &restore.RefusedError{Refusals: []restore.Refusal{{Kind: "Namespace", Name: options.Namespace, Problem: err.Error(), Remedy: "name workloads that have claims"}}}
	}
	if err != nil {
		return nil, fmt.Errorf("look at the source: %w", err)
	}
	point.Commit.Cluster = m.Source.Cluster
	return point, nil
}

// lookAtSource looks at who uses the claims.
func (m *Mover) lookAtSource(ctx context.Context, seen *Seen, options Options) (err error) {
	if m.Source == nil {
		seen.InSource, err = usersIn(seen.Point)
		return err
	}
	rights := sourceRights(options.Namespace)
	if options.Way == catalog.WayCopy {
		rights = nil
	}
	if seen.InSource, err = users.Look(ctx, m.Source.Restorer, options.Namespace, rights); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	return nil
}

// stepDone ends a migration, whichever way it went: nothing is left to do.
const stepDone = "done"

// unfinished finds the newest migration from the source that has claims of point
// and has not ended.
func (m *Mover) unfinished(ctx context.Context, source catalog.Cluster, point *catalog.RestorePoint) (*catalog.MigrationState, error) {
	states, err := m.Catalog.Migrations(ctx)
	if err != nil {
		return nil, err
	}
	claims := claimsIn(point)
	for _, s := range slices.Backward(states) {
		overlaps := slices.ContainsFunc(claimsOf(s.Migration.Volumes), func(claim string) bool { return slices.Contains(claims, claim) })
		if s.Err != nil || s.Migration.Source.UID != source.UID || !overlaps {
			continue
		}
		state, err := m.Catalog.Migration(ctx, s.Migration.ID)
		if err != nil {
			return nil, err
		}
		if stepOf(&state, stepDone) == nil {
			return &state, nil
		}
	}
	return nil, nil
}

// sourceRights are what a migration needs in the source once it stops workloads
// there, going there and back.
func sourceRights(namespace string) []users.Right {
	return slices.Concat(
		users.Rights("apps", "statefulsets", namespace, "get", "watch", "patch"),
		users.Rights("apps", "deployments", namespace, "get", "watch", "patch"),
		users.Rights("", "persistentvolumeclaims", namespace, "patch"),
		users.Rights("", "persistentvolumes", "", "patch"),
		fenceRights(namespace),
	)
}

// targetRights are what a migration needs in the target, going there and back.
func targetRights(seen *restore.Observed, namespace string, options Options) []users.Right {
	rights := slices.Concat(
		users.Rights("apps", "statefulsets", namespace, "get", "watch", "create", "patch", "delete"),
		users.Rights("apps", "deployments", namespace, "get", "watch", "create", "patch", "delete"),
		users.Rights("", "persistentvolumeclaims", namespace, "get", "watch", "create", "patch", "delete"),
		users.Rights("", "persistentvolumes", "", "get", "watch", "create", "patch", "delete"),
		users.Rights("", "services", namespace, "create"),
		users.Rights("", "configmaps", namespace, "create"),
		fenceRights(namespace),
	)
	if options.Secrets {
		rights = append(rights, users.Rights("", "secrets", namespace, "create")...)
	}
	if !slices.ContainsFunc(seen.Namespaces, func(n corev1.Namespace) bool { return n.Name == namespace }) {
		rights = append(rights, users.Rights("", "namespaces", "", "create")...)
	}
	return rights
}

// fenceRights are what waiting for the end of Pods and attachments needs, besides
// what a plan lists.
func fenceRights(namespace string) []users.Right {
	return slices.Concat(users.Rights("", "pods", namespace, "watch"), users.Rights("storage.k8s.io", "volumeattachments", "", "watch"))
}

// needed looks for what the Pods name in the target and what is not brought along.
func (m *Mover) needed(ctx context.Context, seen *Seen, namespace string) error {
	var wanted []Missing
	for _, skip := range seen.Point.Bundle.Skipped {
		if skip.Kind == "Secret" && skip.Reason == catalog.SkipNotAsked {
			wanted = append(wanted, Missing{"Secret", namespace, skip.Name})
		}
	}
	for _, name := range serviceAccounts(seen.Point) {
		wanted = append(wanted, Missing{"ServiceAccount", namespace, name})
	}
	for _, w := range wanted {
		var err error
		if w.Kind == "Secret" {
			_, err = m.Target.Kubernetes.CoreV1().Secrets(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
		} else {
			_, err = m.Target.Kubernetes.CoreV1().ServiceAccounts(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
		}
		switch {
		case err == nil:
		case apierrors.IsNotFound(err):
			seen.Missing = append(seen.Missing, w)
		case apierrors.IsForbidden(err):
			seen.Notes = append(seen.Notes, fmt.Sprintf("%s %s/%s, which the Pods need, could not be looked at in the target; make sure that it exists", w.Kind, w.Namespace, w.Name))
		default:
			return fmt.Errorf("look for %s %s/%s in the target: %w", w.Kind, w.Namespace, w.Name, err)
		}
	}
	return nil
}

// compareVersions notes a target that is older than the source: it may not know
// every field of what is created there.
func (m *Mover) compareVersions(seen *Seen) error {
	if m.Source == nil {
		return nil
	}
	source, err := m.Source.Kubernetes.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the source: ask for its version: %w", err)
	}
	target, err := m.Target.Kubernetes.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the target: ask for its version: %w", err)
	}
	if older(target.Major, target.Minor, source.Major, source.Minor) {
		seen.Versions = fmt.Sprintf("the target runs Kubernetes %s, the source %s: fields that the older one does not know are dropped", target.GitVersion, source.GitVersion)
	}
	return nil
}
