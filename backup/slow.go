package backup

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// The components that can hold snapshots up, in the words of logs and metrics.
const (
	ComponentHawser     = "hawser"
	ComponentAPIServer  = "kube-apiserver"
	ComponentController = "snapshot-controller"
	ComponentSidecar    = "csi-snapshotter"
	ComponentDriver     = "driver" // any CSI driver
)

// The flags and keys that let a component do more. The defaults of the first
// are 5, 10 and 10: cmd/snapshot-controller and cmd/csi-snapshotter of
// external-snapshotter, standardflags of csi-lib-utils.
const (
	flagsSnapshots = "--kube-api-qps, --kube-api-burst, --worker-threads"
	flagsHawser    = "kubernetes.qps, kubernetes.burst"
	flagsAPIServer = "--max-requests-inflight, --max-mutating-requests-inflight"
)

// Look is what one look at a run's snapshots shows.
type Look struct {
	At     time.Time
	Sights []Sight // of all snapshots of the run, in the same order in each look
	Own    Requests
	// Written is when the newest of the contents was written, by the API
	// server's clock.
	Written time.Time
	// Held are the drivers whose csi-snapshotter was found to throttle, in any
	// look up to this.
	Held map[string]bool
}

// hold notes what was found to throttle up to this look.
func (l *Look) hold(before Look, found []Finding) {
	l.Held = map[string]bool{}
	maps.Copy(l.Held, before.Held)
	for _, f := range found {
		if f.Kind == Throttles && f.Component == ComponentSidecar {
			l.Held[f.Driver] = true
		}
	}
}

// FindingKind says what a component does.
type FindingKind string

const (
	Throttles FindingKind = "throttles" // it holds back its own requests, or others'
	Idle      FindingKind = "idle"      // it has touched nothing: it may not run
	Working   FindingKind = "working"   // it is slow, and no setting of ours or of a sidecar is why
)

// Finding says what snapshots wait for.
type Finding struct {
	Kind      FindingKind
	Component string // one of the above
	Driver    string // the CSI driver that it is, or whose csi-snapshotter; "" for the others
	Flags     string // what to raise; "" if there is nothing
	Waiting   int    // snapshots
	Message   string // for people; the same as long as the finding is
}

const (
	// lookEvery is how often a run that waits for snapshots is looked at.
	lookEvery = 15 * time.Second
	// settled is how long a snapshot must be at a place to count as waiting.
	settled = 5 * time.Second
	// hurry is how soon a place must be through for it not to matter.
	hurry = 10 * time.Second
	// slowRate is how many snapshots a second are too few. With the sidecars'
	// defaults it is about 1, with rates that do not limit some 20 on 2 cores.
	slowRate = 3.0
	// slowMark is how long csi-snapshotter may take for one request, of which it
	// has few under way; the API server notes whole seconds.
	slowMark = 3 * time.Second
	// slowRequest is how long the API server takes for a simple write that it
	// does not hold back. One burst of slow writes, as when it has just started,
	// holds nothing up for long: it counts when they take a quarter of the time.
	slowRequest = time.Second
)

// Diagnose says what the snapshots of a run wait for, by two looks at them;
// before is the zero Look, but for its time, if there was none. deadline is when
// the run gives up. It finds nothing where the snapshots get on well. One
// component is named for what it alone explains: if the API server is slow, all
// that depend on it are, and are not named.
func Diagnose(before, now Look, deadline time.Time) []Finding {
	d := diagnosis{before: before, now: now, deadline: deadline}
	if d.elapsed = now.At.Sub(before.At); d.elapsed <= 0 {
		return nil
	}
	if f, found := d.apiServer(); found {
		return []Finding{f}
	}
	var findings []Finding
	add := func(f Finding, found bool) {
		if found {
			findings = append(findings, f)
		}
	}
	add(d.hawser())
	add(d.controller())
	drivers := map[string]bool{}
	for _, s := range now.Sights {
		drivers[s.Driver] = true
	}
	for _, driver := range slices.Sorted(maps.Keys(drivers)) {
		add(d.sidecar(driver))
	}
	return findings
}

