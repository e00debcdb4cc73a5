package restore

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Pair is a PersistentVolume and the claim that was bound to it.
type Pair struct {
	Volume corev1.PersistentVolume
	Claim  corev1.PersistentVolumeClaim
}

// FormerPolicyAnnotation holds, on a PersistentVolume that Hawser made Retain,
// the reclaim policy it had before.
const FormerPolicyAnnotation = "hawser.dev/former-reclaim-policy"

// volumeStrip and claimStrip are the annotations that bind an object to the
// cluster it came from. Each, left on, loses data or hangs: see
// docs/how-restore-works.md.
var (
	volumeStrip = []string{
		"pv.kubernetes.io/bound-by-controller",
		"pv.kubernetes.io/migrated-to",
		corev1.LastAppliedConfigAnnotation,
	}
	claimStrip = []string{
		"pv.kubernetes.io/bind-completed",
		"pv.kubernetes.io/bound-by-controller",
		"pv.kubernetes.io/migrated-to",
		"volume.beta.kubernetes.io/storage-provisioner",
		"volume.kubernetes.io/storage-provisioner",
		"volume.kubernetes.io/selected-node",
		"volume.kubernetes.io/storage-resizer",
		"volume.kubernetes.io/migrated-to",
		corev1.LastAppliedConfigAnnotation,
	}
)

// Prebind returns pair as it must be created so that the two bind to each
// other and to nothing else: the volume Retain and reserved for the claim by
// namespace and name without a uid, the claim naming the volume. Both get the
// storage class of that name, which may be "". The input is not changed.
//
// It fails if the two were not bound to each other, or if the volume is not a
// CSI volume. The rule that makes such a pair bind is syncUnboundClaim in
// Kubernetes' pkg/controller/volume/persistentvolume/pv_controller.go.
func Prebind(pair Pair, class string) (*corev1.PersistentVolume, *corev1.PersistentVolumeClaim, error) {
	if err := checkPair(pair); err != nil {
		return nil, nil, err
	}
	return prebindVolume(pair, class), prebindClaim(pair.Claim, pair.Volume.Name, class), nil
}

func checkPair(pair Pair) error {
	volume, claim := &pair.Volume, &pair.Claim
	ref := volume.Spec.ClaimRef
	switch {
	case volume.Spec.CSI == nil:
		return fmt.Errorf("PersistentVolume %s is not a CSI volume", volume.Name)
	case volume.Spec.CSI.VolumeHandle == "":
		return fmt.Errorf("PersistentVolume %s has no volumeHandle", volume.Name)
	case claim.Name == "" || claim.Namespace == "":
		return errors.New("the claim has no name or no namespace")
	case ref == nil || ref.Namespace != claim.Namespace || ref.Name != claim.Name:
		return fmt.Errorf("PersistentVolume %s is not the volume of claim %s/%s", volume.Name, claim.Namespace, claim.Name)
	case claim.Spec.VolumeName != volume.Name:
		return fmt.Errorf("claim %s/%s does not name PersistentVolume %s", claim.Namespace, claim.Name, volume.Name)
	}
	return nil
}

func prebindVolume(pair Pair, class string) *corev1.PersistentVolume {
	volume := &corev1.PersistentVolume{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: bareMeta(pair.Volume.ObjectMeta, volumeStrip),
		Spec:       *pair.Volume.Spec.DeepCopy(),
	}
	volume.Namespace = ""
	if policy := volume.Spec.PersistentVolumeReclaimPolicy; policy != corev1.PersistentVolumeReclaimRetain && volume.Annotations[FormerPolicyAnnotation] == "" {
		setAnnotation(&volume.ObjectMeta, FormerPolicyAnnotation, string(policy))
	}
	volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	volume.Spec.StorageClassName = class
	volume.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: "v1",
		Kind:       "PersistentVolumeClaim",
		Namespace:  pair.Claim.Namespace,
		Name:       pair.Claim.Name,
	}
	return volume
}

// prebindClaim returns claim as it must be created to bind to the volume of
// that name.
func prebindClaim(claim corev1.PersistentVolumeClaim, volume, class string) *corev1.PersistentVolumeClaim {
	bare := bareClaim(claim, class)
	bare.Spec.VolumeName = volume
	return bare
}

// bareClaim returns claim without what ties it to a cluster, a volume or a
// data source.
func bareClaim(claim corev1.PersistentVolumeClaim, class string) *corev1.PersistentVolumeClaim {
	bare := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: bareMeta(claim.ObjectMeta, claimStrip),
		Spec:       *claim.Spec.DeepCopy(),
	}
	bare.Spec.VolumeName = ""
	bare.Spec.StorageClassName = ptr.To(class)
	bare.Spec.DataSource, bare.Spec.DataSourceRef = nil, nil
	return bare
}

// bareMeta keeps the name, namespace, labels and annotations of meta, less the
// annotations in strip. A stale ownerReference would make the garbage
// collector delete the object; a finalizer of an absent controller would make
// it undeletable.
func bareMeta(meta metav1.ObjectMeta, strip []string) metav1.ObjectMeta {
	annotations := maps.Clone(meta.Annotations)
	for _, key := range strip {
		delete(annotations, key)
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	return metav1.ObjectMeta{
		Name:        meta.Name,
		Namespace:   meta.Namespace,
		Labels:      maps.Clone(meta.Labels),
		Annotations: annotations,
	}
}

func setAnnotation(meta *metav1.ObjectMeta, key, value string) {
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	meta.Annotations[key] = value
}

// serviceAccountVolume is the prefix of the token volume that the API server
// adds to each Pod.
const serviceAccountVolume = "kube-api-access-"

func isTokenVolume(name string) bool { return strings.HasPrefix(name, serviceAccountVolume) }
