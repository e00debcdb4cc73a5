package e2e_test

import (
	"path/filepath"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/e2e/disks"
)

// A hundred volumes move at once; how long they are out of reach is told.
func TestMigrateAHundredVolumes(t *testing.T) {
	const volumes = 100
	w := newTwin(t)
	w.deploy(volumes, "disks-retain")
	w.env = append(w.env, "HAWSER_KUBERNETES_QPS=200", "HAWSER_KUBERNETES_BURST=400")
	began := time.Now()
	w.run(0, w.move(here, "--no-point")...)
	t.Logf("%d volumes moved in %s", volumes, time.Since(began).Round(time.Millisecond))
	w.expectAt(there)
	w.logSteps()
	w.logReach()
}

// logSteps tells how long each step of the newest migration took. Volumes are
// fenced and bound again from step fence to step start.
func (t *twin) logSteps() {
	t.t.Helper()
	all := t.journals()
	newest := all[len(all)-1]
	files, err := filepath.Glob(filepath.Join(t.folder(), "migrations", newest.id, "step", "*"))
	t.must(err)
	began := map[string]time.Time{}
	var steps []catalog.Step
	for _, file := range files {
		var step catalog.Step
		t.readJSON(file, &step)
		began[step.Name] = step.At
		steps = append(steps, step)
	}
	for i, step := range steps[1:] {
		t.t.Logf("%-8s %s", steps[i].Name, step.At.Sub(steps[i].At).Round(time.Millisecond))
	}
	t.t.Logf("fenced and bound again in %s", began["start"].Sub(began["fence"]).Round(time.Millisecond))
}

// logReach tells how long the disks were out of reach, as the driver saw it:
// from the last detach in the one cluster to the last attach in the other.
func (t *twin) logReach() {
	t.t.Helper()
	events, err := t.region.Attachments()
	t.must(err)
	ours := map[string]bool{}
	for _, handle := range t.handles {
		ours[handle] = true
	}
	var firstDetach, lastDetach, lastAttach time.Time
	for _, e := range events {
		switch {
		case !ours[e.Disk]:
		case e.Event == disks.Detach && e.Cluster == t.in[here].lab.Name():
			if firstDetach.IsZero() {
				firstDetach = e.Time
			}
			lastDetach = e.Time
		case e.Event == disks.Attach && e.Cluster == t.in[there].lab.Name():
			lastAttach = e.Time
		}
	}
	t.t.Logf("detached within %s; attached again %s after the last detach", lastDetach.Sub(firstDetach).Round(time.Millisecond), lastAttach.Sub(lastDetach).Round(time.Millisecond))
}
