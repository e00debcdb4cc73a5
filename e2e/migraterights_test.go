package e2e_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hawser.dev/hawser/e2e/chart"
)

// migrateRare are the rights that this test's migrations can do without, and
// where they are needed.
var migrateRare = map[string]string{
	"list volumeattributesclasses": "for claims that name such a class",
	"create volumesnapshotclasses": "by the first backup with a driver",
	"watch volumesnapshotcontents": "to remove what a failed backup made",
}

// web is what a StatefulSet does not have: a Deployment, a ServiceAccount, a
// Secret.
const web = filesClaim + `---
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: %[1]s}
stringData: {password: secret}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %[1]s}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: web, envFrom: [{secretRef: {name: web}}], volumeMounts: [{name: files, mountPath: /files}]}]
      volumes: [{name: files, persistentVolumeClaim: {claimName: files}}]
`

const webAccount = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: %[1]s}
`

// A migration that is killed and led back, one that is not, its clean-up, a copy
// and an adoption, each by the ServiceAccounts that the chart makes in both
// clusters: they are refused nothing in either, and all that they may do they
// have done in one or the other.
func TestMigrationsUseTheRightsThatTheyHoldAndNoOthers(t *testing.T) {
	w := newTwin(t)
	documents := onlyMigrate(render(t, "minimal", "{includeSecrets: true, migrate: {enabled: true}}"))
	home, err := chart.Home()
	w.must(err)
	for _, in := range w.in {
		w.must(in.lab.Apply(w.ctx, chart.Join(append(home, documents...))))
		w.must(in.lab.Apply(w.ctx, fmt.Appendf(nil, webAccount, w.namespace)))
	}
	w.deploy(1, "disks-delete")
	w.must(w.lab.Apply(w.ctx, fmt.Appendf(nil, web, w.namespace)))
	w.await(deploymentsResource, "web", hasReadyReplica)
	w.takeAlong("files")

	w.refusesCredentials()
	job := w.accounts("hawser-migrate")
	all := func(from int, more ...string) []string {
		return slices.Concat([]string{"migrate", "--all", "-n", w.namespace}, w.route(from), more)
	}
	first := job.interrupt(func(run *race) bool { return slices.Contains(run.steps(), "start") }, all(here, "--include-secrets")...)
	job.run(0, w.rollBack(here, first)...)
	w.expectAt(here)
	job.run(0, all(here, "--no-point")...)
	w.expectAt(there)
	second := w.journals()[1].id
	job.run(0, slices.Concat([]string{"migrate", "--cleanup", second}, w.route(here))...)
	job.run(0, "migrate", "--status", second)
	// What docs/migration.md says of the two sides.
	user, held := "system:serviceaccount:"+chart.Namespace+":hawser-migrate", grants(t, documents, "hawser-migrate")
	for used := range w.in[here].uses(user, held, nil) {
		if strings.HasPrefix(used, "create ") && !strings.Contains(used, "volumesnapshot") {
			t.Errorf("moves use the right to %s in the source", used)
		}
	}
	for used := range w.in[there].uses(user, held, nil) {
		if strings.Contains(used, "volumesnapshot") {
			t.Errorf("moves use the right to %s in the target", used)
		}
	}

	job.run(0, w.move(there, "--way", "copy", "--map-namespace", w.namespace+"="+w.namespace+"-copy")...)
	w.expectAt(there)
	lost := w.in[there]
	lost.scale(0)
	w.must(lost.client.AppsV1().Deployments(w.namespace).Delete(w.ctx, "web", metav1.DeleteOptions{}))
	lost.awaitDetached()
	w.asked = true
	job.run(0, "migrate", "statefulset/redis", "-n", w.namespace, "--way", "adopt", "--from-cluster", w.uids[there], "--to", w.lab.Name(), "--confirm-source-gone")
	w.awaitReady(1)

	used := w.in[here].uses(user, held, nil)
	maps.Copy(used, w.in[there].uses(user, held, nil))
	for _, g := range held {
		if migrateRare[g.String()] == "" && !used[g.String()] {
			t.Errorf("%s did not use the right to %s", user, g)
		}
	}
}

// refusesCredentials fails the test unless a token that has ended is told from
// anything else, and on which side.
func (t *twin) refusesCredentials() {
	t.t.Helper()
	ended := t.in[there].accountConfig("hawser-migrate")
	ended.AuthInfos[t.in[there].lab.Name()].Token += "x"
	file := filepath.Join(t.t.TempDir(), "ended.kubeconfig")
	t.must(clientcmd.WriteToFile(*ended, file))
	t.run(1, "migrate", "--all", "-n", t.namespace, "--from", t.lab.Name(), "--to-kubeconfig", file).Says(t.t, "the target:", "does not accept these credentials")
}

// What a migration needs on either side once it has stopped something is looked at
// before.
func TestAMigrationIsRefusedForARightThatItWouldMissHalfWay(t *testing.T) {
	w := newTwin(t)
	w.deploy(1, "disks-delete")
	var rights []right
	for _, g := range grants(t, onlyMigrate(manifests(t, "migrate.yaml")), "hawser-migrate") {
		rights = append(rights, g.right)
	}
	for side, missing := range map[int][]right{
		here:  {{"", "pods", "watch"}, {"storage.k8s.io", "volumeattachments", "watch"}, {"apps", "statefulsets", "patch"}},
		there: {{"", "namespaces", "create"}, {"apps", "statefulsets", "watch"}, {"", "persistentvolumes", "watch"}, {"", "persistentvolumeclaims", "get"}},
	} {
		for _, r := range missing {
			limited := w.in[side].as(w.namespace+"-"+r.verb+"-"+r.resource, without(rights, r))
			kubeconfig := strings.TrimPrefix(limited.env[len(limited.env)-1], "KUBECONFIG=")
			route := []string{"--from-kubeconfig", kubeconfig, "--to", w.in[there].lab.Name()}
			if side == there {
				route = []string{"--from", w.lab.Name(), "--to-kubeconfig", kubeconfig}
			}
			w.run(4, append([]string{"migrate", "statefulset/redis", "-n", w.namespace, "--no-point"}, route...)...).Says(t, r.String(), "in the "+[2]string{"source", "target"}[side])
		}
	}
	w.expectDisks(w.handles)
}

// onlyMigrate are those of the chart's objects that a migration needs.
func onlyMigrate(documents []chart.Document) []chart.Document {
	return slices.DeleteFunc(slices.Clone(documents), func(d chart.Document) bool { return !strings.HasPrefix(d.GetName(), "hawser-migrate") })
}

// accounts gives this twin the tokens of a ServiceAccount of each cluster.
func (t *twin) accounts(name string) *twin {
	t.t.Helper()
	both := api.NewConfig()
	for _, in := range t.in {
		one := in.accountConfig(name)
		maps.Copy(both.Clusters, one.Clusters)
		maps.Copy(both.AuthInfos, one.AuthInfos)
		maps.Copy(both.Contexts, one.Contexts)
	}
	file := filepath.Join(t.t.TempDir(), name+".kubeconfig")
	t.must(clientcmd.WriteToFile(*both, file))
	world, other := *t.world, *t
	world.env = append(slices.Clone(t.env), "KUBECONFIG="+file)
	other.world = &world
	return &other
}
