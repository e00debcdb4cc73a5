package users

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// AwaitReady waits until the Pods that a workload wants are ready, or the workload
// is gone. Where that does not happen before ctx ends, the error tells what the
// Pods say that use one of the claims.
func AwaitReady(ctx context.Context, client kubernetes.Interface, namespace string, w catalog.Workload, claims func(name string) bool) error {
	only := fields.OneTermEqualSelector("metadata.name", w.Name).String()
	apps := client.AppsV1()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if o.FieldSelector = only; w.Kind == "StatefulSet" {
				return apps.StatefulSets(namespace).List(ctx, o)
			}
			return apps.Deployments(namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if o.FieldSelector = only; w.Kind == "StatefulSet" {
				return apps.StatefulSets(namespace).Watch(ctx, o)
			}
			return apps.Deployments(namespace).Watch(ctx, o)
		},
	}
	var kind runtime.Object = &appsv1.Deployment{}
	if w.Kind == "StatefulSet" {
		kind = &appsv1.StatefulSet{}
	}
	last := "it was not seen"
	_, err := watchtools.UntilWithSync(ctx, source, kind, func(store cache.Store) (bool, error) {
		return len(store.List()) == 0, nil // it is gone: there is nothing to wait for
	}, func(event watch.Event) (bool, error) {
		var ready bool
		ready, last = readiness(event.Object)
		return ready || event.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("%s does not become ready (%s): %w; its claims are done: see why its Pods do not start%s", Named(w), last, err, podTroubles(ctx, client, namespace, claims))
	}
	return nil
}

// readiness says whether all Pods that a workload wants are ready.
func readiness(object runtime.Object) (bool, string) {
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		want := ptr.Deref(o.Spec.Replicas, 1)
		return o.Status.ObservedGeneration >= o.Generation && o.Status.ReadyReplicas >= want, fmt.Sprintf("%d of %d Pods are ready", o.Status.ReadyReplicas, want)
	case *appsv1.Deployment:
		want := ptr.Deref(o.Spec.Replicas, 1)
		return o.Status.ObservedGeneration >= o.Generation && o.Status.ReadyReplicas >= want, fmt.Sprintf("%d of %d Pods are ready", o.Status.ReadyReplicas, want)
	}
	return false, fmt.Sprintf("%T", object)
}

// troubleTime bounds asking what is wrong when time is up.
const troubleTime = 5 * time.Second

// podTroubles says what the Pods say of themselves.
func podTroubles(ctx context.Context, client kubernetes.Interface, namespace string, claims func(name string) bool) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), troubleTime)
	defer cancel()
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	var troubles []string
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !slices.ContainsFunc(restore.PodClaims(pod), claims) {
			continue
		}
		for _, c := range pod.Status.Conditions {
			if c.Status == corev1.ConditionFalse && c.Message != "" {
				troubles = append(troubles, fmt.Sprintf("Pod %s: %s", pod.Name, c.Message))
				break
			}
		}
	}
	if len(troubles) == 0 {
		return ""
	}
	return ": " + strings.Join(troubles[:min(3, len(troubles))], "; ")
}
