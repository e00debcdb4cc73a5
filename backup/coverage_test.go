package backup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hawser.dev/hawser/catalog"
)

// tell says how a claim stands, in a line.
func tell(c ClaimCoverage) string {
	line := c.Claim.String() + ":"
	for _, p := range c.Plans {
		line += fmt.Sprintf(" %s %s", p.Plan, p.Promise)
		if p.RPO > 0 {
			line += " " + p.RPO.String()
		}
	}
	if c.Newest != nil {
		line += ", " + c.Age.String()
	}
	if c.Reason != "" {
		line += ", " + string(c.Reason)
	}
	if c.Why != "" {
		line += ", " + c.Why
	}
	return line
}

func tellAll(all []ClaimCoverage) []string {
	var lines []string
	for _, c := range all {
		lines = append(lines, tell(c))
	}
	return lines
}

// created gives the objects of a document a time of creation.
func created(document string, at time.Time) string {
	return strings.ReplaceAll(document, "metadata: {", `metadata: {creationTimestamp: "`+at.Format(time.RFC3339)+`", `)
}

// every claim of a cluster, of each kind.
var oneOfEach = []string{
	created(strings.Join([]string{
		statefulSet("shop/redis", "data"), pairs("shop/data-redis-0", "shop/data-redis-1"),
		deployment("shop/web", "files"), pair("shop/files"),
		pair("billing/ledger"),
		strings.ReplaceAll(unpaired("", "", "phase: Pending", ""), "name: data,", "name: waiting,"),
	}, "\n---\n"), ago(30*24*time.Hour)),
	`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: shop, name: scratch, ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, controller: true}]}, spec: {volumeName: gone}}`,
	`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: shop, name: old, uid: o}, spec: {volumeName: nfs}}
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: nfs}, spec: {claimRef: {namespace: shop, name: old, uid: o}, nfs: {server: s, path: /}, persistentVolumeReclaimPolicy: Retain}}`,
}

func TestCoverageTellsOfEveryClaim(t *testing.T) {
	inv := inventory(t, oneOfEach...)
	plans := []CoveredPlan{
		{Name: "sets", Select: Selection{Namespaces: []string{"shop"}, Labels: selectLabels(t, "set")}, RPO: 8 * time.Hour},
		{Name: "shop", Select: Selection{Namespaces: []string{"shop"}}},
	}
	l := new(Ledger)
	l.Add(catalog.Commit{Point: "p1", Committed: ago(3 * time.Hour)}, []catalog.Volume{
		dataOf("shop/data-redis-0", "disk-of-data-redis-0", ago(3*time.Hour)), dataOf("shop/data-redis-1", "disk-before", ago(3*time.Hour)),
		onDisk(dataOf("shop/files", "disk-of-files", noon)), dataOf("billing/ledger", "disk-of-ledger", ago(50*time.Hour)),
	})
	all := Coverage(inv, plans, l, noon)
	wantDiff(t, "coverage", []string{
		"billing/ledger:, 50h0m0s, not-selected, no plan selects it",
		"shop/data-redis-0: sets met 8h0m0s shop none, 3h0m0s",
		"shop/data-redis-1: sets broken 8h0m0s shop none, the disk was replaced: the newest point that has the claim, p1, has disk disk-before, and the claim is on disk-of-data-redis-1 now",
		"shop/files: shop none, 3h0m0s",
		"shop/old: shop none, not-csi, PersistentVolume nfs is not a CSI volume",
		"shop/scratch: shop none, pod-owned, it belongs to Pod p (generic ephemeral volume) and goes with it",
		"shop/waiting: shop none, unbound, it is Pending and has no volume",
	}, tellAll(all))

	var reclaim []string
	for _, c := range all {
		reclaim = append(reclaim, fmt.Sprintf("%s %s %s", c.Claim.Name, c.Volume, c.Reclaim))
	}
	wantDiff(t, "volumes", []string{
		"ledger pv-of-ledger Delete", "data-redis-0 pv-of-data-redis-0 Delete", "data-redis-1 pv-of-data-redis-1 Delete", "files pv-of-files Delete",
		"old nfs Retain", "scratch  ", "waiting  ",
	}, reclaim)
}

