package migrate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
	"hawser.dev/hawser/restore/users"
)

// landing plans what is created in the target, by a run: what the source has,
// with the workloads at 0, or as they will run.
func (p *Plan) landing(point *catalog.RestorePoint, observed *restore.Observed, run int, running bool) (*restore.Plan, error) {
	return restore.NewPlan(p.arriving(point, run), p.request(running), observed)
}

// request is that of the landing.
func (p *Plan) request(running bool) restore.Request {
	from := restore.FromDisks
	if p.options.Way == catalog.WayCopy {
		from = restore.FromSnapshots
	}
	request := restore.Request{From: from, Mapping: p.options.Mapping, Ignore: ignored(p.options, restore.Checks)}
	request.Mapping.Replicas = nil
	if !running {
		request.Mapping.Replicas = map[catalog.Workload]int32{{}: 0}
	}
	return request
}

// arriving is what the source has, as it is to be in the target: marked as made by
// the migration, with the number of replicas that it had before or that was asked
// for, and keeping its claims for now. The input is not changed.
func (p *Plan) arriving(point *catalog.RestorePoint, run int) *catalog.RestorePoint {
	out := &catalog.RestorePoint{Commit: point.Commit, Bundle: point.Bundle}
	out.Bundle.Objects = nil
	for _, object := range point.Bundle.Objects {
		o := *object.DeepCopy()
		switch o.GetKind() {
		case "PersistentVolume", "PersistentVolumeClaim":
			p.mark(&o, nil)
		case "StatefulSet", "Deployment":
			p.arrive(&o, run)
		}
		out.Bundle.Objects = append(out.Bundle.Objects, o)
	}
	return out
}

// mark says on an object by which migration it was made.
func (p *Plan) mark(o *unstructured.Unstructured, record *Record) {
	annotations := maps.Clone(o.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	delete(annotations, MovedAnnotation)
	delete(annotations, RecordAnnotation)
	annotations[MadeByAnnotation] = string(p.ID)
	if record != nil {
		annotations[RecordAnnotation] = users.Encode(record)
	}
	o.SetAnnotations(annotations)
}

// arrive makes a workload of the source the one of the target. If it was stopped
// already, its own record tells how it was.
func (p *Plan) arrive(o *unstructured.Unstructured, run int) {
	record := Record{ID: p.ID, Run: run, Replicas: 1}
	if replicas, found, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); found {
		record.Replicas = int32(replicas)
	}
	if o.GetKind() == "StatefulSet" {
		set := &appsv1.StatefulSet{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, set) == nil {
			record.Policy = set.Spec.PersistentVolumeClaimRetentionPolicy
		}
	}
	if former, err := recordOf(o); err == nil && former != nil && former.ID == p.ID {
		record.Replicas, record.Policy = former.Replicas, former.Policy
	}
	record.Replicas = p.options.replicasOf(catalog.Workload{Kind: o.GetKind(), Name: o.GetName()}, record.Replicas)
	if p.options.Way == catalog.WayCopy { // nobody has to wait for anybody
		p.mark(o, nil)
		unstructured.SetNestedField(o.Object, int64(record.Replicas), "spec", "replicas")
		return
	}
	p.mark(o, &record)
	spec, ok := o.Object["spec"].(map[string]any)
	if !ok {
		return
	}
	spec["replicas"] = int64(record.Replicas)
	if o.GetKind() == "StatefulSet" && !users.KeepsClaims(record.Policy) {
		spec["persistentVolumeClaimRetentionPolicy"] = map[string]any{"whenScaled": "Retain", "whenDeleted": "Retain"}
	}
}

// replicasOf is how many replicas a workload of the source starts with in the
// target; had is how many it had.
func (o Options) replicasOf(w catalog.Workload, had int32) int32 {
	for _, key := range []catalog.Workload{w, {}} {
		if count, asked := o.Mapping.Replicas[key]; asked {
			return count
		}
	}
	return had
}

// land plans what is created in the target, and checks it as it will run.
func (p *planner) land() {
	p.checkReplicas()
	point := foreseen(p.seen.Point, p.plan.Way, p.seen.Now)
	asRunning, err := p.plan.landing(point, p.seen.InTarget, 0, true)
	if err == nil {
		p.plan.Landing, err = p.plan.landing(point, p.seen.InTarget, 0, p.plan.Way == catalog.WayCopy)
	}
	if refused := (*restore.RefusedError)(nil); errors.As(err, &refused) {
		p.add("target", refused.Refusals)
		return
	}
	if err != nil {
		p.refuse("Cluster", "", p.seen.Source.UID, err.Error(), "report this as a bug")
		return
	}
	if !p.plan.Resumes {
		p.name()
	}
	p.checkLanded()
	for _, note := range asRunning.Notes {
		if !strings.HasSuffix(note, "starts it") && !strings.HasPrefix(note, "not in the point: ") {
			p.note("in the target: %s", note)
		}
	}
}

