package seed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/chart"
	"hawser.dev/hawser/e2e/image"
	"hawser.dev/hawser/e2e/node"
	"hawser.dev/hawser/e2e/node/machine"
	"hawser.dev/hawser/e2e/node/nodetest"
	"hawser.dev/hawser/e2e/objectstore"
	"hawser.dev/hawser/e2e/seed"
)

const (
	agentImage = "hawser.dev/hawser"
	agentTag   = "e2e"
	agentPods  = "app.kubernetes.io/component=agent"
)

// agentValues are those of the chart: a plan of every minute, and pruning as
// often. %s are the store and the namespace of the plan.
const agentValues = `
config:
  cluster: {name: real}
  store: {url: %q}
  plans:
  - name: minutely
    schedule: "* * * * *"
    timezone: Europe/Berlin
    select: {namespaces: [%s]}
    retain: {last: 1}
store: {credentialsSecret: hawser-store, caConfigMap: store-ca}
prune: {schedule: "* * * * *"}
image: {repository: ` + agentImage + `, tag: ` + agentTag + `, pullPolicy: Never}
`

// installation is the chart, installed in a cluster whose node runs Pods.
type installation struct {
	*world
	home   string // its namespace
	values string // file
}

// The image of the Dockerfile runs as the chart says, in a namespace that
// enforces the Pod Security Standard restricted, with the chart's rights: its
// two agents back Redis up on the plan's schedule, a CronJob prunes, and a
// scheduled point brings the data back.
func TestTheAgentInTheCluster(t *testing.T) {
	s := raise(t, "agent", newRegion(t), agentImageOf(t))
	w := s.world(t, "shop")
	w.apply(seed.RedisStatefulSet.Manifest())
	w.podsReady(1)
	redis := redisServer{"redis-0"}
	redis.write(w, "before")
	written := time.Now()

	server := startStore(t, s.Node.HostIP())
	w.store = server.URL("agent")
	i := w.install(server)
	point := i.scheduledPoint(written)
	i.expectPruning()
	redis.write(w, "later")

	// Another agent leads when the leader's Pod goes.
	leader := i.leader("")
	deleted := time.Now()
	w.must(w.client.CoreV1().Pods(i.home).Delete(w.ctx, leader, metav1.DeleteOptions{}))
	next := i.leader(leader)
	t.Logf("point %s was made and pruning ran; %s leads %s after %s was deleted", point, next, time.Since(deleted).Round(100*time.Millisecond), leader)

	handles := w.disksOf()
	w.lose()
	w.destroyDisks(handles)
	w.run(0, "restore", point)
	w.podsReady(1)
	if got := redis.read(w); !slices.Equal(got, []string{"before"}) {
		t.Errorf("came back with %q, want the writes of before the scheduled point", got)
	}

	// kubelet brings another configuration to the agents that run.
	i.apply("config: {plans: [{name: another, schedule: '@daily'}]}")
	i.awaitLog("the configuration is read anew")
	w.lose()
}

// imaged is the image of the Dockerfile, made once.
var imaged struct {
	once  sync.Once
	dir   string
	image node.Image
	err   error
}

// agentImageOf makes the image that the Dockerfile describes.
func agentImageOf(t *testing.T) node.Image {
	t.Helper()
	nodetest.Require(t)
	imaged.once.Do(func() {
		if imaged.dir, imaged.err = os.MkdirTemp("", "hawser-image-"); imaged.err != nil {
			return
		}
		certificates := filepath.Join(imaged.dir, "none")
		if imaged.err = os.WriteFile(certificates, nil, 0o644); imaged.err != nil {
			return
		}
		var made image.Image
		made, imaged.err = image.Build(context.Background(), image.Options{Dir: imaged.dir, Certificates: certificates})
		imaged.image = node.Image{Tag: agentImage + ":" + agentTag, Root: made.Root, Entrypoint: made.Entrypoint}
	})
	if imaged.err != nil {
		t.Fatal(imaged.err)
	}
	return imaged.image
}

// store is an S3 server that Pods reach at another address than this process.
type store struct {
	*objectstore.Server
	inside string // its endpoint for Pods
}

