package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"hawser.dev/hawser/catalog"
)

// CoveredPlan is what coverage needs to know of a plan.
type CoveredPlan struct {
	Name   string
	Select Selection
	RPO    time.Duration // how old the newest data of a claim may be; 0 for no promise
}

// Promise says whether the newest restorable data of a claim is as new as a
// plan's RPO asks.
type Promise string

const (
	PromiseNone    Promise = "none"    // the plan has no RPO
	PromiseMet     Promise = "met"     // also of a disk that is younger than the RPO
	PromiseBroken  Promise = "broken"  // the data is older, or there is none
	PromiseUnknown Promise = "unknown" // points that were not read may have it
)

// PlanPromise is one plan that selects a claim.
type PlanPromise struct {
	Plan    string
	RPO     time.Duration // 0 for none
	Promise Promise
}

// ClaimCoverage says how one claim stands: which plans take it, and what could
// be brought back of it.
type ClaimCoverage struct {
	Claim catalog.ClaimKey
	UID   types.UID // of the claim
	// Plans select the claim, in the order in which they were given. They take
	// it unless Reason says why they cannot.
	Plans  []PlanPromise
	Reason catalog.SkipReason // why no plan takes it; "" if one does

	Volume  string // its PersistentVolume; "" if there is none
	Reclaim corev1.PersistentVolumeReclaimPolicy
	Disk    Disk      // zero unless the volume is the claim's, and of a CSI driver
	Since   time.Time // when claim or volume was created, whichever was later

	// Newest is the newest data of the disk that the claim is on now; nil if no
	// known point has any.
	Newest *Restorable
	Age    time.Duration // of Newest; 0 if there is none

	// Why says, for people, why no plan takes the claim, or why there is no
	// newer data; "" if all is well.
	Why string
}

// Covered says whether a plan takes the claim.
func (c *ClaimCoverage) Covered() bool { return len(c.Plans) > 0 && c.Reason == "" }

// Protected says whether the claim's disk outlives the claim.
func (c *ClaimCoverage) Protected() bool { return c.Reclaim == corev1.PersistentVolumeReclaimRetain }

// Promise is the worst of the plans': broken, unknown, met, none. Only what is
// covered was promised anything.
func (c *ClaimCoverage) Promise() Promise {
	for _, p := range []Promise{PromiseBroken, PromiseUnknown, PromiseMet} {
		if slices.ContainsFunc(c.Plans, func(plan PlanPromise) bool { return plan.Promise == p }) {
			return p
		}
	}
	return PromiseNone
}

// Coverage says how every claim of inv stands at a time: all claims, in order
// of namespace and name, covered or not. ledger is what is known of the points.
func Coverage(inv *Inventory, plans []CoveredPlan, ledger *Ledger, now time.Time) []ClaimCoverage {
	all := Reach(inv, plans)
	ledger.Judge(all, now)
	return all
}

// Reach says which claims of inv the plans take, and why not the others: the
// part of Coverage that no point changes.
func Reach(inv *Inventory, plans []CoveredPlan) []ClaimCoverage {
	selectors := make([]*selector, len(plans))
	usage := findUsage(inv)
	for i, p := range plans {
		selectors[i] = newSelector(inv, usage, p.Select, Include{})
	}
	volumes := volumesByName(inv)
	all := make([]ClaimCoverage, 0, len(inv.Claims))
	for i := range inv.Claims {
		claim := &inv.Claims[i].Object
		c := reach(claim, volumes[claim.Spec.VolumeName])
		for n, s := range selectors {
			if s.wants(claim) {
				c.Plans = append(c.Plans, PlanPromise{Plan: plans[n].Name, RPO: plans[n].RPO})
			}
		}
		if c.Reason == "" && len(c.Plans) == 0 {
			c.Reason, c.Why = catalog.SkipNotSelected, "no plan selects it"
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b ClaimCoverage) int {
		return cmp.Or(strings.Compare(a.Claim.Namespace, b.Claim.Namespace), strings.Compare(a.Claim.Name, b.Claim.Name))
	})
	return all
}

// reach describes a claim and what claim.spec.volumeName names, which may be nil.
func reach(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) ClaimCoverage {
	c := ClaimCoverage{Claim: keyOf(claim), UID: claim.UID, Since: claim.CreationTimestamp.Time}
	c.Reason, c.Why = exclude(claim, volume)
	if volume == nil {
		return c
	}
	c.Volume, c.Reclaim = volume.Name, volume.Spec.PersistentVolumeReclaimPolicy
	if volume.CreationTimestamp.After(c.Since) {
		c.Since = volume.CreationTimestamp.Time
	}
	if csi := volume.Spec.CSI; csi != nil && bindsTo(volume, claim) {
		c.Disk = Disk{Driver: csi.Driver, Handle: catalog.VolumeHandle(csi.VolumeHandle)}
	}
	return c
}

