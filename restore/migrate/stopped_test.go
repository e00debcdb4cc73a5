package migrate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore/users"
)

// Somebody scales a workload up in the source after it was stopped: nothing is
// started in the target, though no Pod and no disk stands in the way yet.
func TestAWorkloadThatIsScaledUpInTheSourceIsNotStartedInTheTarget(t *testing.T) {
	m, plan := mover(t), planned(t)
	set := redisSet()
	set.Spec.Replicas = ptr.To[int32](0)
	set.Annotations = map[string]string{RecordAnnotation: fmt.Sprintf(`{"id":%q,"replicas":2}`, plan.ID)}
	m.Target.Kubernetes = fake.NewClientset(set)
	r := begun(t, m, plan, catalog.Forward)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // nobody makes Pods ready here
	defer cancel()
	if err := r.start(ctx); err == nil || !strings.Contains(err.Error(), "somebody has scaled statefulset/redis in the source to 2") {
		t.Errorf("it ends with %v", err)
	}
	u, err := users.Read(t.Context(), m.Target.Kubernetes, "shop", redis)
	if err != nil || u.Replicas != 0 {
		t.Errorf("the set has %d replicas in the target, want 0 (%v)", u.Replicas, err)
	}
}
