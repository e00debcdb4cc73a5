package rollback

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/restore/users"
)

// asidePatch is the merge patch that sets the PersistentVolume of claim aside:
// Retain, labelled with the act, and with the claim, so that it can be made
// again. It applies to that very PersistentVolume alone.
func asidePatch(record *Record, change *Change, claim *corev1.PersistentVolumeClaim) ([]byte, error) {
	aside := SetAside{ID: record.ID, Act: record.Act, Point: record.Point, Time: record.Started, Claim: bare(claim)}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":         change.From.UID,
			"labels":      map[string]any{record.Act.source(): nil, record.Act.label(): record.ID},
			"annotations": map[string]any{SetAsideAnnotation: users.Encode(aside)},
		},
		"spec": map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain},
	})
}

// backPatch takes what says that a disk was set aside off a PersistentVolume that
// has its claim again.
func backPatch(disk *Disk) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":         disk.UID,
			"labels":      map[string]any{UndoLabel: nil, UndoneLabel: nil},
			"annotations": map[string]any{SetAsideAnnotation: nil},
		},
	})
}

// stopPatch scales a workload to 0, makes a StatefulSet keep its claims, and
// records what is going on, in one write; nil if that is done already. It
// applies to the workload exactly as it was read, so that what it remembers is
// true.
func stopPatch(record *Record, u user) ([]byte, error) {
	own := *record
	own.Step, own.Replicas, own.Policy = StepStopped, u.Replicas, nil
	if !users.KeepsClaims(u.Policy) {
		own.Policy = u.Policy
	}
	former, err := recordOf(u.Object)
	if err != nil {
		return nil, err
	}
	if former != nil && former.ID != record.ID {
		return nil, fmt.Errorf("%s %s has begun meanwhile, by another run; wait for its end, and look at what is to be done again", former.Act, former.ID)
	}
	if former != nil { // of the same act, or of the one that this act turns back
		own.Replicas, own.Policy = former.Replicas, former.Policy
		if former.Act == own.Act && former.Step == StepStopped && u.Replicas == 0 && users.KeepsClaims(u.Policy) {
			return nil, nil
		}
	}
	spec := map[string]any{"replicas": 0}
	if !users.KeepsClaims(u.Policy) {
		spec["persistentVolumeClaimRetentionPolicy"] = users.RetainClaims
	}
	return json.Marshal(map[string]any{"metadata": annotated(u.Object, users.Encode(own)), "spec": spec})
}

// startPatch scales a workload back; nil if that is done already.
func startPatch(u user) ([]byte, error) {
	own, err := recordOf(u.Object)
	if err != nil || own == nil || own.Step == StepStarted {
		return nil, err
	}
	own.Step = StepStarted
	return json.Marshal(map[string]any{"metadata": annotated(u.Object, users.Encode(own)), "spec": map[string]any{"replicas": own.Replicas}})
}

// endPatch puts the retention policy of a StatefulSet back and takes the record
// off; nil if there is none.
func endPatch(u user) ([]byte, error) {
	own, err := recordOf(u.Object)
	if err != nil || own == nil {
		return nil, err
	}
	patch := map[string]any{"metadata": annotated(u.Object, nil)}
	if own.Policy != nil {
		patch["spec"] = map[string]any{"persistentVolumeClaimRetentionPolicy": own.Policy}
	}
	return json.Marshal(patch)
}

// annotated is the metadata of a patch that writes the record of an object
// exactly as it was read; nil removes it.
func annotated(object metav1.Object, record any) map[string]any {
	return map[string]any{
		"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(),
		"annotations": map[string]any{RecordAnnotation: record},
	}
}
