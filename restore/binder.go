package restore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// Binding is where the volume binder leaves a claim.
type Binding struct {
	Phase  corev1.PersistentVolumeClaimPhase
	Volume string // the PersistentVolume that the claim names then; "" for none
	Reason string // why it is not Bound
}

// binder is the volume binder of kube-controller-manager (syncClaim and
// syncVolume in pv_controller.go, of Kubernetes 1.36) as a function: what
// becomes of volumes and claims if nobody else acts. It does not model reclaim,
// nor what a provisioner makes. Of several volumes of one size that suit a
// claim the real one takes any, and so does this. The plan's predictions rest
// on it; a property test compares it with the real one.
type binder struct {
	volumes map[string]*corev1.PersistentVolume
	claims  map[catalog.ClaimKey]*corev1.PersistentVolumeClaim
	classes map[string]*storagev1.StorageClass
	groups  [][]*corev1.PersistentVolume // volumes by access modes; nil: to be made
	changed bool
	reasons map[catalog.ClaimKey]string
}

// newBinder takes the objects as they are; it changes copies of them.
func newBinder(o *Observed) *binder {
	b := &binder{
		volumes: make(map[string]*corev1.PersistentVolume, len(o.Volumes)),
		claims:  make(map[catalog.ClaimKey]*corev1.PersistentVolumeClaim, len(o.Claims)),
		classes: make(map[string]*storagev1.StorageClass, len(o.StorageClasses)),
		reasons: map[catalog.ClaimKey]string{},
	}
	for i := range o.Volumes {
		b.volumes[o.Volumes[i].Name] = &o.Volumes[i]
	}
	for i := range o.Claims {
		b.claims[keyOf(&o.Claims[i])] = &o.Claims[i]
	}
	for i := range o.StorageClasses {
		b.classes[o.StorageClasses[i].Name] = &o.StorageClasses[i]
	}
	return b
}

func keyOf(claim *corev1.PersistentVolumeClaim) catalog.ClaimKey {
	return catalog.ClaimKey{Namespace: claim.Namespace, Name: claim.Name}
}

// settle lets the binder do all it has to do, and tells how each claim fares.
func (b *binder) settle() map[catalog.ClaimKey]Binding {
	volumes := slices.Sorted(maps.Keys(b.volumes))
	claims := slices.SortedFunc(maps.Keys(b.claims), func(x, y catalog.ClaimKey) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	for b.changed = true; b.changed; {
		b.changed = false
		for _, name := range volumes {
			b.syncVolume(b.volumes[name])
		}
		for _, key := range claims {
			b.syncClaim(key, b.claims[key])
		}
	}
	out := make(map[catalog.ClaimKey]Binding, len(claims))
	for key, claim := range b.claims {
		out[key] = Binding{Phase: cmp.Or(claim.Status.Phase, corev1.ClaimPending), Volume: claim.Spec.VolumeName, Reason: b.reasons[key]}
	}
	return out
}

// setVolume stores a changed copy.
func (b *binder) setVolume(v *corev1.PersistentVolume, change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v = v.DeepCopy()
	change(v)
	b.volumes[v.Name], b.changed, b.groups = v, true, nil
	return v
}

func (b *binder) setPhase(v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) {
	if v.Status.Phase != phase {
		b.setVolume(v, func(v *corev1.PersistentVolume) { v.Status.Phase = phase })
	}
}

func (b *binder) syncVolume(v *corev1.PersistentVolume) {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		b.setPhase(v, corev1.VolumeAvailable)
		return
	}
	claim := b.claims[catalog.ClaimKey{Namespace: ref.Namespace, Name: ref.Name}]
	switch {
	case claim == nil || claim.UID != ref.UID:
		if v.Status.Phase != corev1.VolumeFailed {
			b.setPhase(v, corev1.VolumeReleased)
		}
	case claim.Spec.VolumeName == "": // the claim's turn will bind them
	case claim.Spec.VolumeName == v.Name:
		b.setPhase(v, corev1.VolumeBound)
	default:
		b.unbind(v)
	}
}

// unbind is for a volume whose claim is bound elsewhere.
func (b *binder) unbind(v *corev1.PersistentVolume) {
	if v.Annotations[volume.AnnDynamicallyProvisioned] != "" && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		if v.Status.Phase != corev1.VolumeFailed {
			b.setPhase(v, corev1.VolumeReleased) // and the provisioner deletes the disk
		}
		return
	}
	b.setVolume(v, func(v *corev1.PersistentVolume) {
		if _, ours := v.Annotations[volume.AnnBoundByController]; ours {
			delete(v.Annotations, volume.AnnBoundByController)
			v.Spec.ClaimRef = nil
		} else {
			v.Spec.ClaimRef.UID = ""
		}
		v.Status.Phase = corev1.VolumeAvailable
	})
}

