package e2e_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"hawser.dev/hawser/e2e/chart"
)

// installer applies what the chart renders, as kubectl would, and collects what
// the API server warns of.
type installer struct {
	*world
	typed   kubernetes.Interface
	dynamic dynamic.Interface

	mu       sync.Mutex
	warnings []string
}

func newInstaller(w *world) *installer {
	i := &installer{world: w}
	config := w.lab.RESTConfig("hawser-e2e-installer")
	config.WarningHandler = i
	i.typed, i.dynamic = kubernetes.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)
	return i
}

// HandleWarningHeader is rest.WarningHandler.
func (i *installer) HandleWarningHeader(_ int, _ string, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.warnings = append(i.warnings, text)
}

// apply creates the objects, or with dryRun sees whether they could be. An
// unknown field is an error.
func (i *installer) apply(documents []chart.Document, dryRun ...string) {
	i.t.Helper()
	for _, d := range documents {
		gvr, _ := meta.UnsafeGuessKindToResource(d.GroupVersionKind())
		var resource dynamic.ResourceInterface = i.dynamic.Resource(gvr)
		if d.GetNamespace() != "" {
			resource = i.dynamic.Resource(gvr).Namespace(d.GetNamespace())
		}
		_, err := resource.Apply(i.ctx, d.GetName(), &d.Unstructured, metav1.ApplyOptions{FieldManager: "installer", Force: true, DryRun: dryRun})
		if err != nil {
			i.t.Errorf("%s: %v", d.ID(), err)
		}
	}
}

// podsOf are the Pods that controllers would make.
func podsOf(t *testing.T, documents []chart.Document) []corev1.Pod {
	t.Helper()
	var templates []corev1.PodTemplateSpec
	for _, d := range ofKind[appsv1.Deployment](t, documents, "Deployment") {
		templates = append(templates, d.Spec.Template)
	}
	for _, c := range ofKind[batchv1.CronJob](t, documents, "CronJob") {
		templates = append(templates, c.Spec.JobTemplate.Spec.Template)
	}
	for _, j := range ofKind[batchv1.Job](t, documents, "Job") {
		templates = append(templates, j.Spec.Template)
	}
	var pods []corev1.Pod
	for _, template := range templates {
		pods = append(pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "admitted-", Namespace: chart.Namespace, Labels: template.Labels, Annotations: template.Annotations},
			Spec:       template.Spec,
		})
	}
	if len(pods) == 0 {
		t.Fatal("there are no Pods: the test proves nothing")
	}
	return pods
}

// A real API server takes all that the chart renders, in a namespace that
// enforces the Pod Security Standard restricted, and the controllers make the
// Pods.
func TestTheAPIServerAdmitsTheChart(t *testing.T) {
	w := newWorld(t)
	definitions, err := os.ReadFile("testdata/prometheus-operator.yaml")
	w.must(err)
	w.must(w.lab.Apply(w.ctx, definitions))
	for _, name := range []string{"shop", "billing"} { // they have hooks
		_, err := w.client.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		w.must(err)
	}
	i := newInstaller(w)
	for _, file := range []string{"hawser.yaml", "monitoring.yaml", "hooks.yaml", "secrets.yaml", "restore.yaml", "restore-secrets.yaml", "migrate.yaml"} {
		documents, err := chart.ReadManifest(file)
		w.must(err)
		i.apply(documents)
	}
	home, err := w.client.CoreV1().Namespaces().Get(w.ctx, chart.Namespace, metav1.GetOptions{})
	w.must(err)
	if level := home.Labels["pod-security.kubernetes.io/enforce"]; level != "restricted" {
		t.Fatalf("namespace %s enforces %q: the test proves nothing", chart.Namespace, level)
	}

	deployment := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	w.must(w.lab.Await(w.ctx, deployment, chart.Namespace, "hawser-agent", func(o *unstructured.Unstructured) bool {
		ready, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
		return ready == 2
	}))
	cron, err := w.client.BatchV1().CronJobs(chart.Namespace).Get(w.ctx, "hawser-prune", metav1.GetOptions{})
	w.must(err)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "prune-now", Labels: cron.Spec.JobTemplate.Labels}, Spec: cron.Spec.JobTemplate.Spec}
	_, err = i.typed.BatchV1().Jobs(chart.Namespace).Create(w.ctx, job, metav1.CreateOptions{})
	w.must(err)
	w.must(w.lab.AwaitAll(w.ctx, podsResource, chart.Namespace, "job-name=prune-now", func(pods []*unstructured.Unstructured) bool { return len(pods) == 1 }))

	for example := range examples(t) {
		documents := render(t, example, "")
		i.apply(documents, metav1.DryRunAll)
		for _, pod := range podsOf(t, documents) {
			if _, err := i.typed.CoreV1().Pods(chart.Namespace).Create(w.ctx, &pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
				t.Errorf("with the values %s: %v", example, err)
			}
			i.checkEachPartOfItsSecurityIsNeeded(pod)
		}
	}
	if len(i.warnings) > 0 {
		t.Errorf("the API server warns: %q", slices.Compact(i.warnings))
	}
}

// checkEachPartOfItsSecurityIsNeeded shows that the namespace does enforce the
// standard: a Pod that lacks one part is refused.
func (i *installer) checkEachPartOfItsSecurityIsNeeded(pod corev1.Pod) {
	i.t.Helper()
	for name, weaken := range map[string]func(*corev1.PodSpec){
		"runAsNonRoot":   func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil },
		"seccompProfile": func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil },
		"allowPrivilegeEscalation": func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
		},
		"capabilities": func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Capabilities = nil },
	} {
		weak := pod.DeepCopy()
		weaken(&weak.Spec)
		_, err := i.typed.CoreV1().Pods(chart.Namespace).Create(i.ctx, weak, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
			i.t.Errorf("a Pod without %s is not refused: %v", name, err)
		}
	}
}

// What no standard asks for, and a backup of all of a company's data deserves.
func TestPodsAreLockedDown(t *testing.T) {
	for example := range examples(t) {
		for _, pod := range podsOf(t, render(t, example, "")) {
			for _, c := range pod.Spec.Containers {
				if root := c.SecurityContext.ReadOnlyRootFilesystem; root == nil || !*root {
					t.Errorf("with the values %s, container %s can write to its root file system", example, c.Name)
				}
				if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("with the values %s, container %s has no bound of memory", example, c.Name)
				}
				text, err := json.Marshal(c.Env)
				if err != nil {
					t.Fatal(err)
				}
				for _, variable := range c.Env {
					if variable.Value != "" {
						t.Errorf("with the values %s, a variable is set in clear text: %s", example, text)
					}
				}
			}
			if pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC {
				t.Errorf("with the values %s, a Pod shares what is the node's", example)
			}
		}
	}
}
