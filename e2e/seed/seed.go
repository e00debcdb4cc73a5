// Package seed holds the workloads of the book chapter that Hawser was founded
// on ("Stateful applications"), under the names that the book gives them, for
// nodes of package e2e/node. Requests are cut to what a small machine has, and
// probes say when a server answers; the images are those that nodes bring.
package seed

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Shape is a row of the chapter: the manifest of one of its workloads.
type Shape string

// The shapes of the chapter. Those of one name can't be in one namespace at once.
const (
	MariaDBPod         Shape = "mariadb-pod"         // (a) a Pod with a claim
	MariaDBDeployment  Shape = "mariadb-deployment"  // (b) a Deployment with a claim
	MariaDBStatefulSet Shape = "mariadb-statefulset" // (c) a StatefulSet of one
	RedisStatefulSet   Shape = "redis-statefulset"   // (d) a StatefulSet of one, with a ConfigMap
	RedisRoles         Shape = "redis-roles"         // (e) a StatefulSet of three, with roles by ordinal
	EphemeralVolume    Shape = "ephemeral"           // (f) a generic ephemeral volume
	EmptyDir           Shape = "emptydir"            // (g) emptyDir and ConfigMap volumes
	StorageClass       Shape = "storageclass"        // (h) a class with Retain, as default
)

// Shapes are all of them, in the order of the chapter's rows.
var Shapes = []Shape{
	MariaDBPod, MariaDBDeployment, MariaDBStatefulSet, RedisStatefulSet, RedisRoles,
	EphemeralVolume, EmptyDir, StorageClass,
}

// RootPassword is that of all MariaDB servers.
const RootPassword = "your database password"

//go:embed manifests
var manifests embed.FS

// Manifest returns a shape's objects, as YAML documents.
func (s Shape) Manifest() []byte {
	data, err := manifests.ReadFile("manifests/" + string(s) + ".yaml")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return data
}

// In returns the shape's objects in a namespace, which it does not create.
func (s Shape) In(namespace string) []byte { return In(namespace, s.Manifest()) }

// In puts a namespace into the objects of a manifest that live in one.
func In(namespace string, manifest []byte) []byte {
	var out bytes.Buffer
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096); ; {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return out.Bytes()
		} else if err != nil {
			panic(fmt.Sprintf("seed: a manifest cannot be read: %v", err)) // they are part of the program
		}
		if !slices.Contains(clusterKinds, object.GetKind()) {
			object.SetNamespace(namespace)
		}
		data, err := yaml.Marshal(object.Object)
		if err != nil {
			panic(fmt.Sprintf("seed: %v", err)) // what was decoded can be encoded
		}
		out.WriteString("---\n")
		out.Write(data)
	}
}

// clusterKinds live in no namespace.
var clusterKinds = []string{"Namespace", "StorageClass", "VolumeAttributesClass"}
