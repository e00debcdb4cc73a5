package restore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

// Check is a condition that does not endanger data, and that the user may know
// better: it can be left out of the planning.
type Check string

const (
	CheckNodes       Check = "nodes"        // a node can reach each volume
	CheckSecrets     Check = "secrets"      // the Secrets that a CSI source names exist
	CheckQuota       Check = "quota"        // ResourceQuotas have room
	CheckPodSecurity Check = "pod-security" // the namespace admits the Pods
	CheckAutoscaler  Check = "autoscaler"   // nothing scales the workload up meanwhile
)

// Checks are all that can be left out.
var Checks = []Check{CheckNodes, CheckSecrets, CheckQuota, CheckPodSecurity, CheckAutoscaler}

// object says what a refusal or a note is about.
type object struct{ kind, namespace, name string }

// fail refuses, once, what check found, or notes it where the check is left out.
func (p *planner) fail(check Check, about object, problem, remedy string) {
	refusal := Refusal{Kind: about.kind, Namespace: about.namespace, Name: about.name, Problem: problem, Remedy: remedy + "; or --ignore-checks=" + string(check)}
	if slices.Contains(p.request.Ignore, check) {
		p.note("ignored (%s): %s", check, refusal)
		return
	}
	if !slices.Contains(p.refusals, refusal) {
		p.refusals = append(p.refusals, refusal)
	}
}

func (p *planner) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(p.plan.Notes, note) {
		p.plan.Notes = append(p.plan.Notes, note)
	}
}

// foresee lets the steps of the plan happen in a model of the volume binder,
// and refuses where a claim would not end on its disk.
func (p *planner) foresee() {
	p.checkUsurpers()
	after := p.after(func(Step) bool { return true }).settle()
	for _, v := range p.plan.Volumes {
		got := after[v.Claim]
		switch {
		case v.Way == FromSnapshot && (got.Volume == "" || p.ownVolume(got.Volume, v.Claim)): // a disk is, or was, made for it
		case v.Way == FromSnapshot:
			p.refuseUsurper(got.Volume, v.Claim)
		case got.Phase != corev1.ClaimBound || got.Volume != v.VolumeName:
			p.refuseClaim(v.Claim, fmt.Sprintf("it would not be bound to PersistentVolume %s: %s", v.VolumeName, cmp.Or(got.Reason, "it would be bound to "+got.Volume)),
				"delete the claim, once no Pod uses it, and run the restore again")
		}
	}
}

// after is the model in which the steps that count have been done.
func (p *planner) after(counts func(Step) bool) *binder {
	b := newBinder(p.observed.Observed)
	for _, step := range p.plan.Steps() {
		if !counts(step) {
			continue
		}
		if err := b.do(step); err != nil {
			p.refuse(step.Kind, step.Namespace, step.Name, err.Error(), "report this as a bug")
		}
	}
	return b
}

// ownVolume says whether an existing claim is bound to a volume, or the volume
// was made for it.
func (p *planner) ownVolume(name string, key catalog.ClaimKey) bool {
	claim, volume := p.observed.claim(key), p.observed.volume(name)
	return claim != nil && volume != nil && volume.Spec.ClaimRef != nil && volume.Spec.ClaimRef.UID == claim.UID
}

// checkUsurpers refuses while a volume would be bound to a claim in place of a
// disk from its snapshot, whether by the binder or, where the class waits for
// a Pod, by the scheduler, which looks for a match by the same rules then.
func (p *planner) checkUsurpers() {
	if len(p.unnamed) == 0 {
		return
	}
	b := p.after(func(step Step) bool { return step.Kind == "PersistentVolume" })
	b.settle()
	for _, claim := range p.unnamed {
		if found := b.match(claim, false); found != nil {
			p.refuseUsurper(found.Name, keyOf(claim))
		}
	}
}

// refuseUsurper refuses to make a claim that is to be filled from a snapshot
// while a volume would be bound to it: the binder looks for a match before a
// disk is made, and does not look at the claim's dataSource (syncUnboundClaim
// in pv_controller.go).
func (p *planner) refuseUsurper(volume string, claim catalog.ClaimKey) {
	refusal := Refusal{
		Kind: "PersistentVolume", Name: volume, Problem: "it is Available and would be bound to claim " + claim.String() + " in place of a disk from the snapshot",
		Remedy: "delete that PersistentVolume object (make it Retain first to keep its disk) or reserve it for another claim",
	}
	if !slices.Contains(p.refusals, refusal) {
		p.refusals = append(p.refusals, refusal)
	}
}

// checkNodes refuses a volume that no node can reach: its Pod would never be
// scheduled.
func (p *planner) checkNodes() {
	for _, v := range p.plan.Volumes {
		pv := p.finalVolume(v)
		if pv == nil || v.Way == FromSnapshot {
			continue
		}
		if len(p.observed.having[v.driver]) == 0 && len(p.observed.Nodes) > 0 {
			p.note("no node has registered driver %s: no Pod can use the volumes of it yet", v.driver)
		}
		if len(p.observed.Machines) == 0 || slices.ContainsFunc(p.observed.Machines, func(n corev1.Node) bool { return reachable(*pv, &n) }) {
			continue
		}
		p.fail(CheckNodes, object{"PersistentVolume", "", pv.Name}, "no node matches its node affinity ("+affinityText(pv)+"), so no Pod could use claim "+v.Claim.String(),
			"add a node there, or say what a zone is called here with --zone OLD=NEW")
	}
}

