package backup

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/catalog"
)

func TestAuditChangesNoVolumeAndSaysSo(t *testing.T) {
	kept := strings.Replace(pair("shop/kept"), "persistentVolumeReclaimPolicy: Delete", "persistentVolumeReclaimPolicy: Retain", 1)
	l := newLab(t, pair("shop/data"), kept)
	forbid(&l.kubernetes.Fake, "patch", "persistentvolumes") // the right is not needed
	request := reattachable(Selection{})
	request.Protect = ProtectAudit
	commit, err := l.Run(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if commit.Outcome != catalog.Complete || commit.Counts.Protected != 0 || commit.Counts.Claims != 2 {
		t.Errorf("the point is %s with %+v, want it complete with 2 claims, none protected", commit.Outcome, commit.Counts)
	}
	wantDiff(t, "notes", []string{"claim shop/data: its volume is Delete and was left so (protect: audit); the disk goes with the claim"}, commit.Notes)
	for _, action := range l.kubernetes.Actions() {
		if _, reads := action.(clienttesting.GetAction); !reads {
			t.Errorf("it asked to %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
	volume, err := l.kubernetes.CoreV1().PersistentVolumes().Get(t.Context(), "pv-of-data", metav1.GetOptions{})
	if err != nil || volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("the volume is %s, error %v", volume.Spec.PersistentVolumeReclaimPolicy, err)
	}
	point, err := l.Catalog.Load(t.Context(), clusterUID, commit.Point)
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]string{}
	for _, v := range point.Bundle.Volumes {
		policies[v.Claim.Name] = v.ReclaimBefore + " → " + v.ReclaimAfter
	}
	wantDiff(t, "policies", map[string]string{"data": "Delete → Delete", "kept": "Retain → Retain"}, policies)
}
