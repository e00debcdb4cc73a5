package backup

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"hawser.dev/hawser/catalog"
)

// noteClaimsLeftOut records the claims of captured workloads that the selection
// does not cover, or that do not exist. A restore must know of them: it would
// start a StatefulSet on empty disks in their place.
func (s *selector) noteClaimsLeftOut(captured []*workload, taken sets.Set[catalog.ClaimKey]) {
	holds, exists := sets.New(captured...), sets.New[catalog.ClaimKey]()
	for i := range s.inv.Claims {
		claim := &s.inv.Claims[i].Object
		key := keyOf(claim)
		exists.Insert(key)
		if taken.Has(key) || s.wants(claim) {
			continue // what is wanted and was not taken has a reason already
		}
		for _, u := range s.usage.users[key] {
			if holds.Has(u.workload) {
				s.skip("PersistentVolumeClaim", key.Namespace, key.Name, catalog.SkipNotSelected, "%s %s uses it, and the selection leaves it out", u.workload.Kind, u.workload.Name)
				break
			}
		}
	}
	for key, users := range s.usage.users {
		if exists.Has(key) {
			continue
		}
		for _, u := range users {
			if holds.Has(u.workload) {
				s.skip("PersistentVolumeClaim", key.Namespace, key.Name, catalog.SkipNotFound, "%s %s uses it, and it does not exist", u.workload.Kind, u.workload.Name)
				break
			}
		}
	}
}

// noteVolumeSecrets records the Secrets that the driver needs to mount, grow or
// delete a volume, unless they are in the point: they must exist where it is
// restored, and a volume cannot be made to name others.
func (s *selector) noteVolumeSecrets() {
	noted := sets.New[string]()
	for _, skip := range s.out.Skipped {
		noted.Insert(objectID(skip.Kind, skip.Namespace, skip.Name))
	}
	for _, v := range s.out.Volumes {
		volume := s.out.Persistent[v.PersistentVolume]
		csi := volume.Spec.CSI
		for _, ref := range []*corev1.SecretReference{
			csi.ControllerPublishSecretRef, csi.NodeStageSecretRef, csi.NodePublishSecretRef,
			csi.ControllerExpandSecretRef, csi.NodeExpandSecretRef,
			{Namespace: volume.Annotations[deletionSecret+"namespace"], Name: volume.Annotations[deletionSecret+"name"]},
		} {
			if ref == nil || ref.Name == "" || s.out.Objects.has("Secret", ref.Namespace, ref.Name) {
				continue
			}
			if id := objectID("Secret", ref.Namespace, ref.Name); !noted.Has(id) {
				noted.Insert(id)
				s.skip("Secret", ref.Namespace, ref.Name, catalog.SkipNotSupported, "PersistentVolume %s names it for its driver; it must exist where the volume is restored", volume.Name)
			}
		}
	}
}

// deletionSecret begins the annotations of a PersistentVolume that name the
// Secret with which external-provisioner deletes its disk.
const deletionSecret = "volume.kubernetes.io/provisioner-deletion-secret-"

// noteOtherUsers records the controllers, of kinds that are not captured, whose
// Pods use a claim that was taken. If the selection is a list of names, others
// were not asked for.
func (s *selector) noteOtherUsers(taken sets.Set[catalog.ClaimKey]) {
	if s.namesOnly() {
		return
	}
	noted := sets.New[string]()
	for _, pod := range s.inv.Pods {
		owner := metav1.GetControllerOf(&pod.Object)
		if owner == nil {
			continue
		}
		for _, volume := range pod.Object.Spec.Volumes {
			if volume.PersistentVolumeClaim == nil {
				continue
			}
			key := catalog.ClaimKey{Namespace: pod.Object.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}
			id := objectID(owner.Kind, key.Namespace, owner.Name)
			if !taken.Has(key) || noted.Has(id) || slices.ContainsFunc(s.usage.users[key], func(u use) bool { return controls(u.workload, owner) }) {
				continue
			}
			noted.Insert(id)
			s.skip(owner.Kind, key.Namespace, owner.Name, catalog.SkipNotSupported, "its Pod %s uses claim %s; objects of this kind are not kept", pod.Object.Name, key.Name)
		}
	}
}

// controls says whether owner, which controls a Pod, is w or a ReplicaSet of it.
func controls(w *workload, owner *metav1.OwnerReference) bool {
	if version, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || version.Group != "apps" {
		return false
	}
	return w.Kind == owner.Kind && w.Name == owner.Name ||
		w.Kind == "Deployment" && owner.Kind == "ReplicaSet" && strings.HasPrefix(owner.Name, w.Name+"-")
}
