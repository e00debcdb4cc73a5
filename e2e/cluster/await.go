package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Await watches one object until done says yes to it. done gets nil while the
// object does not exist. namespace is empty for what has none.
func (c *Cluster) Await(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, done func(*unstructured.Unstructured) bool) error {
	selection := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	err := c.await(ctx, gvr, namespace, selection, func(objects []*unstructured.Unstructured) bool {
		if len(objects) == 0 {
			return done(nil)
		}
		return done(objects[0])
	})
	if err != nil {
		return fmt.Errorf("wait for %s %s: %w", gvr.Resource, strings.TrimPrefix(namespace+"/"+name, "/"), err)
	}
	return nil
}

// AwaitAll watches the objects that a label selector selects ("" is all of
// them) until done says yes to all of them together.
func (c *Cluster) AwaitAll(ctx context.Context, gvr schema.GroupVersionResource, namespace, labels string, done func([]*unstructured.Unstructured) bool) error {
	err := c.await(ctx, gvr, namespace, metav1.ListOptions{LabelSelector: labels}, done)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", gvr.Resource, err)
	}
	return nil
}

// await keeps a list by watch, through restarts of the API server too, and asks
// done about it after every change.
func (c *Cluster) await(ctx context.Context, gvr schema.GroupVersionResource, namespace string, selection metav1.ListOptions, done func([]*unstructured.Unstructured) bool) error {
	resource := c.dynamic.Resource(gvr).Namespace(namespace)
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector, options.LabelSelector = selection.FieldSelector, selection.LabelSelector
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector, options.LabelSelector = selection.FieldSelector, selection.LabelSelector
			return resource.Watch(ctx, options)
		},
	}, c.dynamic)

	var store cache.Store
	check := func() (bool, error) { return done(contents(store)), nil }
	_, err := watchtools.UntilWithSync(ctx, source, &unstructured.Unstructured{},
		func(synced cache.Store) (bool, error) {
			store = synced
			return check()
		},
		func(watch.Event) (bool, error) { return check() })
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("%w; what was there last: %s", context.Cause(ctx), summary(store))
	}
	return err
}

func contents(store cache.Store) []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for _, object := range store.List() {
		objects = append(objects, object.(*unstructured.Unstructured))
	}
	return objects
}

// summary is what a reader needs of a store to see why a wait was in vain.
func summary(store cache.Store) string {
	if store == nil {
		return "unknown, since the API server did not answer"
	}
	objects := contents(store)
	if len(objects) == 0 {
		return "nothing"
	}
	const most = 5
	var text strings.Builder
	for i, object := range objects {
		if i == most {
			fmt.Fprintf(&text, "\n  and %d more", len(objects)-most)
			break
		}
		status, err := json.Marshal(object.Object["status"])
		if err != nil {
			status = []byte(err.Error())
		}
		fmt.Fprintf(&text, "\n  %s: status %s", strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/"), status)
	}
	return text.String()
}
