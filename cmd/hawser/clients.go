package main

import (
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v6/clientset/versioned"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/config"
)

// clients are the ways in which a verb talks to one API server. They share its
// connections; each keeps to the rate by itself.
type clients struct {
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
	snapshots  snapshotclient.Interface
	exec       backup.Executor
	meter      *backup.Meter // on all of them
}

// connect makes the clients that flags and configuration ask for. It sends
// nothing yet.
func (a *app) connect(cfg config.Config) (clients, error) {
	rc, err := a.restConfig(cfg)
	if err != nil {
		return clients{}, err
	}
	c := clients{meter: new(backup.Meter)}
	c.meter.PutOn(rc)
	http, err := rest.HTTPClientFor(rc)
	if err != nil {
		return clients{}, usage(err)
	}
	if c.kubernetes, err = kubernetes.NewForConfigAndClient(c.meter.Limited(rc), http); err != nil {
		return clients{}, usage(err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(c.meter.Limited(rc), http); err != nil {
		return clients{}, usage(err)
	}
	if c.snapshots, err = snapshotclient.NewForConfigAndClient(c.meter.Limited(rc), http); err != nil {
		return clients{}, usage(err)
	}
	c.exec = backup.NewExecutor(rc, c.kubernetes)
	return c, nil
}
