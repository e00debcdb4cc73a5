package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// dataOf is a volume record of a claim on a disk, with a snapshot cut at a time.
func dataOf(claim, disk string, taken time.Time) catalog.Volume {
	namespace, name, _ := strings.Cut(claim, "/")
	return catalog.Volume{
		Claim: catalog.ClaimKey{Namespace: namespace, Name: name}, Driver: "disks.example.com", VolumeHandle: catalog.VolumeHandle(disk),
		Snapshot: &catalog.Snapshot{Taken: taken},
	}
}

func failed(v catalog.Volume, problem string) catalog.Volume {
	v.Snapshot, v.Problem = nil, problem
	return v
}

// onDisk is a record of a point that relies on the disk itself.
func onDisk(v catalog.Volume) catalog.Volume {
	v.Snapshot = nil
	return v
}

func keyed(claim string) catalog.ClaimKey { return dataOf(claim, "", time.Time{}).Claim }

func example(disk string) Disk {
	return Disk{Driver: "disks.example.com", Handle: catalog.VolumeHandle(disk)}
}

// history is a catalog of points that are in memory.
type history struct {
	survey  []catalog.Presence
	commits map[catalog.PointID]catalog.Commit
	volumes map[catalog.PointID][]catalog.Volume
	errs    map[catalog.PointID]error
	read    []catalog.PointID
}

func (h *history) Volumes(_ context.Context, _ string, id catalog.PointID) (catalog.Commit, []catalog.Volume, error) {
	h.read = append(h.read, id)
	return h.commits[id], h.volumes[id], h.errs[id]
}

// add makes the point of a plan that was scheduled at a time, and committed a
// minute later.
func (h *history) add(plan string, at time.Time, volumes ...catalog.Volume) catalog.PointID {
	if h.commits == nil {
		h.commits, h.volumes, h.errs = map[catalog.PointID]catalog.Commit{}, map[catalog.PointID][]catalog.Volume{}, map[catalog.PointID]error{}
	}
	id := catalog.NewPointID(clusterUID, plan, at, 0)
	h.commits[id] = catalog.Commit{Point: id, Plan: plan, Scheduled: at, Committed: at.Add(time.Minute), Outcome: catalog.Complete}
	h.volumes[id] = volumes
	h.survey = append(h.survey, catalog.Presence{ClusterUID: clusterUID, Point: id, Bundle: true, Commit: true})
	slices.SortFunc(h.survey, func(a, b catalog.Presence) int { return strings.Compare(string(a.Point), string(b.Point)) })
	return id
}

// fail makes a point one that cannot be read.
func (h *history) fail(id catalog.PointID, err error) { h.errs[id] = err }