func (b *binder) syncClaim(key catalog.ClaimKey, claim *corev1.PersistentVolumeClaim) {
	_, completed := claim.Annotations[volume.AnnBindCompleted]
	v := b.volumes[claim.Spec.VolumeName]
	switch {
	case completed && v == nil:
		b.wait(key, claim, corev1.ClaimLost, "its PersistentVolume is gone")
	case completed && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID != claim.UID:
		b.wait(key, claim, corev1.ClaimLost, "PersistentVolume "+v.Name+" names another claim, or a former one")
	case completed:
		b.bind(v, claim)
	case claim.Spec.VolumeName == "":
		b.search(key, claim)
	case v == nil:
		b.wait(key, claim, corev1.ClaimPending, "PersistentVolume "+claim.Spec.VolumeName+" does not exist")
	case v.Spec.ClaimRef == nil:
		if problem := unsatisfied(v, claim); problem != "" {
			b.wait(key, claim, corev1.ClaimPending, "PersistentVolume "+v.Name+" does not suit it: "+problem)
			return
		}
		b.bind(v, claim)
	case volume.IsVolumeBoundToClaim(v, claim):
		b.bind(v, claim)
	default:
		b.wait(key, claim, corev1.ClaimPending, "PersistentVolume "+v.Name+" names another claim, or a former one")
	}
}

// search is for a claim that names no volume.
func (b *binder) search(key catalog.ClaimKey, claim *corev1.PersistentVolumeClaim) {
	if claim.Spec.StorageClassName == nil {
		claim = claim.DeepCopy()
		claim.Spec.StorageClassName = b.defaultClass() // given after the search, but it is searched again then
	}
	class := b.classes[ptr.Deref(claim.Spec.StorageClassName, "")]
	waits := class != nil && ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
	if v := b.match(claim, waits); v != nil {
		b.bind(v, claim)
		return
	}
	_, scheduled := claim.Annotations[volume.AnnSelectedNode]
	switch {
	case waits && !scheduled:
		b.wait(key, claim, corev1.ClaimPending, "class "+class.Name+" waits for a Pod that uses it")
	case class != nil:
		b.wait(key, claim, corev1.ClaimPending, "class "+class.Name+" is to make a disk for it")
	default:
		b.wait(key, claim, corev1.ClaimPending, fmt.Sprintf("no PersistentVolume suits it, and no class %q can make one", ptr.Deref(claim.Spec.StorageClassName, "")))
	}
}

func (b *binder) defaultClass() *string {
	for _, name := range slices.Sorted(maps.Keys(b.classes)) {
		if b.classes[name].Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			return ptr.To(name)
		}
	}
	return nil
}

// match finds the volume for a claim that names none (findByClaim in index.go):
// among those with the fewest access modes first. So a volume that is reserved
// for the claim loses to one that is not, if that has fewer modes.
func (b *binder) match(claim *corev1.PersistentVolumeClaim, delayed bool) *corev1.PersistentVolume {
	for _, group := range b.byModes() {
		if !volume.CheckAccessModes(claim, group[0]) {
			continue
		}
		found, err := volume.FindMatchingVolume(claim, group, nil, nil, delayed, true)
		if err == nil && found != nil {
			return found
		}
	}
	return nil
}

// byModes groups the volumes by their access modes, fewest first.
func (b *binder) byModes() [][]*corev1.PersistentVolume {
	if b.groups != nil {
		return b.groups
	}
	groups := map[string][]*corev1.PersistentVolume{}
	for _, name := range slices.Sorted(maps.Keys(b.volumes)) {
		modes := modesOf(b.volumes[name])
		key := fmt.Sprintf("%d %v", len(modes), modes)
		groups[key] = append(groups[key], b.volumes[name])
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		b.groups = append(b.groups, groups[key])
	}
	return b.groups
}

// modesOf are the access modes of a volume, each once and in one order.
func modesOf(v *corev1.PersistentVolume) []corev1.PersistentVolumeAccessMode {
	modes := slices.Clone(v.Spec.AccessModes)
	slices.Sort(modes)
	return slices.Compact(modes)
}

