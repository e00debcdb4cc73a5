// Package tools builds the programs that the end-to-end tests, the demo and
// the linter run, from source: Kubernetes and its CSI sidecars, etcd, kwok,
// CoreDNS, two S3 servers, Toxiproxy, staticcheck, Helm, promtool.
//
// Each folder beside this file with a go.mod is a module of its own, named for
// what it is for, so that the dependencies of one never fight with those of
// another or of Hawser itself. The module's go.mod pins the versions: its
// `tool` directives keep them there.
//
// The binaries go to e2e/tools/bin, which git ignores. A binary is built when
// it is asked for and missing, or when its module or the Go toolchain has
// changed since. Several processes may ask at once; one of them builds.
//
// Nothing is installed outside that folder, and nothing but Go is needed: the
// modules come from the Go module proxy.
package tools
