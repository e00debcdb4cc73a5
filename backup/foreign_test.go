package backup

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/catalog/catalogtest"
)

// give gives the disk of a claim that pair has made to a cluster.
func (l *lab) give(t *testing.T, claim, clusterUID string) {
	t.Helper()
	pv, err := l.kubernetes.CoreV1().PersistentVolumes().Get(t.Context(), "pv-of-"+claim, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	disk := catalog.Disk{Driver: pv.Spec.CSI.Driver, Handle: catalog.VolumeHandle(pv.Spec.CSI.VolumeHandle)}
	err = l.Catalog.Take(t.Context(), catalog.Ownership{
		Disk: disk, Number: 1, Cluster: catalog.Cluster{UID: clusterUID, Name: "prod-us"}, Migration: "20260903-110000-0a1b2c3d", Taken: noon,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// patched are the names of the volumes that were written to.
func (l *lab) patched() string {
	var names []string
	for _, action := range l.kubernetes.Actions() {
		if patch, ok := action.(interface{ GetName() string }); ok && action.GetVerb() == "patch" {
			names = append(names, patch.GetName())
		}
	}
	return strings.Join(names, " ")
}

const owner = "which took it on 2026-09-03T12:00:00Z by migration 20260903-110000-0a1b2c3d"

func TestADiskOfAnotherClusterIsNotBackedUp(t *testing.T) {
	l := newLab(t, pairs("shop/here", "shop/moved", "shop/came"))
	l.give(t, "moved", "there")
	l.give(t, "came", clusterUID) // by a migration that has not ended: its point of the source is made so
	commit, err := l.Run(t.Context(), reattachable(Selection{}))
	if err != nil {
		t.Fatal(err)
	}
	point, err := l.Catalog.Load(t.Context(), clusterUID, commit.Point)
	if err != nil {
		t.Fatal(err)
	}
	var claims []string
	for _, v := range point.Bundle.Volumes {
		claims = append(claims, v.Claim.Name)
	}
	wantDiff(t, "claims", []string{"came", "here"}, claims)
	wantDiff(t, "outcome", catalog.Complete, commit.Outcome)
	if len(point.Bundle.Skipped) != 1 {
		t.Fatalf("skipped %v, want claim moved", point.Bundle.Skipped)
	}
	skip := point.Bundle.Skipped[0]
	if skip.Name != "moved" || skip.Reason != catalog.SkipForeign || !strings.Contains(skip.Message, "is owned by cluster prod-us (there), "+owner) {
		t.Errorf("skipped %+v, want claim moved with its owner", skip)
	}
	if names := l.patched(); names != "pv-of-came pv-of-here" && names != "pv-of-here pv-of-came" {
		t.Errorf("volumes %q were protected, want those of this cluster", names)
	}
}

func TestNothingIsLeftOfAClusterWhoseDisksHaveMoved(t *testing.T) {
	l := newLab(t, pair("shop/moved"))
	l.give(t, "moved", "there")
	_, err := l.Run(t.Context(), reattachable(Selection{}))
	if !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), "claim shop/moved: its disk ") || !strings.Contains(err.Error(), "is owned by cluster prod-us (there), "+owner) {
		t.Errorf("error %v, want that there is nothing, and who has it", err)
	}
	wantDiff(t, "survey", []catalog.Presence{}, l.survey(t))
	wantDiff(t, "volumes that were written to", "", l.patched())
}

func TestADiskWhoseOwnerCannotBeReadMakesAPointPartial(t *testing.T) {
	l := newLab(t, pairs("shop/here", "shop/who"))
	l.give(t, "who", clusterUID)
	l.bucket.Read = func(call catalogtest.Call, data []byte) []byte {
		if strings.HasPrefix(call.Key, "disks/") {
			return []byte("{")
		}
		return data
	}
	commit, err := l.Run(t.Context(), reattachable(Selection{}))
	if err != nil {
		t.Fatal(err)
	}
	if commit.Outcome != catalog.Partial || len(commit.Reasons) != 1 || !strings.Contains(commit.Reasons[0], "claim shop/who: its disk") || !strings.Contains(commit.Reasons[0], "cannot be told: disks/") {
		t.Errorf("outcome %s: %v, want it partial for claim shop/who", commit.Outcome, commit.Reasons)
	}
}

func TestNothingIsBackedUpIfOwnersCannotBeAskedFor(t *testing.T) {
	l := newLab(t, pair("shop/data"))
	broken := errors.New("connection reset")
	l.bucket.Before = catalogtest.Fail(catalogtest.KeyEnds(catalogtest.List, "disks/"), broken)
	if _, err := l.Run(t.Context(), reattachable(Selection{})); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	wantDiff(t, "volumes that were written to", "", l.patched())
}

// Who owns disks is one question more to the store in each run, and no other.
func TestARunAsksForOwnersOnce(t *testing.T) {
	l := newLab(t, pairs("shop/a", "shop/b", "shop/c"))
	before := len(l.bucket.Calls())
	if _, err := l.Run(t.Context(), reattachable(Selection{})); err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, call := range l.bucket.Calls()[before:] {
		asked = append(asked, string(call.Method)+" "+call.Key[strings.LastIndexByte(strings.TrimSuffix(call.Key, "/"), '/')+1:])
	}
	point := string(catalog.NewPointID(clusterUID, catalog.ManualPlan, noon, 0))
	wantDiff(t, "requests of the store", []string{
		"List disks/", "List " + clusterUID + "/", "Create " + point, "Create bundle", "Get bundle", "Create commit", "Create " + point + ".settled",
	}, asked)
}
