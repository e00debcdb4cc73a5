package e2e_test

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// happen lets one thing happen in a situation: what people do, and what they
// find on the bad day.
func (s *situation) happen(g *gamble) error {
	claim, volume := s.claim(s.claimName()), s.anyVolume()
	switch act := s.random.IntN(12); {
	case (act == 0 || act > 7) && claim >= 0:
		return s.deleteClaim(g, claim)
	case act == 1 && claim >= 0:
		return s.terminateClaim(g, claim)
	case act == 2 && volume >= 0:
		return s.deleteVolume(g, volume)
	case act == 3 && volume >= 0 && s.model.Volumes[volume].Status.Phase == corev1.VolumeBound:
		return s.terminateVolume(g, volume)
	case act == 4 && claim >= 0: // a volume comes that names the claim by uid
		added := s.drawVolume(3)
		added.Spec.ClaimRef = &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: s.namespace, Name: s.claimName(), UID: s.model.Claims[claim].UID}
		return s.add(g, added)
	case act == 5: // the volume of the name that claims draw comes back
		if added := s.drawVolume(9); added.Spec.ClaimRef != nil {
			return s.add(g, added)
		}
	}
	return nil
}

// anyVolume is the first volume, if it is there.
func (s *situation) anyVolume() int { return s.volume(s.volumeName(0)) }

func (s *situation) add(g *gamble, volume corev1.PersistentVolume) error {
	if err := s.createVolume(g, &volume); err != nil {
		return err
	}
	s.model.Volumes = append(s.model.Volumes, volume)
	return nil
}