func startStore(t *testing.T, host string) store {
	t.Helper()
	server, err := objectstore.StartTLS(t.Context(), objectstore.VersityGW, t.TempDir(), net.ParseIP(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go machine.Relay(listener, "tcp", strings.TrimPrefix(server.Endpoint, "https://"))
	return store{server, "https://" + listener.Addr().String()}
}

// urlInside is the store.url of Pods.
func (s store) urlInside(prefix string) string {
	query := url.Values{"endpoint": {s.inside}, "region": {s.Region}, "path-style": {"true"}}
	return "s3://" + s.Bucket + "/" + prefix + "?" + query.Encode()
}

// install installs the chart, and waits until both agents are Ready.
func (w *world) install(server store) *installation {
	w.t.Helper()
	i := w.prepare(server, fmt.Sprintf(agentValues, server.urlInside("agent"), w.namespace))
	i.apply("")
	i.await(podsResource, agentPods, func(pods []*unstructured.Unstructured) bool {
		return len(pods) == 2 && !slices.ContainsFunc(pods, func(pod *unstructured.Unstructured) bool { return !hasCondition(pod, "Ready") })
	})
	return i
}

// prepare makes what the chart with these values needs, and writes them down.
func (w *world) prepare(server store, values string) *installation {
	w.t.Helper()
	i := &installation{world: w, home: chart.Namespace, values: filepath.Join(w.t.TempDir(), "values.yaml")}
	home, err := chart.Home()
	w.must(err)
	w.must(w.Apply(w.ctx, chart.Join(home)))
	ca, err := os.ReadFile(server.CAFile)
	w.must(err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "hawser-store"}, StringData: map[string]string{
		"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey,
	}}
	_, err = w.client.CoreV1().Secrets(i.home).Create(w.ctx, secret, metav1.CreateOptions{})
	w.must(err)
	authority := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "store-ca"}, Data: map[string]string{"ca.crt": string(ca)}}
	_, err = w.client.CoreV1().ConfigMaps(i.home).Create(w.ctx, authority, metav1.CreateOptions{})
	w.must(err)
	w.env = server.Env()
	w.must(os.WriteFile(i.values, []byte(values), 0o600))
	return i
}

// apply brings the cluster to what the chart says, with these values over those
// of the installation.
func (i *installation) apply(values string) {
	i.t.Helper()
	documents, err := chart.Render(i.ctx, chart.Values{Files: []string{i.values}, YAML: values})
	i.must(err)
	i.must(i.Apply(i.ctx, chart.Join(documents)))
}

// await waits for all objects of the installation with these labels.
func (i *installation) await(resource schema.GroupVersionResource, labels string, done func([]*unstructured.Unstructured) bool) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.ctx, patience)
	defer cancel()
	i.must(i.AwaitAll(ctx, resource, i.home, labels, done))
}

// scheduledPoint waits for a point of the plan's schedule with what was written
// before that moment.
func (i *installation) scheduledPoint(written time.Time) string {
	i.t.Helper()
	var found catalog.Commit
	i.eventually(func() bool {
		r := i.cli().Do(i.ctx, i.t, "points", "-o", "json")
		var commits []catalog.Commit
		if r.Code == 0 { // there may be no catalog yet
			i.must(json.Unmarshal([]byte(r.Stdout), &commits))
		}
		n := slices.IndexFunc(commits, func(c catalog.Commit) bool { return c.Started.After(written) })
		if n >= 0 {
			found = commits[n]
		}
		return n >= 0
	})
	if found.Outcome != catalog.Complete || found.Plan != "minutely" || found.Scheduled.Second() != 0 || found.Counts.Snapshots != 1 || found.Cluster.Name != "real" {
		i.t.Errorf("the scheduled point is %+v", found)
	}
	return string(found.Point)
}

// expectPruning waits until a Job of the CronJob has done its work.
func (i *installation) expectPruning() {
	i.t.Helper()
	jobs := batchv1.SchemeGroupVersion.WithResource("jobs")
	i.await(jobs, "app.kubernetes.io/component=prune", func(jobs []*unstructured.Unstructured) bool {
		return slices.ContainsFunc(jobs, func(job *unstructured.Unstructured) bool {
			if hasCondition(job, "Failed") {
				i.t.Errorf("Job %s failed", job.GetName())
				return true
			}
			return hasCondition(job, "Complete")
		})
	})
}

// leader waits until a Pod other than this one leads, and returns its name.
func (i *installation) leader(other string) string {
	i.t.Helper()
	leader := ""
	leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	i.await(leases, "", func(leases []*unstructured.Unstructured) bool {
		for _, lease := range leases {
			holder, _, _ := unstructured.NestedString(lease.Object, "spec", "holderIdentity")
			leader, _, _ = strings.Cut(holder, "_")
		}
		return leader != "" && leader != other
	})
	return leader
}

// awaitLog waits until an agent has logged this.
func (i *installation) awaitLog(words string) {
	i.t.Helper()
	i.eventually(func() bool {
		pods, err := i.client.CoreV1().Pods(i.home).List(i.ctx, metav1.ListOptions{LabelSelector: agentPods})
		i.must(err)
		return slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
			log, err := i.client.CoreV1().Pods(i.home).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(i.ctx)
			return err == nil && bytes.Contains(log, []byte(words))
		})
	})
}
