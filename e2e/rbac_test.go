package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hawser.dev/hawser/e2e/chart"
)

// manifests are the objects of some files of deploy/manifests.
func manifests(t *testing.T, files ...string) []chart.Document {
	t.Helper()
	var all []chart.Document
	for _, file := range files {
		documents, err := chart.ReadManifest(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, documents...)
	}
	return all
}

// roles are the ClusterRoles of deploy/manifests.
func roles(t *testing.T) map[string]rbacv1.ClusterRole {
	t.Helper()
	found := map[string]rbacv1.ClusterRole{}
	for _, role := range ofKind[rbacv1.ClusterRole](t, manifests(t, "hawser.yaml", "drills.yaml"), "ClusterRole") {
		found[role.Name] = role
	}
	return found
}

// right is one verb on one resource.
type right struct{ group, resource, verb string }

func (r right) String() string { return r.verb + " " + r.resource }

func rightsOf(role rbacv1.ClusterRole) []right {
	var rights []right
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				rights = append(rights, right{group: rule.APIGroups[0], resource: resource, verb: verb})
			}
		}
	}
	return rights
}

// as gives this world a user who holds exactly these rights.
func (w *world) as(user string, rights []right) *world {
	w.t.Helper()
	role := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	for _, r := range rights {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}})
	}
	made, err := w.client.RbacV1().ClusterRoles().Create(w.ctx, &role, metav1.CreateOptions{})
	w.must(err)
	_, err = w.client.RbacV1().ClusterRoleBindings().Create(w.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: made.Name},
	}, metav1.CreateOptions{})
	w.must(err)
	kubeconfig, err := w.lab.UserKubeconfig(user)
	w.must(err)
	other := *w
	other.env = append(slices.Clone(w.env), "KUBECONFIG="+kubeconfig)
	return &other
}

// backupRare are the rights of the role hawser-backup that this test's backup
// can do without, and where they are needed.
var backupRare = map[string]string{
	"list volumesnapshots":          "with API servers that do not stream lists",
	"create volumesnapshotclasses":  "by the first backup with a driver",
	"patch persistentvolumes":       "by the first backup of a volume",
	"delete volumesnapshots":        "to remove what a failed run made",
	"watch volumesnapshotcontents":  "to remove what a failed run made",
	"patch volumesnapshotcontents":  "to remove what a failed run made",
	"delete volumesnapshotcontents": "to remove what a failed run made",
}

func TestEachRightOfABackupIsNeededAndNamed(t *testing.T) {
	w := newWorld(t)
	rights := rightsOf(roles(t)["hawser-backup"])
	handles := w.deployRedis(2, "disks-delete")

	// A run that protects, and removes a snapshot that fails, uses all of them.
	w.faults.Fail("CreateSnapshot", 0, codes.Internal, handles[redisClaim(1)])
	w.as(w.namespace+"-all", rights).run(3, "backup", "-n", w.namespace).Says(t, "code = Internal")
	for i, missing := range rights {
		if backupRare[missing.String()] != "" {
			continue
		}
		user := w.as(fmt.Sprintf("%s-%d", w.namespace, i), without(rights, missing))
		user.run(1, "backup", "-n", w.namespace, "--snapshot-timeout", "2s").Says(t, missing.verb, missing.resource)
	}
	if points := strings.Fields(w.run(0, "points", "-o", "name").Stdout); len(points) != 1 {
		t.Errorf("points are %v, want that of the user who holds the whole role", points)
	}
}

// restoreRare are the rights of the role hawser-restore that this test's
// restore can do without, and where they are needed.
var restoreRare = map[string]string{
	"list resourcequotas":           "a note says what was not checked",
	"list horizontalpodautoscalers": "a note says what was not checked",
	"list volumeattributesclasses":  "a note says what was not checked",
	"create namespaces":             "where the namespace is gone too",
	"create pods":                   "for bare Pods",
	"create deployments":            "for Deployments",
	"create persistentvolumes":      "see TestEachRightToReattachIsNeededAndNamed",
	"watch persistentvolumes":       "see TestEachRightToReattachIsNeededAndNamed",
	"patch volumesnapshotcontents":  "to take away what points to snapshots: without it that is left, and said",
	"delete volumesnapshots":        "to take away what points to snapshots",
	"delete volumesnapshotcontents": "to take away what points to snapshots",
}

