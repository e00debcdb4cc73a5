package backup

import (
	"strings"
	"testing"

	"hawser.dev/hawser/catalog"
)

// shop is two namespaces with workloads of every kind.
var shop = []string{
	statefulSet("shop/redis", "data"), pairs("shop/data-redis-0", "shop/data-redis-1"),
	deployment("shop/web", "files"), pair("shop/files"),
	pod("shop/debug", "", "scratch"), pair("shop/scratch"),
	pair("shop/unused"),
	deployment("shop/stateless"),
	statefulSet("billing/redis", "data"), pair("billing/data-redis-2"),
}

func TestSelectTakesWhatTheSelectionCovers(t *testing.T) {
	for _, c := range []struct {
		name string
		sel  Selection
		want []string // claims and, after "+", workloads
	}{
		{"everything, if nothing restricts", Selection{}, []string{
			"billing/data-redis-2", "shop/data-redis-0", "shop/data-redis-1", "shop/files", "shop/scratch", "shop/unused",
			"+StatefulSet billing/redis", "+StatefulSet shop/redis", "+Deployment shop/web", "+Pod shop/debug",
		}},
		{"a namespace", Selection{Namespaces: []string{"billing"}}, []string{"billing/data-redis-2", "+StatefulSet billing/redis"}},
		{"two namespaces and a label of a workload", Selection{Namespaces: []string{"billing", "shop"}, Labels: selectLabels(t, "set=redis")}, []string{
			"billing/data-redis-2", "shop/data-redis-0", "shop/data-redis-1", "+StatefulSet billing/redis", "+StatefulSet shop/redis",
		}},
		{"a label of a Deployment", Selection{Labels: selectLabels(t, "deployment")}, []string{"shop/files", "+Deployment shop/web"}},
		{"a label of a bare Pod", Selection{Labels: selectLabels(t, "pod=debug")}, []string{"shop/scratch", "+Pod shop/debug"}},
		{"a label of a claim", Selection{Labels: selectLabels(t, "claim in (unused, files)")}, []string{"shop/files", "shop/unused", "+Deployment shop/web"}},
		{"an empty label query", Selection{Namespaces: []string{"billing"}, Labels: selectLabels(t, "")}, []string{"billing/data-redis-2", "+StatefulSet billing/redis"}},
		{"a workload", Selection{Namespaces: []string{"shop"}, Workloads: workloads("StatefulSet/redis")}, []string{
			"shop/data-redis-0", "shop/data-redis-1", "+StatefulSet shop/redis",
		}},
		{"a workload of every namespace that has it", Selection{Workloads: workloads("StatefulSet/redis")}, []string{
			"billing/data-redis-2", "shop/data-redis-0", "shop/data-redis-1", "+StatefulSet billing/redis", "+StatefulSet shop/redis",
		}},
		{"a claim alone, without the workload that uses it", Selection{Namespaces: []string{"shop"}, Claims: []string{"data-redis-0"}}, []string{"shop/data-redis-0"}},
		{"a claim that nothing uses", Selection{Claims: []string{"unused"}}, []string{"shop/unused"}},
		{"a claim together with a workload", Selection{Namespaces: []string{"shop"}, Claims: []string{"unused"}, Workloads: workloads("Deployment/web")}, []string{
			"shop/files", "shop/unused", "+Deployment shop/web",
		}},
		{"a claim of a workload that is named too", Selection{Namespaces: []string{"shop"}, Claims: []string{"files"}, Workloads: workloads("Deployment/web")}, []string{
			"shop/files", "+Deployment shop/web",
		}},
		{"a workload without claims beside one with", Selection{Workloads: workloads("Deployment/stateless", "Deployment/web")}, []string{
			"shop/files", "+Deployment shop/stateless", "+Deployment shop/web",
		}},
		{"a workload without claims alone", Selection{Workloads: workloads("Deployment/stateless")}, []string{"+Deployment shop/stateless"}},
		{"a workload whose label does not match is left out, as are its claims", Selection{
			Workloads: workloads("Deployment/web", "Pod/debug"), Labels: selectLabels(t, "pod=debug"),
		}, []string{"shop/scratch", "+Pod shop/debug"}},
		{"no claim matches", Selection{Labels: selectLabels(t, "tier=none")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			selected := mustSelect(t, inventory(t, shop...), c.sel, Include{})
			var got []string
			for _, v := range selected.Volumes {
				got = append(got, v.Claim.String())
			}
			for _, o := range objectsOf(selected) {
				if kind, _, _ := strings.Cut(o, " "); kind == "StatefulSet" || kind == "Deployment" || kind == "Pod" {
					got = append(got, "+"+o)
				}
			}
			wantDiff(t, "claims and workloads", c.want, got)
		})
	}
}

