package backup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

func TestSnapshotNameIsAFunctionOfPointAndClaim(t *testing.T) {
	point := catalog.NewPointID("uid", "databases", noon, 0)
	claim := catalog.ClaimKey{Namespace: "shop", Name: "data"}
	if name := snapshotName(point, claim); name != "hawser-dcf255d62c1a7a5387bc" {
		t.Errorf("name %s; a run that is taken up by another version would not find its snapshots", name)
	}
	names := map[string]string{}
	for _, p := range []catalog.PointID{point, catalog.NewPointID("uid", "databases", noon.Add(1), 0), catalog.NewPointID("uid", "web", noon, 0)} {
		for _, c := range []catalog.ClaimKey{claim, {Namespace: "shop", Name: "data-0"}, {Namespace: "sho", Name: "pdata"}, {Namespace: "data", Name: "shop"}} {
			name, id := snapshotName(p, c), fmt.Sprint(p, " ", c)
			if other, taken := names[name]; taken {
				t.Errorf("%s and %s have the same snapshot name %s", id, other, name)
			}
			names[name] = id
		}
	}
}

func TestNewSnapshotIsAcceptable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?`).Draw(t, "plan")
		claim := catalog.ClaimKey{Namespace: "shop", Name: rapid.StringMatching(`[a-z0-9]{1,253}`).Draw(t, "claim")}
		point := catalog.NewPointID("uid", plan, time.Unix(rapid.Int64Range(946684800, 4102444800).Draw(t, "time"), 0), 0)
		got := newSnapshot(point, claim, "class", "catalog-id")
		if problems := validation.IsDNS1123Subdomain(got.Name); problems != nil {
			t.Fatalf("name %s: %v", got.Name, problems)
		}
		for key, value := range got.Labels {
			if problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); problems != nil {
				t.Fatalf("label %s: %s: %v", key, value, problems)
			}
		}
		if got.Labels[PlanLabel] != plan || got.Labels[PointLabel] != string(point) {
			t.Fatalf("labels %v, want plan %s and point %s", got.Labels, plan, point)
		}
	})
}

// readySnapshot is a VolumeSnapshot and its content, as they are when all is well.
func readySnapshot() (*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent) {
	snapshot := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "snapshot", UID: "uid"},
		Status: &snapshotv1.VolumeSnapshotStatus{
			BoundVolumeSnapshotContentName: ptr.To("content"), ReadyToUse: ptr.To(true), CreationTime: ptr.To(metav1.NewTime(noon.Add(time.Hour))),
		},
	}
	content := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "content", Annotations: map[string]string{
			"snapshot.storage.kubernetes.io/deletion-secret-name": "s", "snapshot.storage.kubernetes.io/deletion-secret-namespace": "csi",
			"snapshot.storage.kubernetes.io/volumesnapshot-being-created": "yes",
		}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			DeletionPolicy: snapshotv1.VolumeSnapshotContentRetain, Driver: "disks.example.com", VolumeSnapshotClassName: ptr.To("class"),
			Source:            snapshotv1.VolumeSnapshotContentSource{VolumeHandle: ptr.To("disk-of-data")},
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: "snapshot", UID: "uid"}, SourceVolumeMode: ptr.To(corev1.PersistentVolumeBlock),
		},
		Status: &snapshotv1.VolumeSnapshotContentStatus{
			SnapshotHandle: ptr.To("handle"), CreationTime: ptr.To(noon.UnixNano()), RestoreSize: ptr.To[int64](1 << 30), ReadyToUse: ptr.To(true),
		},
	}
	return snapshot, content
}

func TestFinished(t *testing.T) {
	whole := catalog.Snapshot{
		Handle: "handle", Name: "snapshot", Content: "content", Class: "class", Taken: noon, RestoreSize: 1 << 30, SourceVolumeMode: "Block",
		ContentAnnotations: map[string]string{
			"snapshot.storage.kubernetes.io/deletion-secret-name": "s", "snapshot.storage.kubernetes.io/deletion-secret-namespace": "csi",
		},
	}
	for _, c := range []struct {
		name   string
		change func(*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent)
		want   func(*catalog.Snapshot) // nil if it is refused
		err    string
	}{
		{"all that a restore needs", func(*snapshotv1.VolumeSnapshot, *snapshotv1.VolumeSnapshotContent) {}, func(*catalog.Snapshot) {}, ""},
		{"no more than the handle and a time", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Annotations, c.Spec.SourceVolumeMode, c.Spec.VolumeSnapshotClassName, c.Status.RestoreSize = nil, nil, nil, nil
		}, func(s *catalog.Snapshot) {
			s.ContentAnnotations, s.SourceVolumeMode, s.Class, s.RestoreSize = nil, "", "", 0
		}, ""},
		{"the snapshot's time if the content has none", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Status.CreationTime = nil
		}, func(s *catalog.Snapshot) { s.Taken = noon.Add(time.Hour) }, ""},
		{"no time at all", func(s *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			s.Status.CreationTime, c.Status.CreationTime = nil, nil
		}, nil, "does not say when"},
		{"no status", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) { c.Status = nil }, nil, "no snapshotHandle"},
		{"no handle", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) { c.Status.SnapshotHandle = nil }, nil, "no snapshotHandle"},
		{"an empty handle", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Status.SnapshotHandle = ptr.To("")
		}, nil, "no snapshotHandle"},
		{"the content of another snapshot", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Spec.VolumeSnapshotRef.UID = "other"
		}, nil, "belongs to another VolumeSnapshot"},
		{"the snapshot of a disk that the claim no longer has", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Spec.Source.VolumeHandle = ptr.To("disk-of-another")
		}, nil, "is of disk disk-of-another; the claim has another one now"},
		{"a content that goes with its snapshot", func(_ *snapshotv1.VolumeSnapshot, c *snapshotv1.VolumeSnapshotContent) {
			c.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentDelete
		}, nil, "has policy Delete, not Retain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			snapshot, content := readySnapshot()
			c.change(snapshot, content)
			got, err := finished("disk-of-data", snapshot, content)
			if c.want == nil {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want it to say %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := whole
			c.want(&want)
			wantDiff(t, "snapshot", &want, got)
		})
	}
	snapshot, _ := readySnapshot()
	if _, err := finished("disk-of-data", snapshot, nil); err == nil || !strings.Contains(err.Error(), "VolumeSnapshotContent content is gone") {
		t.Errorf("without content: %v", err)
	}
}
