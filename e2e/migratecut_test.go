package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"

	"hawser.dev/hawser/e2e/clitest"
	"hawser.dev/hawser/e2e/objectstore"
)

// Meanwhile nobody else may begin something with the disks; and a run that
// stands still while another one leads the migration back does no harm when it
// goes on.
func TestAMigrationThatStandsStill(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"fence", "own", "create", "start"} {
		t.Run(step, func(t *testing.T) {
			w := newTwin(t)
			w.deploy(2, "disks-delete")
			point := w.point()
			run := w.race(w.move(here, "--no-point")...)
			if r, come := run.awaitStep(step); !come {
				t.Fatalf("the migration ended before its step %s: exit code %d\n%s", step, r.Code, r.Stderr)
			}
			w.must(run.Signal(syscall.SIGSTOP))
			j, underway := w.underway()
			if !underway {
				t.Fatal("it has ended before it stood still")
			}
			if step == "own" {
				w.refusesMeanwhile(point)
			}
			w.run(0, w.rollBack(here, j.id)...)
			w.expectAt(here)
			w.must(run.Signal(syscall.SIGCONT))
			select {
			case r := <-run.ended:
				if r.Code == 0 {
					t.Errorf("the run that was overtaken says it is done:\n%s", r.Stdout)
				}
			case <-time.After(3 * outage): // it waits for what will not come
			}
			w.expectAt(here)
			_ = run.Process.Kill() // it may have ended
			w.expectAt(here)
			w.run(0, w.rollBack(here, j.id)...) // again: takes away what the late one still made
			w.expectAt(here)
			w.run(0, w.move(here, "--no-point")...)
			w.expectAt(there)
		})
	}
}

