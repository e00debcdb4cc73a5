package backup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// Selection says which claims a backup takes: those in Namespaces that match
// Labels and belong to Workloads or are named by Claims. What is empty does
// not restrict.
type Selection struct {
	Namespaces []string
	// Labels must match the claim's own labels or its workload's.
	Labels    labels.Selector
	Workloads []catalog.Workload
	Claims    []string
	// OptIn names a plan. What opted in to it by the label hawser.dev/plan, on a
	// namespace, a workload or a claim, is taken besides, wherever it is.
	OptIn string
	// OptInOnly takes nothing but what opted in; the other fields are unused.
	OptInOnly bool
}

// scope is the one namespace that the selection can be confined to, or "" for all.
func (sel Selection) scope() string {
	if sel.OptIn == "" && len(sel.Namespaces) == 1 {
		return sel.Namespaces[0]
	}
	return metav1.NamespaceAll
}

// Include says what a point holds besides claims, volumes and workloads.
type Include struct {
	Secrets      bool // Secrets that the Pods mount or name; off, since a bundle may not be encrypted
	NoConfigMaps bool // leaves out the ConfigMaps that they mount or name
}

// FormerPolicyAnnotation holds, on a protected PersistentVolume, the reclaim
// policy it had before Hawser made it Retain.
const FormerPolicyAnnotation = "hawser.dev/former-reclaim-policy"

// Selected is what a backup will take.
type Selected struct {
	Volumes []catalog.Volume // without snapshots, in order of namespace and name
	// Persistent holds the PersistentVolume of each of Volumes, by its name.
	Persistent map[string]corev1.PersistentVolume
	// Objects are what the bundle keeps, in the order in which they can be created.
	Objects objectSet
	Skipped []catalog.Skip
}

// Select decides what to take of inv. It fails if the selection names
// something that is not there; what is there and cannot be taken is skipped
// with a reason.
func Select(inv *Inventory, sel Selection, include Include) (Selected, error) {
	s := newSelector(inv, findUsage(inv), sel, include)
	if err := s.checkNames(); err != nil {
		return Selected{}, err
	}
	s.out.Persistent = map[string]corev1.PersistentVolume{}
	s.takeVolumes()
	s.capture()
	slices.SortFunc(s.out.Skipped, func(a, b catalog.Skip) int {
		return cmp.Or(strings.Compare(a.Kind+"/"+a.Namespace+"/"+a.Name, b.Kind+"/"+b.Namespace+"/"+b.Name), strings.Compare(a.Message, b.Message))
	})
	return s.out, nil
}

type selector struct {
	inv     *Inventory
	sel     Selection
	include Include
	usage   usage
	out     Selected

	namespaceLabels map[string]map[string]string
	optedInUsers    sets.Set[*workload] // they use a claim that opted in
}

func newSelector(inv *Inventory, u usage, sel Selection, include Include) *selector {
	s := &selector{inv: inv, sel: sel, include: include, usage: u, namespaceLabels: map[string]map[string]string{}, optedInUsers: sets.New[*workload]()}
	for i := range inv.Namespaces {
		s.namespaceLabels[inv.Namespaces[i].Object.Name] = inv.Namespaces[i].Object.Labels
	}
	return s
}

