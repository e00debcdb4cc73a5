package backup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// earlier is the journal entry of a run that began an hour ago.
func earlier(deadline time.Time, snapshots ...string) catalog.Intent {
	start := noon.Add(-time.Hour)
	intent := catalog.Intent{
		Point: catalog.NewPointID(clusterUID, "databases", start, 0), Cluster: catalog.Cluster{UID: clusterUID}, Plan: "databases",
		Scheduled: start, Started: start, Deadline: deadline, Writer: "hawser test",
	}
	for _, name := range snapshots {
		intent.Snapshots = append(intent.Snapshots, catalog.IntentSnapshot{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data"}, Name: name})
	}
	return intent
}

// stored puts a snapshot of an earlier run into the cluster, with its content.
func (l *lab) stored(t *testing.T, intent catalog.Intent, name string) {
	t.Helper()
	snapshot, content := readySnapshot()
	snapshot.Name, snapshot.Labels = name, map[string]string{PointLabel: string(intent.Point)}
	content.Name = "content-of-" + name
	content.Spec.VolumeSnapshotRef.Name, snapshot.Status.BoundVolumeSnapshotContentName = name, ptr.To(content.Name)
	for _, object := range []runtime.Object{snapshot, content} {
		if err := l.snapshots.Tracker().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	// The part of csi-snapshotter: what is to be deleted goes.
	l.snapshots.PrependReactor("delete", "volumesnapshots", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.DeleteAction).GetName() != name {
			return false, nil, nil
		}
		gone := l.snapshots.Tracker().Delete(snapshotv1.SchemeGroupVersion.WithResource("volumesnapshotcontents"), "", content.Name)
		return false, nil, gone
	})
}

// left names the snapshots and contents that the cluster has.
func (l *lab) left(t *testing.T) []string {
	t.Helper()
	var names []string
	snapshots, err := l.snapshots.SnapshotV1().VolumeSnapshots("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots.Items {
		names = append(names, s.Name)
	}
	contents, err := l.snapshots.SnapshotV1().VolumeSnapshotContents().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents.Items {
		names = append(names, c.Name)
	}
	return names
}

func TestRunClearsUpAfterEarlierOnes(t *testing.T) {
	expired, alive := noon.Add(-time.Minute), noon.Add(time.Minute)
	ours := []string{"ours", "content-of-ours"}
	abandoned := func(t *testing.T, l *lab, intent catalog.Intent) {
		if err := l.Catalog.Abandon(t.Context(), intent, catalog.Commit{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	committed := func(t *testing.T, l *lab, intent catalog.Intent) {
		commit := catalog.Commit{Point: intent.Point, Cluster: intent.Cluster, Plan: intent.Plan, Outcome: catalog.Complete}
		used := catalog.Volume{Claim: catalog.ClaimKey{Namespace: "shop", Name: "data"}, Snapshot: &catalog.Snapshot{Name: "ours"}}
		if _, err := l.Catalog.Commit(t.Context(), commit, catalog.Bundle{Volumes: []catalog.Volume{used}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		deadline time.Time
		closed   func(t *testing.T, l *lab, intent catalog.Intent)
		settled  bool
		outcome  catalog.Outcome // "" if it stays open
		left     []string
	}{
		{"one that is past its deadline", expired, nil, true, catalog.Abandoned, nil},
		{"one that may be alive", alive, nil, false, "", ours},
		{"one that was abandoned and not cleared up", alive, abandoned, true, catalog.Abandoned, nil},
		{"one that was committed and not settled", expired, committed, true, catalog.Complete, ours},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			intent := earlier(c.deadline, "ours", "never-made")
			if err := l.Catalog.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			if c.closed != nil {
				c.closed(t, l, intent)
			}
			l.stored(t, intent, "ours")
			if _, err := l.Run(t.Context(), reattachable(Selection{})); err != nil {
				t.Fatal(err)
			}
			presence := l.survey(t)[0]
			if presence.Point != intent.Point || presence.Settled != c.settled || presence.Commit != (c.outcome != "") {
				t.Errorf("presence %+v, want it settled %t and closed as %q", presence, c.settled, c.outcome)
			}
			if c.outcome != "" {
				if commit, err := l.Catalog.ReadCommit(t.Context(), presence); err != nil || commit.Outcome != c.outcome {
					t.Errorf("it is %s, error %v, want %s", commit.Outcome, err, c.outcome)
				}
			}
			wantDiff(t, "left in the cluster", c.left, l.left(t))
		})
	}
}

// One run that cannot be cleared up must not end all backups of its cluster.
func TestWhatCannotBeClearedUpDoesNotStopARun(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, l *lab, intent catalog.Intent)
	}{
		{"a journal entry that is damaged", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.bucket.Create(t.Context(), "clusters/"+clusterUID+"/journal/"+string(intent.Point), []byte("{")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a journal entry of a later format", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.bucket.Create(t.Context(), "clusters/"+clusterUID+"/journal/"+string(intent.Point), []byte(`{"format":2}`)); err != nil {
				t.Fatal(err)
			}
		}},
		{"snapshots that may not be deleted", func(t *testing.T, l *lab, intent catalog.Intent) {
			if err := l.Catalog.Begin(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			l.stored(t, intent, "ours")
			forbid(&l.snapshots.Fake, "delete", "volumesnapshots")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, pair("shop/data"))
			intent := earlier(noon.Add(-time.Minute), "ours")
			c.damage(t, l, intent)
			commit, err := l.Run(t.Context(), reattachable(Selection{}))
			if err != nil || commit.Outcome != catalog.Complete {
				t.Errorf("%s, error %v, want a complete point", commit.Outcome, err)
			}
			if !strings.Contains(l.log.String(), string(intent.Point)) {
				t.Errorf("the log does not name the run that could not be cleared up:\n%s", l.log)
			}
			if l.survey(t)[0].Settled {
				t.Error("the entry was settled, so that nobody tries again")
			}
		})
	}
}

// The run that abandoned another has removed what there was then. What the
// other one made after that only the other one knows of.
func TestARunThatWasAbandonedRemovesWhatItHasMadeSince(t *testing.T) {
	l := newLab(t)
	intent := earlier(noon, "late")
	if err := l.Catalog.Abandon(t.Context(), intent, catalog.Commit{}, nil); err != nil {
		t.Fatal(err)
	}
	l.stored(t, intent, "late")
	r := &run{Runner: l.Runner, point: intent.Point}
	closed, err := r.giveUp(t.Context(), intent, fmt.Errorf("commit: %w", catalog.ErrFenced))
	if !errors.Is(err, catalog.ErrFenced) || closed.Outcome != catalog.Abandoned {
		t.Errorf("it is closed as %q, error %v, want abandoned and %v", closed.Outcome, err, catalog.ErrFenced)
	}
	wantDiff(t, "left in the cluster", []string(nil), l.left(t))
}