// A claim is covered exactly if a run of one of the plans would take it.
func TestCoverageIsWhatRunsOfThePlansTake(t *testing.T) {
	labelled := strings.Replace(deployment("billing/web", "files"), "labels: {", "labels: {"+PlanLabel+": optin, ", 1)
	inv := inventory(t, append(shop, oneOfEach[1:]...)...)
	inv2 := inventory(t, labelled, pairs("billing/files", "shop/data"))
	for _, c := range []struct {
		name string
		inv  *Inventory
		sel  Selection
	}{
		{"all", inv, Selection{}},
		{"a namespace", inv, Selection{Namespaces: []string{"billing"}}},
		{"labels", inv, Selection{Labels: selectLabels(t, "set=redis")}},
		{"workloads", inv, Selection{Workloads: workloads("StatefulSet/redis", "Deployment/web")}},
		{"claims", inv, Selection{Claims: []string{"unused"}}},
		{"opted in besides", inv2, Selection{Namespaces: []string{"shop"}, OptIn: "optin"}},
		{"opted in only", inv2, Selection{OptIn: "optin", OptInOnly: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want, got []string
			for _, v := range mustSelect(t, c.inv, c.sel, Include{}).Volumes {
				want = append(want, v.Claim.String())
			}
			for _, claim := range Coverage(c.inv, []CoveredPlan{{Name: "plan", Select: c.sel}}, new(Ledger), noon) {
				if claim.Covered() {
					got = append(got, claim.Claim.String())
				}
			}
			wantDiff(t, "claims", want, got)
			if len(want) == 0 {
				t.Error("the run takes nothing: the test proves nothing")
			}
		})
	}
}

func TestAPromiseIsJudgedByTheNewestDataOfTheDisk(t *testing.T) {
	const rpo = 8 * time.Hour
	data := func(age time.Duration) []catalog.Volume {
		return []catalog.Volume{dataOf("shop/data", "disk-of-data", ago(age))}
	}
	busy := []catalog.Volume{failed(dataOf("shop/data", "disk-of-data", noon), "the disk is busy")}
	for _, c := range []struct {
		name    string
		age     time.Duration // of claim and volume
		points  [][]catalog.Volume
		unread  time.Duration // 0: all points were read
		promise Promise
		why     string
	}{
		{"just in time", 240 * time.Hour, [][]catalog.Volume{data(rpo)}, 0, PromiseMet, ""},
		{"a second too late", 240 * time.Hour, [][]catalog.Volume{data(rpo + time.Second)}, 0, PromiseBroken, "no newer point has it"},
		{"data of the future, by the driver's clock", 240 * time.Hour, [][]catalog.Volume{data(-time.Hour)}, 0, PromiseMet, ""},
		{"a newer snapshot failed", 240 * time.Hour, [][]catalog.Volume{data(rpo + time.Hour), busy}, 0, PromiseBroken, "point 1: the disk is busy"},
		{"a newer snapshot failed, and the promise holds", 240 * time.Hour, [][]catalog.Volume{data(rpo - time.Hour), busy}, 0, PromiseMet, ""},
		{"none, and all were read", 240 * time.Hour, nil, 0, PromiseBroken, "there is no restorable point of it yet"},
		{"none, and the claim is young", time.Hour, nil, 0, PromiseMet, "there is no restorable point of it yet"},
		{"every snapshot failed", 240 * time.Hour, [][]catalog.Volume{busy}, 0, PromiseBroken, "point 0: the disk is busy"},
		{"none in what was read, which goes back far enough", 240 * time.Hour, nil, 9 * time.Hour, PromiseBroken, "no restorable point of it was found; those older than 2026-09-03T03:00:00Z were not all read"},
		{"none in what was read, which does not", 240 * time.Hour, nil, 7 * time.Hour, PromiseUnknown, "no restorable point of it was found; those older than 2026-09-03T05:00:00Z were not all read"},
		{"what is unread does not matter where there is data", 240 * time.Hour, [][]catalog.Volume{data(time.Hour)}, 7 * time.Hour, PromiseMet, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := new(Ledger)
			for i, volumes := range c.points {
				l.Add(catalog.Commit{Point: catalog.PointID(fmt.Sprint(i)), Committed: noon}, volumes)
			}
			if c.unread > 0 {
				l.setUnread("plan", ago(c.unread))
			}
			inv := inventory(t, created(pair("shop/data"), ago(c.age)))
			got := Coverage(inv, []CoveredPlan{{Name: "plan", RPO: rpo}, {Name: "lax"}}, l, noon)[0]
			if got.Promise() != c.promise || got.Why != c.why || got.Age < 0 {
				t.Errorf("the promise is %s, because %q, age %s; want %s, %q", got.Promise(), got.Why, got.Age, c.promise, c.why)
			}
		})
	}
}

