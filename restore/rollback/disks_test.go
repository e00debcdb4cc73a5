package rollback

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// leftover is a cluster in which the claim of disk-0 is gone and its volume was
// retained, an hour ago, and a complete point has a snapshot of it.
func leftover() *Holding {
	o := cluster()
	h := &Holding{Volumes: o.Volumes, Claims: o.Claims[1:]}
	pv := &h.Volumes[0]
	pv.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	pv.Status.Phase = corev1.VolumeReleased
	pv.Status.LastPhaseTransitionTime = &metav1.Time{Time: testNow.Add(-time.Hour)}
	h.AddCovers(point().Commit, point().Bundle.Volumes)
	h.Contents = append(h.Contents, content("snap-0"))
	return h
}

func TestDisks(t *testing.T) {
	tests := []struct {
		name  string
		given func(*Holding)
		want  Why // "": it is not listed
	}{
		{"released", func(*Holding) {}, Released},
		{"in use", func(h *Holding) { h.Claims = cluster().Claims }, ""},
		{"named by a claim that is not bound", func(h *Holding) { h.Claims = append(h.Claims, claimOf(0, "uid-new", "pv-0")) }, ""},
		{"not retained", func(h *Holding) {
			h.Volumes[0].Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		}, ""},
		{"reserved", func(h *Holding) {
			h.Volumes[0].Spec.ClaimRef.UID = ""
			h.Volumes[0].Status.Phase = corev1.VolumeAvailable
		}, Reserved},
		{"of nobody", func(h *Holding) { h.Volumes[0].Spec.ClaimRef = nil; h.Volumes[0].Status.Phase = corev1.VolumeAvailable }, Available},
		{"failed", func(h *Holding) { h.Volumes[0].Status.Phase = corev1.VolumeFailed }, Failed},
		{"set aside by a rollback", func(h *Holding) { asideBy(h, Rollback) }, SetAsideByRollback},
		{"set aside by an undo", func(h *Holding) { asideBy(h, Undo) }, SetAsideByUndo},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := leftover()
			test.given(h)
			idle := Disks(h, "")
			if test.want == "" {
				if len(idle) != 0 {
					t.Errorf("listed: %+v", idle)
				}
				return
			}
			if len(idle) != 1 || idle[0].Why != test.want || idle[0].Handle != "disk-0" || idle[0].Size != "1Gi" || !idle[0].Since.Equal(testNow.Add(-time.Hour)) {
				t.Fatalf("listed %+v, want disk-0 as %q", idle, test.want)
			}
			if c := idle[0].Covered; c == nil || c.Point != pointID || c.Snapshot != "snap-0" {
				t.Errorf("it is covered by %+v", c)
			}
			inShop := len(Disks(h, "shop")) == 1
			if wanted := h.Volumes[0].Spec.ClaimRef != nil; inShop != wanted || len(Disks(h, "other")) != 0 {
				t.Errorf("listed of namespace shop: %v", inShop)
			}
		})
	}
}

func asideBy(h *Holding, act Act) {
	pv := &h.Volumes[0]
	claim := claimOf(0, "uid-claim-0", "pv-0")
	pv.Labels = map[string]string{act.label(): "id"}
	pv.Annotations[SetAsideAnnotation] = users.Encode(SetAside{ID: "id", Act: act, Point: pointID, Claim: &claim})
}