func (s *selector) skip(kind, namespace, name string, reason catalog.SkipReason, format string, args ...any) {
	s.out.Skipped = append(s.out.Skipped, catalog.Skip{
		Kind: kind, Namespace: namespace, Name: name, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

// checkNames refuses a selection that names what is not there: a misspelt name
// must not become an empty backup.
func (s *selector) checkNames() error {
	if s.sel.OptInOnly {
		return nil
	}
	var missing []string
	for _, name := range s.sel.Namespaces {
		if _, found := s.namespaceLabels[name]; !found {
			missing = append(missing, "namespace "+name)
		}
	}
	for _, w := range s.sel.Workloads {
		if !slices.ContainsFunc(s.usage.workloads, func(u workload) bool { return u.Workload == w && s.inNamespaces(u.namespace) }) {
			missing = append(missing, strings.ToLower(w.Kind)+"/"+w.Name)
		}
	}
	for _, name := range s.sel.Claims {
		if !slices.ContainsFunc(s.inv.Claims, func(c Listed[corev1.PersistentVolumeClaim]) bool {
			return c.Object.Name == name && s.inNamespaces(c.Object.Namespace)
		}) {
			missing = append(missing, "persistentvolumeclaim/"+name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	where := "the cluster"
	if len(s.sel.Namespaces) > 0 {
		where = "namespace " + strings.Join(s.sel.Namespaces, ", ")
	}
	return fmt.Errorf("not found in %s: %s", where, strings.Join(missing, ", "))
}

func (s *selector) inNamespaces(namespace string) bool {
	return len(s.sel.Namespaces) == 0 || slices.Contains(s.sel.Namespaces, namespace)
}

// wants says whether the selection covers a claim.
func (s *selector) wants(claim *corev1.PersistentVolumeClaim) bool {
	users := s.usage.users[keyOf(claim)]
	if s.optedIn(claim, users) {
		return true
	}
	if s.sel.OptInOnly || !s.inNamespaces(claim.Namespace) {
		return false
	}
	if s.namesOnly() {
		named := slices.Contains(s.sel.Claims, claim.Name) ||
			slices.ContainsFunc(users, func(u use) bool { return slices.Contains(s.sel.Workloads, u.workload.Workload) })
		if !named {
			return false
		}
	}
	return s.matches(claim.Labels) || slices.ContainsFunc(users, func(u use) bool { return s.matches(u.workload.labels) })
}

// optedIn says whether a claim, its namespace or a workload that uses it carries
// the plan's label.
func (s *selector) optedIn(claim *corev1.PersistentVolumeClaim, users []use) bool {
	if s.sel.OptIn == "" {
		return false
	}
	return claim.Labels[PlanLabel] == s.sel.OptIn || s.namespaceOptedIn(claim.Namespace) ||
		slices.ContainsFunc(users, func(u use) bool { return u.workload.labels[PlanLabel] == s.sel.OptIn })
}

// noteOptIn notes who uses a claim that opted in: they come with it, wherever
// they are.
func (s *selector) noteOptIn(claim *corev1.PersistentVolumeClaim) {
	if users := s.usage.users[keyOf(claim)]; s.optedIn(claim, users) {
		for _, u := range users {
			s.optedInUsers.Insert(u.workload)
		}
	}
}

func (s *selector) namespaceOptedIn(namespace string) bool {
	return s.sel.OptIn != "" && s.namespaceLabels[namespace][PlanLabel] == s.sel.OptIn
}

// matches says whether the label selector covers an object with these labels.
func (s *selector) matches(own map[string]string) bool {
	return s.sel.Labels == nil || s.sel.Labels.Empty() || s.sel.Labels.Matches(labels.Set(own))
}

// takeVolumes decides on each claim that the selection covers.
func (s *selector) takeVolumes() {
	volumes := volumesByName(s.inv)
	for i := range s.inv.Claims {
		claim := &s.inv.Claims[i].Object
		if !s.wants(claim) {
			continue
		}
		volume := volumes[claim.Spec.VolumeName]
		if reason, message := exclude(claim, volume); reason != "" {
			s.skip("PersistentVolumeClaim", claim.Namespace, claim.Name, reason, "%s", message)
			continue
		}
		s.noteOptIn(claim)
		s.out.Volumes = append(s.out.Volumes, record(claim, volume, s.owner(claim)))
		s.out.Persistent[volume.Name] = *volume
	}
	slices.SortFunc(s.out.Volumes, func(a, b catalog.Volume) int { return strings.Compare(a.Claim.String(), b.Claim.String()) })
}

// leaveForeign drops the claims whose disks another cluster owns, or may own:
// what is on them is not this cluster's to keep, nor its volumes to protect.
func (s *Selected) leaveForeign(owners catalog.Owners, clusterUID string) {
	s.Volumes = slices.DeleteFunc(s.Volumes, func(v catalog.Volume) bool {
		owner, foreign := owners.Foreign(v.Disk(), clusterUID)
		if !foreign {
			return false
		}
		reason := catalog.SkipForeign
		if owner.Err != nil {
			reason = catalog.SkipOwnerUnknown
		}
		s.Skipped = append(s.Skipped, catalog.Skip{
			Kind: "PersistentVolumeClaim", Namespace: v.Claim.Namespace, Name: v.Claim.Name, Reason: reason,
			Message: fmt.Sprintf("its disk %s is owned by %s", v.VolumeHandle, owner),
		})
		delete(s.Persistent, v.PersistentVolume)
		return true
	})
}

func volumesByName(inv *Inventory) map[string]*corev1.PersistentVolume {
	volumes := map[string]*corev1.PersistentVolume{}
	for i := range inv.Volumes {
		volumes[inv.Volumes[i].Object.Name] = &inv.Volumes[i].Object
	}
	return volumes
}

// owner returns the use of claim by the workload that is said to own it: the
// first that was named, else the first; nil if there is none.
func (s *selector) owner(claim *corev1.PersistentVolumeClaim) *use {
	users := s.usage.users[keyOf(claim)]
	named := slices.IndexFunc(users, func(u use) bool { return slices.Contains(s.sel.Workloads, u.workload.Workload) })
	if len(users) == 0 {
		return nil
	}
	return &users[max(named, 0)]
}

// exclude says why a claim cannot be taken, or returns "". volume is what
// claim.spec.volumeName names, nil if there is none.
func exclude(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) (catalog.SkipReason, string) {
	owner := metav1.GetControllerOf(claim)
	switch {
	case owner != nil && owner.Kind == "Pod":
		return catalog.SkipPodOwned, "it belongs to Pod " + owner.Name + " (generic ephemeral volume) and goes with it"
	case claim.Labels[catalog.DrillLabel] != "":
		return catalog.SkipDrill, "drill " + claim.Labels[catalog.DrillLabel] + " made it, and it goes with the drill (label " + catalog.DrillLabel + ")"
	case claim.DeletionTimestamp != nil:
		return catalog.SkipTerminating, "it is being deleted"
	case claim.Spec.VolumeName == "":
		return catalog.SkipUnbound, "it is " + string(claim.Status.Phase) + " and has no volume"
	case volume == nil:
		return catalog.SkipInconsistent, "it names PersistentVolume " + claim.Spec.VolumeName + ", which does not exist (the claim is " + string(claim.Status.Phase) + ")"
	case !bindsTo(volume, claim):
		return catalog.SkipInconsistent, "PersistentVolume " + volume.Name + " is not bound to it"
	case volume.Spec.CSI == nil:
		return catalog.SkipNotCSI, "PersistentVolume " + volume.Name + " is not a CSI volume"
	}
	return "", ""
}

func bindsTo(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	ref := volume.Spec.ClaimRef
	return ref != nil && ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == claim.UID || ref.UID == types.UID(""))
}

// record describes a claim, its disk and its owner, which may be nil.
func record(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume, owner *use) catalog.Volume {
	before := string(volume.Spec.PersistentVolumeReclaimPolicy)
	if former := volume.Annotations[FormerPolicyAnnotation]; former != "" {
		before = former
	}
	v := catalog.Volume{
		Claim:            keyOf(claim),
		PersistentVolume: volume.Name,
		Driver:           volume.Spec.CSI.Driver,
		VolumeHandle:     catalog.VolumeHandle(volume.Spec.CSI.VolumeHandle),
		Capacity:         volume.Spec.Capacity.Storage().String(),
		Request:          claim.Spec.Resources.Requests.Storage().String(),
		StorageClass:     volume.Spec.StorageClassName,
		ReclaimBefore:    before,
		ReclaimAfter:     string(volume.Spec.PersistentVolumeReclaimPolicy),
	}
	if owner != nil {
		v.Workload = &owner.workload.Workload
		v.Template, v.Ordinal = owner.template, owner.ordinal
	}
	return v
}

func keyOf(claim *corev1.PersistentVolumeClaim) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: claim.Namespace, Name: claim.Name}
}
