package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/tools"
	"hawser.dev/hawser/restore"
)

// mutationsOf lists the requests of a user that change something.
func (w *world) mutationsOf(user string) []string {
	w.t.Helper()
	requests, err := w.lab.Requests(w.ctx)
	w.must(err)
	var out []string
	for _, r := range requests {
		if r.User == user && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb) && r.Resource != "selfsubjectaccessreviews" {
			out = append(out, r.Verb+" "+r.Resource+" "+r.Name)
		}
	}
	return out
}

// A refusal writes nothing. The one exception is a disk of which the driver has
// to be asked, by a VolumeAttachment that is taken away again.
func TestARefusalWritesNothing(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	user := w.namespace + "-refused"
	rights := append(rightsOf(roles(t)["hawser-restore"]), right{"", "resourcequotas", "list"}, right{"autoscaling", "horizontalpodautoscalers", "list"})
	as := w.as(user, rights)

	as.run(4, "restore", point, "--from", "snapshots").Says(t, "not made from this snapshot")
	w.loseEverything()
	for _, c := range []struct {
		flags []string
		says  string
		given func() (undo func())
	}{
		{flags: []string{"--map-namespace", "x=y"}, says: "Namespace x"},
		{flags: []string{"statefulset/nothing"}, says: "the point does not hold it"},
		{flags: []string{"--storage-class", "disks-delete=typo"}, says: "StorageClass typo"},
		{flags: []string{"--driver", "disks.hawser.dev=other", "--from", "disks"}, says: "CSIDriver other"},
		{says: "ResourceQuota", given: w.limit},
		{says: "pod security restricted", given: w.restrict},
	} {
		undo := func() {}
		if c.given != nil {
			undo = c.given()
		}
		for _, dryRun := range []bool{true, false} {
			flags := append([]string{"restore", point}, c.flags...)
			if dryRun {
				flags = append(flags, "--dry-run")
			}
			as.run(4, flags...).Says(t, c.says, "nothing was changed")
		}
		undo()
	}
	if wrote := w.mutationsOf(user); len(wrote) > 0 {
		t.Errorf("refusals sent requests that change something: %q", wrote)
	}

	// Here the driver must be asked before it can be refused.
	w.must(w.region.DestroyDisk(handles[redisClaim(1)]))
	w.rewritePointWithoutSnapshots(point)
	as.run(4, "restore", "latest").Says(t, "is gone", "no snapshot of it")
	for _, wrote := range w.mutationsOf(user) {
		if !strings.Contains(wrote, " volumeattachments ") {
			t.Errorf("a refusal after the disks were asked for sent %q", wrote)
		}
	}
}

// limit gives the namespace a quota without room, and restrict a label that
// admits no Pod; each returns what takes it away.
func (w *world) limit() func() {
	w.t.Helper()
	quotas := w.client.CoreV1().ResourceQuotas(w.namespace)
	_, err := quotas.Create(w.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceRequestsStorage: resource.MustParse("1Gi")}},
	}, metav1.CreateOptions{})
	w.must(err)
	eventually(w.t, func() bool {
		quota, err := quotas.Get(w.ctx, "none", metav1.GetOptions{})
		return err == nil && quota.Status.Hard != nil
	})
	return func() { w.must(quotas.Delete(w.ctx, "none", metav1.DeleteOptions{})) }
}