func TestRelease(t *testing.T) {
	attached := func(source storagev1.VolumeAttachmentSource) func(*Holding) {
		return func(h *Holding) {
			h.Attachments = []storagev1.VolumeAttachment{{ObjectMeta: metav1.ObjectMeta{Name: "va"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1", Source: source}}}
		}
	}
	tests := []struct {
		name      string
		given     func(*Holding)
		uncovered bool
		refused   string // "": it is not
		note      string
	}{
		{name: "covered by a point that is older than its last use", given: func(*Holding) {}, note: "point " + pointID + " holds the data of disk disk-0 as of 2026-09-03T06:00:00Z; what was written between then and 2026-09-03T11:00:00Z may be lost"},
		{name: "covered by one of the second in which it was let go", given: func(h *Holding) { h.Volumes[0].Status.LastPhaseTransitionTime.Time = testNow.Add(-6 * time.Hour) },
			note: "point " + pointID + " holds the data of disk disk-0 as of 2026-09-03T06:00:00Z; what was written between then and 2026-09-03T06:00:00Z may be lost"},
		{name: "covered by one of the second after", given: func(h *Holding) {
			h.Volumes[0].Status.LastPhaseTransitionTime.Time = testNow.Add(-6*time.Hour - time.Second)
		}, note: "may be lost"},
		{name: "covered by one that is younger", given: func(h *Holding) { h.Volumes[0].Status.LastPhaseTransitionTime.Time = testNow.Add(-7 * time.Hour) },
			note: "point " + pointID + " holds the data of disk disk-0 as it was left: its snapshot is of 2026-09-03T06:00:00Z"},
		{name: "another cluster owns it", given: func(h *Holding) { h.Owners, h.ClusterUID = owned("there", false), "here" }, uncovered: true,
			refused: "its disk disk-0 is owned by cluster prod-us (there), which took it on 2026-09-03T11:00:00Z by migration 20260903-110000-0a1b2c3d"},
		{name: "a migration has it", given: func(h *Holding) { h.Owners, h.ClusterUID = owned("here", true), "here" }, uncovered: true, refused: "which is under way"},
		{name: "it came here", given: func(h *Holding) { h.Owners, h.ClusterUID = owned("here", false), "here" }, note: "what was written between then"},
		{name: "no catalog", given: func(h *Holding) { h.Covers = nil }, refused: "no complete restore point holds a snapshot of its disk disk-0"},
		{name: "no catalog, and wanted", given: func(h *Holding) { h.Covers = nil }, uncovered: true, note: "it is lost"},
		{name: "a point that is partial", given: func(h *Holding) {
			h.Covers = nil
			h.AddCovers(catalog.Commit{Point: pointID, Outcome: catalog.Partial}, point().Bundle.Volumes)
		}, refused: "no complete restore point"},
		{name: "a point of another disk", given: func(h *Holding) { h.Volumes[0].Spec.CSI.VolumeHandle = "disk-9" }, refused: "no complete restore point"},
		{name: "a snapshot that the cluster has no more", given: func(h *Holding) { h.Contents = nil }, refused: "no complete restore point"},
		{name: "a snapshot that goes with its object", given: func(h *Holding) { h.Contents[0].Spec.DeletionPolicy = "Delete" }, refused: "no complete restore point"},
		{name: "a snapshot that is being deleted", given: func(h *Holding) { h.Contents[0].DeletionTimestamp = &metav1.Time{Time: testNow} }, refused: "no complete restore point"},
		{name: "a claim uses it", given: func(h *Holding) { h.Claims = cluster().Claims }, uncovered: true, refused: "claim shop/data-redis-0 uses it"},
		{name: "a claim names it", given: func(h *Holding) { h.Claims = append(h.Claims, claimOf(5, "uid-new", "pv-0")) }, uncovered: true, refused: "claim shop/data-redis-5 uses it"},
		{name: "reserved", given: func(h *Holding) {
			h.Volumes[0].Spec.ClaimRef.UID = ""
			h.Volumes[0].Status.Phase = corev1.VolumeAvailable
		}, uncovered: true, refused: "it is reserved for claim shop/data-redis-0"},
		{name: "available to anybody", given: func(h *Holding) { h.Volumes[0].Spec.ClaimRef = nil; h.Volumes[0].Status.Phase = corev1.VolumeAvailable }, uncovered: true, refused: "it is Available, and a provisioner deletes the disks of Released ones only"},
		{name: "failed", given: func(h *Holding) { h.Volumes[0].Status.Phase = corev1.VolumeFailed }, uncovered: true, refused: "it is Failed"},
		{name: "being deleted", given: func(h *Holding) { h.Volumes[0].DeletionTimestamp = &metav1.Time{Time: testNow} }, uncovered: true, refused: "it is being deleted"},
		{name: "attached", given: attached(storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pv-0")}), uncovered: true, refused: "VolumeAttachment va has it on node n1"},
		{name: "attached without a volume", given: attached(storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{PersistentVolumeSource: leftover().Volumes[0].Spec.PersistentVolumeSource}}), uncovered: true, refused: "VolumeAttachment va"},
		{name: "a second volume over the disk", given: func(h *Holding) {
			claim := claimOf(7, "uid", "twin")
			h.Volumes = append(h.Volumes, volumeOf("twin", "disk-0", &claim))
		}, uncovered: true, refused: "PersistentVolume twin is over the same disk disk-0"},
		{name: "a volume that no provisioner made", given: func(h *Holding) { h.Volumes[0].Annotations = nil }, uncovered: true, refused: "no provisioner made it"},
		{name: "a volume that is not CSI", given: func(h *Holding) { h.Volumes[0].Spec.CSI = nil }, uncovered: true, refused: "it is not a CSI volume"},
		{name: "a volume that is not there", given: func(h *Holding) { h.Volumes = h.Volumes[1:] }, uncovered: true, refused: "it does not exist"},
		{name: "a rollback that is under way", given: func(h *Holding) {
			h.Records = []*Record{{Claims: []Change{{Claim: "data-redis-0", From: &Disk{Volume: "pv-0"}}}}}
		}, uncovered: true, refused: "is under way"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := leftover()
			test.given(h)
			release, err := NewRelease(h, []string{"pv-0", "pv-0"}, test.uncovered)
			if test.refused != "" {
				expectRefused(t, err, []string{test.refused})
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(release.Disks) != 1 || release.volumes["pv-0"] == nil {
				t.Errorf("it would release %+v", release.Disks)
			}
			if !slices.ContainsFunc(append(release.Notes, ""), func(n string) bool { return strings.Contains(n, test.note) }) || test.note == "" && len(release.Notes) > 0 {
				t.Errorf("notes %q, want one with %q", release.Notes, test.note)
			}
		})
	}
}
