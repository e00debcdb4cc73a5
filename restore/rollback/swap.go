package rollback

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// swap is what claims get, as a restore point of its own: the claims as they
// are, or were when they were set aside, on the snapshots of a point or on
// disks that are there.
type swap struct {
	point  *catalog.RestorePoint
	from   restore.From
	states map[string]State
	leave  map[string]bool // claims that are to be deleted
}

// newSwap finds how far each claim has come, and what it is made of.
func (p *planner) newSwap() swap {
	record := p.plan.record
	s := swap{
		from: restore.FromDisks, states: map[string]State{}, leave: map[string]bool{},
		point: &catalog.RestorePoint{Commit: catalog.Commit{Point: record.Point}, Bundle: catalog.Bundle{Point: record.Point}},
	}
	if record.Act == Rollback {
		s.from = restore.FromSnapshots
		s.point.Commit = p.point.Commit
	}
	for i := range record.Claims {
		change := &record.Claims[i]
		claim := p.observed.Claim(p.Namespace, change.Claim)
		volume, pv, problem := p.contents(change)
		if change.To == nil && change.Snapshot == "" && problem == "" {
			change.Snapshot = filledBy(record.Point, volume)
		}
		state := stateOf(change, claim)
		s.states[change.Claim] = state
		p.plan.Claims = append(p.plan.Claims, ClaimPlan{Claim: change.Claim, State: state, Aside: change.From})
		switch {
		case problem != "":
			p.refuseClaim(change.Claim, problem, "choose another point, or leave it out")
			continue
		case state == Stray:
			p.refuseClaim(change.Claim, fmt.Sprintf("somebody made it anew while its disk was being replaced; it is %s on PersistentVolume %q, which holds nothing of what it had", claim.Status.Phase, claim.Spec.VolumeName),
				"scale its workload to 0, and delete the claim (make its PersistentVolume Retain first if what it holds is wanted); then run the same command again")
			continue
		case state == Untouched:
			s.leave[change.Claim] = true
		}
		made, err := p.manifest(change, claim, state)
		if err != nil {
			p.refuseClaim(change.Claim, err.Error(), "make the claim by hand from its PersistentVolume")
			continue
		}
		made.Spec.VolumeName = pv.Name
		volume.StorageClass = ""
		if made.Spec.StorageClassName != nil {
			volume.StorageClass = *made.Spec.StorageClassName
		}
		s.add(volume, pv, made)
	}
	return s
}

// contents is what a claim gets, as a point records it, and the PersistentVolume
// that it was, or is to be, bound to.
func (p *planner) contents(change *Change) (catalog.Volume, *corev1.PersistentVolume, string) {
	if change.To == nil {
		return p.captured(change.Claim)
	}
	pv := p.observed.Volume(change.To.Volume)
	if pv == nil || pv.UID != change.To.UID || pv.Spec.CSI == nil {
		return catalog.Volume{}, nil, "PersistentVolume " + change.To.Volume + ", which it is to get back, is gone"
	}
	pv = pv.DeepCopy()
	if ref := pv.Spec.ClaimRef; ref == nil || ref.Namespace != p.Namespace || ref.Name != change.Claim {
		return catalog.Volume{}, nil, "PersistentVolume " + pv.Name + ", which it is to get back, was given to another claim"
	}
	return catalog.Volume{
		Claim: p.plan.claimKey(change.Claim), PersistentVolume: pv.Name, Driver: pv.Spec.CSI.Driver, VolumeHandle: catalog.VolumeHandle(pv.Spec.CSI.VolumeHandle),
		Capacity: pv.Spec.Capacity.Storage().String(), Request: pv.Spec.Capacity.Storage().String(), ReclaimBefore: string(pv.Spec.PersistentVolumeReclaimPolicy), ReclaimAfter: "Retain",
	}, pv, ""
}

