package restore

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

func TestRehydrate(t *testing.T) {
	goldenCases(t, "rehydrate", func(t *testing.T, folder string) {
		var in struct {
			Class, SnapshotClass string
			Volume               catalog.Volume
		}
		var claim corev1.PersistentVolumeClaim
		readInput(t, folder, &in, &claim)
		before := claim.DeepCopy()
		static, err := Rehydrate(shopPoint, in.Volume, claim, in.Class, in.SnapshotClass)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*before, claim); diff != "" {
			t.Errorf("the input changed:\n%s", diff)
		}
		golden(t, folder, static.Content, static.Snapshot, static.Claim)
	})
}

func TestRehydrateNeedsASnapshot(t *testing.T) {
	record := redisRecord(0)
	record.Snapshot = nil
	_, err := Rehydrate(shopPoint, record, redisClaim(0), shopClass, "")
	want := "the point has no snapshot of claim shop/redis-pvc-redis-0"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestRehydrateProperties(t *testing.T) {
	name := rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`)
	type identity struct {
		driver, handle string
		claim          catalog.ClaimKey
	}
	names := map[string]identity{}
	rapid.Check(t, func(t *rapid.T) {
		claim := drawPair(t).Claim
		record := redisRecord(0)
		record.Driver = name.Draw(t, "driver")
		record.Claim = catalog.ClaimKey{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "claim")}
		record.Snapshot.Handle = catalog.SnapshotHandle(name.Draw(t, "handle"))
		record.Snapshot.RestoreSize = rapid.Int64Range(0, 1<<40).Draw(t, "size")
		claim.Namespace, claim.Name = record.Claim.Namespace, record.Claim.Name
		request := claim.Spec.Resources.Requests.Storage().Value()

		static, err := Rehydrate(shopPoint, record, claim, shopClass, "")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Rehydrate(shopPoint, record, claim, shopClass, "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(static, again); diff != "" {
			t.Errorf("made again, it differs:\n%s", diff)
		}
		if got, want := static.Claim.Spec.Resources.Requests.Storage().Value(), max(request, record.Snapshot.RestoreSize); got != want {
			t.Errorf("the claim asks for %d bytes, want %d", got, want)
		}
		expectStatic(t, static, record)
		expectNoTrace(t, static.Content, static.Snapshot)
		made := identity{record.Driver, string(record.Snapshot.Handle), record.Claim}
		if other, taken := names[static.Content.Name]; taken && other != made {
			t.Errorf("%v and %v get the same name %s", other, made, static.Content.Name)
		}
		names[static.Content.Name] = made
	})
}

// expectStatic checks that content, snapshot and claim name each other, and
// that nothing done to them deletes the snapshot.
func expectStatic(t rapid.TB, s Static, record catalog.Volume) {
	t.Helper()
	ref := s.Content.Spec.VolumeSnapshotRef
	if ref.Namespace != s.Snapshot.Namespace || ref.Name != s.Snapshot.Name || ref.UID != "" || ref.ResourceVersion != "" {
		t.Errorf("the content names snapshot %v, want %s/%s without a uid", ref, s.Snapshot.Namespace, s.Snapshot.Name)
	}
	if got := ptr.Deref(s.Snapshot.Spec.Source.VolumeSnapshotContentName, ""); got != s.Content.Name {
		t.Errorf("the snapshot names content %q, want %q", got, s.Content.Name)
	}
	if s.Snapshot.Spec.Source.PersistentVolumeClaimName != nil {
		t.Error("the snapshot would be cut anew from a claim")
	}
	if s.Content.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentRetain {
		t.Errorf("the content is %s, want Retain", s.Content.Spec.DeletionPolicy)
	}
	if got := ptr.Deref(s.Content.Spec.Source.SnapshotHandle, ""); got != string(record.Snapshot.Handle) || s.Content.Spec.Driver != record.Driver {
		t.Errorf("the content is over %s of %s, want %s of %s", got, s.Content.Spec.Driver, record.Snapshot.Handle, record.Driver)
	}
	source := s.Claim.Spec.DataSource
	if source == nil || source.Kind != "VolumeSnapshot" || ptr.Deref(source.APIGroup, "") != snapshotv1.GroupName || source.Name != s.Snapshot.Name {
		t.Errorf("the claim is filled from %v, want VolumeSnapshot %s", source, s.Snapshot.Name)
	}
	if s.Claim.Spec.VolumeName != "" || s.Claim.Spec.DataSourceRef != nil {
		t.Errorf("the claim names volume %q and dataSourceRef %v, want neither", s.Claim.Spec.VolumeName, s.Claim.Spec.DataSourceRef)
	}
	if s.Claim.Name != record.Claim.Name || s.Claim.Namespace != record.Claim.Namespace || s.Snapshot.Namespace != record.Claim.Namespace {
		t.Errorf("claim %s/%s and snapshot in %s, want %s", s.Claim.Namespace, s.Claim.Name, s.Snapshot.Namespace, record.Claim)
	}
	if problems := validation.IsDNS1123Subdomain(s.Content.Name); len(problems) > 0 || !regexp.MustCompile(`^hawser-restore-[0-9a-f]{20}$`).MatchString(s.Content.Name) {
		t.Errorf("name %q: %v", s.Content.Name, problems)
	}
	if problems := validation.IsValidLabelValue(s.Content.Labels[RestoredFromLabel]); len(problems) > 0 {
		t.Errorf("label %s: %v", RestoredFromLabel, problems)
	}
}

// A claim and a snapshot have one name each; other claims over the same
// snapshot, and other snapshots of the same claim, have others.
func TestStaticNamesDiffer(t *testing.T) {
	name := func(change func(*catalog.Volume)) string {
		record := redisRecord(0)
		change(&record)
		return staticName(record)
	}
	names := map[string]string{
		"as it is":          name(func(*catalog.Volume) {}),
		"another driver":    name(func(v *catalog.Volume) { v.Driver = "other.example.com" }),
		"another handle":    name(func(v *catalog.Volume) { v.Snapshot.Handle = "snapshot-9" }),
		"another claim":     name(func(v *catalog.Volume) { v.Claim.Name = "redis-pvc-redis-9" }),
		"another namespace": name(func(v *catalog.Volume) { v.Claim.Namespace = "billing" }),
	}
	seen := map[string]string{}
	for what, name := range names {
		if other, taken := seen[name]; taken {
			t.Errorf("%s and %s get the same name", what, other)
		}
		seen[name] = what
	}
	if got := name(func(v *catalog.Volume) { v.VolumeHandle, v.PersistentVolume = "moved", "moved" }); got != names["as it is"] {
		t.Error("the name depends on more than driver, handle and claim")
	}
}
