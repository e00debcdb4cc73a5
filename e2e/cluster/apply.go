package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Apply creates the objects of a YAML file of one or many documents, or brings
// them to what it says (server-side apply). What names no namespace and needs
// one goes to "default". After a CustomResourceDefinition it waits until
// objects of that kind can be made.
func (c *Cluster) Apply(ctx context.Context, manifest []byte) error {
	objects, err := decode(manifest)
	if err != nil {
		return err
	}
	for _, object := range objects {
		resource, err := c.resource(object)
		if err == nil {
			_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: ownAgent, Force: true})
		}
		if err == nil && object.GetKind() == "CustomResourceDefinition" {
			err = c.awaitCRD(ctx, object)
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
	}
	return nil
}

// Delete deletes the objects of a YAML file, the last one first. An object that
// is absent is fine. It does not wait for finalizers.
func (c *Cluster) Delete(ctx context.Context, manifest []byte) error {
	objects, err := decode(manifest)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	for i := range objects {
		object := objects[len(objects)-1-i]
		resource, err := c.resource(object)
		if err == nil {
			err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
	}
	return nil
}

// decode reads the documents of a YAML file.
func decode(manifest []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d of the manifest: %w", len(objects)+1, err)
		}
		if len(object.Object) == 0 {
			continue // nothing but comments
		}
		if object.GetKind() == "" || object.GetAPIVersion() == "" || object.GetName() == "" {
			return nil, fmt.Errorf("document %d of the manifest lacks an apiVersion, a kind or a name", len(objects)+1)
		}
		objects = append(objects, object)
	}
}

// resource finds where an object of this kind and namespace lives, and fills in
// the namespace.
func (c *Cluster) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // the kind may be newer than what discovery told
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(metav1.NamespaceDefault)
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// awaitCRD waits until the API server serves a definition's kind and says so in
// its discovery document, which is a moment later.
func (c *Cluster) awaitCRD(ctx context.Context, crd *unstructured.Unstructured) error {
	if err := c.Await(ctx, crds, "", crd.GetName(), established); err != nil {
		return err
	}
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := c.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
		if !meta.IsNoMatchError(err) {
			return err
		}
		select {
		case <-again.C:
			c.mapper.Reset()
		case <-ctx.Done():
			return fmt.Errorf("wait for discovery of kind %s: %w", kind, context.Cause(ctx))
		}
	}
}

func established(crd *unstructured.Unstructured) bool { return hasCondition(crd, "Established") }

// hasCondition tells whether a condition of the object's status is True.
func hasCondition(object *unstructured.Unstructured, name string) bool {
	if object == nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, condition := range conditions {
		condition, ok := condition.(map[string]any)
		if ok && condition["type"] == name {
			return condition["status"] == "True"
		}
	}
	return false
}

func describe(object *unstructured.Unstructured) string {
	if object.GetNamespace() == "" {
		return object.GetKind() + " " + object.GetName()
	}
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

// mapper finds the resource of a kind.
type mapper = meta.ResettableRESTMapper

func newMapper(config *rest.Config) (mapper, error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client)), nil
}
