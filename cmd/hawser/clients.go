package main

import (
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/config"
)

// clients are the ways in which a verb talks to one API server. They share
// its connections and its rate limit.
type clients struct {
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
	snapshots  snapshotclient.Interface
	exec       backup.Executor
}

// connect makes the clients that flags and configuration ask for. It sends
// nothing yet.
func (a *app) connect(cfg config.Config) (clients, error) {
	rc, err := a.restConfig(cfg)
	if err != nil {
		return clients{}, err
	}
	http, err := rest.HTTPClientFor(rc)
	if err != nil {
		return clients{}, usage(err)
	}
	var c clients
	if c.kubernetes, err = kubernetes.NewForConfigAndClient(rc, http); err != nil {
		return clients{}, usage(err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(rc, http); err != nil {
		return clients{}, usage(err)
	}
	if c.snapshots, err = snapshotclient.NewForConfigAndClient(rc, http); err != nil {
		return clients{}, usage(err)
	}
	c.exec = backup.NewExecutor(rc, c.kubernetes)
	return c, nil
}
