package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// StateName is the ConfigMap, in the agent's namespace, in which the leader
// keeps since when each schedule is in force. It can be deleted: then each is
// in force since the next start, and what was missed before is not caught up.
const StateName = "hawser-agent-state"

// stateKey holds map[string]inForce as JSON.
const stateKey = "schedules"

// inForce says since when a plan has the schedule it has. Occurrences before
// that are none of the plan's: to create, change or resume one starts nothing.
type inForce struct {
	Schedule string    `json:"schedule"` // as Schedule.String gives it
	Since    time.Time `json:"since"`
}

// enforce returns what is in force at now, and whether that differs from
// before. A plan that is paused, or has no schedule, is not.
func enforce(before map[string]inForce, plans []Plan, now time.Time) (map[string]inForce, bool) {
	after := map[string]inForce{}
	for _, p := range plans {
		if p.Paused || p.Schedule.IsZero() {
			continue
		}
		after[p.Name] = inForce{Schedule: p.Schedule.String(), Since: now.UTC()}
		if old, known := before[p.Name]; known && old.Schedule == p.Schedule.String() {
			after[p.Name] = old
		}
	}
	return after, !maps.Equal(before, after)
}

// readState returns what the ConfigMap says; nothing if there is none.
func readState(ctx context.Context, client kubernetes.Interface, namespace string) (map[string]inForce, error) {
	state := map[string]inForce{}
	object, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, StateName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", namespace, StateName, err)
	}
	if text := object.Data[stateKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			return nil, fmt.Errorf("ConfigMap %s/%s: %w; delete it, the agent makes it anew", namespace, StateName, err)
		}
	}
	return state, nil
}

// writeState makes the ConfigMap say state. Only the leader writes.
func writeState(ctx context.Context, client kubernetes.Interface, namespace string, state map[string]inForce) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps(namespace)
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: StateName, Labels: map[string]string{"app.kubernetes.io/managed-by": "hawser"}},
		Data:       map[string]string{stateKey: string(text)},
	}
	if _, err = configMaps.Update(ctx, object, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write ConfigMap %s/%s: %w", namespace, StateName, err)
	}
	return nil
}
