package restore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Moved compares a plan with one that was made later for the same restore. It
// returns nil if both come to the same, else a *RefusedError that shows what the
// later one would do differently: since nothing else enters into a plan, the
// cluster has changed where the first one rests on it. The plans may have been
// read back from JSON. That an object was written to without a change that
// matters, its resourceVersion, is no difference.
func Moved(before, after *Plan) error {
	was, is := before.byObject(), after.byObject()
	var refusals []Refusal
	seen := sets.New[objectKey]()
	for _, key := range slices.Concat(before.objects(), after.objects()) {
		if seen.Has(key) || was[key].meaning == is[key].meaning || doneAlready(key, was[key], is[key]) {
			continue
		}
		seen.Insert(key)
		refusals = append(refusals, Refusal{
			Kind: key.kind, Namespace: key.namespace, Name: key.name,
			Problem: fmt.Sprintf("the cluster has changed since the plan was made: then %s, now %s", cmp.Or(was[key].text, "nothing"), cmp.Or(is[key].text, "nothing")),
			Remedy:  "look at what would be done now (--dry-run), and run the restore again",
		})
	}
	if len(refusals) == 0 {
		return nil
	}
	return &RefusedError{Refusals: refusals}
}

// intent is what a plan does with one object: in words, and so that two can be
// compared.
type intent struct {
	text, meaning string
	action        Action
	data          string // of a claim: what it gets
}

// doneAlready says whether the later plan keeps what the first would have made,
// for the same data: an earlier run of the restore, or the binder, was at it.
func doneAlready(key objectKey, was, is intent) bool {
	ofVolumes := slices.Contains([]string{"PersistentVolume", "PersistentVolumeClaim", "VolumeSnapshot", "VolumeSnapshotContent"}, key.kind)
	kept := was.action != "" && is.action == KeepAsIs || was.action == KeepAsIs && is.action == ""
	return ofVolumes && kept && was.data == is.data
}

// objects are the objects of the plan's steps, in order.
func (p *Plan) objects() []objectKey {
	var keys []objectKey
	for _, step := range p.Steps() {
		keys = append(keys, objectKey{step.Kind, step.Namespace, step.Name})
	}
	return keys
}

// byObject says what the plan does with each object.
func (p *Plan) byObject() map[objectKey]intent {
	out := map[objectKey]intent{}
	for _, step := range p.Steps() {
		out[objectKey{step.Kind, step.Namespace, step.Name}] = intent{
			text: fmt.Sprintf("%s (%s)", step.Action, step.Reason), action: step.Action,
			meaning: fmt.Sprintln(step.Action, meaningOf(step.Object), meaningOf(step.Patch)),
		}
	}
	for _, v := range p.Volumes {
		key := objectKey{"PersistentVolumeClaim", v.Claim.Namespace, v.Claim.Name}
		claim := out[key]
		claim.data = fmt.Sprintln(v.Data, v.VolumeName)
		claim.text = fmt.Sprintf("%s from %s (%s), %s", v.Way, v.Data, v.Reason, claim.text)
		claim.meaning += claim.data
		out[key] = claim
	}
	return out
}

// meaningOf is a patch or an object in one form, without the resourceVersion
// that a patch asks for.
func meaningOf(value any) string {
	if patch, ok := value.(string); ok {
		var content map[string]any
		if json.Unmarshal([]byte(patch), &content) != nil {
			return patch
		}
		if metadata, ok := content["metadata"].(map[string]any); ok {
			delete(metadata, "resourceVersion")
		}
		value = content
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

// again looks at what a plan rests on once more, and plans anew. It returns the
// new plan if it comes to the same, with the resourceVersions of now.
func (r *Restorer) again(ctx context.Context, plan *Plan) (*Plan, error) {
	observed := *plan.observed
	if err := r.observeMoving(ctx, plan.target, &observed); err != nil {
		return nil, fmt.Errorf("look at the cluster once more: %w", err)
	}
	fresh, err := plan.target.plan(&observed)
	if err != nil {
		return nil, err
	}
	if err := Moved(plan, fresh); err != nil {
		return nil, err
	}
	return fresh, nil
}

// observeMoving lists again what others may change at any moment, and a restore
// must not get wrong: volumes, claims, what runs, pointers to snapshots, and who
// owns disks.
func (r *Restorer) observeMoving(ctx context.Context, t *target, o *Observed) error {
	namespace := t.namespace()
	core, apps := r.Kubernetes.CoreV1(), r.Kubernetes.AppsV1()
	o.Volumes, o.Claims, o.StatefulSets = nil, nil, nil
	reads := []func() error{
		func() error {
			return Collect(ctx, "persistentvolumeclaims", core.PersistentVolumeClaims(namespace).List, &o.Claims)
		},
		func() error { return Collect(ctx, "persistentvolumes", core.PersistentVolumes().List, &o.Volumes) },
		func() error { return Collect(ctx, "statefulsets", apps.StatefulSets(namespace).List, &o.StatefulSets) },
	}
	if t.holds("Deployment") {
		o.Deployments = nil
		reads = append(reads, func() error { return Collect(ctx, "deployments", apps.Deployments(namespace).List, &o.Deployments) })
	}
	if t.holds("Pod") {
		o.Pods = nil
		reads = append(reads, func() error { return Collect(ctx, "pods", core.Pods(namespace).List, &o.Pods) })
	}
	reads = append(reads, func() error { return r.observeOwners(ctx, o) }) // last: as late as can be
	for _, read := range reads {
		if err := read(); err != nil {
			return err
		}
	}
	if !o.SnapshotAPI || t.request.From == FromDisks {
		return nil
	}
	o.SnapshotClasses, o.Contents, o.Snapshots = nil, nil, nil
	return r.observeSnapshots(ctx, namespace, o)
}