// finalVolume is the PersistentVolume of a claim as it is after the plan's steps,
// or nil if it is not known yet.
func (p *planner) finalVolume(v VolumePlan) *corev1.PersistentVolume {
	for _, step := range v.Steps {
		if step.Kind == "PersistentVolume" && step.Action == Create {
			pv := &corev1.PersistentVolume{}
			if err := typed(*step.Object, pv); err != nil {
				return nil
			}
			return pv
		}
	}
	return p.observed.volume(v.VolumeName)
}

func affinityText(pv *corev1.PersistentVolume) string {
	var terms []string
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		var expressions []string
		for _, e := range term.MatchExpressions {
			expressions = append(expressions, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Key, e.Operator, strings.Join(e.Values, ","))))
		}
		terms = append(terms, strings.Join(expressions, " and "))
	}
	return strings.Join(terms, " or ")
}

// checkSecrets refuses a volume whose driver needs a Secret that is not there.
func (p *planner) checkSecrets() {
	created := map[types.NamespacedName]bool{}
	for _, step := range p.plan.Prepare {
		created[types.NamespacedName{Namespace: step.Namespace, Name: step.Name}] = step.Kind == "Secret"
	}
	for _, v := range p.plan.Volumes {
		pv := p.finalVolume(v)
		if pv == nil || v.Way != Reattach {
			continue
		}
		for _, ref := range secretsOf(pv) {
			switch state := p.observed.SecretStates[ref]; {
			case created[ref] || state == SecretPresent:
			case state == SecretAbsent:
				p.fail(CheckSecrets, object{"Secret", ref.Namespace, ref.Name}, "it does not exist, and the driver needs it to use PersistentVolume "+pv.Name,
					"create it; or back up with --include-secrets if a workload uses it")
			default:
				p.note("Secret %s, which the driver needs for PersistentVolume %s, could not be looked at; make sure that it exists", ref, pv.Name)
			}
		}
	}
}

// secretsOf are the Secrets that a volume's CSI source names.
func secretsOf(pv *corev1.PersistentVolume) []types.NamespacedName {
	csi := pv.Spec.CSI
	if csi == nil {
		return nil
	}
	var names []types.NamespacedName
	for _, ref := range []*corev1.SecretReference{csi.ControllerPublishSecretRef, csi.NodeStageSecretRef, csi.NodePublishSecretRef, csi.ControllerExpandSecretRef, csi.NodeExpandSecretRef} {
		if ref == nil {
			continue
		}
		if name := (types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// checkAttributes refuses to have a disk made with a VolumeAttributesClass that
// is not there, and notes that one is missing for a disk that exists.
func (p *planner) checkAttributes() {
	for _, v := range p.plan.Volumes {
		for _, step := range v.Steps {
			if step.Kind != "PersistentVolumeClaim" || step.Action != Create {
				continue
			}
			claim := &corev1.PersistentVolumeClaim{}
			if err := typed(*step.Object, claim); err != nil {
				continue
			}
			name := ptr.Deref(claim.Spec.VolumeAttributesClassName, "")
			if name == "" || !p.observed.AttributesKnown || p.hasAttributesClass(name, v.driver) {
				continue
			}
			if v.Way == FromSnapshot {
				p.refuse("VolumeAttributesClass", "", name, "it does not exist for driver "+v.driver+", and claim "+v.Claim.String()+" needs it to get a disk",
					"create it, or take it off with --patch-file: remove /spec/volumeAttributesClassName")
				continue
			}
			p.note("VolumeAttributesClass %s does not exist for driver %s; claim %s is bound all the same", name, v.driver, v.Claim)
		}
	}
}

// checkAutoscalers looks at what could scale a workload that is at 0 up while
// its claims are restored. A HorizontalPodAutoscaler leaves 0 alone; KEDA does
// not.
func (p *planner) checkAutoscalers() {
	for _, v := range p.volumes {
		w := v.Workload
		if w == nil || !p.changes(v.Claim) {
			continue
		}
		existing := p.observed.workload(w.Kind, v.Claim.Namespace, w.Name)
		if existing == nil || existing.wanted != 0 {
			continue
		}
		for _, hpa := range p.observed.Autoscalers {
			if hpa.Namespace != v.Claim.Namespace || hpa.Spec.ScaleTargetRef.Kind != w.Kind || hpa.Spec.ScaleTargetRef.Name != w.Name {
				continue
			}
			target := strings.ToLower(w.Kind) + "/" + w.Name
			if scaler := scaledObject(hpa.ObjectMeta.OwnerReferences); scaler != "" {
				p.fail(CheckAutoscaler, object{"ScaledObject", hpa.Namespace, scaler}, "it may scale "+target+" up from 0 at any moment, before its claims are restored",
					fmt.Sprintf("delete it, or pause it until its HorizontalPodAutoscaler %s is gone: `kubectl annotate -n %s scaledobject/%s autoscaling.keda.sh/paused=true`", hpa.Name, hpa.Namespace, scaler))
				continue
			}
			p.note("HorizontalPodAutoscaler %s/%s rests while %s is at 0, and scales it again once it is started", hpa.Namespace, hpa.Name, target)
		}
	}
}

func (p *planner) hasAttributesClass(name, driver string) bool {
	return slices.ContainsFunc(p.observed.AttributesClasses, func(c storagev1.VolumeAttributesClass) bool {
		return c.Name == name && c.DriverName == driver
	})
}

// scaledObject is the KEDA ScaledObject that owns a HorizontalPodAutoscaler, or "".
func scaledObject(owners []metav1.OwnerReference) string {
	for _, owner := range owners {
		if owner.Kind == "ScaledObject" {
			return owner.Name
		}
	}
	return ""
}
