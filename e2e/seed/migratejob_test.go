package seed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"hawser.dev/hawser/e2e/cluster/lab"
	"hawser.dev/hawser/e2e/node/machine"
	"hawser.dev/hawser/e2e/seed"
	"hawser.dev/hawser/e2e/tools"
	"hawser.dev/hawser/restore/migrate"
)

const jobPods = "app.kubernetes.io/component=migrate"

var jobsResource = batchv1.SchemeGroupVersion.WithResource("jobs")

// jobValues are those of the chart in the cluster of the Job. %s are the store and
// the port of the other API server.
const jobValues = `
config:
  cluster: {name: old}
  store: {url: %q}
store: {credentialsSecret: hawser-store, caConfigMap: store-ca}
replicas: 1
image: {repository: ` + agentImage + `, tag: ` + agentTag + `, pullPolicy: Never}
networkPolicy: {apiServer: {ports: [443, %d]}}
`

// A Job moves Redis to another cluster as docs/migration.md says, though its
// first Pod is deleted in the middle; one that lacks a right in the other cluster
// fails at once and names it; and one brings Redis back. All run under the Pod
// Security Standard restricted.
func TestAJobMigrates(t *testing.T) {
	region := newRegion(t)
	old, other := raiseBlind(t, "old", region, agentImageOf(t)), raiseBlind(t, "new", region)
	w := old.world(t, "shop")
	w.apply(seed.RedisStatefulSet.Manifest())
	w.podsReady(1)
	handles, redis := w.disksOf(), redisServer{"redis-0"}
	redis.write(w, "a-before")
	j := w.installForJobs(other)
	from, to := w, w.inCluster(other)

	inFence, release := w.faults.Block("ControllerUnpublishVolume")
	defer release()
	j.script(recipe(t, 0))
	select {
	case <-inFence:
	case <-w.ctx.Done():
		t.Fatal("the Job has not stopped Redis")
	}
	first := j.pods("")[0].Name
	w.must(w.client.CoreV1().Pods(j.home).Delete(w.ctx, first, metav1.DeleteOptions{}))
	j.await(podsResource, jobPods, func(pods []*unstructured.Unstructured) bool {
		return !slices.ContainsFunc(pods, func(p *unstructured.Unstructured) bool { return p.GetName() == first })
	})
	if status := j.newest(); status.Stage != migrate.UnderWay {
		t.Fatalf("the migration is %s when its Pod is gone", status.Stage)
	}
	release()
	j.ended("Complete")
	expectMoved := func(from, to *world, runs int, words ...string) {
		t.Helper()
		to.podsReady(1)
		from.podsReady(0)
		if got := to.disksOf(); !maps.Equal(got, handles) {
			t.Errorf("in cluster %s its claims are on disks %v, want %v", to.Name(), got, handles)
		}
		if got := redis.read(to); !slices.Equal(got, words) {
			t.Errorf("in cluster %s Redis has %q, want %q", to.Name(), got, words)
		}
		status := j.newest()
		if status.Stage != migrate.Done || status.Source.Name != from.Name() || status.Target.Name != to.Name() || len(status.Runs) != runs {
			t.Errorf("the migration is %s, from %s to %s, after %d runs; want done, from %s to %s, after %d", status.Stage, status.Source.Name, status.Target.Name, len(status.Runs), from.Name(), to.Name(), runs)
		}
		for n, run := range status.Runs {
			if !strings.HasPrefix(run.Process, "hawser-migrate-") || n > 0 && run.Process == status.Runs[n-1].Process {
				t.Errorf("run %d is that of process %s", n+1, run.Process)
			}
		}
		if err := region.Judge(); err != nil {
			t.Errorf("the judge: %v", err)
		}
	}
	expectMoved(from, to, 2, "a-before")
	redis.write(to, "b-there")

	// Back, by a Job in the same place; at first without a right in the other cluster.
	to.withhold("statefulsets", "patch")
	back := "helm --kube-context old upgrade hawser deploy/chart/hawser -n hawser --reuse-values --set migrate.other=from"
	j.script(back)
	failed := j.ended("Failed")
	if pods := j.pods(failed); len(pods) != 1 {
		t.Errorf("a refusal has made %d Pods, want 1", len(pods))
	} else if said := j.log(pods[0].Name); !strings.Contains(said, "patch statefulsets") || !strings.Contains(said, "in the source") {
		t.Errorf("the Pod does not name the right that is missing, and where:\n%s", said)
	}
	j.script("kubectl --context new apply -f deploy/manifests/migrate.yaml\nkubectl --context old delete job -n hawser " + failed + "\n" + back)
	j.ended("Complete")
	expectMoved(to, from, 1, "a-before", "b-there")

	j.script(recipe(t, 1))
	j.await(jobsResource, jobPods, none)
}

// jobs is an installation of the chart whose Job migrates, and a shell with a
// kubeconfig of both clusters.
type jobs struct {
	*installation
	dir string // the shell's
	env []string
}

