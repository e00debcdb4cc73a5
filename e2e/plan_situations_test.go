package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
	"hawser.dev/hawser/restore"
)

// situationDriver has no controllers: nothing but the binder acts on its volumes.
const situationDriver = "situations.hawser.dev"

// situation is a random state of a few volumes, a claim and a rival of it,
// apart from all others: a class, names and disks of its own.
type situation struct {
	n         int
	namespace string
	random    *rand.Rand
	class     storagev1.StorageClass
	// model is what the volumes and claims are to be, by the model of the binder.
	model  *restore.Observed
	expect map[catalog.ClaimKey]restore.Binding
	acts   []string // what was done, to be printed when it goes wrong
}

func (s *situation) claimName() string { return fmt.Sprintf("claim-%d", s.n) }
func (s *situation) rivalName() string { return fmt.Sprintf("rival-%d", s.n) }
func (s *situation) volumeName(i int) string {
	return fmt.Sprintf("%s-%d-%d", s.namespace, s.n, i)
}
func (s *situation) disk(i int) string { return fmt.Sprintf("disk-%s-%d-%d", s.namespace, s.n, i) }

// pick draws one of several, each as likely.
func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// mostly draws usual, or in one of six cases one of the others.
func mostly[T any](r *rand.Rand, usual T, others ...T) T {
	if r.IntN(6) > 0 {
		return usual
	}
	return pick(r, others...)
}

// newSituation draws one that does not depend on which of two claims the binder
// sees first.
func newSituation(n int, namespace string, seed uint64) *situation {
	for attempt := uint64(0); ; attempt++ {
		s := &situation{n: n, namespace: namespace, random: rand.New(rand.NewPCG(seed, uint64(n)<<16+attempt))}
		s.class = storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", namespace, n)},
			Provisioner: situationDriver, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimRetain),
			VolumeBindingMode: ptr.To(pick(s.random, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)),
		}
		s.model = &restore.Observed{StorageClasses: []storagev1.StorageClass{s.class}}
		for i := range s.random.IntN(4) {
			s.model.Volumes = append(s.model.Volumes, s.drawVolume(i))
		}
		if s.random.IntN(6) > 0 {
			s.model.Claims = append(s.model.Claims, s.drawClaim(s.claimName()))
		}
		if s.random.IntN(4) == 0 {
			s.model.Claims = append(s.model.Claims, s.drawClaim(s.rivalName()))
		}
		if !s.ambiguous() {
			return s
		}
	}
}

// ambiguous says whether it matters in which order the claims are seen, or
// several volumes are reserved for one claim: then the binder takes any.
func (s *situation) ambiguous() bool {
	reserved := map[string]bool{}
	for _, v := range s.model.Volumes {
		if ref := v.Spec.ClaimRef; ref != nil && ref.UID == "" {
			if reserved[ref.Name] {
				return true
			}
			reserved[ref.Name] = true
		}
	}
	for i := range s.model.Claims {
		s.model.Claims[i].UID = types.UID(s.model.Claims[i].Name)
	}
	_, together := restore.Settle(s.model)
	for _, first := range s.model.Claims {
		alone := *s.model
		alone.Claims = []corev1.PersistentVolumeClaim{first}
		after, _ := restore.Settle(&alone)
		for _, other := range s.model.Claims {
			if other.Name != first.Name {
				after.Claims = append(after.Claims, other)
			}
		}
		_, inTurn := restore.Settle(after)
		for key, binding := range together {
			if inTurn[key].Phase != binding.Phase || inTurn[key].Volume != binding.Volume {
				return true
			}
		}
	}
	return false
}