// captured finds the record of a claim in the point, and its PersistentVolume.
func (p *planner) captured(claim string) (catalog.Volume, *corev1.PersistentVolume, string) {
	records := p.point.Bundle.Volumes
	i := slices.IndexFunc(records, func(v catalog.Volume) bool { return v.Claim == p.plan.claimKey(claim) })
	if i < 0 {
		return catalog.Volume{}, nil, "the point does not hold it"
	}
	v := records[i]
	v.Workload, v.Template, v.Ordinal = nil, "", nil // they are stopped and started here
	for _, o := range p.point.Bundle.Objects {
		if o.GetKind() == "PersistentVolume" && o.GetName() == v.PersistentVolume {
			pv := &corev1.PersistentVolume{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, pv); err != nil {
				return v, nil, "its PersistentVolume in the point cannot be read: " + err.Error()
			}
			return v, pv, ""
		}
	}
	return v, nil, "the point lacks its PersistentVolume"
}

// manifest is the claim as it is to be made: that which a disk was set aside
// with, or the one that is there.
func (p *planner) manifest(change *Change, claim *corev1.PersistentVolumeClaim, state State) (*corev1.PersistentVolumeClaim, error) {
	from := change.To // its own claim comes back with it
	if from == nil && state == Missing {
		from = change.From
	}
	if from != nil {
		if pv := p.observed.Volume(from.Volume); pv != nil {
			if aside := asideOf(pv); aside != nil && aside.Claim.Name == change.Claim && aside.Claim.Namespace == p.Namespace {
				return aside.Claim.DeepCopy(), nil
			}
		}
	}
	if claim != nil {
		return bare(claim), nil
	}
	return nil, fmt.Errorf("it is gone, and PersistentVolume %s does not tell what it was like (annotation %s)", from.Volume, SetAsideAnnotation)
}

// bare is a claim as it can be made again, with what it says of itself.
func bare(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	c := claim.DeepCopy()
	made := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name, Labels: c.Labels, Annotations: c.Annotations},
		Spec:       c.Spec,
	}
	delete(made.Annotations, corev1.LastAppliedConfigAnnotation)
	return made
}

func (s *swap) add(volume catalog.Volume, pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) {
	pv.APIVersion, pv.Kind = "v1", "PersistentVolume"
	claim.APIVersion, claim.Kind = "v1", "PersistentVolumeClaim"
	s.point.Bundle.Volumes = append(s.point.Bundle.Volumes, volume)
	for _, object := range []runtime.Object{pv, claim} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			panic(fmt.Sprintf("convert %T: %v", object, err)) // the API's own types always convert
		}
		s.point.Bundle.Objects = append(s.point.Bundle.Objects, unstructured.Unstructured{Object: content})
	}
}

// request asks for all of the swap. What holds up Pods is no reason to leave
// claims without their data; the quota is that of the claims that go.
func (s *swap) request(ignore []Check) restore.Request {
	request := restore.Request{From: s.from, Ignore: []restore.Check{restore.CheckQuota, restore.CheckPodSecurity}, Mapping: restore.Mapping{KeepTracking: true}}
	if slices.Contains(ignore, CheckAutoscaler) {
		request.Ignore = append(request.Ignore, restore.CheckAutoscaler)
	}
	return request
}

// without is the world in which the claims that are to go have gone.
func (s *swap) without(o *restore.Observed) *restore.Observed {
	after := *o
	after.Claims = slices.DeleteFunc(slices.Clone(o.Claims), func(c corev1.PersistentVolumeClaim) bool { return s.leaves(c.Namespace, c.Name) })
	after.Volumes = slices.Clone(o.Volumes)
	for i := range after.Volumes {
		ref := after.Volumes[i].Spec.ClaimRef
		if ref != nil && s.leaves(ref.Namespace, ref.Name) && after.Volumes[i].Status.Phase == corev1.VolumeBound {
			after.Volumes[i].Status.Phase = corev1.VolumeReleased
			after.Volumes[i].Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain // it is made so first
		}
	}
	return &after
}

func (s *swap) leaves(namespace, name string) bool {
	return s.leave[name] && slices.ContainsFunc(s.point.Bundle.Volumes, func(v catalog.Volume) bool {
		return v.Claim == catalog.ClaimKey{Namespace: namespace, Name: name}
	})
}
