package cluster

import (
	"bytes"
	"embed"
	"text/template"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:embed manifests
var manifests embed.FS

// embedded returns a file of the manifests folder.
func embedded(name string) []byte {
	data, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return data
}

// forDriver returns a file of the manifests folder with the driver's name
// filled in.
func forDriver(name, driver string) []byte {
	var filled bytes.Buffer
	if err := template.Must(template.New(name).Parse(string(embedded(name)))).Execute(&filled, driver); err != nil {
		panic(err)
	}
	return filled.Bytes()
}

// Resources that this package asks for.
var (
	nodes           = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	crds            = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)