func TestEachPlanOfAClaimHasItsOwnPromise(t *testing.T) {
	l := new(Ledger)
	l.Add(catalog.Commit{Point: "p"}, []catalog.Volume{dataOf("shop/data", "disk-of-data", ago(3*time.Hour))})
	inv := inventory(t, created(pair("shop/data"), ago(100*time.Hour)))
	got := Coverage(inv, []CoveredPlan{{Name: "hourly", RPO: time.Hour}, {Name: "daily", RPO: 24 * time.Hour}}, l, noon)
	wantDiff(t, "coverage", []string{"shop/data: hourly broken 1h0m0s daily met 24h0m0s, 3h0m0s, no newer point has it"}, tellAll(got))
}

// A claim's own time of creation says little where it was bound to another
// volume since, nor does the volume's.
func TestADiskIsAsYoungAsTheYoungerOfItsTwoObjects(t *testing.T) {
	objects := strings.Split(pair("shop/data"), "\n---\n")
	for _, young := range []int{0, 1} {
		ages := [2]time.Duration{100 * time.Hour, 100 * time.Hour}
		ages[young] = time.Minute
		inv := inventory(t, created(objects[0], ago(ages[0])), created(objects[1], ago(ages[1])))
		if got := Coverage(inv, []CoveredPlan{{Name: "plan", RPO: time.Hour}}, new(Ledger), noon)[0]; got.Promise() != PromiseMet || !got.Since.Equal(ago(time.Minute)) {
			t.Errorf("the promise is %s since %s", got.Promise(), got.Since)
		}
	}
}

func TestWhatIsLookedForInThePoints(t *testing.T) {
	// A claim that is being deleted is taken by no run, and may yet be restored.
	going := strings.Replace(pair("shop/going"), "metadata: {", `metadata: {deletionTimestamp: "2026-09-03T12:00:00Z", `, 1)
	inv := inventory(t, append(oneOfEach, deployment("shop/web2", "going"), going)...)
	wanted := Wants(Reach(inv, []CoveredPlan{{Name: "web", Select: Selection{Workloads: workloads("Deployment/web", "Deployment/web2")}}, {Name: "none", Select: Selection{Labels: selectLabels(t, "no=thing")}}}))
	got := map[string][]string{}
	for plan, all := range wanted {
		for _, w := range all {
			got[plan] = append(got[plan], w.Claim.String()+" on "+string(w.Disk.Handle))
		}
	}
	wantDiff(t, "wanted", map[string][]string{
		"":    {"billing/ledger on disk-of-ledger", "shop/data-redis-0 on disk-of-data-redis-0", "shop/data-redis-1 on disk-of-data-redis-1", "shop/files on disk-of-files", "shop/going on disk-of-going"},
		"web": {"shop/files on disk-of-files"},
	}, got)
}

func TestAPlanThatNamesWhatIsNotThereIsReported(t *testing.T) {
	inv := inventory(t, shop...)
	for name, want := range map[string]string{
		"redis": "",
		"redsi": "plan sets selects what does not exist, and its runs fail: not found in the cluster: statefulset/redsi",
	} {
		err := CheckPlan(inv, CoveredPlan{Name: "sets", Select: Selection{Workloads: workloads("StatefulSet/" + name)}})
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("plan of %s: %v, want %q", name, err, want)
		}
	}
}

// Coverage of a large cluster takes a moment.
func BenchmarkCoverage(b *testing.B) {
	inv := manySets(3000, 3)
	plans := []CoveredPlan{{Name: "all", RPO: time.Hour}, {Name: "one", Select: Selection{Namespaces: []string{"team-7"}}}}
	for b.Loop() {
		Coverage(inv, plans, new(Ledger), noon)
	}
}