func (b *binder) bind(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID != claim.UID || v.Status.Phase != corev1.VolumeBound {
		byUser := volume.IsVolumeBoundToClaim(v, claim)
		b.setVolume(v, func(v *corev1.PersistentVolume) {
			if !byUser {
				annotate(&v.Annotations, volume.AnnBoundByController)
			}
			v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}
			v.Status.Phase = corev1.VolumeBound
		})
	}
	key := keyOf(claim)
	delete(b.reasons, key)
	if claim.Status.Phase == corev1.ClaimBound && claim.Spec.VolumeName == v.Name {
		return
	}
	claim = claim.DeepCopy()
	annotate(&claim.Annotations, volume.AnnBindCompleted)
	claim.Spec.VolumeName, claim.Status.Phase = v.Name, corev1.ClaimBound
	b.claims[key], b.changed = claim, true
}

func (b *binder) wait(key catalog.ClaimKey, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, reason string) {
	b.reasons[key] = reason
	if claim.Status.Phase != phase {
		claim = claim.DeepCopy()
		claim.Status.Phase = phase
		b.claims[key], b.changed = claim, true
	}
}

// unsatisfied says why a claim cannot be bound to the volume that it names and
// that names no claim (checkVolumeSatisfyClaim in pv_controller.go), or returns "".
func unsatisfied(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	capacity, request := v.Spec.Capacity.Storage(), claim.Spec.Resources.Requests.Storage()
	switch {
	case v.DeletionTimestamp != nil:
		return "it is being deleted"
	case capacity.Value() < request.Value():
		return "it is smaller than the claim asks for"
	case volume.GetPersistentVolumeClass(v) != volume.GetPersistentVolumeClaimClass(claim):
		return "their storage classes differ"
	case ptr.Deref(v.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "their VolumeAttributesClasses differ"
	case volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec):
		return "their volumeModes differ"
	case !volume.CheckAccessModes(claim, v):
		return "it lacks an access mode of the claim"
	}
	return ""
}

func annotate(annotations *map[string]string, key string) {
	if *annotations == nil {
		*annotations = map[string]string{}
	}
	(*annotations)[key] = "yes"
}

// do lets a step of a plan happen in the model. A claim that is created gets
// a uid of its own.
func (b *binder) do(step Step) error {
	switch {
	case step.Kind == "PersistentVolume" && step.Action == Create:
		v := &corev1.PersistentVolume{}
		if err := typed(*step.Object, v); err != nil {
			return err
		}
		b.volumes[v.Name] = v
	case step.Kind == "PersistentVolume" && (step.Action == RearmPV || step.Action == ProtectPV):
		patched, err := mergePatched(b.volumes[step.Name], []byte(step.Patch))
		if err != nil {
			return err
		}
		b.volumes[step.Name] = patched
	case step.Kind == "PersistentVolumeClaim" && step.Action == Create:
		claim := &corev1.PersistentVolumeClaim{}
		if err := typed(*step.Object, claim); err != nil {
			return err
		}
		claim.UID = types.UID("planned " + keyOf(claim).String())
		b.claims[keyOf(claim)] = claim
	}
	return nil
}

// mergePatched returns v as a merge patch makes it.
func mergePatched(v *corev1.PersistentVolume, patch []byte) (*corev1.PersistentVolume, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if data, err = jsonpatch.MergePatch(data, patch); err != nil {
		return nil, fmt.Errorf("patch PersistentVolume %s: %w", v.Name, err)
	}
	out := &corev1.PersistentVolume{}
	return out, json.Unmarshal(data, out)
}

// Settle returns what becomes of the volumes and claims in o if nobody acts but
// the volume binder, and how each claim fares. Nothing but its Volumes, Claims
// and StorageClasses counts; the input is not changed.
func Settle(o *Observed) (*Observed, map[catalog.ClaimKey]Binding) {
	b := newBinder(o)
	bindings := b.settle()
	after := *o
	after.Volumes = make([]corev1.PersistentVolume, len(o.Volumes))
	for i := range o.Volumes {
		after.Volumes[i] = *b.volumes[o.Volumes[i].Name].DeepCopy()
	}
	after.Claims = make([]corev1.PersistentVolumeClaim, len(o.Claims))
	for i := range o.Claims {
		after.Claims[i] = *b.claims[keyOf(&o.Claims[i])].DeepCopy()
	}
	return &after, bindings
}