func TestSelectRefusesEveryNameThatIsNotThere(t *testing.T) {
	for _, c := range []struct {
		name string
		sel  Selection
		want string
	}{
		{"one of each kind", Selection{
			Namespaces: []string{"shop", "shup"}, Workloads: workloads("StatefulSet/redis", "StatefulSet/rediss", "Deployment/redis"), Claims: []string{"files", "fils"},
		}, "not found in namespace shop, shup: namespace shup, statefulset/rediss, deployment/redis, persistentvolumeclaim/fils"},
		{"a workload of another namespace", Selection{Namespaces: []string{"billing"}, Workloads: workloads("Deployment/web")}, "not found in namespace billing: deployment/web"},
		{"a claim of another namespace", Selection{Namespaces: []string{"billing"}, Claims: []string{"files"}}, "not found in namespace billing: persistentvolumeclaim/files"},
		{"in the whole cluster", Selection{Claims: []string{"nothing"}}, "not found in the cluster: persistentvolumeclaim/nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Select(inventory(t, shop...), c.sel, Include{})
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

// unpaired is a claim with this metadata, spec and status, and a volume with this spec.
func unpaired(metadata, spec, status, volume string) string {
	return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {namespace: shop, name: data, uid: here, ` + metadata + `}
spec: {` + spec + `}
status: {` + status + `}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {` + volume + `}`
}

func TestSelectSkipsWithAReason(t *testing.T) {
	const bound, ref, csi = "phase: Bound", "claimRef: {namespace: shop, name: data, uid: here}", "csi: {driver: d, volumeHandle: h}"
	for _, c := range []struct {
		name, claim string
		reason      catalog.SkipReason // "" if it is taken
		says        string
	}{
		{"a claim that is bound is taken", unpaired("", "volumeName: pv", bound, ref+", "+csi), "", ""},
		{"a volume that is reserved for the claim, without uid, is taken", unpaired("", "volumeName: pv", "phase: Pending", "claimRef: {namespace: shop, name: data}, "+csi), "", ""},
		{"a claim of a Pod", unpaired("ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, controller: true}]", "volumeName: pv", bound, ref+", "+csi), catalog.SkipPodOwned, "belongs to Pod p"},
		{"a claim that a drill made", unpaired("labels: {hawser.dev/drill: 20260903-120000-web-0a1b2c3d}", "volumeName: pv", bound, ref+", "+csi), catalog.SkipDrill, "drill 20260903-120000-web-0a1b2c3d made it"},
		{"a claim that a Pod owns and does not control is taken", unpaired("ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u}]", "volumeName: pv", bound, ref+", "+csi), "", ""},
		{"a claim of a StatefulSet's policy is taken", unpaired("ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: s, uid: u, controller: true}]", "volumeName: pv", bound, ref+", "+csi), "", ""},
		{"a claim that waits for its volume", unpaired("", "", "phase: Pending", csi), catalog.SkipUnbound, "is Pending and has no volume"},
		{"a claim that is being deleted", unpaired(`deletionTimestamp: "2026-09-03T12:00:00Z"`, "volumeName: pv", bound, ref+", "+csi), catalog.SkipTerminating, "being deleted"},
		{"a claim whose volume is gone", unpaired("", "volumeName: other", "phase: Lost", ref+", "+csi), catalog.SkipInconsistent, "names PersistentVolume other, which does not exist (the claim is Lost)"},
		{"a volume that names no claim", unpaired("", "volumeName: pv", bound, csi), catalog.SkipInconsistent, "PersistentVolume pv is not bound to it"},
		{"a volume that names another claim", unpaired("", "volumeName: pv", bound, "claimRef: {namespace: shop, name: other, uid: here}, "+csi), catalog.SkipInconsistent, "not bound to it"},
		{"a volume that names a claim of another namespace", unpaired("", "volumeName: pv", bound, "claimRef: {namespace: billing, name: data, uid: here}, "+csi), catalog.SkipInconsistent, "not bound to it"},
		{"a volume that names an earlier claim of the name", unpaired("", "volumeName: pv", bound, "claimRef: {namespace: shop, name: data, uid: before}, "+csi), catalog.SkipInconsistent, "not bound to it"},
		{"a volume that no CSI driver made", unpaired("", "volumeName: pv", bound, ref+", nfs: {server: s, path: /}"), catalog.SkipNotCSI, "PersistentVolume pv is not a CSI volume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			selected := mustSelect(t, inventory(t, c.claim), Selection{}, Include{})
			if c.reason == "" {
				wantDiff(t, "claims", []string{"shop/data"}, claimsOf(selected))
				wantDiff(t, "skipped", []string(nil), skipsOf(selected))
				return
			}
			wantDiff(t, "claims", []string(nil), claimsOf(selected))
			wantDiff(t, "skipped", []string{"PersistentVolumeClaim shop/data: " + string(c.reason)}, skipsOf(selected))
			if message := selected.Skipped[0].Message; !strings.Contains(message, c.says) {
				t.Errorf("message %q, want it to say %q", message, c.says)
			}
		})
	}
}

func TestSelectRecordsTheDiskOfEachClaim(t *testing.T) {
	selected := mustSelect(t, inventory(t, statefulSet("shop/redis", "data"), pair("shop/data-redis-3")), Selection{}, Include{})
	three := 3
	wantDiff(t, "volumes", []catalog.Volume{{
		Claim: catalog.ClaimKey{Namespace: "shop", Name: "data-redis-3"}, PersistentVolume: "pv-of-data-redis-3",
		Driver: "disks.example.com", VolumeHandle: "disk-of-data-redis-3", Capacity: "2Gi", Request: "1Gi", StorageClass: "fast",
		ReclaimBefore: "Delete", ReclaimAfter: "Delete",
		Workload: &catalog.Workload{Kind: "StatefulSet", Name: "redis"}, Template: "data", Ordinal: &three,
	}}, selected.Volumes)
}

func TestSelectRespectsTheFormerPolicyOfAVolume(t *testing.T) {
	protected := strings.Replace(pair("shop/data"), "metadata: {name: pv-of-data}", "metadata: {name: pv-of-data, annotations: {"+FormerPolicyAnnotation+": Delete}}", 1)
	protected = strings.Replace(protected, "persistentVolumeReclaimPolicy: Delete", "persistentVolumeReclaimPolicy: Retain", 1)
	v := mustSelect(t, inventory(t, protected), Selection{}, Include{}).Volumes[0]
	if v.ReclaimBefore != "Delete" || v.ReclaimAfter != "Retain" {
		t.Errorf("policy %s before and %s after, want Delete and Retain", v.ReclaimBefore, v.ReclaimAfter)
	}
}

// What a point leaves out of a workload that it holds must be in the point:
// a restore would otherwise start the workload on empty disks.
func TestSelectLeavesNothingOutSilently(t *testing.T) {
	for _, c := range []struct {
		name    string
		objects []string
		sel     Selection
		want    []string // skipped
	}{
		{"a claim of a captured set whose label does not match", []string{
			statefulSet("shop/redis", "data", "cache"), pairs("shop/data-redis-0", "shop/cache-redis-0"),
		}, Selection{Labels: selectLabels(t, "claim=data-redis-0")}, []string{"PersistentVolumeClaim shop/cache-redis-0: not-selected"}},
		{"a claim of two captured workloads, once", []string{
			deployment("shop/a", "data", "files"), deployment("shop/b", "data", "files"), pairs("shop/data", "shop/files"),
		}, Selection{Labels: selectLabels(t, "claim=data")}, []string{"PersistentVolumeClaim shop/files: not-selected"}},
		{"a claim of a captured set that cannot be taken, once", []string{
			statefulSet("shop/data", "my"), unpaired("", "", "phase: Pending", ""), pair("shop/my-data-0"), deployment("shop/web", "data", "my-data-0"),
		}, Selection{}, []string{"PersistentVolumeClaim shop/data: unbound"}},
		{"a set whose claims are all skipped, by name", []string{
			statefulSet("shop/redis", "data"), strings.ReplaceAll(unpaired("", "", "phase: Pending", ""), "name: data,", "name: data-redis-0,"),
			deployment("shop/web", "files"), pair("shop/files"),
		}, Selection{Workloads: workloads("StatefulSet/redis", "Deployment/web")}, []string{"PersistentVolumeClaim shop/data-redis-0: unbound"}},
		{"a claim that a Deployment names and that is not there", []string{
			deployment("shop/web", "files", "gone"), pair("shop/files"),
		}, Selection{}, []string{"PersistentVolumeClaim shop/gone: not-found"}},
		{"what uses a claim and is of a kind that is not captured", []string{
			pair("shop/files"), pod("shop/agent-1", "DaemonSet/agent", "files"), pod("shop/agent-2", "DaemonSet/agent", "files"),
			pod("shop/lone-1", "ReplicaSet/lone", "files"), pod("shop/other", "DaemonSet/other"),
		}, Selection{}, []string{"DaemonSet shop/agent: not-supported", "ReplicaSet shop/lone: not-supported"}},
		{"the Pods of a captured Deployment and StatefulSet", []string{
			deployment("shop/web", "files"), pod("shop/web-1-x", "ReplicaSet/web-1", "files"), pair("shop/files"),
			statefulSet("shop/redis", "data"), pod("shop/redis-0", "StatefulSet/redis", "data-redis-0"), pair("shop/data-redis-0"),
		}, Selection{}, nil},
		{"the user of a claim that was named alone is not asked for", []string{
			pair("shop/files"), pod("shop/agent-1", "DaemonSet/agent", "files"),
		}, Selection{Claims: []string{"files"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantDiff(t, "skipped", c.want, skipsOf(mustSelect(t, inventory(t, c.objects...), c.sel, Include{})))
		})
	}
}

func TestAClaimThatIsSharedBelongsToTheWorkloadThatWasNamed(t *testing.T) {
	objects := []string{deployment("shop/a", "files"), deployment("shop/b", "files"), pair("shop/files")}
	selected := mustSelect(t, inventory(t, objects...), Selection{Workloads: workloads("Deployment/b")}, Include{})
	wantDiff(t, "claims", []string{"shop/files <- Deployment/b"}, claimsOf(selected))
}