// Judge fills in what depends on the points and on the time: Newest, Age, the
// promises, and why they are broken.
func (l *Ledger) Judge(all []ClaimCoverage, now time.Time) {
	unread, some := l.Unread()
	for i := range all {
		c := &all[i]
		c.Newest, c.Age = nil, 0
		if newest, found := l.LastOfDisk(c.Claim, c.Disk); found && c.Disk != (Disk{}) {
			c.Newest, c.Age = &newest, max(0, now.Sub(newest.Data))
		}
		for n := range c.Plans {
			c.Plans[n].Promise = c.promise(c.Plans[n].RPO, unread, some, now)
		}
		if !c.Covered() {
			continue // Why says so
		}
		c.Why = ""
		if c.Newest == nil || c.Promise() == PromiseBroken {
			c.Why = l.gap(c, unread, some)
		}
	}
}

// promise judges one RPO. What is unread may hold data as new as unread.
func (c *ClaimCoverage) promise(rpo time.Duration, unread time.Time, some bool, now time.Time) Promise {
	switch {
	case rpo <= 0 || !c.Covered():
		return PromiseNone
	case c.Newest != nil && c.Age <= rpo:
		return PromiseMet
	case c.Newest == nil && now.Sub(c.Since) <= rpo:
		return PromiseMet // it has no data that is older than that
	case c.Newest == nil && some && now.Sub(unread) <= rpo:
		return PromiseUnknown
	}
	return PromiseBroken
}

// gap says why nothing newer, or nothing at all, is known to bring the claim's
// disk back from.
func (l *Ledger) gap(c *ClaimCoverage, unread time.Time, some bool) string {
	if failure := l.lastFailure(c.Claim); failure != "" {
		return failure
	}
	if c.Newest != nil {
		return "no newer point has it"
	}
	if other, found := l.LastRestorable(c.Claim); found {
		return fmt.Sprintf("the disk was replaced: the newest point that has the claim, %s, has disk %s, and the claim is on %s now", other.Point, other.Disk.Handle, c.Disk.Handle)
	}
	if some {
		return "no restorable point of it was found; those older than " + unread.UTC().Format(time.RFC3339) + " were not all read"
	}
	return "there is no restorable point of it yet"
}

// Wants is what to look for in the points of each plan, as Ledger.Read has it.
func Wants(all []ClaimCoverage) map[string][]Wanted {
	wanted := map[string][]Wanted{}
	for _, c := range all {
		if c.Disk == (Disk{}) {
			continue
		}
		w := Wanted{Claim: c.Claim, Disk: c.Disk}
		wanted[""] = append(wanted[""], w)
		if c.Covered() {
			for _, p := range c.Plans {
				wanted[p.Plan] = append(wanted[p.Plan], w)
			}
		}
	}
	return wanted
}

// CheckPlan says why a run of a plan would fail before it begins: its selection
// names what is not there. inv must be of the whole cluster.
func CheckPlan(inv *Inventory, plan CoveredPlan) error {
	if err := newSelector(inv, findUsage(inv), plan.Select, Include{}).checkNames(); err != nil {
		return fmt.Errorf("plan %s selects what does not exist, and its runs fail: %w", plan.Name, err)
	}
	return nil
}

// ClusterUID is the identity of the cluster: the uid of its namespace
// kube-system, "" if that was not listed.
func (inv *Inventory) ClusterUID() string {
	for i := range inv.Namespaces {
		if inv.Namespaces[i].Object.Name == metav1.NamespaceSystem {
			return string(inv.Namespaces[i].Object.UID)
		}
	}
	return ""
}

// ObserveClaims lists what Coverage needs to see of the whole cluster: six lists.
func ObserveClaims(ctx context.Context, client dynamic.Interface) (*Inventory, error) {
	inv := &Inventory{}
	for _, read := range []func() error{
		func() error { return fill(ctx, client, namespacesResource, "", &inv.Namespaces) },
		func() error { return fill(ctx, client, claimsResource, "", &inv.Claims) },
		func() error { return fill(ctx, client, volumesResource, "", &inv.Volumes) },
		func() error { return fill(ctx, client, statefulSetsResource, "", &inv.StatefulSets) },
		func() error { return fill(ctx, client, deploymentsResource, "", &inv.Deployments) },
		func() error { return fill(ctx, client, podsResource, "", &inv.Pods) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return inv, nil
}