func (w *world) restrict() func() {
	w.t.Helper()
	label := func(value string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%s}}}`, value)
		_, err := w.client.CoreV1().Namespaces().Patch(w.ctx, w.namespace, types.MergePatchType, patch, metav1.PatchOptions{})
		w.must(err)
	}
	label(`"restricted"`)
	return func() { label("null") }
}

// A plan that was looked at is carried out only as long as it is the plan.
func TestAPlanThatTheClusterHasOverrun(t *testing.T) {
	w := newWorld(t)
	handles := w.deployRedis(2, "disks-delete")
	point := w.point()
	w.loseWorkload()
	w.loseClaims()
	for _, v := range w.volumes() {
		w.await(volumesResource, v.Name, hasPhase("Released"))
	}
	file := filepath.Join(t.TempDir(), "plan.json")
	printed := w.run(0, "restore", point, "--dry-run", "-o", "json").Stdout
	w.must(os.WriteFile(file, []byte(printed), 0o600))
	var plan restore.Plan
	w.must(json.Unmarshal([]byte(printed), &plan))
	for _, v := range plan.Volumes {
		if v.Decision != restore.DecideRearm || v.Bytes != 1<<30 || v.Data != handles[v.Claim.Name] || v.VolumeName == "" {
			t.Errorf("claim %s: %s, %d bytes of %s, volume %q", v.Claim, v.Decision, v.Bytes, v.Data, v.VolumeName)
		}
	}
	table := w.run(0, "restore", point, "--dry-run").Stdout
	for _, says := range []string{"DECISION", "re-arm", "1.0 GiB", plan.Volumes[0].VolumeName, "Nothing was changed"} {
		if !strings.Contains(table, says) {
			t.Errorf("the plan does not say %q:\n%s", says, table)
		}
	}

	// Somebody deletes one of the volumes meanwhile.
	lost := plan.Volumes[0].VolumeName
	w.must(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, lost, metav1.DeleteOptions{}))
	w.await(volumesResource, lost, gone)
	before := w.versions()
	w.run(4, "restore", point, "--plan", file).Says(t, "PersistentVolume "+lost, "the cluster has changed since the plan was made", "then re-arm", "now create", "--dry-run")
	if after := w.versions(); !maps.Equal(before, after) {
		t.Errorf("it was refused and changed objects: %v, %v", before, after)
	}

	w.must(os.WriteFile(file, []byte(w.run(0, "restore", point, "--dry-run", "-o", "json").Stdout), 0o600))
	w.run(0, "restore", point, "--plan", file)
	w.awaitReady(2)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
	w.run(2, "restore", point, "--plan", os.Args[0]).Says(t, "it is not what --dry-run -o json prints")
}

// What --dry-run -o yaml prints is applied with kubectl, line by line where a
// volume is re-armed.
func TestManifestsAndCommandsAreAppliedWithKubectl(t *testing.T) {
	w := newWorld(t)
	kubectl, err := tools.Path(w.ctx, "kubectl")
	w.must(err)
	handles := w.deployRedis(3, "disks-delete")
	point := w.point()
	w.loseWorkload()
	w.loseClaims()
	volumes := w.volumes()
	for _, v := range volumes {
		w.await(volumesResource, v.Name, hasPhase("Released"))
	}
	w.must(w.client.CoreV1().PersistentVolumes().Delete(w.ctx, volumes[0].Name, metav1.DeleteOptions{}))
	w.await(volumesResource, volumes[0].Name, gone)

	manifests := w.run(0, "restore", point, "--from", "disks", "--dry-run", "-o", "yaml").Stdout
	file := filepath.Join(t.TempDir(), "restore.yaml")
	w.must(os.WriteFile(file, []byte(manifests), 0o600))
	script := ""
	for line := range strings.Lines(manifests) {
		if command, ok := strings.CutPrefix(line, "# kubectl patch "); ok {
			script += "kubectl patch " + command
		}
	}
	if n := strings.Count(script, "\n"); n != 2 {
		t.Fatalf("%d commands, want one for each of the 2 volumes that are Released:\n%s", n, manifests)
	}
	cmd := exec.CommandContext(w.ctx, "sh", "-ec", script+"kubectl create -f "+file)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.lab.Kubeconfig(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.awaitReady(3)
	if got := w.disks(); !maps.Equal(got, handles) {
		t.Errorf("claims are on disks %v, want %v", got, handles)
	}
	w.expectRetain()
	w.run(0, "restore", point) // which finds nothing to do
}

// rewritePointWithoutSnapshots makes a newer point that has disks only.
func (w *world) rewritePointWithoutSnapshots(point string) {
	w.t.Helper()
	w.rewritePoint(catalog.PointID(point), func(p *catalog.RestorePoint) {
		for i := range p.Bundle.Volumes {
			p.Bundle.Volumes[i].Snapshot = nil
		}
	})
}

func gone(o *unstructured.Unstructured) bool { return o == nil }