// installForJobs installs the chart with Helm. The API server of the other cluster
// is, in the kubeconfig, at an address that Pods here reach.
func (w *world) installForJobs(other *stage) *jobs {
	w.t.Helper()
	server := startStore(w.t, w.Node.HostIP())
	w.store = server.URL("agent")

	j := &jobs{dir: w.t.TempDir()}
	kubeconfig := filepath.Join(j.dir, "both.kubeconfig")
	w.must(lab.MergeKubeconfigs(kubeconfig, w.Lab.Lab, other.Lab.Lab))
	both, err := clientcmd.LoadFromFile(kubeconfig)
	w.must(err)
	reached := both.Clusters[other.Name()]
	behind, err := url.Parse(reached.Server)
	w.must(err)
	listener, err := net.Listen("tcp", net.JoinHostPort(w.Node.HostIP(), "0"))
	w.must(err)
	w.t.Cleanup(func() { listener.Close() })
	go machine.Relay(listener, "tcp", behind.Host)
	reached.Server, reached.TLSServerName = "https://"+listener.Addr().String(), "kubernetes" // the certificate is for that
	w.must(clientcmd.WriteToFile(*both, kubeconfig))

	j.installation = w.prepare(server, fmt.Sprintf(jobValues, server.urlInside("agent"), listener.Addr().(*net.TCPAddr).Port))
	programs, err := tools.Paths(w.ctx, "helm", "kubectl")
	w.must(err)
	root, err := filepath.Abs("../..")
	w.must(err)
	w.must(os.Symlink(filepath.Join(root, "deploy"), filepath.Join(j.dir, "deploy")))
	j.env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+j.dir, "PATH="+filepath.Dir(programs["helm"])+":"+os.Getenv("PATH"))
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.ctx = context.WithoutCancel(w.ctx) // it has ended with the test
			for _, pod := range j.pods("") {
				w.t.Logf("Pod %s:\n%s", pod.Name, j.log(pod.Name))
			}
		}
	})
	j.script("helm --kube-context old install hawser deploy/chart/hawser -n hawser -f " + strconv.Quote(j.values))
	return j
}

// script runs commands as a user would.
func (j *jobs) script(commands string) {
	j.t.Helper()
	cmd := exec.CommandContext(j.ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir, cmd.Env = j.dir, j.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		j.t.Fatalf("%v\n%s\n%s", err, commands, out)
	}
	j.t.Logf("%s", out)
}

// recipe is one of the scripts of docs/migration.md for a Job.
func recipe(t *testing.T, n int) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## As a Job\n")
	scripts := strings.Split(section, "```sh\n")[1:]
	if len(scripts) <= n {
		t.Fatalf("docs/migration.md has %d scripts for a Job", len(scripts))
	}
	script, _, _ := strings.Cut(scripts[n], "```\n")
	return script
}

// ended waits until the newest Job has ended so, and returns its name.
func (j *jobs) ended(how string) string {
	j.t.Helper()
	name := ""
	j.await(jobsResource, jobPods, func(all []*unstructured.Unstructured) bool {
		if len(all) == 0 {
			return false
		}
		newest := slices.MaxFunc(all, func(a, b *unstructured.Unstructured) int {
			return a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time)
		})
		name = newest.GetName()
		return hasCondition(newest, "Complete") || hasCondition(newest, "Failed")
	})
	job, err := j.client.BatchV1().Jobs(j.home).Get(j.ctx, name, metav1.GetOptions{})
	j.must(err)
	if !slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return string(c.Type) == how && c.Status == corev1.ConditionTrue && (how != "Failed" || c.Reason == batchv1.JobReasonPodFailurePolicy)
	}) {
		j.t.Fatalf("Job %s has ended otherwise than %s: %+v", name, how, job.Status)
	}
	return name
}

// pods are those of a Job; of "", those of all that migrate.
func (j *jobs) pods(job string) []corev1.Pod {
	j.t.Helper()
	selector := jobPods
	if job != "" {
		selector = batchv1.JobNameLabel + "=" + job
	}
	pods, err := j.client.CoreV1().Pods(j.home).List(j.ctx, metav1.ListOptions{LabelSelector: selector})
	j.must(err)
	return pods.Items
}

func (j *jobs) log(pod string) string {
	log, err := j.client.CoreV1().Pods(j.home).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(j.ctx)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// newest is the migration that the catalog knows last.
func (j *jobs) newest() migrate.Status {
	j.t.Helper()
	var all struct{ Migrations []migrate.Status }
	j.must(json.Unmarshal([]byte(j.run(0, "migrate", "--status", "-o", "json").Stdout), &all))
	if len(all.Migrations) == 0 {
		j.t.Fatal("the catalog knows of no migration")
	}
	return all.Migrations[len(all.Migrations)-1]
}

// withhold takes a right away from who may migrate.
func (w *world) withhold(resource, verb string) {
	w.t.Helper()
	roles := w.client.RbacV1().ClusterRoles()
	role, err := roles.Get(w.ctx, "hawser-migrate", metav1.GetOptions{})
	w.must(err)
	for i := range role.Rules {
		rule := &role.Rules[i]
		if slices.Contains(rule.Resources, resource) {
			rule.Verbs = slices.DeleteFunc(rule.Verbs, func(v string) bool { return v == verb })
		}
	}
	_, err = roles.Update(w.ctx, role, metav1.UpdateOptions{})
	w.must(err)
}
