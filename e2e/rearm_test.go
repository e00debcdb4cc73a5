package e2e_test

import (
	"maps"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// binding is how a claim and its volume came together. Versions are those of the
// whole cluster, which etcd counts.
type binding struct {
	rearmed, bound     time.Time
	available, created int64
}

// watchBindings notes how n claims of the namespace are bound to volumes that are
// there, until all are.
func (w *world) watchBindings(n int) <-chan map[string]*binding {
	w.t.Helper()
	volumes, err := w.client.CoreV1().PersistentVolumes().Watch(w.ctx, metav1.ListOptions{})
	w.must(err)
	claims, err := w.client.CoreV1().PersistentVolumeClaims(w.namespace).Watch(w.ctx, metav1.ListOptions{})
	w.must(err)
	done := make(chan map[string]*binding, 1)
	go func() {
		defer close(done)
		defer volumes.Stop()
		defer claims.Stop()
		seen := map[string]*binding{}
		of := func(claim string) *binding {
			if seen[claim] == nil {
				seen[claim] = &binding{}
			}
			return seen[claim]
		}
		for bound := 0; bound < n; {
			var event watch.Event
			select {
			case event = <-volumes.ResultChan():
			case event = <-claims.ResultChan():
			case <-w.ctx.Done():
				return
			}
			switch object := event.Object.(type) {
			case *corev1.PersistentVolume:
				ref := object.Spec.ClaimRef
				if ref == nil || ref.Namespace != w.namespace || ref.UID != "" {
					continue
				}
				if b := of(ref.Name); b.rearmed.IsZero() {
					b.rearmed = time.Now()
				}
				if b := of(ref.Name); object.Status.Phase == corev1.VolumeAvailable && b.available == 0 {
					b.available, _ = strconv.ParseInt(object.ResourceVersion, 10, 64)
				}
			case *corev1.PersistentVolumeClaim:
				b := of(object.Name)
				if event.Type == watch.Added {
					b.created, _ = strconv.ParseInt(object.ResourceVersion, 10, 64)
				}
				if object.Status.Phase == corev1.ClaimBound && b.bound.IsZero() {
					b.bound = time.Now()
					bound++
				}
			case nil:
				return // a watch has ended
			}
		}
		done <- seen
	}()
	return done
}

// A claim is created when the binder knows that its volume is free again. Else it
// may come back to the claim only after 15 s.
func TestClaimsComeWhenTheirVolumesAreAvailable(t *testing.T) {
	const rounds, claims = 5, 3
	w := newWorld(t)
	handles := w.deployRedis(claims, "disks-delete")
	point := w.point()
	for range rounds {
		w.loseWorkload()
		w.loseClaims()
		for _, v := range w.volumes() {
			w.await(volumesResource, v.Name, hasPhase("Released"))
		}
		watching := w.watchBindings(claims)
		w.run(0, "restore", point, "--from", "disks")
		bindings := <-watching
		if len(bindings) != claims {
			t.Fatalf("%d claims were seen to be bound, want %d", len(bindings), claims)
		}
		for claim, b := range bindings {
			t.Logf("claim %s was bound %s after its volume was re-armed", claim, b.bound.Sub(b.rearmed).Round(time.Millisecond))
			if b.available == 0 || b.created < b.available {
				t.Errorf("claim %s was created at version %d, and its volume was Available at %d", claim, b.created, b.available)
			}
		}
		w.awaitReady(claims)
		if got := w.disks(); !maps.Equal(got, handles) {
			t.Errorf("claims are on disks %v, want %v", got, handles)
		}
	}
}
