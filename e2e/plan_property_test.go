package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"hawser.dev/hawser/restore"
)

const situations = 330

// What the plan predicts is what the volume binder of a real control plane
// does: in random situations, after something happens in them, and after a
// plan is carried out in them. HAWSER_SEED draws the same ones again.
func TestPlansPredictTheBinder(t *testing.T) {
	w := newWorld(t)
	seed := rand.Uint64()
	if given := os.Getenv("HAWSER_SEED"); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		w.must(err)
	}
	t.Logf("HAWSER_SEED=%d", seed)
	g := &gamble{world: w, dynamic: dynamic.NewForConfigOrDie(w.lab.RESTConfig("hawser-e2e-test")), outcomes: map[string]int{}}
	g.prepare(seed)
	t.Cleanup(g.cleanUp)
	g.inParallel((*situation).create)
	g.judge("as they were made")
	g.inParallel((*situation).happen)
	g.judge("after something happened")
	g.planAll()
	g.judge("after the plan")
	t.Logf("%d situations, %d predictions, %d wrong; plans: %v", situations, g.predictions, g.wrong, g.outcomes)
	if g.outcomes["create"] < 20 || g.outcomes["re-arm"] < 20 || g.outcomes["refused"] < 20 {
		t.Errorf("the situations are too much alike: %v", g.outcomes)
	}
}

// gamble is the situations of one run.
type gamble struct {
	*world
	dynamic            dynamic.Interface
	all                []*situation
	predictions, wrong int
	outcomes           map[string]int // of plans
}

func (g *gamble) prepare(seed uint64) {
	g.t.Helper()
	_, err := g.client.StorageV1().CSIDrivers().Create(g.ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: situationDriver}}, metav1.CreateOptions{})
	g.must(ignoreAlreadyExists(err))
	for n := range situations {
		g.all = append(g.all, newSituation(n, g.namespace, seed))
	}
	g.inParallel(func(s *situation, g *gamble) error {
		_, err := g.client.StorageV1().StorageClasses().Create(g.ctx, &s.class, metav1.CreateOptions{})
		return err
	})
}

func ignoreAlreadyExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// inParallel does something in every situation.
func (g *gamble) inParallel(do func(*situation, *gamble) error) {
	g.t.Helper()
	var group errgroup.Group
	group.SetLimit(24)
	for _, s := range g.all {
		group.Go(func() error {
			if err := do(s, g); err != nil {
				return fmt.Errorf("situation %d: %w", s.n, err)
			}
			return nil
		})
	}
	g.must(group.Wait())
}

