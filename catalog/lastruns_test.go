package catalog_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
)

func TestTheLastRunsOfAPlan(t *testing.T) {
	s := newStore(t)
	survey := func() []catalog.Presence {
		t.Helper()
		found, err := s.Survey(t.Context(), clusterA)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	close := func(n int, outcome catalog.Outcome) catalog.PointID {
		t.Helper()
		intent, commit := newIntent(clusterA, "databases", n), newCommit(clusterA, "databases", n)
		err := s.Begin(t.Context(), intent)
		if commit.Outcome = outcome; outcome == catalog.Abandoned {
			err = errors.Join(err, s.Abandon(t.Context(), intent, commit, survey()))
		} else if err == nil {
			_, err = s.Commit(t.Context(), commit, newBundle(), survey())
		}
		if err != nil {
			t.Fatal(err)
		}
		return commit.Point
	}
	want := func(what string, most int, last, complete catalog.PointID) {
		t.Helper()
		gotLast, gotComplete, err := s.LastRuns(t.Context(), survey(), "databases", most)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, run := range []struct {
			got  *catalog.Commit
			want catalog.PointID
		}{{gotLast, last}, {gotComplete, complete}} {
			if run.want == "" && run.got != nil || run.want != "" && (run.got == nil || run.got.Point != run.want) {
				t.Errorf("%s: %+v, want point %q", what, run.got, run.want)
			}
		}
	}
	want("none", 0, "", "")
	first := close(0, catalog.Complete)
	want("a complete one", 1, first, first)
	close(1, catalog.Partial)
	third := close(2, catalog.Abandoned)
	if err := s.Begin(t.Context(), newIntent(clusterA, "databases", 3)); err != nil {
		t.Fatal(err)
	}
	want("the newest that is closed", 0, third, first)
	want("as far as it looks", 2, third, "")
	want("just as far as need be", 3, third, first)
	if last, _, err := s.LastRuns(t.Context(), survey(), "web", 0); last != nil || err != nil {
		t.Errorf("of another plan: %v, %v", last, err)
	}
	stale := survey()
	s.Before = nil
	if err := s.Delete(t.Context(), "clusters/"+clusterA+"/points/"+string(third)+"/commit"); err != nil {
		t.Fatal(err)
	}
	if last, _, err := s.LastRuns(t.Context(), stale, "databases", 0); err != nil || last == nil || last.Outcome != catalog.Partial {
		t.Errorf("though the newest was pruned since: %v, %v", last, err)
	}
}

// namespaces is a cluster that has one namespace, or none.
type namespaces struct{ *corev1.Namespace }

func (n namespaces) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	if n.Namespace == nil || n.Name != name {
		return nil, errors.New("forbidden")
	}
	return n.Namespace, nil
}

func TestAClusterIsKnownByItsSystemNamespace(t *testing.T) {
	uid, err := catalog.ClusterUID(t.Context(), namespaces{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: clusterA}}})
	if uid != clusterA || err != nil {
		t.Errorf("%q, %v", uid, err)
	}
	if uid, err = catalog.ClusterUID(t.Context(), namespaces{}); uid != "" || err == nil {
		t.Errorf("a cluster that does not say: %q, %v", uid, err)
	}
}
