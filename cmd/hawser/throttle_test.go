package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/backup/agent"
)

type throttlings struct {
	agent.Blind
	seen []agent.Throttling
}

func (o *throttlings) Throttled(t agent.Throttling) { o.seen = append(o.seen, t) }

func TestTheObserversAreToldWhatThrottles(t *testing.T) {
	observer := new(throttlings)
	runner := agentParts{app: newApp(nil, nil, nil)}.runner(observer)
	runner.Throttled(backup.Throttling{
		Finding: backup.Finding{Component: "csi-snapshotter", Flags: "--kube-api-qps", Message: "it is slow"}, Waited: 15 * time.Second,
	})
	want := []agent.Throttling{{Component: "csi-snapshotter", Flag: "--kube-api-qps", Waited: 15 * time.Second, Message: "it is slow"}}
	if diff := cmp.Diff(want, observer.seen); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