// create makes what was drawn: volumes first, and claims once the binder has
// seen those.
func (s *situation) create(g *gamble) error {
	for i := range s.model.Volumes {
		if err := s.createVolume(g, &s.model.Volumes[i]); err != nil {
			return err
		}
	}
	for i := range s.model.Volumes {
		name := s.model.Volumes[i].Name
		err := g.lab.Await(g.ctx, volumesResource, "", name, func(o *unstructured.Unstructured) bool {
			phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
			return phase != "" && phase != string(corev1.VolumePending)
		})
		if err != nil {
			return err
		}
	}
	for i := range s.model.Claims {
		if err := s.createClaim(g, &s.model.Claims[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *situation) createVolume(g *gamble, volume *corev1.PersistentVolume) error {
	created, err := g.client.CoreV1().PersistentVolumes().Create(g.ctx, volume, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	s.acts = append(s.acts, fmt.Sprintf("volume %s: claimRef %v, class %q, %s, modes %v, attributes %v, annotations %v", volume.Name, volume.Spec.ClaimRef, volume.Spec.StorageClassName, volume.Spec.Capacity.Storage(), volume.Spec.AccessModes, volume.Spec.VolumeAttributesClassName, volume.Annotations))
	*volume = *created
	return nil
}

func (s *situation) createClaim(g *gamble, claim *corev1.PersistentVolumeClaim) error {
	claim.UID = ""
	created, err := g.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Create(g.ctx, claim, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	s.acts = append(s.acts, fmt.Sprintf("claim %s: volume %q, class %q, %s, modes %v, attributes %v, annotations %v", claim.Name, claim.Spec.VolumeName, *claim.Spec.StorageClassName, claim.Spec.Resources.Requests.Storage(), claim.Spec.AccessModes, claim.Spec.VolumeAttributesClassName, claim.Annotations))
	*claim = *created
	return nil
}

// judge predicts where each claim ends, waits until the binder has acted, and
// compares.
func (g *gamble) judge(when string) {
	g.t.Helper()
	expected := map[string]restore.Binding{}
	for _, s := range g.all {
		s.model, s.expect = restore.Settle(s.model)
		for key, binding := range s.expect {
			expected[key.Name] = binding
		}
	}
	got := map[string]restore.Binding{}
	ctx, cancel := context.WithTimeout(g.ctx, 45*time.Second) // the binder looks again every 15
	defer cancel()
	arrived := func(claims []*unstructured.Unstructured) bool {
		clear(got)
		there := 0
		for _, c := range claims {
			name := c.GetName()
			phase, _, _ := unstructured.NestedString(c.Object, "status", "phase")
			volume, _, _ := unstructured.NestedString(c.Object, "spec", "volumeName")
			got[name] = restore.Binding{Phase: corev1.PersistentVolumeClaimPhase(phase), Volume: volume}
			if want, ok := expected[name]; ok && want.Phase == got[name].Phase && want.Volume == volume {
				there++
			}
		}
		return there == len(expected)
	}
	err := g.lab.AwaitAll(ctx, claimsResource, g.namespace, "", arrived)
	if err != nil && ctx.Err() == nil {
		g.t.Fatal(err)
	}
	g.sentinel(when) // all that came before it has been looked at
	g.must(g.lab.AwaitAll(g.ctx, claimsResource, g.namespace, "", func(claims []*unstructured.Unstructured) bool { arrived(claims); return true }))
	for _, s := range g.all {
		for key, want := range s.expect {
			g.predictions++
			is := got[key.Name]
			if want.Phase != is.Phase || want.Volume != is.Volume {
				g.wrong++
				g.t.Errorf("situation %d, %s: claim %s is %s, volume %q; predicted %s, volume %q (%s)\n  %s", s.n, when, key.Name, is.Phase, is.Volume, want.Phase, want.Volume, want.Reason, strings.Join(s.acts, "\n  "))
			}
		}
	}
}

// sentinel is a pair that is made last: the binder takes claims in turn.
func (g *gamble) sentinel(when string) {
	g.t.Helper()
	s := &situation{n: situations + len(g.all) + g.predictions, namespace: g.namespace, random: rand.New(rand.NewPCG(1, 1))}
	s.class.Name = g.namespace + "-sentinel"
	volume, claim := s.drawVolume(0), s.drawClaim(s.claimName())
	volume.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: g.namespace, Name: claim.Name}
	claim.Spec.VolumeName, claim.Annotations = volume.Name, nil
	g.must(s.createVolume(g, &volume))
	g.must(s.createClaim(g, &claim))
	g.await(claimsResource, claim.Name, hasPhase("Bound"))
	g.must(g.client.CoreV1().PersistentVolumeClaims(g.namespace).Delete(g.ctx, claim.Name, metav1.DeleteOptions{}))
	g.await(claimsResource, claim.Name, func(o *unstructured.Unstructured) bool { return o == nil })
}

// cleanUp takes away what does not go with the namespace.
func (g *gamble) cleanUp() {
	ctx := context.WithoutCancel(g.ctx)
	_ = g.client.CoreV1().PersistentVolumeClaims(g.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	_ = g.client.CoreV1().PersistentVolumes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "situations=" + g.namespace})
	for _, s := range g.all {
		_ = g.client.StorageV1().StorageClasses().Delete(ctx, s.class.Name, metav1.DeleteOptions{})
	}
}

// situationKinds are the kinds that the plans of situations write.
var situationKinds = map[string]schema.GroupVersionResource{
	"PersistentVolume": volumesResource, "PersistentVolumeClaim": claimsResource, "VolumeSnapshot": snapshotsResource, "VolumeSnapshotContent": contentsResource,
}

func objectsOf(objects ...runtime.Object) []unstructured.Unstructured {
	var out []unstructured.Unstructured
	for _, object := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			panic(err)
		}
		delete(content, "status")
		out = append(out, unstructured.Unstructured{Object: content})
	}
	return out
}

// carryOut does a step of a plan, as a person would with its manifest.
func (g *gamble) carryOut(step restore.Step) error {
	resource := g.dynamic.Resource(situationKinds[step.Kind]).Namespace(step.Namespace)
	var err error
	switch step.Action {
	case restore.Create:
		_, err = resource.Create(g.ctx, step.Object, metav1.CreateOptions{})
	case restore.RearmPV, restore.ProtectPV:
		_, err = resource.Patch(g.ctx, step.Name, types.MergePatchType, []byte(step.Patch), metav1.PatchOptions{})
	}
	return err
}
