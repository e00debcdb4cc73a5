package drill

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"hawser.dev/hawser/catalog"
)

const (
	// DefaultImage has what readScript needs: a shell and head.
	DefaultImage = "busybox:1.37"
	// DefaultTimeout bounds a drill, less its cleaning up.
	DefaultTimeout = 30 * time.Minute

	dataPath = "/data"
	// nobody is the user, and group, for volumes whose own are not known, or root.
	nobody = 65532
)

// readScript is the check of plans that have none: it reads the beginning of
// every file that its user may open, and fails if one cannot be read.
//
//go:embed read.sh
var readScript string

// Check says how each volume of a drill is checked.
type Check struct {
	Image   string        // "" for DefaultImage
	Command []string      // empty: the volume is read
	Timeout time.Duration // of the whole drill; 0 for DefaultTimeout
}

func (c Check) image() string          { return cmp.Or(c.Image, DefaultImage) }
func (c Check) timeout() time.Duration { return cmp.Or(c.Timeout, DefaultTimeout) }

// command is what runs in the Pod.
func (c Check) command() []string {
	if len(c.Command) > 0 {
		return c.Command
	}
	return []string{"sh", "-c", readScript}
}

// podName is a function of the claim, so that no Pod is made twice.
func podName(claim string) string {
	sum := sha256.Sum256([]byte(claim))
	return "check-" + hex.EncodeToString(sum[:8])
}

// NewPod is the Pod that checks one volume: it runs the check once, with the
// volume read-only at /data, or as a block device there, as the user that the
// claim's workload in point has, unless that is root. The restricted pod-security
// standard admits it. scratch is the claim as the drill has restored it.
func NewPod(id catalog.DrillID, check Check, point *catalog.RestorePoint, volume catalog.Volume, scratch catalog.ClaimKey) *corev1.Pod {
	user, group := userOf(point, volume)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: scratch.Namespace, Name: podName(scratch.Name), Labels: marks(id),
			Annotations: map[string]string{claimAnnotation: volume.Claim.String()},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks:           ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: &user, RunAsGroup: &group, FSGroup: &group, // the disk is the drill's own
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "check", Image: check.image(), Command: check.command(),
				Env: []corev1.EnvVar{{Name: "HAWSER_CLAIM", Value: volume.Claim.Name}, {Name: "HAWSER_NAMESPACE", Value: volume.Claim.Namespace}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts:             []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			}},
			Volumes: []corev1.Volume{
				{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: scratch.Name}}},
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}
	container := &pod.Spec.Containers[0]
	if isBlock(point, volume.Claim) {
		container.VolumeDevices = []corev1.VolumeDevice{{Name: "data", DevicePath: dataPath}}
	} else {
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: dataPath, ReadOnly: true})
	}
	return pod
}

// userOf is the user and group by which the workload of a volume reads it.
func userOf(point *catalog.RestorePoint, volume catalog.Volume) (user, group int64) {
	spec := podSpecOf(point, volume)
	if spec == nil {
		return nobody, nobody
	}
	var own *corev1.SecurityContext // of the container that has the volume, or is alone
	for i := range spec.Containers {
		c := &spec.Containers[i]
		mounts := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return mountsClaim(spec, m.Name, volume) })
		if mounts || len(spec.Containers) == 1 {
			own = c.SecurityContext
			break
		}
	}
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	pod := spec.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	user = cmp.Or(ptr.Deref(own.RunAsUser, ptr.Deref(pod.RunAsUser, 0)), nobody)
	group = cmp.Or(ptr.Deref(pod.FSGroup, 0), ptr.Deref(own.RunAsGroup, ptr.Deref(pod.RunAsGroup, 0)), nobody)
	return user, group
}

// mountsClaim says whether the volume of that name in a Pod is the claim's.
func mountsClaim(spec *corev1.PodSpec, name string, volume catalog.Volume) bool {
	if name == volume.Template {
		return true
	}
	return slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == name && v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == volume.Claim.Name
	})
}

// podSpecOf is that of the workload which the point says uses a volume; nil if
// there is none.
func podSpecOf(point *catalog.RestorePoint, volume catalog.Volume) *corev1.PodSpec {
	if volume.Workload == nil {
		return nil
	}
	object := find(point, volume.Workload.Kind, volume.Claim.Namespace, volume.Workload.Name)
	if object == nil {
		return nil
	}
	path := []string{"spec", "template", "spec"}
	if volume.Workload.Kind == "Pod" {
		path = path[:1]
	}
	raw, _, _ := unstructured.NestedMap(object.Object, path...)
	var spec corev1.PodSpec
	if runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &spec) != nil {
		return nil
	}
	return &spec
}

func isBlock(point *catalog.RestorePoint, claim catalog.ClaimKey) bool {
	object := find(point, "PersistentVolumeClaim", claim.Namespace, claim.Name)
	if object == nil {
		return false
	}
	mode, _, _ := unstructured.NestedString(object.Object, "spec", "volumeMode")
	return mode == string(corev1.PersistentVolumeBlock)
}

func find(point *catalog.RestorePoint, kind, namespace, name string) *unstructured.Unstructured {
	i := slices.IndexFunc(point.Bundle.Objects, func(o unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetNamespace() == namespace && o.GetName() == name
	})
	if i < 0 {
		return nil
	}
	return &point.Bundle.Objects[i]
}