// drawVolume draws the i-th volume. Those that are for anybody differ in size,
// so that the binder has no choice.
func (s *situation) drawVolume(i int) corev1.PersistentVolume {
	r := s.random
	volume := corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: s.volumeName(i), Labels: map[string]string{"situations": s.namespace}, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(fmt.Sprintf("%d%dMi", pick(r, 1, 2, 3), i))},
			AccessModes:                   drawModes(r),
			VolumeMode:                    mostly(r, ptr.To(corev1.PersistentVolumeFilesystem), ptr.To(corev1.PersistentVolumeBlock), nil),
			StorageClassName:              mostly(r, s.class.Name, s.class.Name+"-other"),
			PersistentVolumeReclaimPolicy: mostly(r, corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimDelete),
			VolumeAttributesClassName:     mostly(r, nil, ptr.To("gold")),
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: situationDriver, VolumeHandle: s.disk(i)}},
		},
	}
	if r.IntN(2) == 0 {
		volume.Annotations["pv.kubernetes.io/provisioned-by"] = situationDriver
	}
	if r.IntN(5) == 0 {
		volume.Annotations["pv.kubernetes.io/bound-by-controller"] = "yes"
	}
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: s.namespace, Name: s.claimName()}
	switch r.IntN(10) {
	case 0, 1: // for anybody
		return volume
	case 2:
		ref.Name = s.rivalName()
	case 3, 4:
		ref.UID = "of-a-former-claim"
	}
	volume.Spec.ClaimRef = ref
	if r.IntN(4) == 0 {
		volume.Spec.StorageClassName = "" // only if it is reserved: it would suit claims of others
	}
	return volume
}

func drawModes(r *rand.Rand) []corev1.PersistentVolumeAccessMode {
	return mostly(r, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany}, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
		[]corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteOnce, corev1.ReadWriteMany})
}

func (s *situation) drawClaim(name string) corev1.PersistentVolumeClaim {
	r := s.random
	claim := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:               drawModes(r),
			Resources:                 corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(pick(r, "5Mi", "10Mi", "20Mi", "25Mi", "100Mi"))}},
			VolumeMode:                mostly(r, ptr.To(corev1.PersistentVolumeFilesystem), ptr.To(corev1.PersistentVolumeBlock)),
			StorageClassName:          ptr.To(mostly(r, s.class.Name, s.class.Name+"-other")),
			VolumeAttributesClassName: mostly(r, nil, ptr.To("gold")),
			VolumeName:                pick(r, "", "", s.volumeName(0), s.volumeName(1), s.volumeName(9)),
		},
	}
	if claim.Spec.VolumeName != "" && r.IntN(6) == 0 {
		claim.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	}
	return claim
}

// point is a restore point in which the situation's claim is over the disk of
// its first volume, though maybe through a volume of another name.
func (s *situation) point() *catalog.RestorePoint {
	claim, volume := s.drawClaim(s.claimName()), s.drawVolume(0)
	volume.Name = mostly(s.random, s.volumeName(0), s.volumeName(7))
	claim.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	claim.Spec.VolumeName = volume.Name
	volume.Spec.ClaimRef = &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: s.namespace, Name: claim.Name, UID: "then"}
	claim.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	volume.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"}
	if s.random.IntN(2) == 0 { // mostly the class is one of which there are volumes
		volume.Spec.StorageClassName, claim.Spec.StorageClassName = s.class.Name, ptr.To(s.class.Name)
	}
	id := catalog.PointID("20260903-120000-manual-00000000")
	return &catalog.RestorePoint{
		Commit: catalog.Commit{Point: id},
		Bundle: catalog.Bundle{
			Format: catalog.Format, Point: id, Objects: objectsOf(&volume, &claim),
			Volumes: []catalog.Volume{{
				Claim: catalog.ClaimKey{Namespace: s.namespace, Name: claim.Name}, PersistentVolume: volume.Name,
				Driver: situationDriver, VolumeHandle: catalog.VolumeHandle(s.disk(0)), Capacity: volume.Spec.Capacity.Storage().String(),
				StorageClass: *claim.Spec.StorageClassName, Snapshot: &catalog.Snapshot{Handle: catalog.SnapshotHandle("snapshot-of-" + s.disk(0))},
			}},
		},
	}
}

// volume and claim return the index of an object in the model, or -1.
func (s *situation) volume(name string) int {
	return slices.IndexFunc(s.model.Volumes, func(v corev1.PersistentVolume) bool { return v.Name == name })
}

func (s *situation) claim(name string) int {
	return slices.IndexFunc(s.model.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Name == name })
}