// refusesMeanwhile tries what must not be done with disks that are under way.
func (t *twin) refusesMeanwhile(point string) {
	t.t.Helper()
	for _, args := range [][]string{
		{"restore", point},
		{"restore", point, "--context", t.in[there].lab.Name()},
		{"rollback", "statefulset/redis", "-n", t.namespace, "--to", point, "--no-point"},
		{"migrate", "pvc/" + redisClaim(0), "-n", t.namespace, "--from", t.in[here].lab.Name(), "--to", t.in[there].lab.Name()},
	} {
		if r := t.hawser(args...); r.Code != 4 {
			t.t.Errorf("hawser %s, while a migration is under way: exit code %d, want 4\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
		}
	}
	if r := t.hawser(t.move(there)...); r.Code == 0 { // where nothing is yet
		t.t.Errorf("a migration the other way round is said to be done while the first is under way:\n%s", r.Stdout)
	}
}

// The API server of either side goes away in the middle, and comes back.
func TestAnAPIServerIsAwayDuringAMigration(t *testing.T) {
	w := ownTwin(t, true)
	w.deploy(2, "disks-delete")
	w.point()
	place := here
	for i, step := range []string{"stop", "fence", "create", "start"} {
		run := w.race(w.move(place, "--no-point")...)
		if r, come := run.awaitStep(step); !come {
			t.Fatalf("the migration ended before its step %s: exit code %d\n%s", step, r.Code, r.Stderr)
		}
		away := w.in[[]int{place, 1 - place}[i%2]].lab
		w.must(away.KillComponent("kube-apiserver"))
		r := run.outcomeAfter(func() { w.must(away.StartComponent(w.ctx, "kube-apiserver")) })
		t.Logf("without the API server of %s after step %s: exit code %d", away.Name(), step, r.Code)
		place = w.settle(place, r, i%2 == 0)
	}
}

// outage is how long something is away, unless the run ends before.
const outage = 3 * time.Second

// outcomeAfter lets a run go on without what it needs, then mends that, and
// returns how the run ended.
func (r *race) outcomeAfter(mend func()) clitest.Result {
	r.t.Helper()
	select {
	case result := <-r.ended:
		mend()
		return result
	case <-time.After(outage):
	}
	mend()
	return <-r.ended
}

// settle brings a disturbed migration to an end, if it is not there yet, and
// returns where the set is then.
func (t *twin) settle(place int, r clitest.Result, back bool) int {
	t.t.Helper()
	j, underway := t.underway()
	switch {
	case r.Code == 0:
		place = 1 - place
	case back && underway:
		t.run(0, t.rollBack(place, j.id)...)
	default:
		t.run(0, t.move(place, "--no-point")...)
		place = 1 - place
	}
	t.expectAt(place)
	t.mark()
	return place
}

// What lies between the migration and its store fails in the middle of a step.
func TestTheStoreIsCutOffDuringAMigration(t *testing.T) {
	w := newTwin(t)
	proxy := w.moveCatalogToServer()
	w.deploy(2, "disks-delete")
	w.point()
	place := here
	for i, test := range []struct {
		step, what string
		fault      fault
	}{
		{"guard", "connections are refused", fault{}},
		{"stop", "what is sent vanishes", fault{"timeout", "upstream", toxiproxy.Attributes{"timeout": 0}}},
		{"fence", "what is answered vanishes", fault{"timeout", "downstream", toxiproxy.Attributes{"timeout": 0}}},
		{"own", "requests break off", fault{"limit_data", "upstream", toxiproxy.Attributes{"bytes": 700}}},
		{"create", "answers break off", fault{"limit_data", "downstream", toxiproxy.Attributes{"bytes": 300}}},
		{"start", "connections are reset", fault{"reset_peer", "downstream", toxiproxy.Attributes{"timeout": 0}}},
		{"verify", "answers are slow", fault{"latency", "downstream", toxiproxy.Attributes{"latency": 200, "jitter": 100}}},
	} {
		run := w.race(w.move(place, "--no-point")...)
		if r, come := run.awaitStep(test.step); !come {
			t.Fatalf("the migration ended before its step %s: exit code %d\n%s", test.step, r.Code, r.Stderr)
		}
		proxy.fail(test.fault)
		r := run.outcomeAfter(proxy.mend)
		t.Logf("%s after step %s: exit code %d", test.what, test.step, r.Code)
		place = w.settle(place, r, i%2 == 0)
	}
}

// The same for a folder, of which the disk is gone for a while.
func TestTheFolderOfTheStoreGoesDuringAMigration(t *testing.T) {
	w := newTwin(t)
	w.deploy(2, "disks-delete")
	w.point()
	for _, step := range []string{"stop", "create"} {
		run := w.race(w.move(here, "--no-point")...)
		if r, come := run.awaitStep(step); !come {
			t.Fatalf("the migration ended before its step %s: exit code %d\n%s", step, r.Code, r.Stderr)
		}
		w.must(os.Rename(w.folder(), w.folder()+"-away"))
		r := <-run.ended
		w.must(os.Rename(w.folder()+"-away", w.folder()))
		if r.Code == 0 {
			t.Errorf("the migration is said to be done without its journal:\n%s", r.Stdout)
		}
		j, _ := w.underway()
		w.run(0, w.rollBack(here, j.id)...)
		w.expectAt(here)
		w.mark()
	}
}

// moveCatalogToServer gives the twin a catalog on an S3 server behind a proxy.
func (t *twin) moveCatalogToServer() *proxy {
	t.t.Helper()
	dir := t.t.TempDir()
	server, err := objectstore.Start(t.ctx, objectstore.VersityGW, dir)
	t.must(err)
	t.t.Cleanup(server.Stop)
	p, err := objectstore.StartProxy(t.ctx, server, dir)
	t.must(err)
	t.t.Cleanup(p.Stop)
	t.store = p.Through(server).URL("catalog")
	t.objects = filepath.Join(dir, "data", server.Bucket, "catalog")
	for _, w := range t.in {
		w.store, w.env = t.store, append(w.env, server.Env()...)
	}
	return &proxy{t, p}
}

// proxy is what lies between a twin and its store.
type proxy struct {
	*twin
	toxic *objectstore.Proxy
}

// A fault is one of Toxiproxy's toxics; the zero fault refuses all connections,
// and breaks those that there are.
type fault struct {
	kind, stream string
	attributes   toxiproxy.Attributes
}

// fail does harm until mend.
func (p *proxy) fail(f fault) {
	p.t.Helper()
	if f.kind == "" {
		p.must(p.toxic.Disable())
		return
	}
	_, err := p.toxic.AddToxic(f.kind, f.kind, f.stream, 1, f.attributes)
	p.must(err)
}

func (p *proxy) mend() {
	p.t.Helper()
	toxics, err := p.toxic.Toxics()
	p.must(err)
	for _, toxic := range toxics {
		p.must(p.toxic.RemoveToxic(toxic.Name))
	}
	p.must(p.toxic.Enable())
}