type diagnosis struct {
	before, now Look
	elapsed     time.Duration
	deadline    time.Time
}

// waiting counts the snapshots, of one driver or with "" of all, that are at a
// place and have been for a while.
func (d *diagnosis) waiting(place Place, driver string) (n int) {
	for _, s := range d.now.Sights {
		if s.Place == place && (driver == "" || s.Driver == driver) && d.now.At.Sub(s.Since) >= settled {
			n++
		}
	}
	return n
}

// rate is how many snapshots a second have left a place since the last look.
func (d *diagnosis) rate(place Place, driver string) float64 {
	passed := func(l Look) (n int) {
		for _, s := range l.Sights {
			if s.Place > place && (driver == "" || s.Driver == driver) {
				n++
			}
		}
		return n
	}
	return float64(passed(d.now)-passed(d.before)) / d.elapsed.Seconds()
}

// slow says whether so many waiting ones, at that rate, are a reason to speak.
func (d *diagnosis) slow(waiting int, rate float64) bool {
	if waiting == 0 {
		return false
	}
	if rate <= 0 {
		return true
	}
	left := time.Duration(float64(waiting) / rate * float64(time.Second))
	return left >= hurry && (rate < slowRate || d.now.At.Add(left).After(d.deadline))
}

// apiServer: it refuses requests of ours, or takes long for simple ones.
func (d *diagnosis) apiServer() (Finding, bool) {
	own := d.now.Own.since(d.before.Own)
	waiting := 0
	for _, s := range d.now.Sights {
		if s.Place != AtEnd {
			waiting++
		}
	}
	f := Finding{Kind: Throttles, Component: ComponentAPIServer, Flags: flagsAPIServer, Waiting: waiting}
	const raise = "see its priority and fairness settings (FlowSchema, PriorityLevelConfiguration), or raise " + flagsAPIServer
	switch {
	case waiting == 0:
	case own.Refused >= 3 && 10*own.Refused >= own.Sent:
		f.Message = "kube-apiserver refuses requests (429 Too Many Requests); " + raise
		return f, true
	case own.Writes >= 3 && own.WriteTime/time.Duration(own.Writes) >= slowRequest && own.Writing >= d.elapsed/4:
		f.Message = "kube-apiserver takes long for simple requests; " + raise
		return f, true
	}
	return Finding{}, false
}

// hawser: our own limit holds back the creation of VolumeSnapshots.
func (d *diagnosis) hawser() (Finding, bool) {
	waiting := 0
	for _, s := range d.now.Sights {
		if s.Place == AtHawser {
			waiting++
		}
	}
	// As if one request or more had waited for most of the time.
	if held := d.now.Own.since(d.before.Own).Held; held < d.elapsed/2 || !d.slow(waiting, d.rate(AtHawser, "")) {
		return Finding{}, false
	}
	return Finding{
		Kind: Throttles, Component: ComponentHawser, Flags: flagsHawser, Waiting: waiting,
		Message: "hawser holds its own requests back; raise kubernetes.qps and kubernetes.burst",
	}, true
}

// controller: snapshot-controller makes contents too slowly, or tells too
// slowly that they are ready.
func (d *diagnosis) controller() (Finding, bool) {
	unmade, untold := d.waiting(AtController, ""), d.waiting(AtBinding, "")
	if !d.slow(unmade, d.rate(AtController, "")) && !d.slow(untold, d.rate(AtBinding, "")) {
		return Finding{}, false
	}
	begun := slices.ContainsFunc(d.now.Sights, func(s Sight) bool { return s.Place > AtController || s.Place == AtController && s.Begun })
	f := Finding{Component: ComponentController, Waiting: unmade + untold}
	if begun {
		f.Kind, f.Flags = Throttles, flagsSnapshots
		f.Message = "snapshot-controller is the bottleneck: it gets few requests through; raise its " + flagsSnapshots
		return f, true
	}
	f.Kind = Idle
	f.Message = "snapshot-controller has not touched any VolumeSnapshot; is it running?"
	return f, true
}

