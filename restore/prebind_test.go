package restore

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Each folder of testdata/prebind is one rule: what is stripped, what is kept.
func TestPrebind(t *testing.T) {
	classes := map[string]string{"class-none": "", "class-other": "fast"} // the others keep theirs
	goldenCases(t, "prebind", func(t *testing.T, folder string) {
		var pair Pair
		readInput(t, folder, &pair.Volume, &pair.Claim)
		class, given := classes[filepath.Base(folder)]
		if !given {
			class = pair.Volume.Spec.StorageClassName
		}
		volume, claim, err := Prebind(pair, class)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, folder, volume, claim)
	})
}

func TestPrebindRefusesWhatIsNotAPair(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Pair)
		want   string
	}{
		{"the volume is of an in-tree driver", func(p *Pair) {
			p.Volume.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nfs", Path: "/"}}
		}, "is not a CSI volume"},
		{"the volume names no disk", func(p *Pair) { p.Volume.Spec.CSI.VolumeHandle = "" }, "has no volumeHandle"},
		{"the claim has no name", func(p *Pair) { p.Claim.Name = "" }, "has no name"},
		{"the claim has no namespace", func(p *Pair) { p.Claim.Namespace = "" }, "no namespace"},
		{"the volume names no claim", func(p *Pair) { p.Volume.Spec.ClaimRef = nil }, "is not the volume of claim shop/redis-pvc-redis-0"},
		{"the volume names a claim of another namespace", func(p *Pair) { p.Volume.Spec.ClaimRef.Namespace = "billing" }, "is not the volume of claim shop/redis-pvc-redis-0"},
		{"the volume names another claim", func(p *Pair) { p.Volume.Spec.ClaimRef.Name = "redis-pvc-redis-1" }, "is not the volume of claim shop/redis-pvc-redis-0"},
		{"the claim names no volume", func(p *Pair) { p.Claim.Spec.VolumeName = "" }, "does not name PersistentVolume pv-redis-0"},
		{"the claim names another volume", func(p *Pair) { p.Claim.Spec.VolumeName = "pv-redis-1" }, "does not name PersistentVolume pv-redis-0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pair := Pair{Volume: redisVolume(0), Claim: redisClaim(0)}
			test.change(&pair)
			volume, claim, err := Prebind(pair, "disks-delete")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that contains %q", err, test.want)
			}
			if volume != nil || claim != nil {
				t.Errorf("a refusal must return no objects, got %v and %v", volume, claim)
			}
		})
	}
}