func (s *situation) deleteClaim(g *gamble, i int) error {
	name := s.model.Claims[i].Name
	s.acts = append(s.acts, "delete claim "+name)
	if err := g.client.CoreV1().PersistentVolumeClaims(s.namespace).Delete(g.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	s.model.Claims = append(s.model.Claims[:i:i], s.model.Claims[i+1:]...)
	return g.lab.Await(g.ctx, claimsResource, s.namespace, name, func(o *unstructured.Unstructured) bool { return o == nil })
}

// terminateClaim deletes a claim that something holds.
func (s *situation) terminateClaim(g *gamble, i int) error {
	claims, name := g.client.CoreV1().PersistentVolumeClaims(s.namespace), s.model.Claims[i].Name
	s.acts = append(s.acts, "hold and delete claim "+name)
	if _, err := claims.Patch(g.ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["kubernetes.io/pvc-protection","hawser.dev/held"]}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	g.t.Cleanup(func() {
		_, _ = claims.Patch(context.WithoutCancel(g.ctx), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	})
	s.model.Claims[i].DeletionTimestamp = &metav1.Time{}
	return claims.Delete(g.ctx, name, metav1.DeleteOptions{})
}

// deleteVolume removes a PersistentVolume object, whoever holds it.
func (s *situation) deleteVolume(g *gamble, i int) error {
	volumes, name := g.client.CoreV1().PersistentVolumes(), s.model.Volumes[i].Name
	s.acts = append(s.acts, "remove volume "+name)
	if err := volumes.Delete(g.ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, err := volumes.Patch(g.ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); ignoreNotFound(err) != nil {
		return err
	}
	s.model.Volumes = append(s.model.Volumes[:i:i], s.model.Volumes[i+1:]...)
	return nil
}

// terminateVolume deletes a volume that is in use: it stays until its claim goes.
func (s *situation) terminateVolume(g *gamble, i int) error {
	s.acts = append(s.acts, "delete volume "+s.model.Volumes[i].Name)
	s.model.Volumes[i].DeletionTimestamp = &metav1.Time{}
	return g.client.CoreV1().PersistentVolumes().Delete(g.ctx, s.model.Volumes[i].Name, metav1.DeleteOptions{})
}

// planAll plans the restore of every situation's claim, for what is really
// there, and carries the plans out that are made. The model goes on with what
// was there and what was done.
func (g *gamble) planAll() {
	g.t.Helper()
	observed := g.observe()
	for _, s := range g.all {
		s.take(observed)
	}
	for _, s := range g.all {
		request := restore.Request{From: mostly(s.random, restore.FromDisks, restore.FromSnapshots)}
		plan, err := restore.NewPlan(s.point(), request, observed)
		if refused := (*restore.RefusedError)(nil); errors.As(err, &refused) {
			g.outcomes["refused"]++
			s.acts = append(s.acts, "plan: "+err.Error())
			continue
		}
		g.must(err)
		g.outcomes[string(plan.Volumes[0].Decision)]++
		s.follow(g, plan)
	}
}

// observe looks at the cluster, as far as the volumes of situations go.
func (g *gamble) observe() *restore.Observed {
	g.t.Helper()
	claims, err := g.client.CoreV1().PersistentVolumeClaims(g.namespace).List(g.ctx, metav1.ListOptions{})
	g.must(err)
	volumes, err := g.client.CoreV1().PersistentVolumes().List(g.ctx, metav1.ListOptions{})
	g.must(err)
	classes, err := g.client.StorageV1().StorageClasses().List(g.ctx, metav1.ListOptions{})
	g.must(err)
	drivers, err := g.client.StorageV1().CSIDrivers().List(g.ctx, metav1.ListOptions{})
	g.must(err)
	namespaces, err := g.client.CoreV1().Namespaces().List(g.ctx, metav1.ListOptions{})
	g.must(err)
	return &restore.Observed{
		Volumes: volumes.Items, Claims: claims.Items, StorageClasses: classes.Items, Drivers: drivers.Items, Namespaces: namespaces.Items,
		SnapshotAPI: true, Disks: map[catalog.Disk]restore.DiskState{},
	}
}

// take makes what is really there the model.
func (s *situation) take(observed *restore.Observed) {
	s.model.Volumes, s.model.Claims = nil, nil
	for _, v := range observed.Volumes {
		for i := range 10 {
			if v.Name == s.volumeName(i) {
				s.model.Volumes = append(s.model.Volumes, v)
			}
		}
	}
	for _, c := range observed.Claims {
		if c.Namespace == s.namespace && (c.Name == s.claimName() || c.Name == s.rivalName()) {
			s.model.Claims = append(s.model.Claims, c)
		}
	}
}

// follow carries out a plan, and checks that the model of the binder puts the
// claim where the plan says.
func (s *situation) follow(g *gamble, plan *restore.Plan) {
	g.t.Helper()
	for _, step := range plan.Steps() {
		s.acts = append(s.acts, fmt.Sprintf("plan: %s %s %s (%s) %s", step.Action, step.Kind, step.Name, step.Reason, step.Patch))
		if step.Action == restore.KeepAsIs {
			continue
		}
		if err := g.carryOut(step); err != nil {
			g.t.Fatalf("situation %d: %s %s %s: %v\n%v", s.n, step.Action, step.Kind, step.Name, err, s.acts)
		}
	}
	s.take(g.observeOne(s, plan))
	after, bindings := restore.Settle(s.model)
	v := plan.Volumes[0]
	got := bindings[v.Claim]
	fromDisk := got.Phase == corev1.ClaimBound && got.Volume == v.VolumeName
	fromSnapshot := got.Phase == corev1.ClaimPending && got.Volume == ""
	if v.Way == restore.FromSnapshot && !fromSnapshot || v.Way != restore.FromSnapshot && !fromDisk {
		g.t.Errorf("situation %d: the plan says %s of volume %q, and then claim %s is %s, volume %q", s.n, v.Way, v.VolumeName, v.Claim, got.Phase, got.Volume)
	}
	for _, volume := range after.Volumes {
		if volume.Name == got.Volume && volume.Spec.CSI.VolumeHandle != s.disk(0) {
			g.t.Errorf("situation %d: claim %s would be on disk %s, want %s", s.n, v.Claim, volume.Spec.CSI.VolumeHandle, s.disk(0))
		}
	}
}

// observeOne reads the few objects of one situation.
func (g *gamble) observeOne(s *situation, plan *restore.Plan) *restore.Observed {
	g.t.Helper()
	// Claims first: the binder writes a volume before its claim.
	o := &restore.Observed{}
	for _, name := range []string{s.claimName(), s.rivalName()} {
		claim, err := g.client.CoreV1().PersistentVolumeClaims(s.namespace).Get(g.ctx, name, metav1.GetOptions{})
		if g.must(ignoreNotFound(err)); err == nil {
			o.Claims = append(o.Claims, *claim)
		}
	}
	names := map[string]bool{plan.Volumes[0].VolumeName: plan.Volumes[0].VolumeName != ""}
	for _, v := range s.model.Volumes {
		names[v.Name] = true
	}
	for name, there := range names {
		if !there {
			continue
		}
		volume, err := g.client.CoreV1().PersistentVolumes().Get(g.ctx, name, metav1.GetOptions{})
		if g.must(ignoreNotFound(err)); err == nil {
			o.Volumes = append(o.Volumes, *volume)
		}
	}
	return o
}