func (h *history) ledger(t *testing.T, wanted map[string][]Wanted, depth int) (*Ledger, Reading) {
	t.Helper()
	l := new(Ledger)
	reading, err := l.Read(t.Context(), h, h.survey, wanted, depth)
	if err != nil {
		t.Fatal(err)
	}
	return l, reading
}

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func TestTheLedgerKnowsTheNewestDataOfEachDisk(t *testing.T) {
	for _, c := range []struct {
		name   string
		points [][]catalog.Volume // each was committed an hour after the one before, the last at noon
		want   string             // "disk age point snapshot" of disk-a; "" for none
		any    string             // the disk of the newest data on any disk
	}{
		{"nothing", nil, "", ""},
		{"a snapshot is as old as its cut", [][]catalog.Volume{{dataOf("shop/data", "disk-a", ago(3*time.Minute))}}, "3m0s of point 0, snapshot true", "disk-a"},
		{"a disk is as old as its commit", [][]catalog.Volume{{onDisk(dataOf("shop/data", "disk-a", ago(3*time.Minute)))}}, "0s of point 0, snapshot false", "disk-a"},
		{"the newest of three", [][]catalog.Volume{
			{dataOf("shop/data", "disk-a", ago(120*time.Minute))}, {dataOf("shop/data", "disk-a", ago(60*time.Minute))}, {dataOf("shop/data", "disk-a", ago(2*time.Minute))},
		}, "2m0s of point 2, snapshot true", "disk-a"},
		{"a snapshot that failed is no data", [][]catalog.Volume{
			{dataOf("shop/data", "disk-a", ago(60*time.Minute))}, {failed(dataOf("shop/data", "disk-a", noon), "busy")},
		}, "1h0m0s of point 0, snapshot true", "disk-a"},
		{"another claim of the name", [][]catalog.Volume{{dataOf("billing/data", "disk-a", noon)}}, "", ""},
		{"a disk that was replaced", [][]catalog.Volume{
			{dataOf("shop/data", "disk-a", ago(60*time.Minute))}, {dataOf("shop/data", "disk-b", noon)},
		}, "1h0m0s of point 0, snapshot true", "disk-b"},
		{"a disk that came back", [][]catalog.Volume{
			{dataOf("shop/data", "disk-b", ago(90*time.Minute))}, {dataOf("shop/data", "disk-a", ago(60*time.Minute))}, {dataOf("shop/data", "disk-b", ago(30*time.Minute))},
			{dataOf("shop/data", "disk-a", noon)},
		}, "0s of point 3, snapshot true", "disk-a"},
		{"the same handle of another driver", [][]catalog.Volume{
			{func() catalog.Volume {
				v := dataOf("shop/data", "disk-a", noon)
				v.Driver = "other.example.com"
				return v
			}()},
		}, "", "disk-a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The order in which points are learnt must not matter.
			for _, order := range []func([]int){func([]int) {}, slices.Reverse[[]int]} {
				l, indices := new(Ledger), make([]int, len(c.points))
				for i := range indices {
					indices[i] = i
				}
				order(indices)
				for _, i := range append(indices, indices...) {
					l.Add(catalog.Commit{Point: catalog.PointID(fmt.Sprint(i)), Committed: ago(time.Duration(len(c.points)-1-i) * time.Hour)}, c.points[i])
				}
				var got string
				if r, found := l.LastOfDisk(keyed("shop/data"), example("disk-a")); found {
					got = fmt.Sprintf("%s of point %s, snapshot %t", noon.Sub(r.Data), r.Point, r.Snapshot)
				}
				newest, _ := l.LastRestorable(keyed("shop/data"))
				wantDiff(t, "data of the disk", c.want, got)
				wantDiff(t, "disk of the newest data", c.any, string(newest.Disk.Handle))
			}
		})
	}
}

func TestTheNewestFailureIsKnownUntilThereIsNewerData(t *testing.T) {
	add := func(l *Ledger, point string, committed time.Time, v catalog.Volume) {
		l.Add(catalog.Commit{Point: catalog.PointID(point), Committed: committed}, []catalog.Volume{v})
	}
	data := func(hours int) catalog.Volume { return dataOf("shop/a", "disk-a", ago(time.Duration(hours)*time.Hour)) }
	steps := []func(*Ledger){
		func(l *Ledger) { add(l, "first", ago(4*time.Hour), data(4)) },
		func(l *Ledger) { add(l, "second", ago(3*time.Hour), failed(data(3), "the disk is busy")) },
		func(l *Ledger) { add(l, "third", ago(2*time.Hour), failed(data(2), "the disk is gone")) },
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
		l := new(Ledger)
		for _, i := range order {
			steps[i](l)
		}
		if got := l.lastFailure(keyed("shop/a")); got != "point third: the disk is gone" {
			t.Errorf("in order %d: %q", order, got)
		}
		add(l, "fourth", ago(time.Hour), data(1))
		steps[2](l)
		if got := l.lastFailure(keyed("shop/a")); got != "" {
			t.Errorf("in order %d, after newer data: %q", order, got)
		}
	}
}