// checkReplicas refuses numbers for what is not migrated.
func (p *planner) checkReplicas() {
	for w := range p.options.Mapping.Replicas {
		if w.Name != "" && !slices.ContainsFunc(p.stopped, func(u users.User) bool { return u.Workload == w }) {
			p.refuse(w.Kind, "", w.Name, "it is not among what is to be migrated", "correct --replicas")
		}
	}
}

// name writes down what workloads and volumes are called in the target.
func (p *planner) name() {
	m := &p.plan.migration
	mapping := p.options.Mapping
	namespace := restore.Mapped(mapping.Namespaces, p.options.Namespace)
	for i := range m.Workloads {
		w := &m.Workloads[i]
		w.TargetNamespace, w.TargetName = namespace, w.Name
		if w.Kind == "StatefulSet" {
			w.TargetName = restore.Mapped(mapping.Sets, w.Name)
		}
	}
	for i := range m.Volumes { // the landing has them in the same order
		landed := p.plan.Landing.Volumes[i]
		m.Volumes[i].TargetClaim, m.Volumes[i].TargetVolume = landed.Claim, landed.VolumeName
	}
	p.plan.Workloads, p.plan.Volumes = m.Workloads, m.Volumes
}

// checkLanded refuses a workload that is in the target already, unless it is this
// very one: put there by this migration, or left there by an earlier one.
func (p *planner) checkLanded() {
	there := users.Observed{Observed: p.seen.InTarget}
	arriving, _, err := restore.Remap(p.plan.arriving(p.seen.Point, 0), p.plan.request(true).Mapping)
	if err != nil {
		return // the landing was refused for it
	}
	for _, w := range p.plan.Workloads {
		for _, u := range there.Users() {
			if u.Kind != w.Kind || u.Name != w.TargetName || u.Object.GetNamespace() != w.TargetNamespace {
				continue
			}
			if problem, remedy := p.mayReuse(u, arriving); problem != "" {
				p.refuse(u.Kind, w.TargetNamespace, u.Name, "in the target: "+problem, remedy)
			}
		}
	}
}

// mayReuse says why an existing workload of the target cannot be the one that is
// migrated, or returns "".
func (p *planner) mayReuse(u users.User, arriving *catalog.RestorePoint) (problem, remedy string) {
	record, err := recordOf(u.Object)
	moved, movedErr := movedOf(u.Object)
	madeBy := u.Object.GetAnnotations()[MadeByAnnotation]
	switch {
	case err != nil:
		return err.Error(), "was it edited? put it right"
	case record != nil && record.ID == p.plan.ID:
		return "", ""
	case record != nil:
		return "migration " + string(record.ID) + " has it", fmt.Sprintf("finish that, or lead it back with `hawser migrate --rollback %s`", record.ID)
	case movedErr != nil:
		return movedErr.Error(), "was it edited? put it right"
	case moved == nil && (madeBy == "" || u.Replicas != 0):
		return fmt.Sprintf("it exists, with %d replicas, and nothing is overwritten", u.Replicas), "delete it, or give the one that comes another name (--set-name, --map-namespace)"
	case u.Replicas != 0:
		return fmt.Sprintf("it was moved away by migration %s, and has %d replicas all the same", moved.ID, u.Replicas), "scale it to 0"
	case !sameSpec(u, arriving):
		left := madeBy
		if moved != nil {
			left = string(moved.ID)
		}
		return "it was left there by migration " + left + ", and is not what comes back: it has changed in the source meanwhile", fmt.Sprintf("`hawser migrate --cleanup %s` removes what was left there, and no disk", left)
	}
	return "", ""
}

// sameSpec says whether a workload is that of a point but for its replicas and
// what becomes of its claims.
func sameSpec(u users.User, point *catalog.RestorePoint) bool {
	i := slices.IndexFunc(point.Bundle.Objects, holds(u.Workload))
	if i < 0 {
		return false
	}
	object := point.Bundle.Objects[i].Object
	switch have := u.Object.(type) {
	case *appsv1.StatefulSet:
		want := &appsv1.StatefulSet{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(object, want) != nil {
			return false
		}
		a, b := have.Spec.DeepCopy(), want.Spec.DeepCopy()
		for _, spec := range []*appsv1.StatefulSetSpec{a, b} {
			spec.Replicas, spec.PersistentVolumeClaimRetentionPolicy = nil, nil
			for i := range spec.VolumeClaimTemplates { // how they are sent does not count
				t := &spec.VolumeClaimTemplates[i]
				t.TypeMeta, t.CreationTimestamp, t.Status = metav1.TypeMeta{}, metav1.Time{}, corev1.PersistentVolumeClaimStatus{}
			}
		}
		return equality.Semantic.DeepEqual(a, b)
	case *appsv1.Deployment:
		want := &appsv1.Deployment{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(object, want) != nil {
			return false
		}
		a, b := have.Spec.DeepCopy(), want.Spec.DeepCopy()
		a.Replicas, b.Replicas = nil, nil
		return equality.Semantic.DeepEqual(a, b)
	}
	return false
}

// holds finds a workload among objects.
func holds(w catalog.Workload) func(unstructured.Unstructured) bool {
	return func(o unstructured.Unstructured) bool { return o.GetKind() == w.Kind && o.GetName() == w.Name }
}
