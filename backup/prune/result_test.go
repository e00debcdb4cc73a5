package prune

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"hawser.dev/hawser/catalog"
)

// What goes wrong is told of the plan, or of the orphans, that it is about.
func TestWhomAnErrorIsAbout(t *testing.T) {
	denied := errors.New("denied")
	for _, c := range []struct {
		name                    string
		fails                   string // the write, and what it is to
		databases, web, orphans bool   // whether there is a problem with them
	}{
		{"a tombstone", "Create clusters/" + clusterUID + "/tombstones/" + string(catalog.NewPointID(clusterUID, "web", noon.Add(-3*time.Hour), 0)), false, true, false},
		{"a note on an orphan", "patch volumesnapshots", false, false, true},
		{"the store's clock", "Create probes/", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			for _, plan := range []string{"databases", "web"} {
				for hour := range 3 {
					l.make(run{plan: plan, at: noon.Add(time.Duration(hour-3) * time.Hour)})
				}
			}
			l.snapshot(lost, "shop/data")
			options := keepLast(2)
			options.Policies = append(options.Policies, Policy{Plan: "web", Retain: catalog.Retention{Last: 2}})
			l.fault = func(what string, after bool) error {
				if !after && strings.Contains(what, c.fails) {
					return denied
				}
				return nil
			}
			result, err := l.Run(t.Context(), options)
			if !errors.Is(err, denied) || !result.Decided() {
				t.Errorf("decided %t, error %v", result.Decided(), err)
			}
			l.want("problems", []bool{c.databases, c.web, c.orphans},
				[]bool{len(result.Counts("databases").Problems) > 0, len(result.Counts("web").Problems) > 0, result.SweepErr != nil})
		})
	}
	l := newLab(t)
	l.api.PrependReactor("list", "volumesnapshots", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, denied })
	if result, err := l.Run(t.Context(), keepLast(1)); !errors.Is(err, denied) || result.Decided() {
		t.Errorf("what cannot be read: decided %t, error %v", result.Decided(), err)
	}
}