// sidecar: csi-snapshotter of one driver asks the driver too slowly, or the
// driver takes long.
func (d *diagnosis) sidecar(driver string) (Finding, bool) {
	queued, asked := d.waiting(AtSidecar, driver), d.waiting(AtDriver, driver)
	if !d.slow(queued+asked, d.rate(AtDriver, driver)) {
		return Finding{}, false
	}
	f := Finding{Component: ComponentSidecar, Driver: driver, Waiting: queued + asked}
	switch {
	case d.holdsBack(driver):
		f.Kind, f.Flags = Throttles, flagsSnapshots
		f.Message = fmt.Sprintf("csi-snapshotter of driver %s is the bottleneck: it gets few requests through; raise its %s", driver, flagsSnapshots)
	case asked > 0 && (d.longest(AtDriver, driver) >= hurry || d.longest(AtSidecar, driver) >= 2*lookEvery):
		f.Kind, f.Component = Working, ComponentDriver
		f.Message = fmt.Sprintf("driver %s takes long to cut snapshots; nothing throttles", driver)
		if queued > 0 {
			f.Flags = "--worker-threads"
			f.Message += "; while it works, others wait for a worker of its csi-snapshotter (--worker-threads)"
		}
	case queued > 0 && !d.begun(driver):
		f.Kind = Idle
		f.Message = fmt.Sprintf("csi-snapshotter of driver %s has not touched any VolumeSnapshotContent; does it run beside the driver?", driver)
	default:
		return Finding{}, false // too early to tell
	}
	return f, true
}

// holdsBack says whether csi-snapshotter of a driver holds its own requests
// back. That looks like a driver that takes long, since either way there are few
// contents that it has marked as being created, and many that it has not: it has
// so many workers, and each waits, for the driver or to be let through. What
// tells one from the other is how long it takes for what needs no driver. It
// makes four requests for a snapshot: it marks the content, asks the driver, reads
// the content, tells that the snapshot is cut, and takes the mark off.
func (d *diagnosis) holdsBack(driver string) bool {
	if d.before.Held[driver] {
		return true
	}
	var marked []Sight
	closing, cut := 0, 0
	for _, s := range d.now.Sights {
		if s.Driver != driver {
			continue
		}
		if s.Place > AtDriver {
			cut++
		}
		if s.Place == AtDriver || !s.Closing.IsZero() {
			marked = append(marked, s)
		}
		if !s.Closing.IsZero() {
			closing++
			if d.now.Written.Sub(s.Closing) >= slowMark {
				return true
			}
		}
	}
	// It has as many workers as there are marked, or more. So the first few that
	// it began with did not wait for a worker.
	slices.SortFunc(marked, func(a, b Sight) int { return a.Since.Compare(b.Since) })
	for i, s := range marked {
		if i+cut < len(marked) && s.Late >= slowMark {
			return true
		}
	}
	// A third of the marked ones would wait for the mark to come off if the
	// driver took no time, and next to none if it took all of it.
	return closing >= 2 && 5*closing >= len(marked)
}

// begun says whether csi-snapshotter of a driver has touched anything.
func (d *diagnosis) begun(driver string) bool {
	return slices.ContainsFunc(d.now.Sights, func(s Sight) bool {
		return s.Driver == driver && (s.Place > AtSidecar || s.Place == AtSidecar && s.Begun)
	})
}

// longest is the longest that a snapshot of a driver has been at a place.
func (d *diagnosis) longest(place Place, driver string) (most time.Duration) {
	for _, s := range d.now.Sights {
		if s.Place == place && s.Driver == driver {
			most = max(most, d.now.At.Sub(s.Since))
		}
	}
	return most
}
