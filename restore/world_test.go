package restore

import (
	"fmt"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v6/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"hawser.dev/hawser/catalog"
)

// world is a model of a cluster that goes on while and after a restore writes:
// the volume binder, a provisioner that gives an empty disk to any claim that
// asks for one, and the StatefulSet controller, which makes such claims. It
// proves nothing about Kubernetes; it shows what a plan relies on.
type world struct {
	*Observed
	gone    map[catalog.VolumeHandle]bool // disks that the driver does not have
	created int
}

func (w *world) newUID() types.UID {
	w.created++
	return types.UID(fmt.Sprintf("uid-of-created-%d", w.created))
}

// plan plans as Restorer.Plan does: first as if the disks were there, then with
// what the driver says of those that the plan rests on.
func (w *world) plan(t rapid.TB, point *catalog.RestorePoint, request Request) (*Plan, error) {
	t.Helper()
	w.Disks = map[catalog.Disk]DiskState{}
	plan, err := checkedPlan(t, point, request, w.Observed)
	if err != nil || request.From != FromAuto {
		return plan, err
	}
	for _, v := range plan.reattached() {
		state := DiskState{DiskPresent, "attached"}
		if w.gone[v.VolumeHandle] {
			state = DiskState{DiskGone, "not found"}
		}
		w.Disks[v.Disk()] = state
	}
	return checkedPlan(t, point, request, w.Observed)
}

// apply does the steps of plan as Apply does, up to the given number of them:
// the claims are bound before the first workload is made.
func (w *world) apply(t rapid.TB, plan *Plan, upTo int) {
	t.Helper()
	steps := plan.Steps()
	workloads := len(steps) - len(plan.Workloads)
	for i, step := range steps[:upTo] {
		if i == workloads {
			w.settle(t)
		}
		w.do(t, step)
	}
}

// do does one step.
func (w *world) do(t rapid.TB, step Step) {
	t.Helper()
	switch step.Action {
	case RearmPV, ProtectPV:
		volume := w.volume(step.Name)
		*volume = patched(t, *volume, []byte(step.Patch))
	case Create:
		w.create(t, step)
	}
}

func (w *world) create(t rapid.TB, step Step) {
	t.Helper()
	object := step.Object.DeepCopy()
	object.SetUID(w.newUID())
	switch step.Kind {
	case "Namespace":
		w.Namespaces = append(w.Namespaces, decoded[corev1.Namespace](t, object))
	case "ConfigMap":
		w.ConfigMaps = append(w.ConfigMaps, decoded[corev1.ConfigMap](t, object))
	case "Service":
		w.Services = append(w.Services, decoded[corev1.Service](t, object))
	case "VolumeSnapshotContent":
		w.Contents = append(w.Contents, decoded[snapshotv1.VolumeSnapshotContent](t, object))
	case "VolumeSnapshot":
		w.Snapshots = append(w.Snapshots, decoded[snapshotv1.VolumeSnapshot](t, object))
	case "PersistentVolume":
		volume := decoded[corev1.PersistentVolume](t, object)
		volume.Status.Phase = corev1.VolumeAvailable
		w.Volumes = append(w.Volumes, volume)
	case "PersistentVolumeClaim":
		claim := decoded[corev1.PersistentVolumeClaim](t, object)
		claim.Status.Phase = corev1.ClaimPending
		w.Claims = append(w.Claims, claim)
	case "StatefulSet":
		set := decoded[appsv1.StatefulSet](t, object)
		set.Status.Replicas = *set.Spec.Replicas
		w.StatefulSets = append(w.StatefulSets, set)
	default:
		t.Fatalf("the model has no %s", step.Kind)
	}
}

func decoded[T any](t rapid.TB, from any) T {
	t.Helper()
	var into T
	recode(t, from, &into)
	return into
}

// settle lets the controllers do all they have to do.
func (w *world) settle(t rapid.TB) {
	t.Helper()
	for _, set := range w.StatefulSets {
		for n := range *set.Spec.Replicas {
			for _, template := range set.Spec.VolumeClaimTemplates {
				key := catalog.ClaimKey{Namespace: set.Namespace, Name: fmt.Sprintf("%s-%s-%d", template.Name, set.Name, n)}
				if w.claim(key) != nil {
					continue
				}
				claim := *template.DeepCopy()
				claim.Namespace, claim.Name, claim.UID = key.Namespace, key.Name, w.newUID()
				claim.Status.Phase = corev1.ClaimPending
				w.Claims = append(w.Claims, claim)
			}
		}
	}
	for i := range w.Claims {
		if claim := &w.Claims[i]; claim.Status.Phase != corev1.ClaimBound && claim.DeletionTimestamp == nil {
			w.bind(claim)
		}
	}
}

