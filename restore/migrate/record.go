package migrate

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// What a migration writes on objects.
const (
	// RecordAnnotation is on the workloads of both sides while a migration is under
	// way: a Record.
	RecordAnnotation = "hawser.dev/migration"
	// MadeByAnnotation is on the workloads, claims and PersistentVolumes that a
	// migration has made in its target: its id.
	MadeByAnnotation = "hawser.dev/migrated-by"
	// MovedAnnotation is on the workloads, claims and PersistentVolumes that a
	// committed migration has left in its source: a Moved.
	MovedAnnotation = "hawser.dev/moved"
)

// Record says that a migration is under way, and how the workload was before.
type Record struct {
	ID  catalog.MigrationID `json:"id"`
	Run int                 `json:"run"` // that has written it
	// Replicas is how many the workload had in the source, or is to have in the
	// target, and Policy, of a StatefulSet, what becomes of claims; nil if nothing
	// was said of them.
	Replicas int32                                                   `json:"replicas"`
	Policy   *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy `json:"policy,omitempty"`
}

// Moved says where an object's workload is now.
type Moved struct {
	ID   catalog.MigrationID `json:"id"`
	To   catalog.Cluster     `json:"to"`
	Time time.Time           `json:"time"`
}

// recordOf reads the record that a workload bears; nil: none.
func recordOf(object metav1.Object) (*Record, error) {
	return users.Annotation[Record](object, RecordAnnotation)
}

// movedOf reads where an object's workload went; nil: nowhere.
func movedOf(object metav1.Object) (*Moved, error) {
	return users.Annotation[Moved](object, MovedAnnotation)
}