// restoreWrites are the rights that a restore needs after it began to write, in
// the order in which it needs them.
var restoreWrites = []string{
	"create configmaps", "create volumesnapshots", "create volumesnapshotcontents", "watch volumesnapshots", "create persistentvolumeclaims",
	"watch persistentvolumeclaims", "patch persistentvolumes", "create services", "create statefulsets",
}

func TestEachRightOfARestoreIsNeededAndNamed(t *testing.T) {
	w := newWorld(t)
	rights := rightsOf(roles(t)["hawser-restore"])
	handles := w.deployRedis(1, "disks-delete")
	point := w.point()
	w.loseEverything()
	w.must(w.client.CoreV1().Services(w.namespace).Delete(w.ctx, "redis-service", metav1.DeleteOptions{}))
	w.must(w.client.CoreV1().ConfigMaps(w.namespace).Delete(w.ctx, "redis-config", metav1.DeleteOptions{}))
	w.must(w.region.DestroyDisk(handles[redisClaim(0)]))

	attempt := func(missing right) {
		t.Helper()
		user := w.as(w.namespace+"-"+missing.verb+"-"+missing.resource, without(rights, missing))
		user.run(1, "restore", point).Says(t, missing.verb, missing.resource)
	}
	for _, missing := range rights {
		if restoreRare[missing.String()] == "" && !slices.Contains(restoreWrites, missing.String()) {
			attempt(missing)
		}
	}
	for _, name := range restoreWrites {
		i := slices.IndexFunc(rights, func(r right) bool { return r.String() == name })
		if i < 0 {
			t.Fatalf("the role hawser-restore does not hold the right to %s", name)
		}
		attempt(rights[i])
		if strings.HasPrefix(name, "create volumesnapshot") {
			w.removeStatic() // each half is created beside the other
		}
	}
	patch := right{"snapshot.storage.k8s.io", "volumesnapshotcontents", "patch"}
	w.as(w.namespace+"-no-patch", without(rights, patch)).run(0, "restore", point).Says(t, "is left and can be deleted", "cannot patch")
	w.as(w.namespace+"-all", rights).run(0, "restore", point) // takes that away
	w.awaitAll(contentsResource, func(contents []*unstructured.Unstructured) bool {
		return !slices.ContainsFunc(contents, func(c *unstructured.Unstructured) bool { return c.GetLabels()["hawser.dev/restored-from"] == point })
	})
	w.awaitReady(1)
}

func TestEachRightToReattachIsNeededAndNamed(t *testing.T) {
	w := newWorld(t)
	rights := rightsOf(roles(t)["hawser-restore"])
	handles := w.deployRedis(1, "disks-delete")
	point := w.point()
	w.loseEverything()
	for _, verb := range []string{"create", "watch"} { // in the order in which they are needed
		missing := right{"", "persistentvolumes", verb}
		w.as(w.namespace+"-no-"+verb, without(rights, missing)).run(1, "restore", point).Says(t, verb, "persistentvolumes")
	}
	w.as(w.namespace+"-all", rights).run(0, "restore", point)
	w.awaitReady(1)
	w.expectDisks(handles)
}

// removeStatic removes the snapshots and contents that a restore made.
func (w *world) removeStatic() {
	w.t.Helper()
	restored := metav1.ListOptions{LabelSelector: "hawser.dev/restored-from"}
	w.must(w.snapshots.SnapshotV1().VolumeSnapshots(w.namespace).DeleteCollection(w.ctx, metav1.DeleteOptions{}, restored))
	contents, err := w.snapshots.SnapshotV1().VolumeSnapshotContents().List(w.ctx, restored)
	w.must(err)
	for _, c := range contents.Items {
		if c.Spec.VolumeSnapshotRef.Namespace == w.namespace {
			w.must(ignoreNotFound(w.snapshots.SnapshotV1().VolumeSnapshotContents().Delete(w.ctx, c.Name, metav1.DeleteOptions{})))
			w.await(contentsResource, c.Name, func(o *unstructured.Unstructured) bool { return o == nil })
		}
	}
	w.awaitAll(snapshotsResource, func(snapshots []*unstructured.Unstructured) bool {
		return !slices.ContainsFunc(snapshots, func(s *unstructured.Unstructured) bool { return s.GetLabels()["hawser.dev/restored-from"] != "" })
	})
}

func without(rights []right, missing right) []right {
	return slices.DeleteFunc(slices.Clone(rights), func(r right) bool { return r == missing })
}