// bind does what syncUnboundClaim does.
func (w *world) bind(claim *corev1.PersistentVolumeClaim) {
	names := func(v *corev1.PersistentVolume) bool {
		ref := v.Spec.ClaimRef
		return ref != nil && ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == claim.UID || ref.UID == "" && claim.Status.Phase == corev1.ClaimPending)
	}
	if claim.Spec.VolumeName != "" {
		if volume := w.volume(claim.Spec.VolumeName); volume != nil && (names(volume) || volume.Spec.ClaimRef == nil) {
			marry(volume, claim)
		}
		return
	}
	for i := range w.Volumes {
		if names(&w.Volumes[i]) {
			marry(&w.Volumes[i], claim)
			return
		}
	}
	for i := range w.Volumes {
		if v := &w.Volumes[i]; v.Spec.ClaimRef == nil && v.DeletionTimestamp == nil && v.Spec.StorageClassName == ptr.Deref(claim.Spec.StorageClassName, "") {
			marry(v, claim)
			return
		}
	}
	w.provision(claim)
}

func marry(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) {
	volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}
	volume.Status.Phase = corev1.VolumeBound
	claim.Spec.VolumeName = volume.Name
	claim.Status.Phase = corev1.ClaimBound
}

// provision makes a disk for claim: a copy of its snapshot, or an empty one.
func (w *world) provision(claim *corev1.PersistentVolumeClaim) {
	var class *storagev1.StorageClass
	for i := range w.StorageClasses {
		if w.StorageClasses[i].Name == ptr.Deref(claim.Spec.StorageClassName, "") {
			class = &w.StorageClasses[i]
		}
	}
	if class == nil || class.Provisioner != shopDriver {
		return
	}
	if ptr.Deref(class.VolumeBindingMode, "") == storagev1.VolumeBindingWaitForFirstConsumer && !w.hasPods(claim.Namespace) {
		return
	}
	handle := "empty-disk-of-" + claim.Name
	if source := claim.Spec.DataSource; source != nil {
		content := w.contentOf(claim.Namespace, source.Name)
		if content == nil {
			return // the provisioner waits for the snapshot
		}
		handle = "copy-of-" + *content.Spec.Source.SnapshotHandle
	}
	volume := redisVolume(0)
	volume.Name, volume.UID = "pvc-"+string(claim.UID), w.newUID()
	volume.Spec.CSI.VolumeHandle = handle
	volume.Spec.PersistentVolumeReclaimPolicy = ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	marry(&volume, claim)
	w.Volumes = append(w.Volumes, volume)
}

func (w *world) hasPods(namespace string) bool {
	for _, set := range w.StatefulSets {
		if set.Namespace == namespace && set.Status.Replicas > 0 {
			return true
		}
	}
	return false
}

// contentOf follows snapshot to content, if they name each other.
func (w *world) contentOf(namespace, snapshot string) *snapshotv1.VolumeSnapshotContent {
	for _, s := range w.Snapshots {
		if s.Namespace != namespace || s.Name != snapshot {
			continue
		}
		for i, c := range w.Contents {
			if c.Name == ptr.Deref(s.Spec.Source.VolumeSnapshotContentName, "") && c.Spec.VolumeSnapshotRef.Name == snapshot {
				return &w.Contents[i]
			}
		}
	}
	return nil
}

// diskUnder is the disk that the claim of ordinal n is bound to, from both
// sides, or why there is none.
func (w *world) diskUnder(n int) string {
	claim := w.claim(redisKey(n))
	if claim == nil {
		return "no claim"
	}
	volume := w.volume(claim.Spec.VolumeName)
	switch {
	case claim.Status.Phase != corev1.ClaimBound || volume == nil:
		return fmt.Sprintf("the claim is %s, volume %q", claim.Status.Phase, claim.Spec.VolumeName)
	case volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID:
		return "the volume is of another claim"
	}
	return volume.Spec.CSI.VolumeHandle
}

// expectRestored checks that each claim of plan is on the disk that the plan
// said, or on a copy of its snapshot, and that disks of the point are retained.
func (w *world) expectRestored(t rapid.TB, plan *Plan) {
	t.Helper()
	for _, v := range plan.Volumes {
		var n int
		if _, err := fmt.Sscanf(v.Claim.Name, "redis-pvc-redis-%d", &n); err != nil {
			t.Fatal(err)
		}
		want := string(diskOf(n))
		if v.Way == FromSnapshot {
			want = fmt.Sprintf("copy-of-snapshot-%d", n)
		}
		if got := w.diskUnder(n); got != want {
			t.Errorf("claim %s (%s): %s, want %s", v.Claim, v.Way, got, want)
		}
	}
	for _, v := range w.Volumes {
		if strings.HasPrefix(v.Spec.CSI.VolumeHandle, "disk-") && v.Status.Phase == corev1.VolumeBound && v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
			t.Errorf("PersistentVolume %s over disk %s is %s", v.Name, v.Spec.CSI.VolumeHandle, v.Spec.PersistentVolumeReclaimPolicy)
		}
	}
}

// The model changes under a lookup, so each call looks anew.
func (o *Observed) volume(name string) *corev1.PersistentVolume { return newLookup(o).volume(name) }
func (o *Observed) claim(key catalog.ClaimKey) *corev1.PersistentVolumeClaim {
	return newLookup(o).claim(key)
}
func (o *Observed) find(kind, namespace, name string) metav1.Object {
	return newLookup(o).find(kind, namespace, name)
}
func (o *Observed) volumesOf(driver string, handle catalog.VolumeHandle) []*corev1.PersistentVolume {
	return newLookup(o).volumesOf(driver, handle)
}
