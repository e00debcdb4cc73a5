package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// StateName is the ConfigMap, in the agent's namespace, in which the leader
// keeps since when each schedule is in force, and what was told of each plan.
// It can be deleted: then each schedule is in force since the next start, what
// was missed before is not caught up, and what still fails is told once more.
const StateName = "hawser-agent-state"

// The keys of the ConfigMap. The values are JSON.
const (
	schedulesKey = "schedules" // map[string]inForce, by plan
	toldKey      = "told"      // map[string]Told, by plan
)

// inForce says since when a plan has the schedule it has. Occurrences before
// that are none of the plan's: to create, change or resume one starts nothing.
type inForce struct {
	Schedule string    `json:"schedule"` // as Schedule.String gives it
	Since    time.Time `json:"since"`
}

// has says whether an occurrence is one of the schedule; the zero value has none.
func (f inForce) has(occurrence time.Time) bool {
	return f.Schedule != "" && occurrence.After(f.Since)
}

// enforce returns what is in force at now, and whether that differs from
// before. A plan that is paused, or has no schedule, is not. A time that is yet to
// come was kept by a clock that was wrong, and is now.
func enforce(before map[string]inForce, plans []Plan, now time.Time) (map[string]inForce, bool) {
	after := map[string]inForce{}
	for _, p := range plans {
		if p.Paused || p.Schedule.IsZero() {
			continue
		}
		after[p.Name] = inForce{Schedule: p.Schedule.String(), Since: now.UTC()}
		if old, known := before[p.Name]; known && old.Schedule == p.Schedule.String() && !old.Since.After(now) {
			after[p.Name] = old
		}
	}
	return after, !maps.Equal(before, after)
}

// memory is what the leader keeps in the ConfigMap.
type memory struct {
	client    kubernetes.Interface
	namespace string

	mu   sync.Mutex
	held map[string]string // what the ConfigMap says, by key
}

// errDamaged: the ConfigMap says what no agent has written.
var errDamaged = errors.New("damaged")

// memoryTime bounds a write of the ConfigMap, for which the agent's loop waits.
const memoryTime = 10 * time.Second

// recall reads the ConfigMap into schedules and told, which stay as they are if
// there is none. If it fails with errDamaged, it has read what is not.
func (m *memory) recall(ctx context.Context, schedules *map[string]inForce, told *map[string]Told) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = map[string]string{}
	object, err := m.client.CoreV1().ConfigMaps(m.namespace).Get(ctx, StateName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read ConfigMap %s/%s: %w", m.namespace, StateName, err)
	}
	return errors.Join(recallKey(m, object, schedulesKey, schedules), recallKey(m, object, toldKey, told))
}

func recallKey[T any](m *memory, object *corev1.ConfigMap, key string, into *T) error {
	text := object.Data[key]
	if text == "" {
		return nil
	}
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %s: %w: %w", m.namespace, StateName, key, errDamaged, err)
	}
	*into, m.held[key] = value, text
	return nil
}

// keep makes the ConfigMap say value under key. Only the leader writes.
func (m *memory) keep(ctx context.Context, key string, value any) error {
	ctx, cancel := context.WithTimeout(ctx, memoryTime)
	defer cancel()
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data := maps.Clone(m.held)
	if data == nil {
		data = map[string]string{}
	}
	data[key] = string(text)
	configMaps := m.client.CoreV1().ConfigMaps(m.namespace)
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: StateName, Labels: map[string]string{"app.kubernetes.io/managed-by": "hawser"}},
		Data:       data,
	}
	if _, err = configMaps.Update(ctx, object, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write ConfigMap %s/%s: %w", m.namespace, StateName, err)
	}
	m.held = data
	return nil
}