func TestTheLedgerForgets(t *testing.T) {
	l := new(Ledger)
	l.Add(catalog.Commit{Point: "old"}, []catalog.Volume{dataOf("shop/a", "disk-a", ago(time.Hour)), dataOf("shop/b", "disk-b", ago(time.Hour))})
	l.Add(catalog.Commit{Point: "new"}, []catalog.Volume{dataOf("shop/a", "disk-a", noon), dataOf("shop/c", "disk-c", noon)})
	l.Forget("old")
	l.Keep(map[catalog.ClaimKey]bool{keyed("shop/a"): true, keyed("shop/b"): true})
	var known []string
	for _, claim := range []string{"shop/a", "shop/b", "shop/c"} {
		if r, found := l.LastRestorable(keyed(claim)); found {
			known = append(known, claim+" in "+string(r.Point))
		}
	}
	wantDiff(t, "claims known", []string{"shop/a in new"}, known)
}

// An agent has 40 MiB, with 10,000 claims.
func TestTheLedgerIsSmall(t *testing.T) {
	const claims = 10_000
	l := new(Ledger)
	before := heap()
	for point := range 10 {
		var volumes []catalog.Volume
		for i := range claims {
			v := dataOf(fmt.Sprintf("namespace-%d/data-of-a-set-with-a-long-name-%d", i%100, i), fmt.Sprintf("pvc-6f1c2d3e-0000-4000-8000-%012d", i), noon.Add(time.Duration(point)*time.Hour))
			volumes = append(volumes, v)
		}
		l.Add(catalog.Commit{Point: catalog.NewPointID(clusterUID, "plan", noon, point)}, volumes)
	}
	each := int(heap()-before) / claims
	t.Logf("%d bytes for each claim", each)
	if each > 400 {
		t.Errorf("the ledger takes %d bytes for each claim, want at most 400", each)
	}
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestReadStopsAsSoonAsEverythingIsFound(t *testing.T) {
	a, b := dataOf("shop/a", "disk-a", noon), dataOf("shop/b", "disk-b", noon)
	at := func(v catalog.Volume, hours int) catalog.Volume {
		return dataOf(v.Claim.String(), string(v.VolumeHandle), ago(time.Duration(hours)*time.Hour))
	}
	wantA, wantB := Wanted{Claim: a.Claim, Disk: example("disk-a")}, Wanted{Claim: b.Claim, Disk: example("disk-b")}
	all := map[string][]Wanted{"": {wantA, wantB}, "db": {wantA, wantB}}
	days := func(h *history, plan string, n int, volumes func(i int) []catalog.Volume) *history {
		for i := range n {
			h.add(plan, ago(time.Duration(24*i+1)*time.Hour), volumes(i)...)
		}
		return h
	}
	for _, c := range []struct {
		name    string
		history func() *history
		wanted  map[string][]Wanted
		depth   int
		read    []string // points, by plan and hours ago
		unread  map[string]int
	}{
		{"the newest has all", func() *history {
			return days(new(history), "db", 100, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1), at(b, 24*i+1)} })
		}, all, 10, []string{"db 1"}, nil},
		{"one claim fails since two days", func() *history {
			return days(new(history), "db", 100, func(i int) []catalog.Volume {
				if i < 2 {
					return []catalog.Volume{at(a, 24*i+1), failed(b, "busy")}
				}
				return []catalog.Volume{at(a, 24*i+1), at(b, 24*i+1)}
			})
		}, all, 10, []string{"db 1", "db 25", "db 49"}, nil},
		{"a claim that no point has", func() *history {
			return days(new(history), "db", 100, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1)} })
		}, all, 3, []string{"db 1", "db 25", "db 49"}, map[string]int{"db": 97}},
		{"without limit", func() *history {
			return days(new(history), "db", 4, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1)} })
		}, all, 0, []string{"db 1", "db 25", "db 49", "db 73"}, nil},
		{"a plan is not asked for what it does not take", func() *history {
			h := days(new(history), "db", 5, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1)} })
			return days(h, "web", 5, func(i int) []catalog.Volume { return []catalog.Volume{at(b, 24*i+2)} })
		}, map[string][]Wanted{"": {wantA, wantB}, "db": {wantA}, "web": {wantB}}, 10, []string{"db 1", "web 1"}, nil},
		{"a newer backup by hand is read, an older one is not", func() *history {
			h := days(new(history), "db", 5, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+3), at(b, 24*i+3)} })
			return days(h, "manual", 5, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1)} })
		}, all, 10, []string{"db 1", "manual 1"}, nil},
		{"a claim of no plan is looked for in the points of plans that are gone", func() *history {
			return days(new(history), "gone", 5, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1), at(b, 24*i+1)} })
		}, all, 10, []string{"gone 1"}, nil},
		{"abandoned runs and points that cannot be read are passed over", func() *history {
			h := days(new(history), "db", 4, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1), at(b, 24*i+1)} })
			h.fail(h.survey[3].Point, fmt.Errorf("abandoned: %w", catalog.ErrNoPoint))
			h.fail(h.survey[2].Point, fmt.Errorf("flipped bit: %w", catalog.ErrCorrupt))
			return h
		}, all, 1, []string{"db 1", "db 25", "db 49"}, nil},
		{"a point that is being removed is no point", func() *history {
			h := days(new(history), "db", 2, func(i int) []catalog.Volume { return []catalog.Volume{at(a, 24*i+1), at(b, 24*i+1)} })
			h.survey[1].Removing = true
			return h
		}, all, 10, []string{"db 25"}, nil},
		{"nothing is wanted", func() *history {
			return days(new(history), "db", 2, func(i int) []catalog.Volume { return nil })
		}, nil, 10, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := c.history()
			_, reading := h.ledger(t, c.wanted, c.depth)
			var read []string
			for _, id := range h.read {
				read = append(read, fmt.Sprintf("%s %.0f", id.Plan(), noon.Sub(id.Scheduled()).Hours()))
			}
			wantDiff(t, "points read", c.read, read)
			wantDiff(t, "points left unread", c.unread, reading.Unread)
		})
	}
}

