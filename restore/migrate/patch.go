package migrate

import (
	"fmt"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// A patchOf makes the merge patch that a run writes to a workload exactly as it
// was read; "" if nothing is to be done.
type patchOf func(users.User) (string, error)

// stopPatch scales a workload of the source to 0, makes a StatefulSet keep its
// claims, and remembers what was, in one write.
func stopPatch(id catalog.MigrationID, run int) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownOrNewRecord(u, id)
		if err != nil || u.Replicas == 0 && record.Run == run {
			return "", err
		}
		record.Run = run
		spec := map[string]any{"replicas": 0}
		keepClaims(spec, u)
		return written(u, map[string]any{RecordAnnotation: users.Encode(record)}, spec), nil
	}
}

// startPatch scales a workload of the target that a migration has put there to
// what its record says.
func startPatch(id catalog.MigrationID, run int) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil {
			return "", err
		}
		if record == nil {
			return "", fmt.Errorf("%s is not of migration %s any more; was it edited or made anew?", users.Named(u.Workload), id)
		}
		if u.Replicas != 0 || record.Replicas == 0 {
			return "", nil
		}
		record.Run = run
		return written(u, map[string]any{RecordAnnotation: users.Encode(record)}, map[string]any{"replicas": record.Replicas}), nil
	}
}

// reservePatch makes a workload that was left in the target by an earlier
// migration this one's: it stays at 0.
func reservePatch(id catalog.MigrationID, run int, replicas int32) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil || record != nil {
			return "", err
		}
		if u.Replicas != 0 {
			return "", fmt.Errorf("%s is in the target and has %d replicas; scale it to 0", users.Named(u.Workload), u.Replicas)
		}
		spec := map[string]any{}
		keepClaims(spec, u)
		return written(u, map[string]any{RecordAnnotation: users.Encode(Record{ID: id, Run: run, Replicas: replicas, Policy: u.Policy})}, spec), nil
	}
}

// endPatch takes the record off a workload of the target, which is where it
// belongs now.
func endPatch(id catalog.MigrationID) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil || record == nil {
			return "", err
		}
		return written(u, map[string]any{RecordAnnotation: nil, MovedAnnotation: nil}, formerPolicy(record)), nil
	}
}

// movedPatch writes on a workload of the source where it went, in place of the
// record. It stays at 0, and keeps its claims.
func movedPatch(moved Moved) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, moved.ID)
		if err != nil {
			return "", err
		}
		if there, err := movedOf(u.Object); err != nil || record == nil && there != nil {
			return "", err
		}
		if u.Replicas != 0 {
			return "", fmt.Errorf("its disks are in cluster %s now, and it has %d replicas; scale it to 0, and run the same command again", clusterText(moved.To), u.Replicas)
		}
		return written(u, map[string]any{RecordAnnotation: nil, MovedAnnotation: users.Encode(moved)}, nil), nil
	}
}

// holdPatch makes a run of a rollback the one that has written to a workload of
// the source, so that no write of an earlier run can land any more.
func holdPatch(id catalog.MigrationID, run int) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownOrNewRecord(u, id)
		if err != nil {
			return "", err
		}
		record.Run = run
		return written(u, map[string]any{RecordAnnotation: users.Encode(record)}, nil), nil
	}
}

// haltPatch scales a workload of the target to 0 if the migration has put it
// there.
func haltPatch(id catalog.MigrationID, run int) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil || record == nil {
			return "", err
		}
		record.Run = run
		spec := map[string]any{"replicas": 0}
		keepClaims(spec, u)
		return written(u, map[string]any{RecordAnnotation: users.Encode(record)}, spec), nil
	}
}

// backPatch makes a workload what its record says it was, and takes that off.
func backPatch(id catalog.MigrationID) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil || record == nil {
			return "", err
		}
		spec := formerPolicy(record)
		spec["replicas"] = record.Replicas
		return written(u, map[string]any{RecordAnnotation: nil}, spec), nil
	}
}

// unreservePatch leaves a workload that an earlier migration had left in the
// target as it was.
func unreservePatch(id catalog.MigrationID) patchOf {
	return func(u users.User) (string, error) {
		record, err := ownRecord(u, id)
		if err != nil || record == nil {
			return "", err
		}
		return written(u, map[string]any{RecordAnnotation: nil}, formerPolicy(record)), nil
	}
}

// ownRecord is the record of a migration on a workload; nil: there is none. That
// of another one is an error.
func ownRecord(u users.User, id catalog.MigrationID) (*Record, error) {
	record, err := recordOf(u.Object)
	if err != nil || record == nil {
		return nil, err
	}
	if record.ID != id {
		return nil, fmt.Errorf("%s is being taken away by migration %s; finish that, or lead it back with `hawser migrate --rollback %s`", users.Named(u.Workload), record.ID, record.ID)
	}
	return record, nil
}

// ownOrNewRecord is the record of a migration on a workload, or, of one that has
// none, how it is.
func ownOrNewRecord(u users.User, id catalog.MigrationID) (*Record, error) {
	record, err := ownRecord(u, id)
	if err == nil && record == nil {
		record = &Record{ID: id, Replicas: u.Replicas, Policy: u.Policy}
	}
	return record, err
}

func keepClaims(spec map[string]any, u users.User) {
	if !users.KeepsClaims(u.Policy) {
		spec["persistentVolumeClaimRetentionPolicy"] = users.RetainClaims
	}
}

// formerPolicy is what a StatefulSet said of its claims.
func formerPolicy(record *Record) map[string]any {
	spec := map[string]any{}
	if record.Policy != nil && !users.KeepsClaims(record.Policy) {
		spec["persistentVolumeClaimRetentionPolicy"] = record.Policy
	}
	return spec
}

// written is the patch of annotations and spec that applies to a workload exactly
// as it was read.
func written(u users.User, annotations, spec map[string]any) string {
	patch := map[string]any{"metadata": map[string]any{
		"uid": u.Object.GetUID(), "resourceVersion": u.Object.GetResourceVersion(), "annotations": annotations,
	}}
	if len(spec) > 0 {
		patch["spec"] = spec
	}
	return users.Encode(patch)
}