func TestReadFailsIfTheStoreDoes(t *testing.T) {
	h := new(history)
	broken := errors.New("connection refused")
	h.fail(h.add("db", ago(time.Hour)), broken)
	_, err := new(Ledger).Read(t.Context(), h, h.survey, map[string][]Wanted{"db": {{Claim: keyed("shop/a")}}}, 0)
	if !errors.Is(err, broken) {
		t.Errorf("Read: %v, want %v", err, broken)
	}
}

// What Read finds for all that is wanted is what reading every point finds.
func TestReadFindsWhatReadingEverythingFinds(t *testing.T) {
	saved := 0
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		h, everything := new(history), new(Ledger)
		plans := []string{"db", "web", "manual"}
		for i := range 1 + random.IntN(30) {
			var volumes []catalog.Volume
			for claim := range random.IntN(4) {
				v := dataOf(fmt.Sprintf("shop/%d", claim), fmt.Sprintf("disk-%d-%d", claim, random.IntN(2)), ago(time.Duration(i)*time.Hour-time.Minute))
				switch random.IntN(4) {
				case 0:
					v = failed(v, "busy")
				case 1:
					v = onDisk(v)
				}
				volumes = append(volumes, v)
			}
			id := h.add(plans[random.IntN(3)], ago(time.Duration(i)*time.Hour), volumes...)
			everything.Add(h.commits[id], volumes)
		}
		wanted := map[string][]Wanted{}
		for claim := range 3 {
			w := Wanted{Claim: keyed(fmt.Sprintf("shop/%d", claim)), Disk: example(fmt.Sprintf("disk-%d-%d", claim, random.IntN(2)))}
			for _, plan := range []string{"", "db", "web"} { // as if each plan took each claim
				wanted[plan] = append(wanted[plan], w)
			}
		}
		l, reading := h.ledger(t, wanted, 0)
		saved += reading.Points - reading.Read
		for _, w := range wanted[""] {
			want, _ := everything.LastOfDisk(w.Claim, w.Disk)
			got, _ := l.LastOfDisk(w.Claim, w.Disk)
			wantDiff(t, fmt.Sprintf("seed %d: data of %s", seed, w.Claim), want.Data, got.Data)
		}
	}
	t.Logf("%d points were not read", saved)
	if saved == 0 {
		t.Error("every point was read every time: the test proves nothing")
	}
}
